"""What was done already, on disk: names that outlive a kill, bounded by rotation."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

LARGEST = 4 << 20
"""Bytes of one file; two are kept, so that the last 40,000 names or more are known."""


class Ledger:
    """Names, one a line with its checksum, appended and synced; a torn last line counts as not written.

    Several processes may read; one at a time may append. `has` sees what other processes appended.
    """

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self._path, self._largest = path, largest
        self._older = path.with_name(path.name + ".1")
        self._lock = threading.Lock()
        self._read: tuple[int, int] = (-1, 0)  # the file's inode and how much of it is known
        self._names: set[str] = set()
        self._old_names: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether `name` is among the last ones added."""
        with self._lock:
            self._refresh()
            return name in self._names or name in self._old_names

    def add(self, *names: str) -> None:
        """On disk when it returns; `OSError` where it cannot be."""
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._rotate()
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(handle).st_size
                # What a kill or a full disk left half written must not swallow this line too.
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                data = (b"\n" if torn else b"") + b"".join(_line(name) for name in names)
                if os.write(handle, data) < len(data):
                    raise OSError(28, "No space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)
            if size == 0:
                sync_folder(self._path.parent)

    def _rotate(self) -> None:
        if self._path.exists() and self._path.stat().st_size >= self._largest:
            self._path.replace(self._older)
            sync_folder(self._path.parent)

    def _refresh(self) -> None:
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._read[0]:
                    self._names, self._read = set(), (inode, 0)
                    self._old_names = _names(self._older.read_bytes()) if self._older.exists() else set()
                file.seek(self._read[1])
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        whole = data.rfind(b"\n") + 1
        self._names |= _names(data[:whole])
        self._read = (self._read[0], self._read[1] + whole)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(name: str) -> bytes:
    data = name.encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _names(data: bytes) -> set[str]:
    found = set()
    for line in data.split(b"\n"):
        check, _, name = line.partition(b" ")
        if check == b"%08x" % zlib.crc32(name) and name:
            found.add(name.decode("utf-8", "replace"))
    return found
