"""How a DICOM image says what a seal holds: in which elements, macros and order, and how its pixels are stored.

Programs agree on what an image shows where it says it in the usual way, and not on what else means the same: a rescale
in the header of an enhanced image, frames out of order, more bits in use, another SOP class. A seal knows which it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue

from scanward.formats.dicom import Header
from scanward.formats.frames import GROUPS
from scanward.formats.held import HELD, IDENTITY

STORED = ("SOPClassUID", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
          "RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
          "FrameTime", "FrameTimeVector")
FORM = frozenset((*STORED, *GROUPS))
_IMAGE_PIXEL = 0x0028
_LOOKS = re.compile("Window|VOI|Lossy|Smallest|Largest|Annotation|RecognizableVisualFeatures|QualityControlImage|"
                    "CorrectedImage|LongitudinalTemporal|FrameOfInterest|PlanarConfiguration|Explanation|Description|"
                    "PixelIntensityRelationship$|PixelIntensityRelationshipSign")
"""Elements of that group that say nothing of how pixels are stored."""
_RESCALE = {"RescaleSlope": "1.0", "RescaleIntercept": "0.0"}
"""What changes nothing; one of the two alone, programs do not take alike."""
_ALWAYS = "BitsAllocated"
"""Every image says it, so that a seal without it knows of no form."""
_SAID = HELD - {"SpecificCharacterSet", "StudyInstanceUID", "InstanceNumber"}


def form_of(header: Header) -> dict[str, str]:
    """By keyword; numbers are numbers, however they are written. Of functional groups what a seal holds, in its
    macros."""
    raw = header.data.get_item("SOPClassUID")
    found = {keyword: repr(_plain(header.value(keyword))) for keyword in STORED if header.says(keyword)}
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):  # decoded, it has lost a blank before it
        found["SOPClassUID"] = repr(raw.value.rstrip(b"\0 ").decode("latin-1"))
    groups = {keyword: [_said(item) for item in header.value(keyword) or ()] for keyword in GROUPS}
    if found.get("NumberOfFrames") == "1.0":
        del found["NumberOfFrames"]
    if [found.get(keyword, meant) for keyword, meant in _RESCALE.items()] == [*_RESCALE.values()]:
        found = {keyword: said for keyword, said in found.items() if keyword not in _RESCALE}
    return found | {keyword: repr(items) for keyword, items in groups.items() if any(items)}


def of_form(keyword: str) -> bool:
    """Whether an element says how an image is stored: those of the form, and whatever else stands in their group."""
    tag = tag_for_keyword(keyword)
    return keyword in FORM or (tag is not None and tag >> 16 == _IMAGE_PIXEL and not _LOOKS.search(keyword))


def has_form(header: dict[str, str]) -> bool:
    """Whether a seal's header says the form at all."""
    return _ALWAYS in header


def _said(item: Iterable[DataElement], within: bool = False) -> list[tuple[int, Any]]:
    """Of a group, or of an item of one of its macros; what these nest is not of the image itself."""
    found: list[tuple[int, Any]] = []
    for element in item:
        if element.VR == "SQ" and not within:
            inner = [_said(each, within=True) for each in element.value]
            found += [(int(element.tag), inner)] if any(inner) else []
        elif element.keyword in _SAID and element.VR != "SQ" and str(element.value).strip("[]', \0"):
            # Whose it is, `--identity any` does not look at; but a group is no place to say it.
            found.append((int(element.tag), element.keyword in IDENTITY or _plain(element.value)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, MultiValue | list | tuple):
        return [_plain(part) for part in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).rstrip(" \0")
