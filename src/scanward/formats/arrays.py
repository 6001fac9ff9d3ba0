"""NPY and PGM, and the common last step from an array of a file without a medical header to an `Image`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.guard import check_size, clean, cut_short, finite, left_in, open_file, shown, three
from scanward.image import Image, Modality, Provenance

ARRAY = "The array"
"""What messages call an image that comes from memory."""
DEPTHS = (8, 10, 12, 14, 16)
EXACT = 2**24
"""Whole numbers up to which float32 holds every one."""
_COLOUR = "is a colour picture; Scanward scans grey images."


def image_of(
    path: Path | None,
    values: npt.NDArray[Any],
    kind: str,
    modality: Modality,
    spacing: tuple[float, float, float] | None,
    bits: int | None = None,
    inverted: bool = False,
) -> Image:
    """(z, y, x) whole or floating-point `values` as an `Image`; the values are stored values (MG) or HU (CT).

    `bits` None means the smallest of `DEPTHS` that holds the largest value. Floating-point values count as whole where
    all of them are. Raises `UnreadableError` for NaN and infinity, `UnsupportedError` for mammograms below 0, above
    65,535 or of several slices.
    """
    pixels = np.ascontiguousarray(values, dtype=np.float32)
    where = path or ARRAY
    finite(where, pixels)
    whole = values.dtype.kind in "iu" or bool(np.all(np.rint(pixels) == pixels))
    if modality == "CT":
        depth = bits or 16
    else:
        if pixels.shape[0] > 1:
            raise UnsupportedError(f"{shown(where)} is a volume of {pixels.shape[0]} slices, and a mammogram is one "
                                   "image; save one slice, or say that the modality is CT.")
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 65535:
            raise UnsupportedError(f"{shown(where)} holds values from {low:g} to {high:g}, where a mammogram's lie in "
                                   "0 to 65535; rescale them, or say that the modality is CT.")
        depth = bits or next(b for b in DEPTHS if high <= 2**b - 1)
        if values.dtype.kind == "i":  # a sign takes a bit: what is made of the image must fit the file's own type
            depth = min(depth, np.iinfo(values.dtype).bits - 1)
    grid = None
    if modality == "CT" and values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        limits = np.iinfo(values.dtype)
        grid = (1.0, float(limits.min), float(limits.max))
    return Image(pixels, modality, spacing, depth, whole, inverted, Provenance(path=path, format=kind), grid)


def grid_of(stored: np.dtype[Any], slope: float = 1.0, intercept: float = 0.0) -> tuple[float, float, float] | None:
    """`Image.grid` of a CT whose file stores numbers of this type. Of wide ones only those that float32 holds, so that
    steps are counted from near 0."""
    if stored.kind not in "iu":
        return None
    ends = max(int(np.iinfo(stored).min), -EXACT), min(int(np.iinfo(stored).max), EXACT)
    low, high = sorted(slope * end + intercept for end in ends)
    return abs(slope), low, high


def grey(path: Path | str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(y, x) from (y, x) or (y, x, channels) where the channels are one grey; `UnsupportedError` otherwise."""
    if values.ndim == 2:
        return values
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4:
        raise UnsupportedError(f"{shown(path)} is not a single grey image.")
    channels = values.shape[2]
    if channels in (2, 4) and values.dtype.kind != "u":
        raise UnsupportedError(f"{shown(path)} has an alpha channel of {values.dtype} numbers; save it without one.")
    if channels in (2, 4) and not (values[..., -1] == np.iinfo(values.dtype).max).all():
        raise UnsupportedError(f"{shown(path)} has transparent pixels; save it without an alpha channel.")
    first = values[..., 0]
    if channels >= 3 and not ((first == values[..., 1]).all() and (first == values[..., 2]).all()):
        raise UnsupportedError(f"{shown(path)} {_COLOUR}")
    return first


def read_npy(path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    """A NumPy array: (y, x) is a mammogram and (z, y, x) a CT volume in HU unless `modality` says otherwise."""
    return image_of_array(path, npy_values(path), modality, spacing)


def npy_values(path: Path) -> npt.NDArray[Any]:
    """The array as it is stored. Raises as `read`."""
    with open_file(path) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise UnsupportedError(f"{shown(path)} is of NPY version {version[0]}; save it as version 1.")
        check_array(path, shape, dtype)
        end = file.tell()
        file.seek(0)
        head = file.read(end)
        if any(head.count(word) != 1 for word in (b"descr", b"fortran_order", b"shape")):
            raise UnreadableError(f"{shown(path)} says a thing twice in its header; save it again.")
        needed, held = int(np.prod(shape, dtype=object)) * dtype.itemsize, left_in(file)
        if held < needed:
            raise cut_short(path, needed, held)
        if held > needed:
            raise UnreadableError(f"{shown(path)} holds {held:,} bytes of values where its header asks for {needed:,}; "
                                  "save it again.")
        return np.frombuffer(file.read(needed), dtype).reshape(shape, order="F" if fortran else "C")


def image_of_array(path: Path | None, values: npt.NDArray[Any], modality: Modality | None,
                   spacing: tuple[float, float] | None) -> Image:
    """An array as `read_npy` takes it, from a file or (`path` None) from memory. Raises as `image_of`."""
    if path is None:
        check_array(ARRAY, values.shape, values.dtype)
    volume = grey(path or ARRAY, values)[None] if values.ndim == 2 or values.shape[2] == 1 else values
    kind: Modality = modality or ("CT" if volume.shape[0] > 1 else "MG")
    image = image_of(path, volume, "npy" if path else "", kind, three(spacing))
    return dataclasses.replace(image, grid=grid_of(values.dtype) if kind == "CT" else None)


def check_array(path: Path | str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "iuf" or dtype.hasobject:
        raise UnsupportedError(f"{shown(path)} holds values of type {clean(dtype, 40)}; save whole or floating-point "
                               "numbers.")
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) >= 32:
        raise UnsupportedError(f"{shown(path)} {_COLOUR}")
    if len(shape) not in (2, 3):
        raise UnsupportedError(f"{shown(path)} has {len(shape)} axes; save an image (y, x) or a volume (z, y, x).")
    if len(shape) == 3 and shape[2] > 1:
        check_size(path, shape[1], shape[2], shape[0])
    else:
        check_size(path, shape[0], shape[1])


def read_pgm(path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    """A portable graymap, plain (P2) or raw (P5); the depth is the number of bits of its largest value."""
    with open_file(path) as file:
        magic, columns, rows, largest = pgm_head(file, path)
        check_size(path, rows, columns)
        if not 2 <= largest <= 65535:
            raise UnsupportedError(f"{shown(path)} has a largest value of {largest}; Scanward reads graymaps of 8 to "
                                   "16 bits.")
        read_body = _plain_body if magic == b"P2" else _raw_body
        values = read_body(file, path, rows * columns, largest)
    if values.max() > largest:
        raise UnreadableError(f"{shown(path)} holds values above the {largest} that its header allows; save it again.")
    return image_of(path, values.reshape(1, rows, columns), "pgm", modality or "MG", three(spacing),
                    largest.bit_length())  # fmt: skip


def pgm_head(file: BinaryIO, path: Path) -> tuple[bytes, int, int, int]:
    """P2 or P5, columns, rows and the largest value of a graymap; the file then stands at its values."""
    magic = file.read(2)
    columns, rows, largest = (_pgm_number(file, path) for _ in range(3))
    return magic, columns, rows, largest


def _pgm_number(file: BinaryIO, path: Path) -> int:
    """The next number of the header; comments run from # to the line's end."""
    digits = b""
    while len(digits) <= 9:
        byte = file.read(1)
        if byte == b"#" and not digits:
            comment = file.readline(4096)
            if not comment.endswith(b"\n") or b"\r" in comment.removesuffix(b"\r\n"):
                break  # programs do not agree on where such a one ends
        elif byte.isdigit():
            digits += byte
        elif byte.isspace() and not digits:
            continue
        elif byte.isspace():
            return int(digits)
        else:
            break
    raise UnreadableError(f"{shown(path)} has a damaged PGM header; save it again.")


def _raw_body(file: BinaryIO, path: Path, count: int, largest: int) -> npt.NDArray[Any]:
    width = 1 if largest < 256 else 2
    held = left_in(file)
    if held < count * width:
        raise cut_short(path, count * width, held)
    values = np.frombuffer(file.read(count * width), f">u{width}")
    if file.read(4096).strip():
        raise UnsupportedError(f"{shown(path)} holds more than one image; save one image a file.")
    return values


def _plain_body(file: BinaryIO, path: Path, count: int, largest: int) -> npt.NDArray[Any]:
    held = left_in(file)
    if held < 2 * count - 1:
        raise cut_short(path, 2 * count - 1, held)
    data = file.read()
    text = re.sub(rb"#[^\n]*", b"", data)
    words = text.split()
    if re.search(rb"#[^\n]*\r[^\n]", data) or not all(word.isdigit() for word in words):
        raise UnreadableError(f"{shown(path)} has a damaged PGM body; save it again.")
    if len(words) != count:
        raise UnreadableError(f"{shown(path)} holds {len(words):,} values where its header asks for {count:,}; save it "
                              "again.")
    return np.array(words).astype(np.int64)
