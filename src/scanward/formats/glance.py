"""What a DICOM file says at its beginning: only so much is read, and none of it is looked for twice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from scanward.formats.dataset import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, inflated, meta_of
from scanward.formats.dicom import CT_CLASSES, LOCALIZER, MG_CLASSES
from scanward.formats.guard import clean, open_file, unwarned
from scanward.formats.pixels import LOSSY
from scanward.formats.walk import bounded

GLANCE = (0x00080008, 0x00080016, 0x0020000E)
"""ImageType, SOP class and series."""
ORIGIN = (0x00080008, 0x00080018, 0x00080020, 0x00080060, 0x00080070, 0x00080080, 0x00081010, 0x00081090, 0x0020000D,
          0x0020000E, 0x00282110)
"""What `Origin` has, in its order."""
CHARSET = 0x00080005


def first_elements(stream: BinaryIO, syntax: str, tags: tuple[int, ...], *also: int) -> list[str]:
    """The elements with these tags, ascending, of an encoded data set without file meta information, each on one line
    and empty where there is none. `also` are read before them, for what they tell of the others."""
    with suppress(Exception), unwarned:  # pydicom raises, and warns of, what its parts do
        data = read_dataset(stream, is_implicit_VR=syntax == IMPLICIT_LITTLE, is_little_endian=syntax != EXPLICIT_BIG,
                            stop_when=bounded(lambda tag, vr, length: int(tag) > tags[-1]),
                            specific_tags=[BaseTag(tag) for tag in (*also, *tags)])
        return [clean(data[tag].value) if tag in data else "" for tag in tags]
    return [""] * len(tags)


def glance(path: Path) -> tuple[bool, str]:
    """Whether a DICOM file begins as a mammogram does, and of a CT slice, which no localizer is, its series; False and
    empty of all else. Only the elements up to the series are read, and none is looked for twice."""
    made, kind, series, _ = _first(path, GLANCE)
    return kind in MG_CLASSES, series if kind in CT_CLASSES and LOCALIZER not in made.upper() else ""


@dataclass(frozen=True)
class Origin:
    """Where an image says that it comes from, each on one line and empty where it does not; empty of what is no DICOM
    file, too. Anybody may have written it."""

    kind: str
    """Its ImageType."""
    sop_instance: str
    date: str
    """YYYYMMDD of the study."""
    modality: str
    manufacturer: str
    institution: str
    station: str
    model: str
    study: str
    series: str
    lossy: str
    """`01` of what was ever compressed with loss."""
    syntax: str

    @property
    def remade(self) -> str:
        """`lossy` or `derived`, as it says itself that it was compressed with loss or made of another image; else
        empty."""
        if self.lossy == "01" or self.syntax in LOSSY:
            return "lossy"
        return "derived" if self.kind.upper().startswith("DERIVED") else ""


def origin_of(path: Path) -> Origin:
    """Of a file; as `glance`, it takes no part in what an image is judged by."""
    return Origin(*_first(path, ORIGIN))


def instance_of(path: Path) -> str:
    """The SOP Instance UID of a file, as `origin_of`."""
    return _first(path, (0x00080018,))[0]


def _first(path: Path, tags: tuple[int, ...]) -> list[str]:
    """As `first_elements`, of a DICOM file, and then its transfer syntax; empty of what is none."""
    try:
        with open_file(path) as file:
            syntax = str(meta_of(file).get("TransferSyntaxUID", ""))
            data = inflated(file, path) if syntax == DEFLATED else file
            return [*first_elements(data, syntax, tags, CHARSET), syntax]
    except Exception:  # as there
        return [""] * (len(tags) + 1)
