"""`scanward key`, `protect`, `verify` and `unprotect`: options in, files, sentences and exit codes out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from scanward import protection
from scanward.cli.codes import CLEAN, FOUND, UNSURE
from scanward.cli.words import shown
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.protection import Around, Perturb
from scanward.protectors.seal import Found, make_key

CODES = {"authentic": CLEAN, "tampered": FOUND, "inconclusive": UNSURE}
MOST = 20
"""Findings that are printed; all are in `verified.json`."""


@contextmanager
def _busy(what: str, quiet: bool) -> Iterator[None]:
    """A moving sign on stderr while that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def run_key(path: Path) -> int:
    """Make a key and say what it is for."""
    make_key(path)
    print(f"{shown(str(path))}: keep it secret and safe; without it nothing it protected can be verified or undone.")
    return CLEAN


def parse_around(texts: Sequence[str]) -> list[Around]:
    """`X,Y,Z:MM` each, in voxels and millimetres; `ArgumentError` for anything else."""
    places = []
    for text in texts:
        where, _, diameter = text.partition(":")
        try:
            x, y, z = (float(part) for part in where.split(","))
            places.append(Around(z, y, x, float(diameter)))
        except ValueError:
            raise ArgumentError(f"--around {text!r} is no place; write X,Y,Z:MM, in voxels, and the diameter of what "
                                "is there in mm.") from None
    return places


def run_protect(path: Path, output: Path, key: Path | None, method: str | None, epsilon: float | None,
                around: Sequence[str], quiet: bool) -> int:
    """Protect one image and say what was written."""
    if method is None and (around or epsilon is not None):
        raise ArgumentError("--around and --epsilon say how to perturb; name a --method, too.")
    perturb = None if method is None else Perturb(method, parse_around(around), epsilon)
    with _busy("protecting", quiet):
        written = protection.protect_file(path, output, key, perturb)
    if not quiet:
        for file in written:
            print(shown(str(file)))
    return CLEAN


def run_unprotect(path: Path, output: Path, key: Path, record: Path | None, quiet: bool) -> int:
    """Undo a protection and say where the original is."""
    with _busy("undoing", quiet):
        written = protection.unprotect_file(path, output, key, record)
    if not quiet:
        print(f"{shown(str(written))}: voxel for voxel the original.")
    return CLEAN


def run_verify(path: Path, key: Path, record: Path | None, output: Path | None, as_json: bool, quiet: bool) -> int:
    """Verify one image; the exit code says what it is."""
    with _busy("verifying", quiet):
        image, answer = protection.verify_file(path, key, record, output)
    if as_json:
        print(json.dumps({"path": str(path), **protection.facts(answer)}))
    elif not quiet:
        print(f"{answer.label}: {shown(str(path))}\n  {answer.sentence}")
        for found in answer.findings[:MOST]:
            print(f"  {_place(found, image)}")
        if len(answer.findings) > MOST:
            print(f"  and {len(answer.findings) - MOST} more")
    return CODES[answer.label]


def _place(found: Found, image: Image) -> str:
    z, y, x = found.centre
    where = f"x {x:.0f}, y {y:.0f}" + (f", z {z:.0f}" if image.shape[0] > 1 else "")
    sides = found.box.size
    if image.spacing is None:
        return f"{where}: {sides[2]} x {sides[1]} pixels, {found.why}"
    mm = [side * step for side, step in zip(sides, image.spacing, strict=True)][0 if image.shape[0] > 1 else 1:]
    return f"{where}: {' x '.join(f'{length:.0f}' for length in mm[::-1])} mm, {found.why}"
