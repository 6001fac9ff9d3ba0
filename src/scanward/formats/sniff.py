"""What kind of file this is, from its first bytes: names lie, and many DICOM files have none that says so."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Literal

from scanward.formats.guard import open_file
from scanward.formats.packed import NAMES

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
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (rb"\xff\xd8\xff", "a JPEG file"),
    (rb"\xff\x4f\xff\x51", "a bare JPEG 2000 stream"),
    (rb"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (rb"GIF8[79]a", "a GIF file"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "a BMP file"),
    (rb"RIFF.{4}WEBP", "a WebP file"),
    (rb"P[1346]\s+[\d#]|P7\n", "a PBM, PPM or PAM file"),
    (rb"NRRD000", "an NRRD file"),
    (rb"\x5c\x01\0\0|\0\0\x01\x5c", "the header of an Analyze volume or of a NIfTI volume in two files"),
)
"""Beginnings, as patterns, of pictures and volumes that Scanward does not read."""
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"%PDF", "a PDF file"),
    (GZIP, "a gzip file without a NIfTI volume, which has to be unpacked"),
)
_PICTURE_NAMES = re.compile(r"\.(jpe?g|jls|jp2|j2[kc]|jpx|jxl|bmp|gif|webp|heic|avif|p[bpna]m|nrrd|nhdr|mg[hz]|mnc|"
                            r"hdr|img)$", re.IGNORECASE)
_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT "
                 b"UV".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs whose length takes four bytes."""
_FIRST_GROUPS = (0x0002, 0x0004, 0x0008, 0x0010)
_CHAIN = 3
"""Elements that must follow each other in a file that says nothing else of being DICOM."""


def kind_in(path: Path) -> str | None:
    """The `kind_of` a file; raises as `open_file`."""
    with open_file(path) as file:
        return kind_of(path, file.read(HEAD))


def kind_of(path: Path, head: bytes) -> str | None:
    """`dicom`, `png`, `npy`, `tiff`, `pgm`, `nifti` or `metaimage`; None for anything else.

    `head` holds the file's first `HEAD` bytes (fewer in a short file).
    """
    if b"DICM" in (head[128:132], head[:4]):
        return "dicom"
    return _other_kind(path, head) or ("dicom" if _is_bare_dicom(head) else None)


def also_of(path: Path, head: bytes, size: int) -> str:
    """What picture or volume a DICOM file of `size` bytes is for other programs, by its preamble, where everything may
    stand; empty where it is none. Scanners write TIFF's first bytes there (PS3.10, 7.1), which count where they name a
    directory within the file, or the name says TIFF."""
    kind = _other_kind(path, head)
    if _is_tiff(head, size):
        return "a file of another format (tiff)"
    if path.suffix.lower() == ".pic" and head[54:56] == b"90":
        return "a file of another format (BioRad)"
    if kind == "tiff" and path.suffix.lower() not in (".tif", ".tiff"):
        return ""
    words = (words for magic, words in _PICTURES if re.match(magic, head, re.DOTALL))
    return f"a file of another format ({kind})" if kind else next(words, "")


def _is_tiff(head: bytes, size: int) -> bool:
    """Whether any program could find a first directory: of TIFF and what was made of it, in both byte orders."""
    if head[:2] not in (b"II", b"MM", b"EP"):
        return False
    place = head[8:16] if 43 in head[2:4] else head[4:8]
    return 8 <= int.from_bytes(place, "big" if head[:2] == b"MM" else "little") < size


def _other_kind(path: Path, head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if re.match(rb"P[25](\s+[\d#]|#)", head):
        return "pgm"
    name = path.name.lower()
    if (name.endswith((".mha", ".mhd")) and b"NDims" in head) or re.match(rb"(ObjectType|NDims)\s*[=:]", head):
        return "metaimage"
    return "nifti" if _is_nifti(name, head) else None


def foreign(head: bytes) -> str:
    """What an unusable file is, for a message."""
    for magic, words in _PICTURES + _OTHERS:
        if re.match(magic, head, re.DOTALL):
            return words
    return "of no format that Scanward knows"


def is_foreign_picture(path: Path, head: bytes) -> bool:
    """Whether a file that is of no `kind_of` is a picture or volume all the same, or may pack some: by its name, its
    first bytes, or what gzip packed."""
    inside = _unzipped(head)
    named = _PICTURE_NAMES.search(path.name) or NAMES.search(path.name)
    return bool(named or (inside and kind_of(Path(), inside)) or any(
        re.match(magic, part, re.DOTALL) for magic, _ in _PICTURES for part in (head, inside)))


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
    """A file without the 128-byte preamble: elements of ascending tags follow each other from its first byte on."""
    return any(_is_chain(head, *syntax) for syntax in (("little", True), ("big", True), ("little", False)))


def _is_chain(head: bytes, order: Literal["little", "big"], explicit: bool) -> bool:
    """Whether the first `_CHAIN` elements are plausible; fewer, where a value goes on behind a whole `head`, or other
    syntax follows the file meta group."""
    at, before = 0, -1
    for done in range(_CHAIN):
        enough = done > (0 if explicit else 1)
        if at + 12 > len(head):
            return enough and len(head) >= HEAD
        group, element = (int.from_bytes(head[at + i:at + i + 2], order) for i in (0, 2))
        if explicit and before >> 16 == 2 != group:
            return True
        vr, tag = head[at + 4:at + 6], group << 16 | element
        start, size = (4, 4) if not explicit else (8, 4) if vr in _LONG else (6, 2)
        length = int.from_bytes(head[at + start:at + start + size], order)
        if tag <= before or not (done or group in _FIRST_GROUPS) or (explicit and vr not in _VRS) or (
                element == 0 and length != 4):
            return False
        at, before = at + start + size, tag
        if size == 4 and length == 0xFFFFFFFF:  # a sequence, which begins with an item or its end
            return enough and head[at:at + 2] in (b"\xfe\xff", b"\xff\xfe")
        at += length
    return True
