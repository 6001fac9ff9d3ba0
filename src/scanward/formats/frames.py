"""The frames of a DICOM image, each with a header of its own: enhanced images say once, or for each frame, what others
say in their headers (PS3.3 C.7.6.16)."""

from __future__ import annotations

import dataclasses

from pydicom.dataset import Dataset

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.dicom import TOMOSYNTHESIS, Header
from scanward.formats.guard import shown

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""What `opened` is to read besides."""
_MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
}


def frames_of(header: Header) -> list[Header]:
    """The header of every frame, in the order of the pixel data; `header` itself where it has no functional groups.

    Raises `UnsupportedError` for several frames without functional groups, `UnreadableError` where those are of another
    number of frames.
    """
    count = header.whole("NumberOfFrames", 1)
    shared, each = (list(header.data.get(keyword) or []) for keyword in GROUPS)
    if not shared and not each:
        if count > 1:
            raise UnsupportedError(f"{shown(header.path)} holds {count} frames and does not say where each of them "
                                   "lies; export them as single images.")
        return [header]
    if each and len(each) != count:
        raise UnreadableError(f"{shown(header.path)} describes {len(each)} frames where its NumberOfFrames is {count}; "
                              "export it again.")
    common = Dataset({element.tag: element for element in header.data if element.keyword not in GROUPS})
    for group in shared[:1]:
        _take(common, group)
    made = []
    for frame in range(count):
        own = Dataset()
        own.update(common)
        for group in each[frame : frame + 1]:
            _take(own, group)
        made.append(dataclasses.replace(header, data=own))
    return made


def single(header: Header) -> Header:
    """Of a film's only frame; `UnsupportedError` where there are several."""
    count = header.whole("NumberOfFrames", 1)
    if count > 1:
        tomosynthesis = header.text("SOPClassUID") == TOMOSYNTHESIS
        raise UnsupportedError(f"{shown(header.path)} holds {count} frames{' of a tomosynthesis' * tomosynthesis}; "
                               "Scanward reads mammograms of one, so give the 2-D view.")
    return frames_of(header)[0]


def _take(target: Dataset, group: Dataset) -> None:
    for macro, keywords in _MACROS.items():
        for item in list(group.get(macro) or [])[:1]:
            for keyword in keywords:
                if keyword in item:
                    target[keyword] = item[keyword]
