"""What compressed files and archives hold, as far as a search for words in them needs to know."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

from scanward.formats.guard import open_file

NAMES = re.compile(r"\.((dcm|dicom|png|tiff?|npy|pgm|mh[ad]|hdr|img|nii|tar)\.(gz|bz2|xz|zst)|"
                   r"tar|tgz|tbz2?|txz|zip|7z|rar)$", re.IGNORECASE)
"""Of what may pack images."""
_OPENERS: dict[bytes, Callable[[Path], BufferedIOBase]] = {b"\x1f\x8b": gzip.GzipFile, b"BZ": bz2.BZ2File,
                                                           b"\xfd7": lzma.LZMAFile}
_PIECE, _MOST = 1 << 20, 1 << 28
"""Bytes read at once, and of everything that is unpacked."""


def names_any(path: Path, words: Collection[str]) -> bool:
    """Whether any of the words stands in what a file packs, up to 256 MB of it: gzip, bzip2, xz, ZIP and tar; not in
    what is encrypted, nor packed twice."""
    wanted = [word.encode("ascii", "ignore") for word in words if word]
    if not wanted:
        return False
    longest = max(map(len, wanted))
    rest, left = b"", _MOST
    with suppress(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        for piece in _pieces(path):
            if any(word in rest + piece for word in wanted):
                return True
            rest, left = piece[-longest:], left - len(piece)
            if left < 0:
                break
    return False


def _pieces(path: Path) -> Iterator[bytes]:
    with open_file(path) as file:
        head = file.read(512)
    if head.startswith(b"PK\3\4"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as inner:
                    while piece := inner.read(_PIECE):
                        yield piece
        return
    unpacked = _OPENERS.get(head[:2])
    if unpacked is None and head[257:262] != b"ustar":
        return
    with path.open("rb") if unpacked is None else unpacked(path) as stream:
        while piece := stream.read(_PIECE):
            yield piece
