"""Pixel data of DICOM frames as arrays of stored values, whatever the transfer syntax.

Decoders, chosen by measurement on one 4096 x 3328 16-bit frame, lossless JPEG 2000, two cores (seconds): Pillow with
OpenJPEG's own threads 1.0, GDCM 1.4, pylibjpeg-openjpeg 2.2 (as OpenCV and Pillow without threads). RLE goes through
Pillow's PackBits decoder, as pydicom's is Python. GDCM remains for lossless and 12-bit JPEG, and CharLS for JPEG-LS.
High-throughput JPEG 2000 goes to the same OpenJPEG; no encoder was at hand to test it with. All of them run in the
process of `decoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.codestreams import Frame, jpeg2000_frame, jpeg_frame, rle_segments, with_true_length
from scanward.formats.dataset import IMPLICIT_LITTLE, pixel_length
from scanward.formats.decoder import DECODER
from scanward.formats.fragments import RLE, Extended, frames_in
from scanward.formats.guard import cut_short, left_in, shown
from scanward.formats.walk import UNDEFINED

Stored = npt.NDArray[Any]
Decoder = Callable[[bytes, "Layout"], tuple[Stored, Frame | None]]

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


@dataclass(frozen=True)
class Layout:
    """What the DICOM header says of the frame; already checked for sense."""

    path: Path
    syntax: str
    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    little: bool = True
    frames: int = 1
    extended: Extended = field(default_factory=Extended)
    exact: bool = False
    """Whether bits outside of those stored must hold nothing, not even an overlay, as they could before 2004: those are
    not sealed, and programs that do not mask them show another image."""

    @property
    def count(self) -> int:
        """Pixels a frame."""
        return self.rows * self.columns

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest value that the stored bits hold."""
        low = -(1 << self.stored - 1) if self.signed else 0
        return low, low + (1 << self.stored) - 1


def read_frames(stream: BinaryIO, layout: Layout) -> Iterator[tuple[Stored, Layout]]:
    """(rows, columns) stored values of each frame, an integer array, from a stream that stands at the pixel data
    element; and the layout that they have: `layout`, or a deeper one where JPEG 2000 holds more bits than it says.

    Bits outside of those stored are dropped, or refused as by `check_unused`, and signed values sign-extended; 'no
    pixel data' is an `UnreadableError`.
    """
    length, big_words = _element(stream, layout)
    if layout.syntax not in _CODECS and layout.syntax not in PLAIN:
        raise UnsupportedError(f"{shown(layout.path)} has transfer syntax {layout.syntax}, which Scanward does not "
                               "read; convert it to lossless JPEG 2000 or RLE.")
    if length == UNDEFINED:
        if layout.syntax in PLAIN:
            raise UnreadableError(f"{shown(layout.path)} says that it is not compressed, but its pixel data is; "
                                  "export it again.")
        needed = layout.count * layout.frames * layout.allocated // 8
        for frame in frames_in(stream, layout.path, layout.syntax, layout.frames, layout.extended, needed):
            yield _compressed(frame, layout)
    else:
        if layout.syntax in _CODECS:
            raise UnreadableError(f"{shown(layout.path)} says that it is compressed, but its pixel data is not; "
                                  "export it again.")
        for values in _plain(stream, length, layout, big_words):
            check_unused(values, layout, layout.allocated)
            yield _significant(values, layout), layout


def read_frame(stream: BinaryIO, layout: Layout) -> tuple[Stored, Layout]:
    """The first frame, as `read_frames` gives it."""
    return next(read_frames(stream, layout))


def _element(stream: BinaryIO, layout: Layout) -> tuple[int, bool]:
    """Length of the pixel data element, and whether its bytes are swapped in pairs (8 bits in big-endian OW)."""
    order = "<" if layout.little else ">"
    head = stream.read(8)
    tag = np.frombuffer(head[:4].ljust(4, b"\0"), f"{order}u2").tolist()
    if len(head) == 8 and tag in ([0x7FE0, 8], [0x7FE0, 9]):
        raise UnsupportedError(f"{shown(layout.path)} stores its pixels as floating-point numbers, which Scanward does "
                               "not read from DICOM; convert them to whole numbers.")
    if len(head) < 8 or tag != [0x7FE0, 0x10]:
        raise UnreadableError(f"{shown(layout.path)} holds no pixel data; export the image itself, not its header.")
    big_words = head[4:6] == b"OW" and not layout.little and layout.allocated == 8
    implicit = layout.syntax == IMPLICIT_LITTLE
    return pixel_length(stream, head, layout.path, layout.little, implicit, layout.allocated), big_words


def _plain(stream: BinaryIO, length: int, layout: Layout, big_words: bool) -> Iterator[Stored]:
    """Each frame's words. What is left behind the last one, less than another frame, is padding."""
    width = layout.allocated // 8
    size = layout.count * width
    needed, held = size * layout.frames, min(length, left_in(stream))
    if held < needed:
        raise cut_short(layout.path, needed, held)
    if length >= needed + size:
        raise UnreadableError(f"{shown(layout.path)} holds {length:,} bytes of pixels, enough for {length // size} "
                              f"frames, where its NumberOfFrames is {layout.frames}; export it again.")
    swapped = np.empty(0, np.uint8)
    if big_words:  # frames of an odd size share a pair of bytes
        pairs = np.frombuffer(stream.read(needed + needed % 2), np.uint8)
        swapped = pairs[: pairs.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    for i in range(layout.frames):
        data = swapped[i * size : (i + 1) * size] if big_words else np.frombuffer(stream.read(size), np.uint8)
        yield data.view(f"{'<' if layout.little else '>'}u{width}").reshape(layout.rows, layout.columns)


def _compressed(data: bytes, layout: Layout) -> tuple[Stored, Layout]:
    decode, per_byte = _CODECS[layout.syntax]
    if len(data) * per_byte < layout.count:
        raise cut_short(layout.path, -(-layout.count // per_byte), len(data))
    values, frame = decode(data, layout)
    values = values.reshape(layout.rows, layout.columns)
    if frame is not None:
        return _meant(values, frame, layout)
    check_unused(values, layout, layout.allocated)
    return _significant(values, layout), layout


def check_unused(values: Stored, layout: Layout, width: int) -> None:
    """`UnreadableError` where the layout is `exact` and words of `width` bits have some set outside of those stored;
    above signed ones all words may carry on the sign."""
    bits = (1 << width) - 1 & ~((1 << layout.stored) - 1 << layout.high_bit + 1 - layout.stored)
    if not bits or not layout.exact:
        return
    words = values.reshape(-1).view(f"{values.dtype.byteorder}u{values.dtype.itemsize}")
    found, above = int(np.bitwise_or.reduce(words)) & bits, bits & -1 << layout.high_bit + 1
    if not found:
        return
    if layout.signed and found == found & above:
        one, sign = np.array(above, words.dtype), np.array(1 << layout.high_bit, words.dtype)
        if np.array_equal(words & one, np.where(words & sign, one, 0)):
            return
    raise UnreadableError(f"{shown(layout.path)} has bits set outside of the {layout.stored} that its header says are "
                          "stored, and programs do not agree on whether they count; export it again, and "
                          "overlays as elements of their own.")


def _significant(values: Stored, layout: Layout) -> Stored:
    """The stored bits of each word, in one pass where the header allows it."""
    unsigned = values if values.dtype.kind == "u" else values.view(f"u{values.dtype.itemsize}")
    width = 8 * unsigned.dtype.itemsize
    shift = layout.high_bit + 1 - layout.stored
    if shift:
        unsigned = unsigned >> np.array(shift, unsigned.dtype)
    if layout.signed:
        return _twos_complement(unsigned, layout.stored)
    if layout.stored >= width - shift:
        return unsigned
    return unsigned & np.array((1 << layout.stored) - 1, unsigned.dtype)


def _twos_complement(words: Stored, bits: int) -> Stored:
    """The lower `bits` of unsigned words as signed numbers of the words' own width."""
    width = 8 * words.dtype.itemsize
    native = words.astype(words.dtype.newbyteorder("="))
    if bits >= width:
        return native.view(f"i{width // 8}")
    room = width - bits
    return (native << np.array(room, native.dtype)).view(f"i{width // 8}") >> np.array(room, f"i{width // 8}")


def _meant(values: Stored, frame: Frame, layout: Layout) -> tuple[Stored, Layout]:
    """A codestream's samples as the header means them, and the layout that holds them.

    Both state a depth, and PS3.5 8.2 wants them to agree. Where they do not, what counts is what pydicom, GDCM and
    DCMTK have in common: the samples right-aligned, unless the codestream holds the whole word of a left-aligned one.
    """
    low, high = layout.ends
    if layout.exact and frame.precision > layout.allocated:
        raise _disagree(frame, layout)
    if layout.high_bit >= layout.stored < frame.precision:
        if frame.precision <= layout.high_bit:
            raise _disagree(frame, layout)
        check_unused(values, layout, frame.precision)
        return _significant(values, layout), layout
    numbers = _numbers(values, frame, layout)
    least, most = int(numbers.min()), int(numbers.max())
    if low <= least and most <= high:
        return numbers, layout
    if layout.syntax in _MAY_LOSE and max(low - least, most - high) <= _OVERSHOOT * (high - low):
        return np.clip(numbers, low, high), layout
    if layout.syntax not in JPEG_2000 or (least < 0 and not layout.signed):
        # Of JPEG and JPEG-LS, GDCM cuts such values to the header's bits; others keep them.
        raise _disagree(frame, layout)
    deeper = replace(layout, allocated=8 if frame.precision <= 8 else 16, stored=frame.precision,
                     high_bit=frame.precision - 1)
    return numbers, deeper


def _numbers(values: Stored, frame: Frame, layout: Layout) -> Stored:
    """Samples as numbers, by the signs that header and codestream state; not yet held against the header's bits."""
    if not frame.signed and not layout.signed:
        return values
    numbers = values if frame.signed else _twos_complement(values, frame.precision)
    if frame.signed == layout.signed:
        return numbers
    if frame.precision == layout.stored:
        # The same bits, and the header says how to read them.
        words = values.view(f"u{values.dtype.itemsize}")
        return numbers if layout.signed else words & np.array((1 << layout.stored) - 1, words.dtype)
    if layout.signed and int(values.max()) < 1 << layout.stored < 1 << frame.precision:
        # The bits above were cut off negative numbers before they were compressed.
        return _twos_complement(values, layout.stored)
    if frame.precision < layout.stored and numbers.min() < 0:
        raise _disagree(frame, layout)
    return numbers


def _disagree(frame: Frame, layout: Layout) -> UnsupportedError:
    kinds = {True: "signed", False: "unsigned"}
    return UnsupportedError(
        f"{shown(layout.path)} says {layout.stored} {kinds[layout.signed]} bits (HighBit {layout.high_bit}), but its "
        f"compressed frame holds {frame.precision} {kinds[frame.signed]} bits, and readers do not agree on what that "
        "means; export it without compression.")


def _agree(frame: Frame, layout: Layout) -> None:
    if (frame.rows, frame.columns) != (layout.rows, layout.columns):
        raise UnreadableError(f"{shown(layout.path)} declares {layout.columns} x {layout.rows} pixels, but its "
                              f"compressed frame holds {frame.columns} x {frame.rows}; export it again.")
    if frame.components != 1:
        raise UnsupportedError(f"{shown(layout.path)} is a colour picture; Scanward scans grey images.")
    if not 2 <= frame.precision <= 16:
        raise UnsupportedError(f"{shown(layout.path)} stores {frame.precision} bits a pixel; Scanward reads 8 to 16.")


def _jpeg2000(data: bytes, layout: Layout) -> tuple[Stored, Frame]:
    frame = jpeg2000_frame(data)
    _agree(frame, layout)
    values = _samples("jpeg2000", with_true_length(data), layout, frame)
    # Pillow widens samples to 8 or 16 bits by a left shift, and moves signed ones up by half their range.
    width = 8 * values.dtype.itemsize
    if frame.precision < width:
        values = values >> np.array(width - frame.precision, values.dtype)
    if frame.signed:
        values = values.astype(np.int32).__isub__(1 << (frame.precision - 1)).astype(np.int16)
    return values, frame


def _rle(data: bytes, layout: Layout) -> tuple[Stored, None]:
    width = layout.allocated // 8
    segments = rle_segments(data)
    if len(segments) != width:
        raise ValueError(f"the RLE frame has {len(segments)} segments instead of {width}")
    words = DECODER.decode("rle", b"".join(segments), layout.count * width, lengths=list(map(len, segments)),
                           pixels=layout.count)
    return np.frombuffer(words, f"<u{width}"), None


def _jpeg(data: bytes, layout: Layout) -> tuple[Stored, Frame]:
    frame = jpeg_frame(data)
    _agree(frame, layout)
    if frame.process in (0xC0, 0xC1) and frame.precision == 8:
        return _samples("jpeg", data, layout, frame), frame
    return _samples("gdcm", data, layout, frame, syntax=layout.syntax, rows=layout.rows, columns=layout.columns,
                    precision=frame.precision), frame


def _jpeg_ls(data: bytes, layout: Layout) -> tuple[Stored, Frame]:
    frame = jpeg_frame(data)
    _agree(frame, layout)
    return _samples("jpeg_ls", data, layout, frame), frame


def _samples(kind: str, data: bytes, layout: Layout, frame: Frame, **asked: Any) -> Stored:
    width = 1 if frame.precision <= 8 else 2
    return np.frombuffer(DECODER.decode(kind, data, layout.count * width, **asked), f"<u{width}")


JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202",
             "1.2.840.10008.1.2.4.203")
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
"""JPEG baseline and extended, JPEG-LS near lossless."""
_MAY_LOSE = (*LOSSY, "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")
_OVERSHOOT = 0.125
"""Part of the range by which a lossy codec may pass its ends; what passes them further is no ringing at an edge."""
_CODECS: dict[str, tuple[Decoder, int]] = {
    "1.2.840.10008.1.2.4.50": (_jpeg, 256),
    "1.2.840.10008.1.2.4.51": (_jpeg, 256),
    "1.2.840.10008.1.2.4.57": (_jpeg, 8),
    "1.2.840.10008.1.2.4.70": (_jpeg, 8),
    "1.2.840.10008.1.2.4.80": (_jpeg_ls, 200_000),
    "1.2.840.10008.1.2.4.81": (_jpeg_ls, 200_000),
    **dict.fromkeys(JPEG_2000, (_jpeg2000, 200_000)),
    RLE: (_rle, 64),
}
"""Transfer syntax to its decoder, and the most pixels that one compressed byte can stand for: lossless JPEG spends a
bit on each, baseline two bits on 64, RLE two bytes on 128; a blank 4096 x 4096 film takes JPEG 2000 195 bytes."""
