"""`scanward augment`: a set of injected masses, and its annotations."""

from __future__ import annotations

from dataclasses import replace

from scanward.cli.codes import ERROR, INTERRUPTED
from scanward.cli.forging import Request, run_forge
from scanward.cli.words import complain, counted, shown
from scanward.errors import ArgumentError
from scanward.forgery.annotations import COCO, annotate
from scanward.forgery.sets import MANIFEST
from scanward.methods import METHODS


def run_augment(request: Request) -> int:
    """Make the set, or what is missing of it, annotate it, and return the exit code. `ArgumentError` for a method that
    makes no masses."""
    made = next((row.lesion for row in METHODS if row.name == request.method and row.action == request.action), "mass")
    if made != "mass":
        raise ArgumentError(f"The method {request.method} makes {made}, and annotations are of masses; a set of {made} "
                            "with its masks is made by scanward inject --count.")
    code = run_forge(replace(request, films_only=True))
    if code == INTERRUPTED or not (request.output / MANIFEST).is_file():
        return code
    number, refused = annotate(request.output)
    for error in refused:
        complain(str(error))
    if not request.quiet:
        print(f"{counted(number, 'image')} annotated in {shown(str(request.output / COCO))}.")
    return ERROR if refused else code
