"""PNG and TIFF. Their resolution tags speak of paper, so the spacing is None unless the caller gives it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageOps, PngImagePlugin, TiffImagePlugin

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.arrays import grey, image_of, image_of_array, npy_values, read_npy, read_pgm
from scanward.formats.guard import (
    INFLATION,
    check_packed,
    check_size,
    cut_short,
    left_in,
    open_file,
    quiet_stderr,
    shown,
    three,
)
from scanward.formats.tiff import ORIENTATION, OURS, check_alike, check_tiff
from scanward.image import Image, Modality

_MOVING = (b"acTL", b"fcTL", b"fdAT")
"""Chunks of an animated PNG, which a browser shows in place of the image that is in it."""
_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Samples a pixel by the colour type (ISO/IEC 15948, 11.2.2); other types have one."""
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def read_png(path: Path, modality: Modality | None, spacing: tuple[float, float] | None,
             alike: bool = False) -> Image:
    """Grey of 8 or 16 bits; opaque alpha and colour whose channels are equal are dropped. With `alike`,
    `UnsupportedError` for colours of 16 bits, and for an sBIT below the depth, as writers of 12 bits in 16 say it: ITK
    shifts their values."""
    with open_file(path) as file:
        head = file.read(33)
        if len(head) < 33 or head[12:16] != b"IHDR":
            raise cut_short(path, 33, len(head))
        columns, rows = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        depth, colour = head[24], head[25]
        check_size(path, rows, columns)
        if depth not in (8, 16):
            raise UnsupportedError(f"{shown(path)} stores {depth} bits a pixel; Scanward reads PNG of 8 and 16 bits.")
        if alike and depth == 16 and colour != 0:
            raise UnsupportedError(f"{shown(path)} has colours of 16 bits, of which some programs show 8; save it as "
                                   "16-bit grey.")
        held = left_in(file)
        if held * INFLATION < rows * columns * depth // 8:
            raise cut_short(path, rows * columns * depth // 8 // INFLATION, held)
        check_packed(path, rows * columns * depth // 8 * _CHANNELS.get(colour, 1), held)
        file.seek(0)
        data = file.read()
        _check_chunks(path, data, alike)
        values = _png_values(path, data, deep_colour=depth == 16 and colour != 0)
    return image_of(path, grey(path, values)[None], "png", modality or "MG", three(spacing), depth)


def _check_chunks(path: Path, data: bytes, alike: bool) -> None:
    """Refuses what another program could show in place of the one image: animations, images said twice, and chunks
    that only some programs know though none may pass over them (ISO/IEC 15948, 5.4)."""
    at, names = 8, list[bytes]()
    while at + 12 <= len(data) and b"IEND" not in names[-1:]:
        name = data[at + 4 : at + 8]
        if name in _MOVING:
            raise UnsupportedError(f"{shown(path)} is an animation; save one image a file.")
        if name not in _CRITICAL and not name[0] & 0x20:
            raise UnsupportedError(f"{shown(path)} holds a part that the standard does not know; save it again as PNG.")
        if name != b"IDAT" or names[-1:] != [b"IDAT"]:
            names.append(name)
        length = int.from_bytes(data[at : at + 4], "big")
        if alike and name == b"sBIT" and {*data[at + 8 : at + 8 + length]} != {data[24]}:
            raise UnsupportedError(f"{shown(path)} says by sBIT that fewer bits count than it stores, by which some "
                                   "programs shift its values; save it without.")
        at += 12 + length
    twice = next((name for name in (*_CRITICAL, b"tRNS") if names.count(name) > 1), None)
    if twice is not None:
        raise UnreadableError(f"{shown(path)} says its {twice.decode()} twice, and programs do not agree on which "
                              "counts; save it again.")


def _png_values(path: Path, data: bytes, deep_colour: bool) -> npt.NDArray[Any]:
    # The plugin's own class, as Image.open measures against Pillow's global limit and warns.
    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
        clear = picture.info.get("transparency")
        if not deep_colour:
            picture.load()
            if picture.mode == "P":
                return np.asarray(picture.convert("RGB" if clear is None else "RGBA"))
            return _opaque(path, np.asarray(picture), clear)
        picture.verify()
    # Pillow cuts 16-bit colour to 8 bits; OpenCV keeps it, but takes a damaged file for whole, hence verify above.
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise UnreadableError(f"{shown(path)} is damaged and cannot be decoded.")
    return values if clear is None else _opaque(path, values[..., :3], clear)


def _opaque(path: Path, values: npt.NDArray[Any], clear: Any) -> npt.NDArray[Any]:
    """The values (y, x) or (y, x, 3), none of which is the one that a tRNS chunk makes transparent."""
    if clear is not None and (values == clear).reshape(*values.shape[:2], -1).all(-1).any():
        raise UnsupportedError(f"{shown(path)} has transparent pixels; save it without transparency.")
    return values


def read_tiff(path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    """One page of grey: 8 or 16 bits, or 32- or 64-bit floating point. MINISWHITE is flipped as MONOCHROME1 is."""
    return _tiff_image(path, *tiff_values(path), modality, spacing)


def _tiff_image(path: Path, values: npt.NDArray[Any], inverted: bool, modality: Modality | None,
                spacing: tuple[float, float] | None) -> Image:
    if inverted:
        if values.dtype.kind != "u":
            raise UnsupportedError(f"{shown(path)} stores white as its smallest signed or floating-point number; save "
                                   "it as 16-bit grey.")
        values = np.iinfo(values.dtype).max - values
    bits = 8 * values.dtype.itemsize if values.dtype.kind == "u" and values.dtype.itemsize <= 2 else None
    return image_of(path, values[None], "tiff", modality or "MG", three(spacing), bits, inverted)


def tiff_values(path: Path, alike: bool = False) -> tuple[npt.NDArray[Any], bool]:
    """(y, x) values as the page stores them, and whether small ones are white. Raises as `read`; with `alike`, as
    `check_alike`, too."""
    import tifffile  # a quarter of a second

    # Without a handler of its own the library's complaints about odd files reach the user by logging's last resort.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    with open_file(path) as file:
        (check_alike if alike else check_tiff)(path, file)
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            if [series.size for series in tiff.series] != [page.size]:
                raise UnsupportedError(f"{shown(path)} describes itself as several images; save one image a file.")
            inverted = int(page.photometric) == 0
            if int(page.compression) in OURS:
                return grey(path, page.asarray(maxworkers=1)), inverted
    with open_file(path) as file, TiffImagePlugin.TiffImageFile(file) as picture, quiet_stderr():
        turn = picture.getexif().get(ORIENTATION, 1)
        picture.load()
        # Pillow turns the picture, and tifffile does not: quarter turns are undone by each other, all else by itself
        picture.getexif()[ORIENTATION] = {6: 8, 8: 6}.get(turn, turn)
        values = grey(path, np.asarray(ImageOps.exif_transpose(picture)))
        # Pillow flips 8-bit MINISWHITE itself.
        return (255 - values if inverted and picture.mode == "L" else values), inverted


READERS: dict[str, Callable[[Path, Modality | None, tuple[float, float] | None], Image]] = {
    "png": read_png,
    "tiff": read_tiff,
    "pgm": read_pgm,
    "npy": read_npy,
}


def stored_raster(path: Path, kind: str) -> npt.NDArray[Any]:
    """(z, y, x) values as the file stores them, which float32 may not tell apart: whole ones as integers, whatever
    their type. Raises as `read`; `UnsupportedError` for what programs show each in its own way, for white as 0, and for
    numbers that 64 bits do not hold."""
    if kind in ("png", "pgm"):
        image = read_png(path, None, None, alike=True) if kind == "png" else read_pgm(path, None, None)
        return image.pixels.astype(np.int64)
    if kind == "npy":
        values = npy_values(path)
        image = image_of_array(path, values, "CT", None)  # of any sign and size
    else:
        values, inverted = tiff_values(path, alike=True)
        image = _tiff_image(path, values, inverted, "CT", None)
        if inverted:
            raise UnsupportedError(f"{shown(path)} stores white as 0, which programs heed or not; save it with black "
                                   "as 0.")
    values = values.reshape(image.shape)
    if values.dtype.kind != "f":
        return values
    if (np.rint(values) == values).all() and np.abs(values).max() < 2**63:
        return values.astype(np.int64)
    made = values.astype(np.float32 if values.dtype.itemsize < 4 else values.dtype if values.dtype.itemsize <= 8
                         else np.float64)
    if (made != values).any():
        raise UnsupportedError(f"{shown(path)} holds numbers of more than 64 bits; save them as 64-bit floating point.")
    return made
