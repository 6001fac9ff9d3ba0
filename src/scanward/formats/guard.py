"""What every reader shares against hostile files: limits, the one place where a decoder's exception is caught."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast, get_args

import numpy as np
import numpy.typing as npt

from scanward.arguments import check_millimetres, refused
from scanward.errors import ScanwardError, UnreadableError, UnsupportedError
from scanward.image import Modality

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number in a header as every program reads it: Python alone takes 0.1_5 for 0.15, and digits of other scripts."""
MAX_FRAME = 200_000_000
"""Pixels a frame. The largest mammograms have 30 million; a header that claims more is refused unread."""
MAX_VOXELS = 1_000_000_000
"""Voxels a volume: 512 x 512 x 3,800."""
INFLATION = 1032
"""Most bytes that one deflated byte can stand for (zlib's own documentation)."""
FREELY = 80_000_000
"""Bytes of pixels that a file may hold in however few bytes: the largest films, 40 million pixels of 16 bits, blank."""
LABELS = 2**28
"""The same of volumes of labels, which compress as far as blank ones: 512 x 512 x 1,024 of 8 bits."""
PACKED = 60
"""Most bytes of pixels a compressed byte of what is larger. Lossless images have 2 to 4, lossy ones 10 to 20; blank
ones of 4096 x 4096 have 64 in RLE, 85 in JPEG, 1,028 in deflate, 58,000 in JPEG-LS, 172,000 in JPEG 2000."""
MIN_SIDE = 32
"""Rows and columns below which there is nothing to judge."""
PLAUSIBLE = (1e-6, 1e3)
"""Millimetres of a pixel."""
_STDERR = threading.Lock()


class _Unwarned:
    """`warnings.catch_warnings` for threads, which share the filters: the first that is within ignores all warnings,
    and the last that leaves puts back what was. Each by itself would put back what another had changed."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._before.__exit__(None, None, None)


unwarned = _Unwarned()
"""`with unwarned:` keeps what libraries say of odd headers and values from the user."""


def clean(text: object, limit: int = 120) -> str:
    """`text` on one line, without control characters, at most `limit` characters: it may come from a hostile header."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def shown(path: Path | str) -> str:
    """`path` for a message: a file name may hold line breaks and bytes that are no text."""
    name = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else "?" for c in name)


def _sentence(error: BaseException) -> str:
    """The decoder's own words, as the end of our sentence."""
    words = clean(str(error).split("\n", 1)[0]).rstrip(".")
    return words if " " in words else type(error).__name__


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drops what is written to descriptor 2, for libtiff, which prints its complaints from C."""
    with _STDERR:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


@contextmanager
def decoding(path: Path | str) -> Iterator[None]:
    """Turns whatever a decoder raises into one `UnreadableError`, and keeps its warnings from the user."""
    with unwarned, np.errstate(all="ignore"):
        try:
            yield
        except ScanwardError:
            raise
        except PermissionError as error:
            raise UnreadableError(f"{shown(path)} may not be read; ask its owner for read permission.") from error
        except FileNotFoundError as error:
            raise UnreadableError(f"{shown(path)} does not exist; check the path.") from error
        except MemoryError as error:
            raise UnreadableError(f"{shown(path)} needs more memory than this machine has free.") from error
        except OSError as error:
            # Pillow raises OSError, without a number, for damaged pictures too.
            what = "is damaged and cannot be decoded" if error.errno is None else "cannot be opened"
            words = _sentence(error) if error.errno is None else clean(error.strerror)
            raise UnreadableError(f"{shown(path)} {what} ({words}).") from error
        # pydicom, Pillow, GDCM, OpenJPEG, nibabel and zlib raise KeyError, AttributeError, struct.error, RecursionError
        # and others on damaged files: no shorter list than Exception keeps a traceback from the user.
        except Exception as error:
            raise UnreadableError(f"{shown(path)} is damaged and cannot be decoded ({_sentence(error)}).") from error


def open_file(path: Path) -> BinaryIO:
    """`path` opened for reading; refuses what is no regular file, as a pipe or device would never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(path):
            raise UnreadableError(f"{shown(path)} is a link that leads to no file; correct or remove it.") from error
        raise
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"{shown(path)} is not a regular file; name an image file.")
    return cast(BinaryIO, open(path, "rb"))


def left_in(stream: BinaryIO) -> int:
    """Bytes from the position to the end; the position stays."""
    here = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return end - here


def check_size(path: Path | str, rows: int, columns: int, slices: int = 1) -> None:
    """Refuses a declared size before anything of that size is allocated."""
    if rows <= 0 or columns <= 0 or slices <= 0:
        raise UnreadableError(f"{shown(path)} declares an empty image of {columns} x {rows} pixels.")
    if rows * columns > MAX_FRAME:
        raise UnsupportedError(f"{shown(path)} declares {columns} x {rows} pixels, "
                               f"more than the {MAX_FRAME // 10**6} million that Scanward reads.")
    if rows * columns * slices > MAX_VOXELS:
        raise UnsupportedError(f"{shown(path)} declares {columns} x {rows} x {slices} voxels, "
                               f"more than the {MAX_VOXELS // 10**6} million that Scanward reads.")
    if min(rows, columns) < MIN_SIDE:
        raise UnsupportedError(f"{shown(path)} is too small to judge: {columns} x {rows} pixels, "
                               f"where {MIN_SIDE} x {MIN_SIDE} is the least.")


def cut_short(path: Path | str, needed: int, held: int) -> UnreadableError:
    """The error of a file whose header promises more bytes than follow."""
    return UnreadableError(f"{shown(path)} is cut short: its header asks for {needed:,} bytes of pixels "
                           f"and {held:,} are there; copy it again from its source.")


def check_packed(path: Path | str, needed: int, held: int, freely: int = FREELY) -> None:
    """Refuses more than `freely` bytes of pixels in fewer bytes than an image can be: whoever made them up pays with
    a few, and each that reads them with gigabytes."""
    if needed > freely and needed > PACKED * held:
        raise UnreadableError(f"{shown(path)} asks for {needed:,} bytes of pixels and holds {held:,}, in which no "
                              "image of that size fits however it is compressed; export it again.")


def finite(path: Path | str, values: npt.NDArray[np.float32]) -> None:
    """Refuses NaN and infinity."""
    if not np.isfinite(values).all():
        raise UnreadableError(f"{shown(path)} holds values that are not finite (NaN, infinity, or beyond what "
                              "32 bits hold); replace them before scanning.")


def check_arguments(modality: Modality | None, spacing: tuple[float, float] | None) -> None:
    """`ArgumentError` where `read`'s own arguments are out of range."""
    if modality is not None and not (isinstance(modality, str) and modality in get_args(Modality)):
        raise refused("modality", " or ".join(map(repr, get_args(Modality))), modality)
    if spacing is not None:
        takes = "two positive numbers of millimetres a pixel, (y, x)"
        check_millimetres(spacing, "spacing", takes, 2)
        if not all(plausible(v) for v in spacing):
            raise refused("spacing", takes, spacing)


def plausible(millimetres: float) -> bool:
    """Whether a pixel may be that large: finite, and between a nanometre and a metre."""
    return PLAUSIBLE[0] <= millimetres <= PLAUSIBLE[1]


def three(spacing: Sequence[float] | None, depth: float = 1.0) -> tuple[float, float, float] | None:
    """(y, x) spacing as (z, y, x)."""
    return None if spacing is None else (float(depth), float(spacing[0]), float(spacing[1]))


def rows_of(matrix: npt.NDArray[np.float64]) -> tuple[tuple[float, float, float, float], ...]:
    """A (3, 4) matrix as `Provenance.to_world` keeps it."""
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)
