"""What kind of mammogram a header says that it holds, where detectors were tested on none like it; and which view it
is, for pages that hang it.

A header is its writer's to choose, so that this only ever takes a detector's word away, and never makes it better.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from scanward.formats.dicom import TOMOSYNTHESIS, Header

ELEMENTS = ("PresentationIntentType", "ImageType", "ViewCodeSequence", "LossyImageCompressionRatio",
            "AcquisitionDeviceProcessingDescription", "SeriesDescription")
"""Beside those of `dicom.HEADER`."""
HANGING = ("ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence")
"""What says of a mammogram where it is hung, beside those of `dicom.HEADER`."""
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "XCC", "XCCL", "XCCM", "FB", "SIO", "AT", "CV")
"""View Position (PS3.3 C.8.11.3.1)."""
_CODES = {"R-10242": "CC", "399162004": "CC", "R-10226": "MLO", "399368009": "MLO"}
"""Of CID 4014 (PS3.16), SRT and SCT."""
_RAW = "1.2.840.10008.5.1.4.1.1.1.2.1"
_MAGNIFIED, _LOSSY = 1.4, 15.0
"""Contact views have factors of 1 to 1.1, magnification views of 1.5 to 2; the strongest compression tested."""
_MODIFIERS = {"R-102D6": "a magnification view", "399163009": "a magnification view",
              "R-102D7": "a spot compression view", "399055006": "a spot compression view"}
"""Codes of CID 4015 (PS3.16), SRT and SCT."""
_SYNTHETIC = re.compile(
    r"GENERATED_2D|TOMO_2D|C-?VIEW|SYNTHETIC|SYNTHESI[SZ]ED|INTELLIGENT 2D|INSIGHT 2D|V-PREVIEW",
    re.IGNORECASE)
"""In the image type (PS3.3, C.8.11.7.1.4) or, as makers name theirs, in descriptions."""


def untested(header: Header) -> str:
    """What a mammogram is, in words that go on after "It is", if no detector was tested on its like; else empty."""
    if header.text("SOPClassUID") == _RAW or header.text("PresentationIntentType") == "FOR PROCESSING":
        return "an image for processing, not for presentation"
    kind = "\\".join(_texts(header.value("ImageType")))
    if _SYNTHETIC.search("\\".join((kind, header.text("SeriesDescription"),
                                    header.text("AcquisitionDeviceProcessingDescription")))):
        return "a synthetic view, made from tomosynthesis"
    if header.text("SOPClassUID") == TOMOSYNTHESIS or "TOMO" in kind.upper():
        return "a slice or projection of a tomosynthesis"
    for code in _modifiers(header):
        if code in _MODIFIERS:
            return _MODIFIERS[code]
    if max(header.numbers("EstimatedRadiographicMagnificationFactor", 1) or (1.0,)) >= _MAGNIFIED:
        return "a magnification view"
    ratio = _ratio(header)
    return f"compressed with loss by {ratio:.0f}:1" if ratio > _LOSSY else ""


def laterality_of(header: Header) -> str:
    """`R`, `L`, or empty where it does not say, or says both."""
    said = header.text("ImageLaterality") or header.text("Laterality")
    return said if said in ("R", "L") else ""


def view_of(header: Header) -> str:
    """One of `VIEWS`, with a `+` after it where a modifier makes it another picture (spot, magnified, rolled); empty
    where it does not say."""
    codes = (_CODES.get(one.text("CodeValue"), "") for one in _items(header, "ViewCodeSequence"))
    said = header.text("ViewPosition").upper()
    view = said if said in VIEWS else next(filter(None, codes), "")
    return f"{view}+" if view and _modifiers(header) else view


def _modifiers(header: Header) -> list[str]:
    return [modifier.text("CodeValue") for view in _items(header, "ViewCodeSequence")
            for modifier in _items(view, "ViewModifierCodeSequence")]


def _items(header: Header, keyword: str) -> list[Header]:
    found = header.value(keyword)
    return [replace(header, data=item) for item in found] if isinstance(found, Sequence) else []


def _ratio(header: Header) -> float:
    """Of all compressions one after another; 1 where nothing is said that is a number."""
    try:
        return math.prod(max(1.0, float(text)) for text in _texts(header.value("LossyImageCompressionRatio")))
    except ValueError:
        return 1.0


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [str(part) for part in parts if part is not None]
