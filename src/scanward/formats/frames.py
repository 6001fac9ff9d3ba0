"""The frames of a DICOM image, each with a header of its own: enhanced images say once, or for each frame, what others
say in their headers (PS3.3 C.7.6.16)."""

from __future__ import annotations

import dataclasses

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.dicom import CT_CLASSES, TOMOSYNTHESIS, Header
from scanward.formats.guard import shown

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""What `opened` is to read besides."""
_ENHANCED = (*CT_CLASSES[1:], TOMOSYNTHESIS)
_MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
}


def has_groups(header: Header) -> bool:
    """Whether the SOP class is one whose functional groups are looked at."""
    return (header.text("SOPClassUID") or header.media_class) in _ENHANCED


def frames_of(header: Header) -> list[Header]:
    """The header of every frame, in the order of the pixel data; `header` itself where its SOP class has no functional
    groups: in others anybody can have laid them, and no program looks at them there.

    Raises `UnsupportedError` for several frames without functional groups, `UnreadableError` where those are of another
    number of frames, or say something else than the header or nothing of some frames.
    """
    count = header.whole("NumberOfFrames", 1)
    shared, each = (_items(header, keyword) if has_groups(header) else [] for keyword in GROUPS)
    if not shared and not each:
        if count > 1:
            raise UnsupportedError(f"{shown(header.path)} holds {count} frames and does not say where each of them "
                                   "lies; export them as single images.")
        return [header]
    if each and len(each) != count:
        raise UnreadableError(f"{shown(header.path)} describes {len(each)} frames where its NumberOfFrames is {count}; "
                              "export it again.")
    common = Dataset({element.tag: element for element in header.data if element.keyword not in GROUPS})
    made = []
    for frame in range(count):
        own = Dataset()
        own.update(common)
        for group in (*shared[:1], *each[frame : frame + 1]):
            _take(own, group, header)
        made.append(dataclasses.replace(header, data=own))
    if len({one.says("RescaleSlope") for one in made}) > 1:
        raise UnreadableError(f"{shown(header.path)} does not say of every frame what its values mean "
                              "(PixelValueTransformationSequence); export it again.")
    return made


def _items(header: Header, keyword: str) -> list[Dataset]:
    value = header.data.get(keyword)
    if not isinstance(value, Sequence | None):
        raise UnreadableError(f"{shown(header.path)} has a {keyword} that is no sequence; export it again.")
    return list(value or [])


def single(header: Header) -> Header:
    """Of a film's only frame; `UnsupportedError` where there are several."""
    count = header.whole("NumberOfFrames", 1)
    if count > 1:
        tomosynthesis = header.text("SOPClassUID") == TOMOSYNTHESIS
        raise UnsupportedError(f"{shown(header.path)} holds {count} frames{' of a tomosynthesis' * tomosynthesis}; "
                               "Scanward reads mammograms of one, so give the 2-D view.")
    return frames_of(header)[0]


def _take(target: Dataset, group: Dataset, header: Header) -> None:
    for macro, keywords in _MACROS.items():
        for item in list(group.get(macro) or [])[:1]:
            for keyword in keywords:
                if keyword not in item:
                    continue
                if keyword in header.data and header.data[keyword].value != item[keyword].value:
                    raise UnreadableError(f"{shown(header.path)} says another {keyword} in its functional groups than "
                                          "in its header; export it again.")
                target[keyword] = item[keyword]
