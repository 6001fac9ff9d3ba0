"""Files of the next image, fetched while one is judged: over a network a core would wait for each otherwise."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from scanward.archive.unit import Archive, Unit
from scanward.errors import ScanwardError
from scanward.formats import Source
from scanward.judging.watched import LOOK, still_alive, told_instead

PATIENCE = 1.0
"""Seconds that what nobody wants any more may take to end before its thread is left behind."""


class _DroppedError(Exception):
    """Nobody wants it any more."""


@dataclass
class _Job:
    """A unit on its way. Its files are there once it is `done`, until it is closed."""

    unit: Unit
    done: threading.Event = field(default_factory=threading.Event)
    heard: threading.Event = field(default_factory=threading.Event)
    """Set by each sign of life."""
    source: Source | None = None
    error: BaseException | None = None
    _dropped: bool = False
    _files: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, archive: Archive) -> None:
        """In a thread of its own."""
        try:
            with told_instead(self._hear):
                self.source = self._files.enter_context(archive.fetched(self.unit))
        except BaseException as error:
            self.error = error
        with self._lock:
            self.done.set()
            if self._dropped:
                self._files.close()

    def _hear(self) -> None:
        if self._dropped:
            raise _DroppedError
        self.heard.set()

    def got(self) -> Source:
        """The files; waits for them, and passes signs of life on. Raises as `Archive.fetched`."""
        while not self.done.wait(LOOK):
            if self.heard.is_set():
                self.heard.clear()
                still_alive()
        if self.error is not None:
            raise self.error
        if self.source is None:
            raise ScanwardError("Nothing was fetched.")
        return self.source

    def drop(self) -> None:
        """Its files go, now or when they have come."""
        with self._lock:
            self._dropped = True
            if self.done.is_set():
                self._files.close()


class Ahead:
    """Of one worker: the files of one unit, and those of one more."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._jobs: queue.SimpleQueue[_Job | None] | None = None
        self._next: _Job | None = None
        self.following: Unit | None = None
        """What is likely to be wanted after what is fetched next."""

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Source]:
        """As `Archive.fetched`. Once the files are there those of the unit that follows are fetched."""
        job = self._taken(unit)
        try:
            source = job.got()
            if self.following is not None and self.following != unit:
                self._next = self._started(self.following)
            yield source
        finally:
            job.drop()

    def _taken(self, unit: Unit) -> _Job:
        job, self._next = self._next, None
        if job is not None and job.unit == unit:
            return job
        if job is not None:
            job.drop()
            if not job.done.wait(PATIENCE):
                self._leave()
        return self._started(unit)

    def _started(self, unit: Unit) -> _Job:
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._archive, self._jobs), name="fetching", daemon=True).start()
        job = _Job(unit)
        self._jobs.put(job)
        return job

    def _leave(self) -> None:
        if self._jobs is not None:
            self._jobs.put(None)
        self._jobs = None

    def close(self) -> None:
        """Lets go of what was fetched in vain."""
        if self._next is not None:
            self._next.drop()
            self._next.done.wait(PATIENCE)
        self._leave()


def _serve(archive: Archive, jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.fetch(archive)
