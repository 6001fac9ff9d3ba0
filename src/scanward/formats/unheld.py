"""Values of a DICOM header in the same words whatever wrote them, and what it says beside what a seal holds."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from scanward.formats.dicom import Header
from scanward.formats.frames import GROUPS


def unheld(header: Header, held: Collection[str]) -> dict[str, str]:
    """A hash of every standard element at the top of a header and of every macro of its functional groups, by its
    keyword, but of UIDs and of what `held` names."""
    found: dict[str, list[Any]] = defaultdict(list)
    for tag in sorted(header.data.keys()):
        with suppress(Exception):  # a header may hold any bytes in any form, and what nobody can decode shows nothing
            element = header.data[tag]
            grouped = [macro for group in element.value for macro in group] if element.keyword in GROUPS else [element]
            for one in grouped:
                if one.keyword and one.VR != "UI" and one.keyword not in held and not one.is_empty and one.tag.element:
                    found[one.keyword].append(_besides(one, header.little, held))
    return {keyword: hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()
            for keyword, said in found.items() if any(said)}


def _besides(element: DataElement, little: bool, held: Collection[str]) -> Any:
    """Its value; of a sequence what else its items say."""
    if element.VR != "SQ":
        return plain(element, little)
    return [[_besides(one, little, held) for one in item if one.VR != "UI" and one.keyword not in held]
            for item in element.value]


def plain(value: Any, little: bool = True) -> Any:
    """An element, or a value: bytes stay what they are, and words the bytes of little endian; items are their elements
    in order, and numbers of 16 bits the bytes that another representation has them in."""
    if isinstance(value, DataElement):
        swapped = value.VR == "OW" and not little and isinstance(value.value, bytes) and len(value.value) % 2 == 0
        return np.frombuffer(value.value, ">u2").astype("<u2").tobytes() if swapped else \
            plain(value.value, little)
    if isinstance(value, Dataset):
        return [(int(element.tag), plain(element, little)) for element in value]
    if isinstance(value, bytes):
        return value
    if isinstance(value, MultiValue | list | tuple | Sequence):
        parts = list(value)
        if parts and all(isinstance(part, int) and 0 <= part < 1 << 16 for part in parts):
            return np.array(parts, "<u2").tobytes()
        return [plain(part, little) for part in parts]
    return str(value)
