"""The size that a compressed frame states in its own header, read before any decoder sees the frame.

A frame that disagrees with the DICOM header around it is refused: decoders allocate what the frame says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""What may follow a scan's coded data, in which only restart markers stand (and in JPEG-LS none)."""

_BEGINNING = re.compile(rb"\xff\x4f\xff\x51")
"""The first two markers of a JPEG 2000 stream."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG that begin a frame (ITU-T T.81 B.1.1.3)."""


@dataclass(frozen=True)
class Frame:
    """One frame's own word on itself."""

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    process: int = 0
    """Low byte of JPEG's start-of-frame marker: 0xC0 baseline, 0xC1 extended, 0xC3 lossless, 0xF7 JPEG-LS."""


def holds_another(data: bytes) -> bool:
    """Whether another JPEG, JPEG-LS or JPEG 2000 stream begins behind the end of the one that `data` begins with. What
    an application keeps in a segment of its own, such as a small picture for display, is none."""
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd8\xff" in data[_jpeg_end(data):]
    return sum(_sized(data, found.end()) for found in _BEGINNING.finditer(data)) > 1


def _sized(data: bytes, at: int) -> bool:
    """Whether the SIZ segment (ITU-T T.800 A.5.1) whose length stands at `at` is as long as its number of components
    asks. Coded data hold the markers before it by chance too, about once a gigabyte."""
    return int.from_bytes(data[at : at + 2], "big") == 38 + 3 * int.from_bytes(data[at + 36 : at + 38], "big")


def changes_colours(data: bytes) -> bool:
    """Whether JP2 boxes (ITU-T T.800 I) hold more than the codestream that `data` is, and its size, resolution, and
    grey or RGB as its colours: by a palette, an order of channels or a profile, some decoders show other samples."""
    if data[4:8] != b"jP  ":
        return False
    boxes = _boxes(data.rstrip(b"\0"))
    if [kind for kind, _ in boxes] != [b"jP  ", b"ftyp", b"jp2h", b"jp2c"]:
        return True
    inner = _boxes(boxes[2][1])
    colours = [value for kind, value in inner if kind == b"colr"]
    return (not {kind for kind, _ in inner} <= {b"ihdr", b"colr", b"bpcc", b"res "} or len(colours) != 1
            or colours[0][:1] != b"\1" or colours[0][3:] not in (b"\0\0\0\x10", b"\0\0\0\x11"))


def said_colours(data: bytes) -> set[str]:
    """What a JPEG stream of three components says of its colours, `RGB` and `YBR`, by the segments of JFIF and Adobe
    and by its components' names; empty where it leaves that to others. Decoders go by it, against any header."""
    found = set()
    for marker, value in _segments(data):
        if marker == 0xE0 and value[:5] == b"JFIF\0":
            found.add("YBR")
        elif marker == 0xEE and value[:5] == b"Adobe":
            found.add("RGB" if value[11:12] == b"\0" else "YBR")
        elif marker in _FRAMES and value[6::3] in (b"RGB", b"rgb"):
            found.add("RGB")
    return found


def turns(data: bytes) -> bool:
    """Whether a JPEG stream holds Exif or XMP, by which some programs turn what they show."""
    return any(marker == 0xE1 for marker, _ in _segments(data))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and contents of a JPEG or JPEG-LS stream, up to its coded data."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        if data[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """The type and content of each; of what is none, without a type."""
    found, at = [], 0
    while at < len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + size if size else len(data)
        sound = at + head <= end <= len(data)
        found.append((data[at + 4 : at + 8] if sound else b"", data[at + head : end]))
        at = end if sound else len(data)
    return found


def _jpeg_end(data: bytes) -> int:
    """Behind the end-of-image marker of a stream; at the next stream's beginning, or the end, without one."""
    at = 2
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xD8:
            return at
        if marker == 0xFF:
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            found = _MARKER.search(data, at)
            at = found.start() if found else len(data)
    return min(at, len(data))


def jpeg_frame(data: bytes) -> Frame:
    """The start-of-frame segment of JPEG (ITU-T T.81 B.2.2) and JPEG-LS (T.87 C.2.2); `ValueError` without one."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("the frame is no JPEG stream")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("the JPEG stream's markers are damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xF7 or marker in _FRAMES:
            if at + 10 > len(data):
                break
            rows, columns = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            return Frame(rows, columns, data[at + 9], data[at + 4], process=marker)
        if marker in (0xD9, 0xDA):
            break
        at += 2 + length
    raise ValueError("the JPEG stream ends before its frame header")


def jpeg2000_frame(data: bytes) -> Frame:
    """The SIZ segment of JPEG 2000 (ITU-T T.800 A.5.1), also inside a JP2 box; `ValueError` without one."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    siz = data[start + 4 : start + 46]
    if start < 0 or len(siz) < 41:
        raise ValueError("the frame is no JPEG 2000 stream")
    x1, y1, x0, y0 = (int.from_bytes(siz[i : i + 4], "big") for i in (4, 8, 12, 16))
    components = int.from_bytes(siz[36:38], "big")
    precision, dx, dy = siz[38], siz[39], siz[40]
    if (dx, dy) != (1, 1):
        raise ValueError("the JPEG 2000 stream is subsampled")
    return Frame(y1 - y0, x1 - x0, components, (precision & 0x7F) + 1, signed=bool(precision & 0x80))


def with_true_length(data: bytes) -> bytes:
    """A JPEG 2000 stream whose last tile-part is as long as it says: some encoders state more than there is (Psot,
    ITU-T T.800 A.4.2), and decoders then refuse what is whole. It is whole where it ends with the end's own marker
    (A.4.4), and is returned as it came where it does not."""
    end = len(data.rstrip(b"\0")) - 2
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096) + 2
    if at < 2 or data[end : end + 2] != b"\xff\xd9":
        return data
    while data[at : at + 1] == b"\xff" and data[at + 1] != 0x90 and at < end:
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    while data[at : at + 2] == b"\xff\x90" and at < end:
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if at + length > end:
            return data[: at + 6] + (end - at).to_bytes(4, "big") + data[at + 10 :]
        at += max(length, 14)
    return data


def check_parts(data: bytes) -> None:
    """`ValueError` where a JPEG 2000 stream, if it is one, has more tiles or packets than bytes for them, a few of
    which would make a decoder allocate gigabytes: a tile has a header of 14 bytes (ITU-T T.800 A.4.2, A.4.3), a packet
    one of a byte at least (B.10.3), and no packet is left out, however empty."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    siz = data[start + 8 : start + 42]
    if start < 0 or len(siz) < 34:
        return
    x1, y1, x0, y0, wide, high, left, top = (int.from_bytes(siz[i : i + 4], "big") for i in range(0, 32, 4))
    width, height = x1 - x0, y1 - y0
    if min(width, height, wide, high) < 1:
        raise ValueError("the JPEG 2000 stream has no pixels, or tiles without any")
    tiles = -(-(x1 - left) // wide) * -(-(y1 - top) // high)
    if 14 * tiles > len(data):
        raise ValueError(f"the JPEG 2000 stream says that it has {tiles:,} tiles, and holds {len(data):,} bytes")
    packets = 0
    for style in _coding_styles(data, start + 2):
        levels = style[5]
        sizes = style[10:] if style[0] & 1 else b"\xff" * (levels + 1)
        # At least so many: a low resolution of an image that begins anywhere may have none.
        precincts = sum((width >> levels - at + (size & 15)) * (height >> levels - at + (size >> 4))
                        for at, size in enumerate(sizes[: levels + 1]))
        layers, components = (int.from_bytes(number, "big") for number in (style[2:4], siz[32:34]))
        packets = max(packets, max(1, precincts) * layers * components)
    if packets > len(data):
        raise ValueError(f"the JPEG 2000 stream says that it has {packets:,} packets, and holds {len(data):,} bytes")


def _coding_styles(data: bytes, at: int) -> Iterator[bytes]:
    """COD segments (ITU-T T.800 A.6.1) of the main header, from its first segment on, behind their lengths."""
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0x90:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0x52 and length >= 12:
            yield data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)


def rle_segments(data: bytes) -> list[bytes]:
    """The segments of an RLE frame (DICOM PS3.5 annex G.5); `ValueError` where their offsets are impossible."""
    if len(data) < 64:
        raise ValueError("the RLE frame ends inside its header")
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 64, 4)]
    count, offsets = words[0], words[1 : 1 + words[0]]
    ends = [*offsets[1:], len(data)]
    if not 1 <= count <= 15 or any(not 64 <= a <= b <= len(data) for a, b in zip(offsets, ends, strict=True)):
        raise ValueError("the RLE frame's segment offsets are damaged")
    return [data[a:b] for a, b in zip(offsets, ends, strict=True)]


def idles(segment: bytes) -> bool:
    """Whether an RLE segment holds a control byte that stands for nothing (annex G.3.2): not all decoders skip it."""
    at = 0 if b"\x80" in segment else len(segment)
    while at < len(segment):
        control = segment[at]
        if control == 128:
            return at + 1 < len(segment)  # one at the end is the padding to an even length
        at += control + 2 if control < 128 else 2
    return False
