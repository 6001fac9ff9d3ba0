"""The elements of a DICOM data set as they follow one another in a file: heads alone, no value is read.

Programs do not agree on what counts of an element that is said twice, nor on what comes after bytes that are no
element, so neither may hide anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag
from pydicom.tag import BaseTag

from scanward.errors import UnreadableError
from scanward.formats.guard import shown

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
"""Value representations whose length has four bytes, in explicit VR."""
SHORT = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH",
                   b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"))
_TAKEN_FOR_10 = 13
"""A length in implicit VR: scanners of one maker wrote it so, and GDCM and ITK correct it for everybody."""
_WIDE = (b"OV", b"SV", b"UV")
"""Which came late: older programs look for their length in two bytes."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
MOST_NESTED = 32
"""Sequences within sequences."""
MOST_ELEMENTS = 1 << 16
"""Before the pixels, a sequence counted as one: headers have some hundreds. Where a file goes on in zeros every eight
bytes are one more."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_PIECE = 1 << 20


def bounded(stop: Callable[[BaseTag, str | None, int], bool]) -> Callable[[BaseTag, str | None, int], bool]:
    """Where pydicom is to stop: where it was to, and behind `MOST_ELEMENTS`."""
    passed = itertools.count()
    return lambda tag, vr, length: stop(tag, vr, length) or next(passed) > MOST_ELEMENTS


def twice(path: Path, tag: int) -> UnreadableError:
    """The error of an element that counts and is there again."""
    name = keyword_for_tag(tag) or f"{tag:08X}"
    return UnreadableError(f"{shown(path)} says its {name} twice, or behind its pixels, and programs do not agree on "
                           "which counts; export it again.")


def counts(tag: int) -> bool:
    """Whether an element says anything of an image: not lengths of groups, nor private elements, and nothing that has
    its place behind the pixels."""
    return 0x10000 <= tag <= PIXELS[-1] and tag & 0x10000 == 0 and tag & 0xFFFF != 0


@dataclass(frozen=True)
class Walk:
    """Through a stream in one transfer syntax."""

    path: Path
    stream: BinaryIO
    implicit: bool
    order: Literal["little", "big"]
    inside: Collection[int] = ()
    """Elements that are heard: of sequences among them each element is looked at, too."""
    strict: bool = False
    """Whether whatever some program reads otherwise is no element, at any depth, and what is heard, or lies within a
    sequence, must be in a representation that the dictionary allows; a seal vouches for no other file."""

    def step(self, at: int, end: int) -> tuple[int, int]:
        """The tag of the element at `at`, and where the next one begins; `ValueError` where there is none that ends by
        `end`, `UnreadableError` where one of its items says a thing twice."""
        return self._step(at, end, self.implicit, 0, self.strict)

    def _step(self, at: int, end: int, implicit: bool, depth: int, whole: bool) -> tuple[int, int]:
        tag, vr, length, value = self._head(at, end, implicit)
        if tag >> 16 == ITEM >> 16 or depth > MOST_NESTED or (self.strict and not agreed(tag, vr, length)):
            raise _no_element()
        if self.strict and vr and length and (depth or tag in self.inside):
            self._told(tag, vr, length)
        if length == UNDEFINED:
            if vr not in (b"SQ", b"UN", b"OB", b"OW", b""):
                raise _no_element()
            # What is unknown and has no length is a sequence, in implicit VR (PS3.5, 6.2.2).
            inner = tag not in PIXELS and (whole or tag in self.inside)
            return tag, self._items(value, end, implicit or vr == b"UN", depth, True, inner)
        after = value + length
        if after > end:
            raise _no_element()
        if (whole or tag in self.inside) and self._has_items(tag, vr, length, value):
            self._items(value, after, implicit or vr == b"UN", depth, False, True)
        return tag, after

    def _has_items(self, tag: int, vr: bytes, length: int, value: int) -> bool:
        """Whether some program takes an element for a sequence: by its representation, by the dictionary or, where
        neither says, by how it begins."""
        if vr not in (b"", b"UN"):
            return vr == b"SQ"
        if _is_sequence(tag) or not self.strict or length < 8:
            return _is_sequence(tag)
        return self._pair(value, value + length)[0] == ITEM

    def _told(self, tag: int, vr: bytes, length: int) -> None:
        """Raises where an explicit representation is not the dictionary's, by which some programs go: bytes may be one
        number as FD and another as text. What is unknown (UN) is the dictionary's wherever that is sure."""
        known = _representations(tag) or [vr.decode()]
        # pydicom leaves longer ones alone, and what is unknown is in little endian, its items in implicit VR.
        sure = self.order == "little" and (length == UNDEFINED if "SQ" in known else length < 0xFFFF)
        if vr.decode() not in known and not (vr == b"UN" and (sure or known[0] in ("OB", "OV", "OW"))):
            raise UnreadableError(f"{shown(self.path)} has its {keyword_for_tag(tag)} in the representation "
                                  f"{vr.decode()}, where DICOM has {' or '.join(known)}, and programs do not agree on "
                                  "what it says; export it again.")

    def _items(self, at: int, end: int, implicit: bool, depth: int, delimited: bool, whole: bool) -> int:
        """Where they end."""
        while at < end or delimited:
            tag, length = self._pair(at, end)
            at += 8
            if delimited and tag == SEQUENCE_END:
                return at
            after = at + length
            if tag != ITEM or (length != UNDEFINED and after > end):
                raise _no_element()
            if length == UNDEFINED:
                at = self._item(at, end, implicit, depth + 1, True, whole)
            else:
                at = self._item(at, after, implicit, depth + 1, False, True) if whole else after
        return at

    def _item(self, at: int, end: int, implicit: bool, depth: int, delimited: bool, whole: bool) -> int:
        seen: set[int] = set()
        while at < end or delimited:
            if delimited and self._pair(at, end)[0] == ITEM_END:
                return at + 8
            tag, at = self._step(at, end, implicit, depth, whole)
            if tag in seen and counts(tag):
                raise twice(self.path, tag)
            seen.add(tag)
        return at

    def _head(self, at: int, end: int, implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, representation (empty in implicit VR), length, and where the value begins."""
        tag, length = self._pair(at, end)
        if implicit:
            return tag, b"", length, at + 8
        self.stream.seek(at + 4)
        rest = self.stream.read(8)
        vr = rest[:2]
        if vr in SHORT:
            return tag, vr, int.from_bytes(rest[2:4], self.order), at + 8
        if vr not in LONG or at + 12 > end:
            raise _no_element()
        return tag, vr, int.from_bytes(rest[4:8], self.order), at + 12

    def _pair(self, at: int, end: int) -> tuple[int, int]:
        """A tag, and the four bytes after it as a number."""
        self.stream.seek(at)
        head = self.stream.read(8)
        if at + 8 > end or len(head) < 8:
            raise _no_element()
        group, number = (int.from_bytes(head[i:i + 2], self.order) for i in (0, 2))
        return group << 16 | number, int.from_bytes(head[4:8], self.order)


def agreed(tag: int, vr: bytes, length: int) -> bool:
    """Whether every program takes the same bytes for an element. Of other heads some do not know the representation,
    look for an end within the value, or correct the length."""
    if length == UNDEFINED:
        return vr not in (b"OB", b"OW") or tag in PIXELS
    if vr in _WIDE:
        return vr.decode() in _representations(tag)
    return bool(vr) or length != _TAKEN_FOR_10


def _no_element() -> ValueError:
    return ValueError("these bytes are no element")


def _is_sequence(tag: int) -> bool:
    return _representations(tag) == ["SQ"]


def _representations(tag: int) -> list[str]:
    """Those that the dictionary allows; none where it does not know the element."""
    try:
        return dictionary_VR(tag).split(" or ")
    except KeyError:
        return []


def hides(stream: BinaryIO, at: int, order: Literal["little", "big"]) -> bool:
    """Whether anything from `at` to the end could be the head of an element that counts, for whoever looks for one."""
    stream.seek(at)
    piece = stream.read(_PIECE)
    while len(piece) >= 8:
        raw = np.frombuffer(piece, np.uint8).astype(np.uint32)
        words = raw[:-1] | raw[1:] << 8 if order == "little" else raw[:-1] << 8 | raw[1:]
        groups, tags = _known()
        places = np.flatnonzero(groups[words[:-6]])
        if np.isin(words[places] << 16 | words[places + 2], tags).any():
            return True
        more = stream.read(_PIECE)
        piece = piece[-7:] + more if more else b""
    return False


@cache
def _known() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    """The groups, as a table, and the tags of all elements of the dictionary that count."""
    tags = np.array(sorted(tag for tag in keyword_dict.values() if counts(tag)), np.uint32)
    groups = np.zeros(1 << 16, np.bool_)
    groups[tags >> 16] = True
    return groups, tags
