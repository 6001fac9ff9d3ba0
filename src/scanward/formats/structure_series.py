"""What tells some slices of a series from the others: scanners and archives treat all of a series alike.

Of 125 real CT series by many makers and archives none mixed programs, transfer syntaxes or ways of writing, and none
differed in what `SAME` names.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydicom.datadict import keyword_for_tag

from scanward.formats.fact import Fact, gathered
from scanward.formats.sheet import Sheet

LEAST = 5
"""Slices among which a few can be the odd ones."""
MOST_ODD = 1 / 3
"""Part of the slices that counts as a few."""
LISTED = 6
"""Slices, or runs of three or more, that a sentence names."""
SAME = (
    "StudyInstanceUID", "PatientID", "PatientName", "PatientSex", "PatientBirthDate", "PatientAge", "StudyDate",
    "StudyTime", "StudyID", "SeriesNumber", "SeriesDate", "SeriesDescription", "AccessionNumber", "Manufacturer",
    "ManufacturerModelName", "SoftwareVersions", "StationName", "DeviceSerialNumber", "InstitutionName", "SOPClassUID",
    "Modality", "PatientPosition", "KVP", "ConvolutionKernel", "FilterType", "TableHeight", "GantryDetectorTilt",
    "DataCollectionDiameter", "ReconstructionDiameter", "RotationDirection", "AcquisitionDate", "ContentDate",
    "InstanceCreationDate", "SpecificCharacterSet", "DistanceSourceToDetector", "DistanceSourceToPatient", "FocalSpots",
    "BodyPartExamined", "ScanOptions", "ProtocolName", "SpiralPitchFactor", "TableSpeed", "PixelPaddingValue",
    "RescaleType", "RescaleSlope", "RescaleIntercept", "RevolutionTime", "PixelSpacing", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "LossyImageCompression", "SliceThickness", "ImageType",
    "DeidentificationMethod", "ReferringPhysicianName", "BurnedInAnnotation", "DerivationDescription",
    "InstanceCreatorUID",
)  # fmt: skip
"""What the slices of a series have in common."""
_TECHNICAL = SAME[SAME.index("SOPClassUID"):SAME.index("DeidentificationMethod")]
_SCALED = ("RescaleSlope", "RescaleIntercept", "BitsStored", "HighBit", "PixelRepresentation")
"""What a compression with loss may set anew, slice by slice, as DCMTK's does."""
_STYLE = {"program": "was written by another program", "syntax": "has another transfer syntax",
          "meta": "has other elements in its file meta group", "pixels": "holds its pixels in another form",
          "sequences": "holds its sequences in another form", "preamble": "has another preamble",
          "group lengths": "has other lengths of groups",
          "blanks": "ends its UIDs otherwise"}
_OPTIONAL = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "ImageComments")
"""What some scanners leave out of some slices."""


def series_facts(sheets: Sequence[Sheet], heights: npt.NDArray[np.float64]) -> Iterator[Fact]:
    """`sheets` by slice in the order of the volume; `heights` (z,), mm along the normal."""
    if len(sheets) < LEAST:
        return
    parts = _written, _elements, _values, _roots, _order
    yield from gathered(*(part(sheets) for part in parts), _locations(sheets, heights))


def odd_ones(values: Sequence[Hashable]) -> tuple[int, ...]:
    """Where a few differ from what all others are; nowhere unless most agree."""
    (usual, times), *_ = Counter(values).most_common(1)
    odd = tuple(z for z, value in enumerate(values) if value != usual)
    return odd if len(values) >= LEAST and 0 < len(odd) <= MOST_ODD * len(values) and times > 1 else ()


def which(odd: Sequence[int]) -> str:
    """`Slice 5`, `Slices 5 to 10`, or `Slices 5, 15 and 16`, counted from 1, for a sentence. `odd` ascends from 0."""
    starts = [i for i, z in enumerate(odd) if i == 0 or z != odd[i - 1] + 1]
    runs = [odd[a:b] for a, b in pairwise([*starts, len(odd)])]
    parts = [part for run in runs for part in ([run] if len(run) > 2 else [run[i:i + 1] for i in range(len(run))])]
    words = [f"{part[0] + 1} to {part[-1] + 1}" if len(part) > 1 else f"{part[0] + 1}" for part in parts[:LISTED]]
    rest = sum(map(len, parts[LISTED:]))
    words += [f"{rest} more"] if rest else []
    listed = " and ".join(([", ".join(words[:-1])] if len(words) > 1 else []) + words[-1:])
    return f"{'Slice' if len(odd) == 1 else 'Slices'} {listed}"


def _written(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    styles = [sheet.style for sheet in sheets]
    for part, what in _STYLE.items():
        odd = odd_ones([style[part] for style in styles])
        if odd:
            plural = what if len(odd) == 1 else re.sub(r"^(was|has|holds|ends)", lambda found: {
                "was": "were", "has": "have", "holds": "hold", "ends": "end"}[found[1]], what)
            yield Fact("odd writing", f"{which(odd)} {plural} than the other {len(sheets) - len(odd)} of the series.",
                       slices=odd)


def _elements(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    found: dict[tuple[int, ...], list[str]] = {}
    for tag in sorted(frozenset().union(*(sheet.tags for sheet in sheets))):
        name = keyword_for_tag(tag) or f"{tag:08X}"
        odd = odd_ones([tag in sheet.tags for sheet in sheets])
        if odd and name not in _OPTIONAL:
            found.setdefault(odd, []).append(f"{name} {'there' if tag in sheets[odd[0]].tags else 'missing'}")
    for odd, names in found.items():
        yield Fact("odd elements", f"{which(odd)} {'has' if len(odd) == 1 else 'have'} other elements than the rest of "
                   f"the series ({', '.join(names[:3])}).", slices=odd)
    odd = odd_ones([sheet.creators for sheet in sheets])
    if odd:
        yield Fact("odd blocks", f"{which(odd)} {'has' if len(odd) == 1 else 'have'} other private blocks than the "
                   "rest of the series.", slices=odd)


def _values(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    lossy = all(sheet.text("LossyImageCompression") == "01" for sheet in sheets)
    for keyword in SAME:
        said = [sheet.text(keyword) for sheet in sheets]
        odd = odd_ones(said)
        if odd and all(said):
            usual = next(text for z, text in enumerate(said) if z not in set(odd))
            quoted = keyword in _TECHNICAL  # a report names no patient
            yield Fact("odd value", f"{which(odd)} {'says' if len(odd) == 1 else 'say'} another {keyword} than the "
                       "others" + (f" ({said[odd[0]][:40]}, not {usual[:40]})." if quoted else "."),
                       harmless=lossy and keyword in _SCALED, slices=odd)


def _roots(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    uids = [sheet.text("SOPInstanceUID") for sheet in sheets]
    odd = odd_ones([".".join(uid.split(".")[:6]) for uid in uids])
    if odd:
        yield Fact("odd uid", f"{which(odd)} {'has a SOP Instance UID' if len(odd) == 1 else 'have SOP Instance UIDs'} "
                   "of another root than the rest of the series.", slices=odd)


def _order(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    numbers = [sheet.number("InstanceNumber") for sheet in sheets]
    if None not in numbers:
        odd = out_of_order(np.array(numbers, np.float64))
        if odd:
            yield Fact("number order", f"{which(odd)} {'has an InstanceNumber' if len(odd) == 1 else 'have numbers'} "
                       "out of the order of positions.", slices=odd)
    times = [_seconds(sheet.text("AcquisitionTime")) for sheet in sheets]
    if None not in times and len(set(times)) > 1:
        odd = out_of_order(np.array(times, np.float64), strict=False)
        if odd:
            yield Fact("time order", f"{which(odd)} {'was' if len(odd) == 1 else 'were'} taken out of the order of the "
                       "others, by AcquisitionTime.", slices=odd)


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"(\d\d)(\d\d)(\d\d(?:\.\d+)?)", text)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None


def out_of_order(values: npt.NDArray[np.float64], strict: bool = True) -> tuple[int, ...]:
    """The few that have to go for the rest to rise, or to fall; nowhere where that would be many. `values` (n,)."""
    kept = max((_rising(turned, strict) for turned in (values, -values)), key=len)
    odd = tuple(z for z in range(len(values)) if z not in set(kept))
    return odd if len(odd) <= MOST_ODD * len(values) else ()


def _rising(values: npt.NDArray[np.float64], strict: bool) -> list[int]:
    """A longest rising subsequence, by its places (patience sorting)."""
    tails: list[int] = []
    held: list[float] = []
    before = [-1] * len(values)
    for z, value in enumerate(values.tolist()):
        at = (bisect_left if strict else bisect_right)(held, value)
        before[z] = tails[at - 1] if at else -1
        tails[at:at + 1], held[at:at + 1] = [z], [value]
    found, z = [], tails[-1] if tails else -1
    while z >= 0:
        found.append(z)
        z = before[z]
    return found[::-1]


def _locations(sheets: Sequence[Sheet], heights: npt.NDArray[np.float64]) -> Iterator[Fact]:
    said = [sheet.number("SliceLocation") for sheet in sheets]
    if None in said:
        return
    # Some count from elsewhere, or the other way, or along the table where the gantry is tilted: a line all the same.
    places = np.array(said, np.float64)
    slope = float(np.median(np.diff(places) / np.where(np.diff(heights) == 0, 1, np.diff(heights))))
    rest = places - slope * heights
    off = np.abs(rest - np.median(rest))
    step = float(np.median(np.abs(np.diff(heights))))
    odd = tuple(int(z) for z in np.flatnonzero(off > max(0.1, 0.25 * step)))
    if odd:
        yield Fact("location", f"{which(odd)} {'lies' if len(odd) == 1 else 'lie'} elsewhere by SliceLocation than by "
                   "ImagePositionPatient.", slices=odd)
