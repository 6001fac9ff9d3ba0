"""The bytes of a DICOM data set, element by element, as they lie in the file: what a digital signature speaks of.

pydicom gives values, and two spellings of one value are one to it; a signature holds bytes. Nothing is decoded here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.datadict import dictionary_VR

from scanward.errors import UnreadableError
from scanward.formats.dataset import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    guess,
    inflated,
    read_meta,
)
from scanward.formats.guard import clean, open_file, shown
from scanward.formats.walk import ITEM, ITEM_END, LONG, MOST_NESTED, SEQUENCE_END, SHORT, UNDEFINED, agreed

NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
"""Transfer syntaxes between which a data set may pass without another pixel; a signature holds in all of them."""
PIXEL_REPRESENTATION, PIXEL_DATA = 0x00280103, 0x7FE00010
_WORDS = {b"AT": 2, b"US": 2, b"SS": 2, b"OW": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"OF": 4, b"OL": 4, b"FD": 8,
          b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8}
"""Bytes of the numbers of a value, which another byte order turns round."""

Form = tuple[bool, Literal["little", "big"]]
"""Whether value representations are implicit, and the byte order."""


@dataclass(frozen=True)
class Element:
    """One element; offsets are into the data set's bytes."""

    tag: int
    vr: bytes
    """UN where nobody says what it is."""
    start: int
    value: tuple[int, int]
    end: int
    items: tuple[tuple[Element, ...], ...] = ()
    """Of a sequence."""
    fragments: tuple[tuple[int, int], ...] | None = None
    """Of compressed pixel data: where the value of each item lies."""


@dataclass(frozen=True)
class Elements:
    """A file."""

    path: Path
    prefix: bytes
    """Preamble and file meta group."""
    data: memoryview
    """The data set's bytes, inflated where the file deflates them."""
    syntax: str
    """Transfer syntax."""
    form: Form
    elements: tuple[Element, ...]

    def bytes_of(self, element: Element) -> bytes:
        """An element's value as it lies there, in little endian."""
        return in_little(self.data[slice(*element.value)], element.vr, self.form[1])

    def text(self, tag: int, among: tuple[Element, ...] | None = None) -> str:
        """The value of one of the elements, or of some, on one line; empty where it is absent."""
        found = next((one for one in (self.elements if among is None else among) if one.tag == tag), None)
        return "" if found is None else clean(self.bytes_of(found).decode("ascii", "replace").strip(" \0"))

    def inside(self, element: Element) -> bytes:
        """The items of a sequence, without what ends it."""
        start, end = element.value
        open_ended = self.data[start - 4:start] == UNDEFINED.to_bytes(4, "little")
        return bytes(self.data[start:end - 8 if open_ended else end])

    def stream(self, elements: tuple[Element, ...]) -> Iterator[bytes | memoryview]:
        """What is hashed of elements: in explicit VR little endian, sequences and fragments without their lengths
        (PS3.3, C.12.1.1.3.1.2)."""
        for element in elements:
            long = element.vr in LONG
            yield _tag(element.tag) + element.vr + (b"\0\0" if long else b"")
            if element.vr == b"SQ":
                for item in element.items:
                    yield _tag(ITEM)
                    yield from self.stream(tuple(one for one in item if signable(one)))
                yield _tag(SEQUENCE_END)
            elif element.fragments is not None:
                for fragment in element.fragments:
                    yield _tag(ITEM)
                    yield self.data[slice(*fragment)]
                yield _tag(SEQUENCE_END)
            else:
                start, end = element.value
                yield (end - start).to_bytes(4 if long else 2, "little")
                yield self.data[start:end] if self.form[1] == "little" else self.bytes_of(element)


def read_elements(path: Path) -> Elements:
    """A file's elements; `UnreadableError` where they do not follow one another, each once, up to the file's end."""
    with open_file(path) as file:
        return elements_in(file.read(), path)


def elements_in(whole: bytes, path: Path) -> Elements:
    """As `read_elements`, of a file's bytes; `path` names them."""
    stream = io.BytesIO(whole)
    syntax, _ = read_meta(stream, path)
    start = stream.tell()
    data = memoryview(whole)[start:] if syntax != DEFLATED else memoryview(inflated(stream, path).getvalue())
    if not syntax:
        syntax, _ = guess(stream)
    form: Form = syntax == IMPLICIT_LITTLE, "big" if syntax == EXPLICIT_BIG else "little"
    elements, end = _Walk(path, data).elements(0, len(data), form, 0)
    if end != len(data):
        raise _broken(path)
    return Elements(path, whole[:start], data, syntax, form, elements)


def signable(element: Element) -> bool:
    """Whether a signature may cover it (PS3.3, C.12.1.1.3.1.1): not lengths, padding, signatures, nor what nobody knows
    the representation of."""
    group, number = element.tag >> 16, element.tag & 0xFFFF
    return (group >= 8 and number != 0 and group != 0xFFFA and element.tag not in (0x00080001, 0x4FFE0001, 0xFFFCFFFC)
            and _known(element))


def encoded(tag: int, vr: bytes, value: bytes, form: Form) -> bytes:
    """An element's bytes in a transfer syntax; numbers in `value` are in little endian."""
    implicit, order = form
    head = b"".join(part.to_bytes(2, order) for part in (tag >> 16, tag & 0xFFFF))
    if implicit:
        head += len(value).to_bytes(4, order)
    elif vr in LONG:
        head += vr + b"\0\0" + len(value).to_bytes(4, order)
    else:
        head += vr + len(value).to_bytes(2, order)
    return head + in_little(memoryview(value), vr, order)


def _known(element: Element) -> bool:
    return element.vr != b"UN" and all(_known(one) for item in element.items for one in item)


def _tag(tag: int) -> bytes:
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")


def in_little(value: memoryview, vr: bytes, order: str) -> bytes:
    """Numbers turned round where they are in big endian: from there, or to there."""
    size = _WORDS.get(vr, 1)
    if order == "little" or size == 1:
        return bytes(value)
    turned = bytearray(value)
    for i in range(size):
        turned[i::size] = value[size - 1 - i::size]
    return bytes(turned)


def _broken(path: Path) -> UnreadableError:
    return UnreadableError(f"{shown(path)} is damaged: its elements do not follow one another to its end; export it "
                           "again.")


@dataclass(frozen=True)
class _Walk:
    path: Path
    data: memoryview

    def elements(self, at: int, end: int, form: Form, depth: int, delimited: bool = False) \
            -> tuple[tuple[Element, ...], int]:
        """From `at` to `end`, or to an item's delimiter; and where that is."""
        if depth > MOST_NESTED:
            raise _broken(self.path)
        found: list[Element] = []
        signed = False
        while at < end:
            if delimited and self._tag(at, form) == ITEM_END:
                return tuple(found), at + 8
            element = self._element(at, end, form, depth, signed)
            if element.tag == PIXEL_REPRESENTATION:
                signed = 1 in self.data[slice(*element.value)]
            if found and element.tag <= found[-1].tag:
                raise UnreadableError(f"{shown(self.path)} says an element twice, or out of order ({element.tag:08X}), "
                                      "and programs do not agree on which counts; export it again.")
            found.append(element)
            at = element.end
        if delimited:
            raise _broken(self.path)
        return tuple(found), at

    def _element(self, at: int, end: int, form: Form, depth: int, signed: bool) -> Element:
        tag = self._tag(at, form)
        vr, length, value = self._head(at, tag, form, signed)
        if not agreed(tag, b"" if form[0] else vr, length):
            raise _broken(self.path)
        if length == UNDEFINED:
            if tag == PIXEL_DATA:
                fragments, after = self._fragments(value, end, form)
                return Element(tag, b"OB" if form[0] else vr, at, (value, after), after, fragments=fragments)
            # What is unknown and has no length is a sequence, in implicit VR little endian (PS3.5, 6.2.2).
            inner: Form = (True, "little") if vr == b"UN" and not form[0] else form
            items, after = self._items(value, end, inner, depth, delimited=True)
            return Element(tag, vr, at, (value, after), after, items)
        after = value + length
        if after > end or tag in (ITEM, ITEM_END, SEQUENCE_END):
            raise _broken(self.path)
        items = self._items(value, after, form, depth)[0] if vr == b"SQ" else ()
        return Element(tag, vr, at, (value, after), after, items)

    def _head(self, at: int, tag: int, form: Form, signed: bool) -> tuple[bytes, int, int]:
        """Value representation, length, and where the value begins."""
        implicit, order = form
        if implicit:
            return _vr_of(tag, signed), self._number(at + 4, 4, order), at + 8
        vr = bytes(self.data[at + 4:at + 6])
        if vr in LONG:
            return vr, self._number(at + 8, 4, order), at + 12
        if vr not in SHORT:
            raise _broken(self.path)
        return vr, self._number(at + 6, 2, order), at + 8

    def _items(self, at: int, end: int, form: Form, depth: int, delimited: bool = False) \
            -> tuple[tuple[tuple[Element, ...], ...], int]:
        items: list[tuple[Element, ...]] = []
        while at < end:
            tag, length, at = self._tag(at, form), self._number(at + 4, 4, form[1]), at + 8
            if delimited and tag == SEQUENCE_END:
                return tuple(items), at
            if tag != ITEM or (length != UNDEFINED and at + length > end):
                raise _broken(self.path)
            last = end if length == UNDEFINED else at + length
            item, at = self.elements(at, last, form, depth + 1, delimited=length == UNDEFINED)
            items.append(item)
        if delimited:
            raise _broken(self.path)
        return tuple(items), at

    def _fragments(self, at: int, end: int, form: Form) -> tuple[tuple[tuple[int, int], ...], int]:
        found: list[tuple[int, int]] = []
        while at < end:
            tag, length, at = self._tag(at, form), self._number(at + 4, 4, form[1]), at + 8
            if tag == SEQUENCE_END:
                return tuple(found), at
            if tag != ITEM or at + length > end:
                break
            found.append((at, at + length))
            at += length
        raise _broken(self.path)

    def _tag(self, at: int, form: Form) -> int:
        return self._number(at, 2, form[1]) << 16 | self._number(at + 2, 2, form[1])

    def _number(self, at: int, size: int, order: Literal["little", "big"]) -> int:
        if at + size > len(self.data):
            raise _broken(self.path)
        return int.from_bytes(self.data[at:at + size], order)


def _vr_of(tag: int, signed: bool) -> bytes:
    """What the dictionary says of an element, and of several possible representations the one that others take, too:
    words, and numbers as the pixels of the same data set are."""
    group, number = tag >> 16, tag & 0xFFFF
    try:
        said = dictionary_VR(tag)
    except KeyError:
        said = "UL" if number == 0 else "LO" if group % 2 and 0x10 <= number <= 0xFF else "UN"
    if " or " in said:
        said = "OW" if "OW" in said else "SS" if signed else "US"
    return said.encode()
