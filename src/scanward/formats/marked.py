"""Whether a file is marked as synthetic or forged by Scanward: in its own text, or in the small file beside it.

Anyone can write that, or take it away: it is said of an image, and nothing passes it over for it where images are
judged.
"""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from pathlib import Path

from scanward.errors import ScanwardError
from scanward.formats.guard import decoding, open_file
from scanward.formats.sniff import GZIP, HEAD, kind_in
from scanward.formats.sources import Source
from scanward.formats.write import FORGERY, companion_of

MOST = 1 << 16
"""Bytes of a file beside an image that are read."""
_SYNTHETIC = re.compile(rb"Scanward: synthetic image, made by version \S+ ")
_FORGED = re.compile(_SYNTHETIC.pattern + FORGERY.encode())


def synthetic_in(path: Path) -> bool:
    """Whether a file that is no DICOM, whose header has an element for it, is marked as synthetic."""
    with suppress(ScanwardError), decoding(path):
        if _SYNTHETIC.search(_head(path)):
            return True
    beside = companion_of(path)
    # ValueError and RecursionError: whatever is there that is no mark.
    with suppress(ScanwardError, ValueError, RecursionError), decoding(beside), open_file(beside) as file:
        said = json.loads(file.read(MOST))
        return isinstance(said, dict) and "scanward" in said and said.get("synthetic") is True
    return False


def forged_in(source: Source) -> bool:
    """Whether a source carries Scanward's mark of a forgery itself, in its DICOM header or in the text of another
    format; NPY has no room for one."""
    from scanward.formats.dicom import opened  # pydicom stays out of reading pictures

    path = source.paths[0]
    with suppress(ScanwardError), decoding(path):
        if kind_in(path) != "dicom":
            return _FORGED.search(_head(path)) is not None
        with opened(path, ("DerivationDescription",)) as (header, _):
            return _FORGED.search(header.text("DerivationDescription").encode()) is not None
    return False


def _head(path: Path) -> bytes:
    """A file's first bytes, unpacked where it is gzipped."""
    with open_file(path) as file:
        if file.read(2) == GZIP:
            file.seek(0)
            return gzip.GzipFile(fileobj=file).read(HEAD)
        file.seek(0)
        return file.read(HEAD)
