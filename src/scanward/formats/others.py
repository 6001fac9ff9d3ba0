"""Frames that networks never see, for seals: colour, palettes, 32 bits, floating point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from scanward.formats.dataset import DEFLATED
from scanward.formats.decoder import DECODER
from scanward.formats.dicom import Header, check_planes, check_words, extended_of
from scanward.formats.fragments import JPEG, RLE, check_frames
from scanward.formats.guard import check_size
from scanward.formats.pixels import PLAIN

Values = npt.NDArray[Any]


def stored_frames(header: Header, stream: BinaryIO) -> Iterable[Values]:
    """As they are stored, colours too; `stream` stands at the pixel data."""
    rows, columns, frames = header.whole("Rows"), header.whole("Columns"), header.whole("NumberOfFrames", 1)
    samples = header.whole("SamplesPerPixel", 1)
    check_size(header.path, rows, columns, frames * samples)
    check_planes(header)
    # of absurd depths, what decodes the frames tells
    needed = rows * columns * frames * samples * min(8, max(1, header.whole("BitsAllocated", 0) // 8))
    check_frames(stream, header.path, header.syntax, frames, extended_of(header), header.little,
                 header.text("PhotometricInterpretation"), header.whole("BitsAllocated", 0), needed)
    if header.syntax.startswith(JPEG) or header.syntax == RLE:
        check_words(header, lambda: DECODER.decode_file(header.path, needed, whole_words=True))
        return DECODER.decode_file(header.path, needed)
    return _decoded(header, frames)


def _decoded(header: Header, frames: int) -> list[Values]:
    from pydicom import dcmread
    from pydicom.pixels.utils import iter_pixels, pixel_array

    subsampled = header.syntax in PLAIN and header.text("PhotometricInterpretation") == "YBR_FULL_422"
    # Of a path, pydicom does not inflate, nor look how many colours there are; `stream` shows that it is no bomb.
    source = dcmread(header.path, force=True) if subsampled or header.syntax == DEFLATED else header.path
    # Of subsampled frames, `iter_pixels` takes all but the first for full ones.
    found = (pixel_array(source, index=frame, raw=True) for frame in range(frames)) if subsampled else \
        iter_pixels(source, raw=True)
    values = [np.asarray(values) for values in found]
    check_words(header, lambda: iter_pixels(source, raw=True, correct_unused_bits=False))
    return values
