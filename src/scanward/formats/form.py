"""How a DICOM image says what a seal holds: in which elements, macros and order, and how its pixels are stored.

Programs agree on what an image shows where it says it in the usual way, and not on what else means the same: a rescale
in the header of an enhanced image, frames out of order, more bits in use, another SOP class. A seal knows which it was.
"""

from __future__ import annotations

import re
from typing import Any, cast

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from scanward.formats.dicom import Header
from scanward.formats.frames import GROUPS
from scanward.formats.guard import open_file
from scanward.formats.held import HELD, IDENTITY

STORED = ("SOPClassUID", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
          "RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
          "FrameTime", "FrameTimeVector")
PREAMBLE = "preamble"
"""It may be taken away, as converters do."""
FORM = frozenset((*STORED, *GROUPS, PREAMBLE))
_IMAGE_PIXEL = 0x0028
_LOOKS = re.compile("Window|VOI|Lossy|Smallest|Largest|Annotation|RecognizableVisualFeatures|QualityControlImage|"
                    "CorrectedImage|LongitudinalTemporal|FrameOfInterest|PlanarConfiguration|Explanation|Description|"
                    "PixelIntensityRelationship$|PixelIntensityRelationshipSign")
"""Elements of that group that say nothing of how pixels are stored."""
_RESCALE = {"RescaleSlope": re.compile(r"\['1(\.0*)?'\]"), "RescaleIntercept": re.compile(r"\['-?0(\.0*)?'\]")}
"""What changes nothing; one of the two alone, programs do not take alike."""
_TEXTS = ("DS", "IS", "UI")
_ALWAYS = "BitsAllocated"
"""Every image says it, so that a seal without it knows of no form."""
_SAID = HELD - {"SpecificCharacterSet", "StudyInstanceUID", "InstanceNumber"}


def form_of(header: Header) -> dict[str, str]:
    """By keyword; of functional groups what a seal holds, in its macros. Numbers are as they are written, but for
    blanks about them: not every program reads `0.3e1` as 3. To be asked before anything of the header is decoded."""
    found = {keyword: repr(said) for keyword in STORED if keyword in header.data
             if (said := _literal(header.data, BaseTag(cast(int, tag_for_keyword(keyword)))))}
    found.setdefault("SOPClassUID", repr([header.media_class]))
    groups = {keyword: [_said(item) for item in header.value(keyword) or ()] for keyword in GROUPS}
    if found.get("NumberOfFrames") == "['1']":
        del found["NumberOfFrames"]
    if all(keyword not in found or idle.fullmatch(found[keyword]) for keyword, idle in _RESCALE.items()):
        found = {keyword: said for keyword, said in found.items() if keyword not in _RESCALE}
    return found | _preamble(header) | {keyword: repr(items) for keyword, items in groups.items() if any(items)}


def _preamble(header: Header) -> dict[str, str]:
    """What stands before a DICOM file, unless it is zeros: the head of a picture, for one, which some programs show."""
    with open_file(header.path) as file:
        head = file.read(132)
    return {PREAMBLE: repr(head[:128])} if head[128:] == b"DICM" and any(head[:128]) else {}


def of_form(keyword: str) -> bool:
    """Whether an element says how an image is stored: those of the form, and whatever else stands in their group."""
    tag = tag_for_keyword(keyword)
    return keyword in FORM or (tag is not None and tag >> 16 == _IMAGE_PIXEL and not _LOOKS.search(keyword))


def has_form(header: dict[str, str]) -> bool:
    """Whether a seal's header says the form at all."""
    return _ALWAYS in header


def _said(item: Dataset, within: bool = False) -> list[tuple[int, Any]]:
    """Of a group, or of an item of one of its macros; what these nest is not of the image itself."""
    found: list[tuple[int, Any]] = []
    for tag in sorted(item.keys()):
        keyword = keyword_for_tag(tag)
        if keyword in _SAID and dictionary_VR(tag) != "SQ" and (said := _literal(item, tag)):
            # Whose it is, `--identity any` does not look at; but a group is no place to say it.
            found.append((int(tag), keyword in IDENTITY or said))
        elif not within and item[tag].VR == "SQ":
            inner = [_said(each, within=True) for each in item[tag].value]
            found += [(int(tag), inner)] if any(inner) else []
    return found


def _literal(data: Dataset, tag: BaseTag) -> list[str]:
    """The values of an element, numbers as they are written, where they are texts; none where it is empty."""
    raw = data.get_item(tag)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and dictionary_VR(tag) in _TEXTS:
        if dictionary_VR(tag) == "UI":
            return [raw.value.removesuffix(b"\0").decode("latin-1")]
        parts = [part.strip(" ") for part in raw.value.rstrip(b" \0").decode("latin-1").split("\\")]
    else:
        value = data[tag].value
        parts = [str(part) for part in (value if isinstance(value, MultiValue | list | tuple) else [value])
                 if part is not None]
    return parts if any(part.strip(" \0") for part in parts) else []
