"""Values of a DICOM header in the same words whatever wrote them, and what it says beside what a seal holds."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from scanward.formats.dicom import Header
from scanward.formats.elements import in_little
from scanward.formats.form import form_of
from scanward.formats.frames import GROUPS
from scanward.formats.walk import counts


def unheld(header: Header, held: Collection[str]) -> dict[str, str]:
    """A hash of every standard element at the top of a header and of every macro of its functional groups, by its
    keyword, but of UIDs and of what `held` names, of which these speak themselves; and of the form that these have."""
    form = form_of(header)
    found: dict[str, list[Any]] = defaultdict(list)
    for tag in sorted(header.data.keys()):
        with suppress(Exception):  # a header may hold any bytes in any form, and what nobody can decode shows nothing
            keyword, raw = keyword_for_tag(tag), header.data.get_item(tag)
            if not keyword or keyword in held or not counts(int(tag)) or raw is None:
                continue
            kind = dictionary_VR(tag) if raw.VR in (None, "UN") else raw.VR
            if keyword in GROUPS:
                for macro in (macro for group in header.data[tag].value for macro in group):
                    items = macro.value if macro.VR == "SQ" and macro.keyword not in held else [[macro]]
                    found[macro.keyword or str(macro.tag)] += [
                        said for item in items or () if (said := _of_item(item, header.little, held))]
            elif isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and kind not in ("SQ", "UI"):
                value = in_little(memoryview(raw.value), kind.encode(), "little" if header.little else "big")
                found[keyword].append(value.rstrip(b" \0"))
            else:
                found[keyword] += _of_item([header.data[tag]], header.little)
    return {keyword: hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()
            for keyword, said in found.items() if any(said)} | form


def _of_item(item: Iterable[DataElement], little: bool, held: Collection[str] = ()) -> list[tuple[int, Any]]:
    """What an item says besides what `held` names; all of what it nests, which nobody takes for the image's own."""
    found = []
    for one in item:
        if counts(int(one.tag)) and one.VR != "UI" and one.keyword not in held and not one.is_empty:
            inner = [_of_item(each, little) for each in one.value] if one.VR == "SQ" else plain(one, little)
            if one.VR != "SQ" or any(inner):
                found.append((int(one.tag), inner))
    return found


def plain(value: Any, little: bool = True) -> Any:
    """An element, or a value: bytes stay what they are, and words the bytes of little endian; items are those of
    their elements that count, in order, and numbers of 16 bits the bytes that another representation has them in."""
    if isinstance(value, DataElement):
        swapped = value.VR == "OW" and not little and isinstance(value.value, bytes) and len(value.value) % 2 == 0
        return np.frombuffer(value.value, ">u2").astype("<u2").tobytes() if swapped else \
            plain(value.value, little)
    if isinstance(value, Dataset):
        return [(int(element.tag), plain(element, little)) for element in value if counts(int(element.tag))]
    if isinstance(value, bytes):
        return value
    if isinstance(value, MultiValue | list | tuple | Sequence):
        parts = list(value)
        if parts and all(isinstance(part, int) and 0 <= part < 1 << 16 for part in parts):
            return np.array(parts, "<u2").tobytes()
        return [plain(part, little) for part in parts]
    return str(value)
