"""Folders for what is fetched, which no kill leaves behind for long."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scanward.errors import ScanwardError
from scanward.formats.guard import clean

PREFIX = "scanward-fetched-"
YOUNG = 60.0
"""Seconds within which a folder may not be locked yet."""


@contextmanager
def fetching() -> Iterator[str]:
    """A folder, locked as long as it is used. Raises as `no_room`."""
    try:
        name = tempfile.mkdtemp(prefix=PREFIX)
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise no_room(error) from error
    try:
        with suppress(OSError):  # a file system that knows no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield name
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(handle)


def no_room(error: OSError) -> ScanwardError:
    """Of a folder for what is fetched that cannot be written: that is no word on any image."""
    return ScanwardError(f"{tempfile.gettempdir()} cannot be written ({clean(error.strerror)}); free some space or set "
                         "TMPDIR, and the same command goes on.")


def sweep() -> None:
    """Takes away what processes left that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime < YOUNG:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
