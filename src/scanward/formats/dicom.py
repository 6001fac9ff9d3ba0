"""DICOM files: the header without the pixels, and what its elements say of the pixels.

Mammograms come as stored values, larger always brighter: MONOCHROME1 is flipped about 2**bits - 1, and signed values
are moved up by 2**(bits - 1) so that they lie in [0, 2**bits - 1]. Lookup tables and windows are not applied: they are
for eyes. CT comes in HU by Rescale Slope and Intercept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.dataset import read_header
from scanward.formats.fragments import JPEG, Extended
from scanward.formats.guard import NUMBER, PLAUSIBLE, check_size, clean, open_file, plausible, shown
from scanward.formats.held import IDENTITY
from scanward.formats.pixels import Layout, check_unused
from scanward.image import AIR, Modality, Provenance

TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
"""Breast Tomosynthesis: the 2-D view made of one is stored as its only frame."""
MG_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1", TOMOSYNTHESIS)
CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""CT, Enhanced CT, Legacy Converted Enhanced CT."""
LOCALIZER = "LOCALIZER"
"""In the ImageType of a scout (PS3.3, C.8.2.1.1.1)."""
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture: digitised films are kept so, with modality MG."""
HEADER = (
    "SOPClassUID", "SOPInstanceUID", "SyntheticData", "Modality", "Manufacturer", "BodyPartExamined",
    "EstimatedRadiographicMagnificationFactor", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing",
    "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "ModalityLUTSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
MAGNIFICATION = (0.1, 20.0)
"""Factors that are believed."""
_ANY = (-math.inf, math.inf)
_MEASURES: dict[str, tuple[int, float, float]] = {
    "PixelSpacing": (2, *PLAUSIBLE), "ImagerPixelSpacing": (2, *PLAUSIBLE),
    "NominalScannedPixelSpacing": (2, *PLAUSIBLE), "PixelAspectRatio": (2, 1e-6, math.inf),
    "EstimatedRadiographicMagnificationFactor": (1, *MAGNIFICATION), "SpacingBetweenSlices": (1, *_ANY),
    "ImagePositionPatient": (3, *_ANY), "ImageOrientationPatient": (6, -1.01, 1.01), "InstanceNumber": (1, *_ANY),
}
"""How many numbers each takes, the least and the most."""
_STORED = "1.2.840.10008.5.1.4.1.1."
_AS_STORED = ("1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "13.1.3")
"""SOP classes whose only rescale is slope 1 and intercept 0: digital X-ray, mammography, intra-oral (PS3.3, C.8.11.3)
and breast tomosynthesis."""
_WITH_ROWS = ("Segmentation Storage", "RT Dose Storage", "Parametric Map Storage")
"""Classes of objects about images that have pixels."""
_HOUNSFIELD = re.compile(r"|HU|US|UNSPECIFIED|HOUN[A-Z]*FIELD( ?UNITS?)?")
"""Rescale types of a CT in HU; US, unspecified, is what many write, and some spell the unit out, one "Houndsfield"."""


@dataclass(frozen=True)
class Header:
    """The elements of `HEADER` that a file holds. Every getter refuses nonsense in one sentence."""

    path: Path
    data: Dataset
    syntax: str
    little: bool
    media_class: str = ""
    """The SOP class that the file meta group states; a directory has no other."""
    pixels: bool = True
    """Whether pixel data follow."""

    def text(self, keyword: str) -> str:
        """The element on one line; empty where it is absent."""
        value = self.value(keyword)
        return "" if value is None else clean(value)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """`count` finite numbers; None where the element is absent, empty or otherwise."""
        value = self.value(keyword)
        if value is None or value == "":
            return None
        values = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
        texts = [getattr(v, "original_string", v) for v in values]
        if any(isinstance(text, str) and not NUMBER.fullmatch(text.strip(" \0")) for text in texts):
            return None
        try:
            found = tuple(float(v) for v in values)
        except (TypeError, ValueError):
            return None
        return found if len(found) == count and all(np.isfinite(found)) else None

    def number(self, keyword: str, default: float) -> float:
        """One finite number, `default` where the element is absent or empty; `UnreadableError` where it is anything
        else, as readers each make something of their own of that."""
        found = self.numbers(keyword, 1)
        if found is None and self.says(keyword):
            raise UnreadableError(f"{shown(self.path)} has a {keyword} that is not one number; export it again.")
        return default if found is None else found[0]

    def says(self, keyword: str) -> bool:
        """The element is there, and not empty or blank."""
        element = self.data.get_item(keyword) if keyword in self.data else None
        value = self.value(keyword)  # zeros are a number, and blanks where they are text
        if value is None and element is not None and isinstance(element.value, bytes):
            return bool(element.value.strip(b" \0\\"))
        return any(map(str, value)) if isinstance(value, MultiValue) else value is not None and bool(str(value).strip())

    def value(self, keyword: str) -> Any:
        """As the file has it; None for what cannot be told, in whatever form it is there."""
        try:
            return self.data.get(keyword)
        except Exception:  # a header may hold any bytes in any form, and pydicom raises what its parts raise
            return None

    def said(self, keyword: str) -> Any:
        """As `value`; `UnreadableError` where the element is there and cannot be told, as others may tell it."""
        value = self.value(keyword)
        if value is None and self.says(keyword):
            raise UnreadableError(f"{shown(self.path)} says its {keyword} in a form that cannot be read; export it "
                                  "again.")
        return value

    def whole(self, keyword: str, default: int | None = None) -> int:
        """One whole number; `UnreadableError` where it is absent and has no default, or anything else."""
        found = self.numbers(keyword, 1)
        if found is None and default is not None and not self.says(keyword):
            return default
        if found is None or not found[0].is_integer():
            raise UnreadableError(f"{shown(self.path)} lacks a usable {keyword} in its DICOM header; export it again.")
        return int(found[0])


@contextmanager
def opened(path: Path, also: tuple[str, ...] = (), whole: bool = False) -> Iterator[tuple[Header, BinaryIO]]:
    """The header with the elements of `HEADER` and `also`, or as a `whole`, and a stream that stands at the pixel data
    (or the end). The pixels are not read. Raises `UnreadableError` where one of them is said twice, in items, too."""
    with open_file(path) as file:
        data, stream, syntax, little, media_class = read_header(file, path, (*HEADER, *also), whole)
        at = stream.tell()
        follows = bool(stream.read(1))
        stream.seek(at)
        yield Header(path, data, syntax, little, media_class, follows), stream


def is_image(header: Header) -> bool:
    """Whether the SOP class is one of images, as every Storage class that has Image in its name is; of objects about
    images (reports, segmentations, documents, raw data, directories) a study's folder holds some beside its images.

    What has rows and pixels is an image whatever its class, and so is what has no class or one that DICOM does not
    know: a header must not get a picture passed over.
    """
    uid = UID(header.text("SOPClassUID") or header.media_class)
    if " Image " in uid.name or (uid.name in ("", uid) and (not uid or uid.startswith("1.2.840.10008"))):
        return True
    return uid.name not in _WITH_ROWS and "Rows" in header.data and header.pixels


def is_own(header: Header) -> bool:
    """Whether it is the picture in colours that Scanward makes of a verdict: no network ever looks at such."""
    return (header.text("SOPClassUID") == CAPTURE and header.text("Manufacturer") == "Scanward"
            and header.whole("SamplesPerPixel", 1) == 3)


def check_image(header: Header) -> None:
    """`UnsupportedError` for what `is_image` denies."""
    if not is_image(header):
        name = UID(header.text("SOPClassUID") or header.media_class).name
        where = "; name the folder that it lies in" if "Directory" in name else ""
        raise UnsupportedError(f"{shown(header.path)} is no image, but of SOP class {name}{where}.")
    if header.whole("PixelRepresentation", 0) not in (0, 1):
        raise UnreadableError(f"{shown(header.path)} has a PixelRepresentation of "
                              f"{header.whole('PixelRepresentation')}, which is neither unsigned (0) nor signed (1); "
                              "export it again.")


def modality_of(header: Header) -> Modality:
    """MG or CT; `UnsupportedError` names any other. Where the SOP class is of either, it counts. A breast in a
    Secondary Capture of modality OT is a mammogram."""
    said, kind = header.text("Modality"), header.text("SOPClassUID") or header.media_class
    if kind in MG_CLASSES:
        return "MG"
    if kind in CT_CLASSES:
        return "CT"
    check_image(header)
    if said in ("MG", "CT"):
        return cast(Modality, said)
    if said in ("OT", "SC") and header.text("BodyPartExamined") == "BREAST":
        return "MG"
    what = f"is of modality {said}" if said else "names no modality"
    mend = "." if said else "; if it is one of them, set its Modality (0008,0060)."
    raise UnsupportedError(f"{shown(header.path)} {what}; Scanward reads mammograms (MG) and chest CT (CT){mend}")


def layout_of(header: Header, exact: bool = False) -> Layout:
    """The frames' layout; refuses colour, and sizes and depths out of range; `exact` as the layout has it."""
    path = shown(header.path)
    photometric = header.text("PhotometricInterpretation")
    if not photometric:
        raise UnreadableError(f"{path} lacks a usable PhotometricInterpretation in its DICOM header; export it again.")
    if header.whole("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedError(f"{path} is a colour picture ({photometric}); Scanward scans grey images.")
    rows, columns, frames = header.whole("Rows"), header.whole("Columns"), header.whole("NumberOfFrames", 1)
    check_size(header.path, rows, columns, frames)
    allocated = header.whole("BitsAllocated")
    stored = header.whole("BitsStored", allocated)
    high = header.whole("HighBit", stored - 1)
    if allocated not in (8, 16) or not 2 <= stored <= allocated:
        raise UnsupportedError(f"{path} stores {stored} of {allocated} bits a pixel; Scanward reads 8 to 16.")
    if not stored - 1 <= high < allocated:
        raise UnreadableError(f"{path} has a HighBit of {high}, which does not fit {stored} of {allocated} bits.")
    signed = header.whole("PixelRepresentation", 0) == 1
    return Layout(header.path, header.syntax, rows, columns, allocated, stored, high, signed, header.little,
                  frames, extended_of(header), exact)


def alignment_of(header: Header) -> dict[str, str]:
    """Where words begin, if not at their lowest bit: some programs look for them there all the same."""
    high, stored = (header.whole(keyword, 0) for keyword in ("HighBit", "BitsStored"))
    return {"HighBit": str(high)} if header.says("HighBit") and high != stored - 1 else {}


def check_charset(header: Header) -> None:
    """`UnreadableError` for a character set that is none of DICOM's (PS3.3 C.12.1.1.2), as pydicom knows more; and for
    escapes in what says whose an image is where none is switched to another."""
    raw = [element.value for keyword in IDENTITY if (element := header.data.get_item(keyword)) is not None]
    said = header.said("SpecificCharacterSet") or ""
    terms = [said] if isinstance(said, str) else said
    if not any("2022" in str(term) for term in terms) and any(isinstance(text, bytes) and b"\x1b" in text
                                                              for text in raw):
        raise UnreadableError(f"{shown(header.path)} switches its character set within whose it is, and its "
                              "SpecificCharacterSet knows of none to switch to, so that programs read other names; "
                              "export it again.")
    for term in terms:
        if str(term).strip() not in python_encoding:
            raise UnreadableError(f"{shown(header.path)} has texts in {clean(term, 40)!r}, which is no character set "
                                  "of DICOM's; export it again.")


def check_words(header: Header, frames: Callable[[], Iterable[Any]]) -> None:
    """As `check_unused`, of frames of any kind whose unused bits are there still, the lower ones being stored."""
    stored, allocated = header.whole("BitsStored", 0), header.whole("BitsAllocated", 0)
    if 0 < stored < allocated:
        layout = Layout(header.path, header.syntax, 0, 0, allocated, stored, stored - 1,
                        header.whole("PixelRepresentation", 0) == 1, exact=True)
        for words in frames():
            check_unused(np.asarray(words), layout, allocated)


def check_planes(header: Header) -> None:
    """Refuses samples by planes in codestreams of JPEG and JPEG 2000, which have an order of their own (PS3.5, 8.2.1,
    8.2.4): some decoders turn it about, others do not."""
    if (header.syntax.startswith(JPEG) and header.syntax not in _JPEG_LS and header.whole("SamplesPerPixel", 1) > 1
            and header.whole("PlanarConfiguration", 0) != 0):
        raise UnreadableError(f"{shown(header.path)} has a PlanarConfiguration other than 0 of JPEG or JPEG 2000, "
                              "which some programs heed and others pass over; export it again.")


def extended_of(header: Header) -> Extended:
    """The extended offset table; `UnreadableError` where it is no bytes."""
    found = []
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        value = header.said(keyword) or b""
        if not isinstance(value, bytes):
            raise UnreadableError(f"{shown(header.path)} has an {keyword} that is no table; export it again.")
        found.append(value)
    return Extended(*found)


def spacing_of(header: Header) -> tuple[float, float] | None:
    """(y, x) in mm: PixelSpacing; else ImagerPixelSpacing divided by the magnification where the header has it; else
    NominalScannedPixelSpacing of a digitised film; else None. Implausible values count as absent."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = header.numbers(keyword, 2)
        if found is None or not all(plausible(v) for v in found):
            continue
        factor = 1.0
        if keyword == "ImagerPixelSpacing":
            (factor,) = header.numbers("EstimatedRadiographicMagnificationFactor", 1) or (1.0,)
            factor = factor if MAGNIFICATION[0] <= factor <= MAGNIFICATION[1] else 1.0
        return found[0] / factor, found[1] / factor
    return None


def check_measures(header: Header) -> None:
    """`UnreadableError` where an element of `_MEASURES` is there and is not as many plausible numbers: of others, such
    as three where two belong, programs take the first, and `Header.numbers` none. So for a rescale where the image's
    class, or its colours, know only one that changes nothing: some programs heed it, others do not. An aspect ratio of
    two zeros says nothing, and is let pass beside a spacing, where no program looks at it: archives write it."""
    scale = header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0)
    if scale != (1.0, 0.0) and (header.text("SOPClassUID").removeprefix(_STORED) in _AS_STORED or
                                not header.text("PhotometricInterpretation").startswith("MONOCHROME")):
        raise UnreadableError(f"{shown(header.path)} has a RescaleSlope of {scale[0]:g} and a RescaleIntercept of "
                              f"{scale[1]:g} where an image of its kind has 1 and 0; export it again.")
    for keyword, (count, least, most) in _MEASURES.items():
        found = header.numbers(keyword, count)
        if keyword == "PixelAspectRatio" and found == (0.0, 0.0) and header.says("PixelSpacing"):
            continue
        if header.says(keyword) if found is None else not all(least <= v <= most for v in found):
            what = "one plausible number" if count == 1 else f"{count} plausible numbers"
            raise UnreadableError(f"{shown(header.path)} does not say its {keyword} as {what}; export it again.")


def provenance_of(header: Header, path: Path | None = None) -> Provenance:
    """Where the image came from; header texts are cut to one clean line."""
    return Provenance(
        path=path or header.path,
        format="dicom",
        sop_instance_uid=header.text("SOPInstanceUID") or None,
        series_instance_uid=header.text("SeriesInstanceUID") or None,
        transfer_syntax=header.syntax or None,
        manufacturer=header.text("Manufacturer") or None,
        body_part=header.text("BodyPartExamined") or None,
        synthetic=header.text("SyntheticData").upper() == "YES",
    )


def bright(stored: npt.NDArray[Any], layout: Layout, header: Header, inverted: bool) -> npt.NDArray[np.float32]:
    """Stored values as float32 in [0, 2**bits - 1], larger brighter; padding that would shine is made black."""
    low, high = layout.ends
    if inverted:
        pixels = np.subtract(np.float32(high), stored, dtype=np.float32)
    else:
        pixels = np.subtract(stored, np.float32(low), dtype=np.float32) if low else stored.astype(np.float32)
    padding = _padding(header, stored)
    if padding is not None and low <= padding[0] <= high:
        value = high - padding[0] if inverted else padding[0] - low
        # A value inside the range is tissue whatever the header claims, or a header could blank out what it liked.
        if value > 0 and value >= pixels.max():
            pixels[pixels == value] = 0
    return pixels


def rescale_of(header: Header) -> tuple[float, float]:
    """(slope, intercept) to HU, 1 and 0 where absent; `UnreadableError` where they are no numbers, or absurd,
    `UnsupportedError` where stored values mean another quantity, or become HU by a table."""
    kind = header.text("RescaleType").upper()
    if not _HOUNSFIELD.fullmatch(kind):
        raise UnsupportedError(f"{shown(header.path)} holds values of RescaleType {kind} and no HU; give the series of "
                               "the ordinary CT.")
    if "ModalityLUTSequence" in header.data:
        raise UnsupportedError(f"{shown(header.path)} turns its stored values into HU by a table "
                               "(ModalityLUTSequence); export it with RescaleSlope and RescaleIntercept.")
    slope, intercept = header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0)
    if not 1e-6 <= abs(slope) <= 1e6 or abs(intercept) > 1e6:
        raise UnreadableError(f"{shown(header.path)} has a rescale slope of {slope:g} and an intercept of "
                              f"{intercept:g}, which give no HU.")
    return slope, intercept


def whole_hounsfield(header: Header) -> bool:
    """Whether whole stored values give whole HU."""
    return all(v == int(v) for v in rescale_of(header))


def grid_of(header: Header, layout: Layout) -> tuple[float, float, float]:
    """As `Image.grid`."""
    slope, intercept = rescale_of(header)
    ends = sorted(slope * stored + intercept for stored in layout.ends)
    return abs(slope), ends[0], ends[1]


def hounsfield(stored: npt.NDArray[Any], header: Header) -> npt.NDArray[np.float32]:
    """Stored values as HU; padding darker than air is raised to `AIR`, so that it does not ring when resampled."""
    slope, intercept = rescale_of(header)
    pixels = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    padding = _padding(header, stored)
    if padding is not None:
        first, last = sorted(padding)
        # what the file can hold, or no seal could be exact
        air = slope * round((AIR - intercept) / slope) + intercept
        pixels[(stored >= first) & (stored <= last) & (pixels < AIR)] = air
    return pixels


def _padding(header: Header, stored: npt.NDArray[Any]) -> tuple[float, float] | None:
    """(PixelPaddingValue, PixelPaddingRangeLimit), the limit being the value where it is absent; None without one."""
    padding = header.numbers("PixelPaddingValue", 1)
    if padding is None:
        return None
    (limit,) = header.numbers("PixelPaddingRangeLimit", 1) or padding
    value, other = (v - 65536 if stored.dtype.kind == "i" and v > 32767 else v for v in (padding[0], limit))
    return value, other  # many writers give the padding of signed pixels as the unsigned word
