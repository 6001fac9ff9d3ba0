"""What was done already, on disk: names that outlive a kill, bounded by rotation."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

from scanward.disk import Journal, plain_file

LARGEST = 4 << 20
"""Bytes of one file; two are kept, so that the last 40,000 names or more are known."""


class Ledger:
    """Names, one a line with its checksum; a torn last line counts as not written. `has` sees what other processes
    added."""

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self._journal = Journal(path, mode=0o644, largest=largest)
        self._lock = threading.Lock()
        self._read: tuple[int, int] = (-1, 0)  # the file's inode and how much of it is known
        self._names: dict[str, None] = {}  # in the order in which they were added
        self._old_names: dict[str, None] = {}

    def has(self, name: str) -> bool:
        """Whether `name` is among the last ones added."""
        with self._lock:
            self._refresh()
            return name in self._names or name in self._old_names

    def add(self, *names: str) -> None:
        """On disk when it returns; `OSError` where it cannot be."""
        self._journal.append(*map(_line, names))

    def names(self) -> list[str]:
        """All that are known, the last added first."""
        with self._lock:
            self._refresh()
            return [*reversed(self._names), *reversed(self._old_names)]

    def _refresh(self) -> None:
        try:
            with plain_file(self._journal.path) as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._read[0]:
                    self._names, self._read = {}, (inode, 0)
                    older = self._journal.older
                    self._old_names = _names(older.read_bytes()) if older.exists() else {}
                file.seek(self._read[1])
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        whole = data.rfind(b"\n") + 1
        self._names |= _names(data[:whole])
        self._read = (self._read[0], self._read[1] + whole)


def _line(name: str) -> bytes:
    data = name.encode()
    return b"%08x %s" % (zlib.crc32(data), data)


def _names(data: bytes) -> dict[str, None]:
    found: dict[str, None] = {}
    for line in data.split(b"\n"):
        check, _, name = line.partition(b" ")
        if check == b"%08x" % zlib.crc32(name) and name:
            found[name.decode("utf-8", "replace")] = None
    return found
