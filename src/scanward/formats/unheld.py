"""Values of a DICOM header in the same words whatever wrote them, and what it says beside what a seal holds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from scanward.formats.dicom import Header


def unheld(header: Header, held: Collection[str]) -> dict[str, str]:
    """A hash of every standard element at the top of a header, by its keyword, but of UIDs and of what `held` names."""
    found: dict[str, str] = {}
    for tag in sorted(header.data.keys()):
        keyword = keyword_for_tag(tag)
        if not keyword or tag.element == 0 or keyword in held:
            continue
        try:
            element = header.data[tag]
            if element.VR != "UI" and not element.is_empty:
                words = found.get(keyword, "") + repr(plain(element, header.little, uids=False))
                found[keyword] = hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
        except Exception:  # what cannot be decoded is nothing that a viewer shows
            continue
    return found


def plain(value: Any, little: bool = True, uids: bool = True) -> Any:
    """An element, or a value: bytes stay what they are, and words the bytes of little endian; items are their elements
    in order, and numbers of 16 bits the bytes that another representation has them in."""
    if isinstance(value, DataElement):
        swapped = value.VR == "OW" and not little and isinstance(value.value, bytes) and len(value.value) % 2 == 0
        return np.frombuffer(value.value, ">u2").astype("<u2").tobytes() if swapped else \
            plain(value.value, little, uids)
    if isinstance(value, Dataset):
        return [(int(element.tag), plain(element, little, uids)) for element in value if uids or element.VR != "UI"]
    if isinstance(value, bytes):
        return value
    if isinstance(value, MultiValue | list | tuple | Sequence):
        parts = list(value)
        if parts and all(isinstance(part, int) and 0 <= part < 1 << 16 for part in parts):
            return np.array(parts, "<u2").tobytes()
        return [plain(part, little, uids) for part in parts]
    return str(value)
