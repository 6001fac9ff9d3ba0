"""What says how a raster's values are to be viewed, for copies of it: turned, how large, and in which tone.

Exif blocks may hold a thumbnail of what the image was before; only the orientation is taken out of them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import PngImagePlugin

from scanward.formats.guard import open_file
from scanward.formats.tiff import ORIENTATION

PNG_HEAD = 33
"""Bytes of a PNG before the chunk that follows IHDR."""
TURNS = range(1, 9)
_TONE = (b"gAMA", b"cHRM", b"sRGB", b"pHYs")
_PROFILE = b"iCCP"
_X, _Y, _UNIT, _ICC = 282, 283, 296, 34675


def png_view(path: Path) -> tuple[bytes, Pillow.Exif | None]:
    """The chunks of a PNG that say it, as they are, and an Exif block with its orientation alone."""
    with open_file(path) as file:
        head, kept = file.read(PNG_HEAD), b""
        grey = head[25:26] in (b"\0", b"\4")
        while len(start := file.read(8)) == 8 and start[4:] != b"IDAT":
            rest = file.read(int.from_bytes(start[:4], "big") + 4)
            if start[4:] in _TONE or (start[4:] == _PROFILE and grey):
                kept += start + rest
        file.seek(0)
        turn = None
        # Pillow raises SyntaxError and others: an Exif block that nobody can read turns nothing
        with PngImagePlugin.PngImageFile(file) as picture, suppress(Exception):
            turn = picture.getexif().get(ORIENTATION)
    if turn not in TURNS:
        return kept, None
    exif = Pillow.Exif()
    exif[ORIENTATION] = turn
    return kept, exif


def tiff_view(path: Path) -> dict[str, Any]:
    """The same of a TIFF, as arguments of `tifffile.imwrite`."""
    import tifffile

    with open_file(path) as file, tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        tags = {code: page.tags[code].value for code in (ORIENTATION, _X, _Y, _UNIT, _ICC) if code in page.tags}
        grey = page.samplesperpixel == 1
    view: dict[str, Any] = {}
    if tags.get(ORIENTATION) in TURNS:
        view["extratags"] = [(ORIENTATION, "H", 1, int(tags[ORIENTATION]), True)]
    sizes, unit = (tags.get(_X), tags.get(_Y)), tags.get(_UNIT, 2)
    if unit in (1, 2, 3) and all(size and size[1] for size in sizes):
        view["resolution"], view["resolutionunit"] = sizes, unit
    if isinstance(tags.get(_ICC), bytes) and grey:
        view["iccprofile"] = tags[_ICC]
    return view
