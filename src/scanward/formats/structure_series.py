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
from scanward.formats.structure_header import day_of

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
          "meta": "has other elements in its file meta group", "pixels": "holds the pixels in another form",
          "sequences": "says the lengths of sequences in another way", "preamble": "has another preamble",
          "group lengths": "says the lengths of groups otherwise",
          "blanks": "ends UIDs otherwise"}
_SIGNED = ("PixelPaddingValue",)
"""What has either sign, as the program that wrote it took it."""
_TYPED = ("PatientName", "SeriesDescription", "ReferringPhysicianName", "AccessionNumber")
"""What people type at a console, and put right while a scan runs."""
_WHOSE = ("StudyInstanceUID", "PatientID", "PatientName", "PatientSex", "PatientBirthDate")
"""What the slices of a series have in common even where some do not say it."""
_DAYS = ("AcquisitionDate", "ContentDate", "InstanceCreationDate", "SeriesDate")
"""What midnight changes in the middle of a scan."""
_UNSAID = frozenset(("", "O"))
"""Dates of birth and sexes that tell of nobody."""
_DAY = 86400.0
"""Seconds."""
MOST_PARTS = 3
"""Values that the parts of a series may have before each slice counts as having its own."""
_OPTIONAL = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "ImageComments", "IconImageSequence",
             "OriginalAttributesSequence", "RetrieveAETitle")
"""What some scanners leave out of some slices, and what archives and readers add to some."""
_HAVE, _LACK = ("has", "have"), ("lacks", "lack")
OVERLAYS = range(0x6000, 0x6020, 2)
"""Groups that readers draw into on key slices."""


def series_facts(sheets: Sequence[Sheet], heights: npt.NDArray[np.float64]) -> Iterator[Fact]:
    """`sheets` by slice in the order of the volume; `heights` (z,), mm along the normal."""
    yield from gathered(_patients(sheets))
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
    return f"{'Slice' if len(odd) == 1 else 'Slices'} {_listed(words, sum(map(len, parts[LISTED:])))}"


def _listed(words: Sequence[str], rest: int = 0) -> str:
    """`a, b and c`, or `a, b and 3 more`."""
    words = [*words, *([f"{rest} more"] if rest else [])]
    return " and ".join(([", ".join(words[:-1])] if len(words) > 1 else []) + words[-1:])


def _written(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    shared = set(sheets[0].lengths).intersection(*(sheet.lengths for sheet in sheets))
    styles = [sheet.style | {"sequences": " ".join(sorted({sheet.lengths[tag] for tag in shared}))} for sheet in sheets]
    found: dict[tuple[int, ...], list[str]] = {}
    for part, what in _STYLE.items():
        odd = odd_ones([style[part] for style in styles])
        if odd:
            found.setdefault(odd, []).append(what if len(odd) == 1 else re.sub(
                r"^(\w+)s", lambda word: {"wa": "were", "ha": "have"}.get(word[1], word[1]), what))
    for odd, ways in found.items():
        # what an archive lacked may come later, another way
        name = "parts" if _at_an_end(odd, len(sheets)) else "odd writing"
        yield Fact(name, f"{which(odd)} {_listed(ways)} than the other {len(sheets) - len(odd)} of the series.",
                   slices=odd)


def _elements(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    found: dict[tuple[int, ...], dict[tuple[str, str], list[str]]] = {}
    for tag in sorted(frozenset().union(*(sheet.tags for sheet in sheets))):
        name = keyword_for_tag(tag) or f"{tag:08X}"
        odd = odd_ones([tag in sheet.tags for sheet in sheets])
        if odd and name not in _OPTIONAL and tag >> 16 not in OVERLAYS:
            way = _HAVE if tag in sheets[odd[0]].tags else _LACK
            found.setdefault(odd, {}).setdefault(way, []).append(name)
    for odd, ways in found.items():
        said = [f"{way[len(odd) > 1]} {_listed(names[:3], len(names[3:]))}" for way, names in ways.items()]
        yield Fact("odd elements", f"{which(odd)} {' and '.join(said)}, unlike the rest of the series.", slices=odd)
    drawn = [any(tag >> 16 in OVERLAYS for tag in sheet.tags) for sheet in sheets]
    odd = odd_ones(drawn)
    if odd:
        way = _HAVE if drawn[odd[0]] else _LACK
        yield Fact("some overlays", f"{which(odd)} {way[len(odd) > 1]} overlays, unlike the rest of the series.", True,
                   slices=odd)
    odd = odd_ones([sheet.creators for sheet in sheets])
    if odd:
        yield Fact("odd blocks", f"{which(odd)} {'has' if len(odd) == 1 else 'have'} other private blocks than the "
                   "rest of the series.", slices=odd)


def _patients(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    """Two patients, however many slices each has: a number that was put right keeps its date of birth and sex."""
    numbers = [sheet.text("PatientID") for sheet in sheets]
    odd = _others(numbers) if all(numbers) else ()
    besides = []
    for keyword, words in (("PatientBirthDate", "date of birth"), ("PatientSex", "sex")) if odd else ():
        said = [sheet.text(keyword) for sheet in sheets]
        theirs, rest = {said[z] for z in odd}, {one for z, one in enumerate(said) if z not in set(odd)}
        if theirs.isdisjoint(rest) and _UNSAID.isdisjoint(theirs | rest):
            besides.append(words)
    if besides:
        yield Fact("two patients", f"{which(odd)} {'is' if len(odd) == 1 else 'are'} of another patient than the rest "
                   f"of the series, by {_listed(['number', *besides])}.", slices=odd)


def _others(said: Sequence[str]) -> tuple[int, ...]:
    """Where a series says something else than most of it does; nowhere where it falls into more than `MOST_PARTS`."""
    times = Counter(said)
    usual = times.most_common(1)[0][0]
    return tuple(z for z, one in enumerate(said) if one != usual) if len(times) <= MOST_PARTS else ()


def _values(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    lossy = all(sheet.text("LossyImageCompression") == "01" for sheet in sheets)
    parts: dict[tuple[int, ...], list[str]] = {}
    for keyword in SAME:
        said = [_said(sheet, keyword) for sheet in sheets]
        few, odd = odd_ones(said) if all(said) else (), _others(said)
        if not (few or (odd and (all(said) or keyword in _WHOSE))) or (keyword in _DAYS and _midnight(said)):
            continue
        usual = Counter(said).most_common(1)[0][0]
        # a report names no patient
        quoted = f" ({said[(few or odd)[0]][:40]}, not {usual[:40]})" if keyword in _TECHNICAL else ""
        if few and not (keyword in _TYPED and _at_an_end(few, len(said))):
            yield Fact("odd value", f"{which(few)} {'says' if len(few) == 1 else 'say'} another {keyword} than the "
                       f"others{quoted}.", harmless=lossy and keyword in _SCALED, slices=few)
        elif not (lossy and keyword in _SCALED):
            parts.setdefault(few or odd, []).append(keyword + quoted)
    # archives put names right and merge studies, and a part of a series may have gone before
    for odd, names in parts.items():
        yield Fact("parts", f"{which(odd)} {'says' if len(odd) == 1 else 'say'} another "
                   f"{_listed(names[:LISTED], len(names[LISTED:]))} than the rest of the series.", slices=odd)


def _said(sheet: Sheet, keyword: str) -> str:
    number = sheet.stored(keyword) if keyword in _SIGNED else None
    return sheet.text(keyword) if number is None else f"{number:g}"


def _at_an_end(odd: Sequence[int], count: int) -> bool:
    """Whether they are the first or the last slices."""
    return odd[-1] - odd[0] + 1 == len(odd) and (odd[0] == 0 or odd[-1] == count - 1)


def _midnight(said: Sequence[str]) -> bool:
    """Whether dates are of one day, and of the next from some slice on."""
    days = {text: day_of(text) for text in said}
    found = [day for day in days.values() if day is not None]
    turns = sum(before != after for before, after in pairwise(said))
    return len(days) == 2 == len(found) and abs((found[0] - found[1]).days) == 1 and turns == 1


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
        after = np.array(times, np.float64)
        after[after < after.max() - _DAY / 2] += _DAY  # past midnight
        odd = out_of_order(after, strict=False)
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
