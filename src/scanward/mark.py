"""The mark in the pictures and masks that Scanward makes for people, by which a search tells them from images.

Anyone can set it. So a search that passes such a file over says so, and a file that is named itself is scanned.
"""

from __future__ import annotations

import zlib

TEXT = b"Scanward made this for people; it is no image to be scanned."
"""In NIfTI the header's `descrip`, which has room for 80 bytes."""
_BODY = b"tEXtScanward\0" + TEXT
_CHUNK = (len(_BODY) - 4).to_bytes(4, "big") + _BODY + zlib.crc32(_BODY).to_bytes(4, "big")
_AFTER = 33
"""Bytes of a PNG's signature and its first chunk, IHDR."""
_HEADER, _DESCRIP = 352, 148
"""Bytes of a NIfTI-1 header, and where its description begins."""


def marked_png(data: bytes) -> bytes:
    """A PNG file with the mark behind its first chunk."""
    return data[:_AFTER] + _CHUNK + data[_AFTER:]


def is_marked(head: bytes, kind: str) -> bool:
    """Whether a file of this kind, `png` or `nifti`, that begins with `head` carries the mark. Raises `zlib.error` for
    damaged gzip."""
    if kind == "png":
        return head[_AFTER:_AFTER + len(_CHUNK)] == _CHUNK
    if head.startswith(b"\x1f\x8b"):
        head = zlib.decompressobj(31).decompress(head, _HEADER)
    return head[_DESCRIP:_DESCRIP + len(TEXT)] == TEXT
