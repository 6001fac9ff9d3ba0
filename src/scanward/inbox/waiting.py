"""How long studies have waited, by a clock that nobody sets.

Time stamps of files are compared for being the same and never with the time of day: what a clock that was set back or
forward says of them means nothing. A process counts from when it first saw a thing; a restart counts anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

SPEED = 1 << 20
"""Bytes of objects that a scan gets through in a second, about."""
PASSED = 600.0
"""Seconds for which small studies that come later may pass a large one, at most."""


@dataclass(frozen=True)
class Seen:
    """A file or folder as it was at the last look."""

    inode: int
    changed: int
    """Its own time stamp, in ns."""
    first: float
    """When it was first seen, in seconds of the watch's clock."""
    since: float
    """When it was first seen as it is."""
    size: int = -1
    """Bytes of the files in it; -1 where nobody asked yet."""


class Watch:
    """What was seen when. Any number of threads may look and ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: dict[Path, Seen] = {}
        self._growing: list[Path] = []

    def look(self, growing: list[Path], others: list[Path]) -> None:
        """See what changed: folders that grow, and other paths. What is named no more is forgotten."""
        with self._lock:
            now, seen = self._clock(), {}
            for path in (*growing, *others):
                with suppress(OSError):
                    seen[path] = _seen(path, self._seen.get(path), now)
            self._seen, self._growing = seen, [path for path in growing if path in seen]

    def complete(self, quiet: float, longest: float) -> list[Path]:
        """Folders in which nothing changed for `quiet` seconds, or that were first seen `longest` seconds ago, in turn:
        by when they were first seen and, on top, three times what their scan will take. Small studies pass a large one,
        and it has its turn however many of them come.
        """
        with self._lock:
            now = self._clock()
            found = [path for path in self._growing
                     if now - self._seen[path].since >= quiet or now - self._seen[path].first >= longest]
            return found if len(found) < 2 else sorted(found, key=self._turn)

    def still(self, path: Path) -> float:
        """Seconds since it last changed; 0 where it was not seen yet."""
        with self._lock:
            seen = self._seen.get(path)
            return self._clock() - seen.since if seen else 0.0

    def _turn(self, path: Path) -> float:
        seen = self._seen[path]
        if seen.size < 0:
            seen = self._seen[path] = replace(seen, size=size_of(path))
        return seen.first + min(PASSED, 3 * seen.size / SPEED)


def oldest(folder: Path) -> list[Path]:
    """What lies in a folder and is no draft, by its time stamp."""
    found = []
    for entry in os.scandir(folder):
        if not entry.name.startswith("."):
            with suppress(OSError):
                found.append((entry.stat().st_mtime, Path(entry.path)))
    return [path for _, path in sorted(found)]


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, as far as they can be seen."""
    total = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):
                total += entry.stat().st_size
    return total


def _seen(path: Path, before: Seen | None, now: float) -> Seen:
    found = path.stat()
    if before is None or before.inode != found.st_ino:
        return Seen(found.st_ino, found.st_mtime_ns, now, now)
    if before.changed != found.st_mtime_ns:
        return Seen(found.st_ino, found.st_mtime_ns, before.first, now)
    return before
