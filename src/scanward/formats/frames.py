"""The frames of a DICOM image, each with a header of its own: enhanced images say once, or for each frame, what others
say in their headers (PS3.3 C.7.6.16)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.dicom import HEADER, TOMOSYNTHESIS, Header
from scanward.formats.guard import check_size, shown
from scanward.formats.held import HEADERS_OWN

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""What `opened` is to read besides."""
_KEYWORDS = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleIntercept", "RescaleSlope",
             "RescaleType")
_SEVERAL = "MIXED"
"""What a header says where its frames say each its own (PS3.3 C.8.16.2)."""


def frames_of(header: Header) -> list[Header]:
    """The header of every frame, in the order of the pixel data; `header` itself without functional groups.

    Raises `UnsupportedError` for several frames without functional groups, and as `grouped`.
    """
    made, count = grouped(header), header.whole("NumberOfFrames", 1)
    if made is None and count > 1:
        raise UnsupportedError(f"{shown(header.path)} holds {count} frames and does not say where each of them lies; "
                               "export them as single images.")
    return made or [header]


def grouped(header: Header, also: Iterable[str] = ()) -> list[Header] | None:
    """The header of every frame with what its functional groups say, in the order of the pixel data; None without such
    groups. They are heard whatever the SOP class, as viewers hear them, and in whatever macro an element stands.

    `also` names elements besides those of geometry and rescale. Raises `UnreadableError` where the groups are of
    another number of frames, say something else than the header or one another, or nothing of some frames.
    """
    count = header.whole("NumberOfFrames", 1)
    shared, each = (_items(header, keyword) for keyword in GROUPS)
    if not shared and not each:
        return None
    if each and len(each) != count:
        raise UnreadableError(f"{shown(header.path)} describes {len(each)} frames where its NumberOfFrames is {count}; "
                              "export it again.")
    if len(shared) > 1:
        raise _unsure(header, GROUPS[0])
    tags = frozenset(tag_for_keyword(keyword) for keyword in (*_KEYWORDS, *HEADERS_OWN, *also))
    read = header.data.keys() & (tags | set(map(tag_for_keyword, (*HEADER, "SpecificCharacterSet"))))
    common: dict[BaseTag, DataElement | RawDataElement] = {tag: header.data.get_item(tag) for tag in read}
    check_size(header.path, header.whole("Rows"), header.whole("Columns"), count)
    made = []
    for groups in [[*shared, group] for group in each] or [shared]:
        own = Dataset()
        own.update(common)
        for group in groups:
            _take(own, group, header, tags)
        made.append(dataclasses.replace(header, data=own))
    if len({one.says("RescaleSlope") for one in made}) > 1:
        raise UnreadableError(f"{shown(header.path)} does not say of every frame what its values mean "
                              "(PixelValueTransformationSequence); export it again.")
    return made if each else made * count


def _items(header: Header, keyword: str) -> list[Dataset]:
    value = header.value(keyword)
    if not isinstance(value, Sequence) and header.says(keyword):
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


def _take(target: Dataset, group: Dataset, header: Header, tags: frozenset[int | None]) -> None:
    for macro in group:
        counts = macro.tag in tags
        items = [] if counts or macro.VR != "SQ" or macro.tag.is_private else list(macro.value or ())
        said = [macro] if counts else [item[tag] for item in items for tag in item.keys() & tags]
        if said and len(items) > 1:
            raise _unsure(header, macro.keyword)
        for element in said:
            if element.is_empty:
                continue
            known, alone = target.get(element.keyword), element.keyword in HEADERS_OWN
            if known != element.value and (alone or known not in (None, "", _SEVERAL)):
                where = "than in its header" if alone or header.says(element.keyword) else "for one frame than for all"
                raise UnreadableError(f"{shown(header.path)} says another {element.keyword} in its functional groups "
                                      f"{where}; export it again.")
            target[element.tag] = element


def _unsure(header: Header, keyword: str) -> UnreadableError:
    return UnreadableError(f"{shown(header.path)} has several items in its {keyword}, where DICOM knows one, and "
                           "programs do not agree on which counts; export it again.")
