"""What a DICOM file, or the files of a series, say about themselves beside the image: facts for the witness.

Facts that an archive's ordinary work leaves behind, too, are told as harmless. Nothing here looks for what is forged in
the pixels; how much a fact weighs, `judging/structure.py` says.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scanward.errors import InputError
from scanward.formats.fact import UNREAD, Fact, gathered
from scanward.formats.guard import decoding, open_file
from scanward.formats.pixels import LOSSY
from scanward.formats.sheet import Sheet, read_sheet
from scanward.formats.sniff import HEAD
from scanward.formats.sources import Source
from scanward.formats.structure_header import header_facts, nameless, preamble_facts
from scanward.formats.structure_pixels import marks_of, pixel_facts
from scanward.formats.structure_series import series_facts
from scanward.image import Image

_EDITORS = re.compile(rb"Adobe Photoshop|GIMP|Affinity Photo|Paint\.NET|ImageJ|ImageMagick|Pixelmator|Krita")

_TAKEN = ("KVP", "ReconstructionDiameter", "PixelSpacing", "ImagePositionPatient", "BodyPartThickness", "ExposureTime")
_ALIKE = 0.01
"""Millimetres and so on, as programs round them."""


@dataclass(frozen=True)
class Named:
    """What one slice, or the whole file, is called."""

    path: Path
    instance: str
    series: str
    study: str
    patient: tuple[str, str]
    """Number and name."""
    nameless: str
    """What it says of how names were taken out of it; empty where it says nothing."""
    lossy: bool
    kernel: str
    taken: array[float]
    """What `_TAKEN` names; no number where it says none."""

    def as_taken(self, other: Named) -> bool:
        """Whether nothing that both say of how and where they were taken differs: no copy changes that."""
        return (self.kernel == other.kernel or not (self.kernel and other.kernel)) and not any(
            abs(one - two) > _ALIKE for one, two in zip(self.taken, other.taken, strict=False))


@dataclass(frozen=True)
class Testimony:
    """What a source says."""

    facts: tuple[Fact, ...]
    slices: tuple[Named, ...] = ()
    """By slice of the image; empty where the files do not say."""
    marks: tuple[bytes | None, ...] = ()
    """What tells a slice's values from others', by slice."""


def said_of(source: Source, image: Image) -> Testimony:
    """Of the files that `image` was read from."""
    if image.provenance.format != "dicom":
        return Testimony(tuple(_edited(source.path)))
    marks = marks_of(image)
    try:
        ordered = _sheets_of(source, image)
        parts = [preamble_facts(ordered), header_facts(ordered[0])]
        if len({sheet.path for sheet in ordered}) == len(image.pixels) > 1:
            step = (image.spacing or (1.0,))[0]
            parts.append(series_facts(ordered, step * np.arange(len(ordered), dtype=np.float64)))
        with decoding(source.path):
            facts = gathered(*parts, pixel_facts(image, ordered, marks))
            told = tuple({(fact.name, fact.says): fact for fact in facts}.values())
    except InputError:
        return Testimony((UNREAD,))
    return Testimony(told, _all_named(ordered, image), tuple(marks))


def names_of(source: Source, image: Image) -> Testimony:
    """As `said_of`, without facts."""
    if image.provenance.format != "dicom":
        return Testimony(())
    return Testimony((), _all_named(_sheets_of(source, image), image), tuple(marks_of(image)))


def _sheets_of(source: Source, image: Image) -> list[Sheet]:
    """By slice, or one of a file of which it is not known what lies where."""
    paths = [path for path, _ in image.provenance.slices] or [source.path]
    with decoding(source.path):
        sheets = {path: read_sheet(path) for path in dict.fromkeys(paths)}
    return [sheets[path] for path in paths]


def _all_named(sheets: Sequence[Sheet], image: Image) -> tuple[Named, ...]:
    return tuple(map(_named, sheets)) if len(sheets) == len(image.pixels) else ()


def _named(sheet: Sheet) -> Named:
    return Named(sheet.path, sheet.text("SOPInstanceUID"), sheet.text("SeriesInstanceUID"),
                 sheet.text("StudyInstanceUID"), (sheet.text("PatientID"), sheet.text("PatientName")),
                 nameless(sheet), sheet.syntax in LOSSY or sheet.text("LossyImageCompression") == "01",
                 sys.intern(sheet.text("ConvolutionKernel")),
                 array("f", [(sheet.numbers(keyword) or (math.nan,))[-1] for keyword in _TAKEN]))


def _edited(path: Path) -> list[Fact]:
    """Of a picture: programs for pictures name themselves in it."""
    with open_file(path) as file:
        found = _EDITORS.search(file.read(HEAD))
    return [Fact("picture program", f"{found[0].decode()} wrote it, as it says.", harmless=True)] if found else []
