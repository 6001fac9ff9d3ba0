"""What kind of file this is, from its first bytes: names lie, and many DICOM files have none that says so."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

HEAD = 4096
"""Bytes that `kind_of` wants to see."""
GZIP = b"\x1f\x8b"
NIFTI_HEAD = 540
"""Bytes of the longer NIfTI header."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\x93NUMPY", "npy"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
)
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG file"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 stream"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (b"GIF8", "a GIF file"),
    (b"BM", "a BMP file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF file"),
    (GZIP, "a gzip file without a NIfTI volume, which has to be unpacked"),
)


def kind_of(path: Path, head: bytes) -> str | None:
    """`dicom`, `png`, `npy`, `tiff`, `pgm`, `nifti` or `metaimage`; None for anything else.

    `head` holds the file's first `HEAD` bytes (fewer in a short file).
    """
    if b"DICM" in (head[128:132], head[:4]):
        return "dicom"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if re.match(rb"P[25](\s+[\d#]|#)", head):
        return "pgm"
    name = path.name.lower()
    if (name.endswith((".mha", ".mhd")) and b"NDims" in head) or re.match(rb"(ObjectType|NDims)\s*[=:]", head):
        return "metaimage"
    if _is_nifti(name, head):
        return "nifti"
    return "dicom" if _is_bare_dicom(head) else None


def foreign(head: bytes) -> str:
    """What an unusable file is, for a message."""
    for magic, words in _FOREIGN:
        if head.startswith(magic):
            return words
    return "of no format that Scanward knows"


def _is_nifti(name: str, head: bytes) -> bool:
    if head.startswith(GZIP):
        return name.endswith(".nii.gz") or _is_nifti("", _unzipped(head))
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return head[344:348] == b"n+1\0"
    return head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:8] == b"n+2\0"


def _unzipped(head: bytes) -> bytes:
    """The first bytes of what gzip packed, in however many members."""
    made = b""
    while head.startswith(GZIP) and len(made) < NIFTI_HEAD:
        engine = zlib.decompressobj(wbits=31)
        try:
            made += engine.decompress(head, NIFTI_HEAD)
        except zlib.error:
            break
        head = engine.unused_data
    return made


def _is_bare_dicom(head: bytes) -> bool:
    """A file without the 128-byte preamble: it begins with the file meta group, or with a plausible element of group
    0008."""
    if len(head) >= 16 and head[:2] == b"\x02\0" and head[2:4] in (b"\0\0", b"\1\0", b"\2\0", b"\x10\0"):
        return head[4:6] in (b"UL", b"OB", b"UI") or int.from_bytes(head[4:8], "little") <= 256
    if len(head) < 16 or head[:2] not in (b"\x08\0", b"\0\x08"):
        return False
    order = "little" if head[0] == 8 else "big"
    if int.from_bytes(head[2:4], order) > 0x0070:  # type: ignore[arg-type]
        return False
    if head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO"):
        return True
    return order == "little" and int.from_bytes(head[4:8], "little") <= 256
