"""The elements of a DICOM file up to its pixels, without the pixels; and that none of them is said twice."""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.guard import MAX_FRAME, clean, shown

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
"""Value representations whose length has four bytes, in explicit VR."""
ENCAPSULATED = 0xFFFFFFFF
"""The length of compressed pixel data, which comes in items up to a delimiter."""
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MOST_INFLATED = 2 * MAX_FRAME + 64 * 2**20
_MOST_BEHIND = 1 << 20
"""Bytes that are looked at behind the pixels."""


class Nested(NamedTuple):
    """Where the items of a sequence are."""

    start: int
    length: int
    """Or `ENCAPSULATED`, where a delimiter ends them."""
    implicit: bool


def read_header(stream: BinaryIO, path: Path, keywords: Collection[str], whole: bool = False) -> \
        tuple[Dataset, BinaryIO, str, bool, str, list[Nested]]:
    """The elements that `keywords` name, or the `whole` up to the pixels; a stream that stands at the pixel data, or
    the end; transfer syntax; whether it is in little endian; the SOP class of the file meta group; and where the
    sequences among them are.

    Raises `UnreadableError` where one of them is there twice, or behind the pixels: programs do not agree on which
    counts.
    """
    syntax, media_class = read_meta(stream)
    if syntax == DEFLATED:
        stream = inflated(stream, path)
    little, start = syntax != EXPLICIT_BIG, stream.tell()
    if not syntax:
        syntax, little = guess(stream)
        stream.seek(start)
    tags = {cast(int, tag_for_keyword(keyword)) for keyword in keywords}
    seen: set[int] = set()
    nested: list[Nested] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) in PIXELS:
            return True
        if int(tag) in tags and int(tag) in seen:
            raise _twice(path, int(tag))
        seen.add(int(tag))
        if int(tag) in tags and length and vr in (None, "SQ", "UN") and dictionary_VR(tag) == "SQ":
            nested.append(Nested(stream.tell(), length, vr != "SQ"))
        return False

    implicit = syntax == IMPLICIT_LITTLE
    data = read_dataset(stream, implicit, little, stop_when=stop,
                        specific_tags=None if whole else [BaseTag(tag) for tag in tags])
    here = stream.tell()
    if _skip_pixels(stream, little):
        rest = io.BytesIO(stream.read(_MOST_BEHIND))
        if rest.getbuffer().nbytes > 8:
            _look_behind(rest, implicit, little, tags | set(PIXELS), path)
    stream.seek(here)
    return data, stream, syntax, little, media_class, nested


def read_meta(stream: BinaryIO) -> tuple[str, str]:
    """Transfer syntax and SOP class of the file meta group, empty without one; the stream then stands at the data set.

    The preamble before it may be missing.
    """
    meta = meta_of(stream)
    return clean(meta.get("TransferSyntaxUID", "")), clean(meta.get("MediaStorageSOPClassUID", ""))


def meta_of(stream: BinaryIO) -> Dataset:
    """As `read_meta`, the whole group; empty without one."""
    head = stream.read(132)
    start = 132 if head[128:] == b"DICM" else 4 if head[:4] == b"DICM" else 0
    stream.seek(start)
    if not start and head[:2] != b"\x02\0":
        return Dataset()
    return read_dataset(stream, False, True, stop_when=lambda tag, vr, length: int(tag) >> 16 != 2)


def _twice(path: Path, tag: int) -> UnreadableError:
    name = keyword_for_tag(tag) or f"{tag:08X}"
    return UnreadableError(f"{shown(path)} says its {name} twice, or behind its pixels, and programs do not agree on "
                           "which counts; export it again.")


def _look_behind(rest: BinaryIO, implicit: bool, little: bool, tags: Collection[int], path: Path) -> None:
    """Raises where an element that counts is behind the pixels. What is damaged there is no element."""

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) in tags:
            raise _twice(path, int(tag))
        return False

    try:
        read_dataset(rest, implicit, little, stop_when=stop, specific_tags=[BaseTag(0x00080018)])
    except UnreadableError:
        raise
    except Exception:  # padding and other bytes that are no elements
        return


def pixel_length(stream: BinaryIO, head: bytes, little: bool) -> int:
    """The length of a pixel data element of which `head`, its first eight bytes, was read; what follows is its value.

    Implicit VR needs no word of its own: the representations that pixel data may have begin with a letter of an odd
    code, and so are no even length.
    """
    order: Literal["little", "big"] = "little" if little else "big"
    return int.from_bytes(stream.read(4) if head[4:6] in LONG else head[4:8], order)


def _skip_pixels(stream: BinaryIO, little: bool) -> bool:
    """Goes behind the pixel data; whether it ends at all."""
    head = stream.read(8)
    if len(head) < 8:
        return False
    length = pixel_length(stream, head, little)
    if length != ENCAPSULATED:
        stream.seek(length, io.SEEK_CUR)
        return True
    while True:
        item = stream.read(8)
        if item[:4] == DELIMITER:
            return True
        if item[:4] != ITEM or len(item) < 8:
            return False
        stream.seek(int.from_bytes(item[4:8], "little"), io.SEEK_CUR)


def guess(stream: BinaryIO) -> tuple[str, bool]:
    """Transfer syntax and byte order of a data set that does not say, from its first element."""
    head = stream.read(8)
    if head[4:6].isalpha() and head[4:6].isupper():
        return (EXPLICIT_BIG, False) if head[:1] == b"\0" else (EXPLICIT_LITTLE, True)
    return IMPLICIT_LITTLE, True


def inflated(stream: BinaryIO, path: Path) -> io.BytesIO:
    """The deflated data set, never more than the largest image: a megabyte of zeros deflates to a thousand bytes."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = engine.decompress(stream.read(), _MOST_INFLATED)
    if not engine.eof and engine.unconsumed_tail:
        raise UnsupportedError(f"{shown(path)} inflates to more than {_MOST_INFLATED // 2**20} megabytes, more than "
                               "any image that Scanward reads.")
    return io.BytesIO(data)
