"""Which items of compressed pixel data make which frame; and that nothing in the file says otherwise.

Programs go by the items, by the basic offset table or by the extended one (PS3.5, A.4), so all of them must name the
same frames, and nothing may be left that none of them names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scanward.errors import UnreadableError
from scanward.formats.codestreams import (
    changes_colours,
    check_parts,
    holds_another,
    idles,
    jpeg_frame,
    rle_segments,
    said_colours,
    turns,
)
from scanward.formats.dataset import DELIMITER, ITEM, pixel_length
from scanward.formats.guard import check_packed, cut_short, left_in, shown
from scanward.formats.walk import UNDEFINED

RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4."
_PROCESSES = {f"{JPEG}{end}": kinds for end, kinds in
              (("50", {0xC0}), ("51", {0xC0, 0xC1}), ("57", {0xC3}), ("70", {0xC3}), ("80", {0xF7}), ("81", {0xF7}))}
"""The frame markers that each transfer syntax knows (PS3.5, 8.2.1, 8.2.3)."""
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
"""The beginnings of JPEG (and JPEG-LS) and of JPEG 2000: a frame has one, in its first fragment."""


@dataclass(frozen=True)
class Extended:
    """The extended offset table: eight bytes a frame each, empty where there is none."""

    offsets: bytes = b""
    lengths: bytes = b""


Fragment = tuple[int, int, bool]
"""Where an item's value begins, its length, and whether a codestream begins in it."""


def frames_in(stream: BinaryIO, path: Path, syntax: str, count: int, extended: Extended,
              needed: int) -> Iterator[bytes]:
    """The bytes of each of `count` frames, of `needed` bytes decoded, from a stream that stands at the first item; none
    is read before all that says where they lie was found to agree.

    Raises `UnreadableError` where it does not, where the items are of another number of frames, where a frame holds
    another behind its end, or a palette and the like about it, and as `check_packed`; `ValueError` as `check_parts`.
    """
    first = stream.tell()
    table, fragments = _items(stream, path)
    check_packed(path, needed, sum(length for _, length, _ in fragments))
    frames: list[list[Fragment]] = []
    for fragment in fragments:
        begun = bool(frames) and any(begins for _, _, begins in frames[-1])
        if frames and not (begun and fragment[2]) and syntax != RLE and len(fragments) != count:
            frames[-1].append(fragment)
        else:
            frames.append([fragment])
    if not any(length for _, length, _ in fragments):
        raise UnreadableError(f"{shown(path)} holds no pixel data; export the image itself, not its header.")
    if len(frames) != count:
        raise UnreadableError(f"{shown(path)} holds {len(frames)} compressed frames where its NumberOfFrames is "
                              f"{count}; export it again.")
    _agree(frames, first + 8 + len(table), table, extended, path)
    for frame in frames:
        parts = []
        for at, length, _ in frame:
            stream.seek(at)
            parts.append(stream.read(length))
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if syntax == RLE and any(idles(segment) for segment in rle_segments(data)):
            raise UnreadableError(f"{shown(path)} holds runs of nothing in an RLE frame, which not every program "
                                  "passes over; export it again.")
        if syntax in _PROCESSES and jpeg_frame(data).process not in _PROCESSES[syntax]:
            raise UnreadableError(f"{shown(path)} holds a JPEG frame of another process than its transfer syntax says; "
                                  "export it again.")
        check_parts(data)
        if syntax != RLE and changes_colours(data):
            raise UnreadableError(f"{shown(path)} wraps a compressed frame in boxes by which some programs show it "
                                  "otherwise, and DICOM knows none of them; export it again.")
        if syntax != RLE and turns(data):
            raise UnreadableError(f"{shown(path)} holds Exif or XMP in a compressed frame, by which some programs turn "
                                  "what they show; export it again.")
        if syntax != RLE and holds_another(data):
            raise UnreadableError(f"{shown(path)} holds another image behind the end of a compressed frame; export it "
                                  "again.")
        yield data


def check_frames(stream: BinaryIO, path: Path, syntax: str, count: int, extended: Extended, little: bool,
                 photometric: str, allocated: int, needed: int) -> None:
    """Raises as `frames_in`, from a stream that stands at the pixel data element, where that is compressed; and where a
    JPEG frame says other colours than the header's `photometric`."""
    if pixel_length(stream, stream.read(8), path, little, allocated=allocated) == UNDEFINED:
        for data in frames_in(stream, path, syntax, count, extended, needed):
            said = said_colours(data)
            if said and said != {photometric[:3]}:
                raise UnreadableError(f"{shown(path)} says in a compressed frame that its colours are "
                                      f"{' and '.join(sorted(said))}, and in its header that they are {photometric}; "
                                      "export it again.")


def _items(stream: BinaryIO, path: Path) -> tuple[bytes, list[Fragment]]:
    """The basic offset table, and the fragments."""
    table, found = None, list[Fragment]()
    while True:
        head = stream.read(8)
        if head[:4] == DELIMITER or (not head and found):
            return table or b"", found
        length = int.from_bytes(head[4:8], "little")
        if len(head) < 8 or length > left_in(stream):
            raise cut_short(path, length, left_in(stream))
        if head[:4] != ITEM:
            raise UnreadableError(f"{shown(path)} is damaged between its compressed fragments.")
        at = stream.tell()
        if table is None:
            table = stream.read(length)
        else:
            found.append((at, length, stream.read(min(length, 8)).startswith(_STARTS)))
            stream.seek(at + length)


def _agree(frames: list[list[Fragment]], base: int, table: bytes, extended: Extended, path: Path) -> None:
    """Raises where a table does not say what the items say."""
    offsets = [frame[0][0] - 8 - base for frame in frames]
    said = _numbers(extended.lengths, 8)
    if table and _numbers(table, 4) != offsets:
        wrong = "a basic"
    elif (extended.offsets or extended.lengths) and (_numbers(extended.offsets, 8) != offsets or any(
            len(frame) > 1 for frame in frames) or len(said) != len(frames) or any(
            length not in (frame[0][1], frame[0][1] - 1) for frame, length in zip(frames, said, strict=True))):
        wrong = "an extended"
    else:
        return
    raise UnreadableError(f"{shown(path)} has {wrong} offset table that names other frames than its items hold, and "
                          "programs do not agree on which count; export it again.")


def _numbers(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]
