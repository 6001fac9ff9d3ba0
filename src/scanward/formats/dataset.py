"""The elements of a DICOM file up to its pixels, without the pixels; and that none of them is said twice or hidden."""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.alone import holds_hdf5
from scanward.formats.guard import FREELY, MAX_FRAME, PACKED, clean, shown
from scanward.formats.sniff import HEAD, also_of
from scanward.formats.walk import LONG, MOST_ELEMENTS, PIXELS, Walk, bounded, counts, hides, twice

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MOST_INFLATED = 2 * MAX_FRAME + 64 * 2**20


def read_header(stream: BinaryIO, path: Path, keywords: Collection[str], whole: bool = False) -> \
        tuple[Dataset, BinaryIO, str, bool, str]:
    """The elements that `keywords` name, or the `whole` up to the pixels; a stream that stands at the pixel data, or
    the end; transfer syntax; whether it is in little endian; and the SOP class of the file meta group.

    Raises `UnreadableError` where an element that counts is there twice, or behind the pixels, or where bytes that are
    no element could hide one: programs do not agree on what counts. Of the `whole` each element has to be what every
    program takes it for, and the explicit value representation of `keywords`, and of what is within any sequence, the
    dictionary's.
    """
    syntax, media_class = read_meta(stream, path)
    if whole:
        _check_meta(stream, path)
    if syntax == DEFLATED:
        stream = inflated(stream, path)
    little, start = syntax != EXPLICIT_BIG, stream.tell()
    if not syntax:
        syntax, little = guess(stream)
        stream.seek(start)
    tags = {cast(int, tag_for_keyword(keyword)) for keyword in keywords}
    seen: list[int] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) in PIXELS:
            return True
        seen.append(int(tag))
        if len(seen) > MOST_ELEMENTS:
            raise _disorder(path)
        return False

    implicit = syntax == IMPLICIT_LITTLE
    data = read_dataset(stream, implicit, little, stop_when=stop,
                        specific_tags=None if whole else [BaseTag(tag) for tag in tags])
    here = stream.tell()
    _check(Walk(path, stream, implicit, "little" if little else "big", tags, whole), start, here, seen)
    stream.seek(here)
    return data, stream, syntax, little, media_class


def _check_meta(stream: BinaryIO, path: Path) -> None:
    """Raises where the file meta group says that it ends elsewhere than it does: some programs go by that."""
    start = stream.tell()
    stream.seek(0)
    head = stream.read(144)
    first = _behind_preamble(head)
    if head[first : first + 8] == b"\2\0\0\0UL\4\0" and int.from_bytes(head[first + 8 : first + 12], "little") != \
            start - first - 12:
        raise _disorder(path)
    stream.seek(start)


def _check(walk: Walk, start: int, pixels: int, seen: list[int]) -> None:
    """Raises as `read_header`, for the elements from `start` on. `pixels` is where the pixel data begins, or the end,
    and `seen` what pydicom took for elements before."""
    end = walk.stream.seek(0, io.SEEK_END)
    at, found = start, set[int]()
    before: list[int] = []
    try:
        while at < end:
            tag, after = walk.step(at, end)
            if at < pixels < after:
                raise _disorder(walk.path)
            if counts(tag) and (tag in found or at > pixels):
                raise twice(walk.path, tag)
            found.add(tag)
            before += [tag] * (at < pixels)
            at = after
    except ValueError:
        # Pixel data that are cut short, the reader of pixels tells of.
        if at != pixels and (at < pixels < end or hides(walk.stream, at, walk.order)):
            raise _disorder(walk.path) from None
    if before != seen[:len(before)] or (pixels < end and len(before) < len(seen)):
        raise _disorder(walk.path)


def read_meta(stream: BinaryIO, path: Path | None = None) -> tuple[str, str]:
    """Transfer syntax and SOP class of the file meta group, empty without one; the stream then stands at the data set.

    The preamble before it may be missing. With a `path` to name, `UnreadableError` where it says a thing twice.
    """
    meta = meta_of(stream, path)
    return clean(meta.get("TransferSyntaxUID", "")), clean(meta.get("MediaStorageSOPClassUID", ""))


def meta_of(stream: BinaryIO, path: Path | None = None) -> Dataset:
    """As `read_meta`, the whole group; empty without one."""
    head = stream.read(HEAD)
    if path is not None and (other := _also(path, head, stream)):
        raise UnreadableError(f"{shown(path)} is DICOM and {other} at once, and may show each program another image; "
                              "export it again.")
    start = _behind_preamble(head)
    stream.seek(start)
    if not start and head[:2] != b"\x02\0":
        return Dataset()
    seen: list[int] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if path is not None and int(tag) in seen:
            raise twice(path, int(tag))
        if vr is None or vr.isalpha():  # pydicom asks once more where a group is in implicit VR
            seen.append(int(tag))
        return int(tag) >> 16 != 2

    return read_dataset(stream, False, True, stop_when=bounded(stop))


def _also(path: Path, head: bytes, stream: BinaryIO) -> str:
    """What else than DICOM the file is for other programs; empty where it is nothing else."""
    found = also_of(path, head, stream.seek(0, io.SEEK_END)) if head[128:132] == b"DICM" else ""
    return found or ("an HDF5 file" if holds_hdf5(stream) else "")


def _behind_preamble(head: bytes) -> int:
    """Where the first element of a file begins; the preamble may be missing, or DICM with it."""
    return 132 if head[128:132] == b"DICM" else 4 if head[:4] == b"DICM" else 0


def _disorder(path: Path) -> UnreadableError:
    return UnreadableError(f"{shown(path)} is damaged: its elements do not follow one another, and programs do not "
                           "agree on which count; export it again.")


def pixel_length(stream: BinaryIO, head: bytes, path: Path, little: bool, implicit: bool = False,
                 allocated: int = 0) -> int:
    """The length of a pixel data element of which `head`, its first eight bytes, was read; its value follows.

    `UnreadableError` for words of `allocated` bits in big endian that do not call themselves words: not every program
    turns them about.
    """
    if not little and allocated > 8 and head[4:6] in (b"OB", b"UN"):
        raise UnreadableError(f"{shown(path)} holds words of {allocated} bits in big endian as bytes "
                              f"({head[4:6].decode()}), which some programs do not turn about; export it again.")
    order: Literal["little", "big"] = "little" if little else "big"
    return int.from_bytes(stream.read(4) if head[4:6] in LONG and not implicit else head[4:8], order)


def guess(stream: BinaryIO) -> tuple[str, bool]:
    """Transfer syntax and byte order of a data set that does not say, from its first element."""
    head = stream.read(8)
    if head[4:6].isalpha() and head[4:6].isupper():
        return (EXPLICIT_BIG, False) if head[:1] == b"\0" else (EXPLICIT_LITTLE, True)
    return IMPLICIT_LITTLE, True


def inflated(stream: BinaryIO, path: Path) -> io.BytesIO:
    """The deflated data set, never more than the largest image, and, as `check_packed` has it, than an image of its
    bytes: a megabyte of zeros deflates to a thousand bytes."""
    engine, packed = zlib.decompressobj(-zlib.MAX_WBITS), stream.read()
    most = min(_MOST_INFLATED, max(FREELY + 2**20, PACKED * len(packed)))
    data = engine.decompress(packed, most)
    if not engine.eof and engine.unconsumed_tail:
        raise UnsupportedError(f"{shown(path)} inflates to more than {most // 2**20} megabytes, more than any image of "
                               f"{len(packed):,} bytes that Scanward reads.")
    if not engine.eof:
        raise UnreadableError(f"{shown(path)} ends before its deflated data set does; copy it again from its source.")
    return io.BytesIO(data)
