"""Runs that nothing ends which an item does to its process: it may die, hang, or take all memory there is."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol

from scanward.errors import InputError, ScanwardError
from scanward.judging.batch import Answer, Done, Item, MakeWork, made_ready, noted, tried, uninterrupted

LOOK = 0.25
"""Seconds between two looks at the time and the memory that items take."""
STARTUP = 600.0
"""Seconds for loading what the work needs."""
STILLBORN = 3
"""Processes in a row that may die before they are ready."""
GONE = 2.0
"""Seconds in which a process that was killed should be gone; one that waits for a dead disk is left behind."""


class SetAsideError(InputError):
    """An item ended its process, or took more time or memory than it may, at every try."""


@dataclass(frozen=True)
class Limits:
    """What one item may take."""

    seconds: float = 900.0
    """Without a sign of life; `still_alive` gives one."""
    mb: float = 8192.0
    """That its process holds, libraries and networks included (Linux)."""
    tries: int = 2


@dataclass(eq=False)
class _Job(Generic[Item]):
    item: Item
    tries: int = 0
    alone: bool = False
    """No other is made ready while it is worked at, nor it while another is: one of them ended a process."""
    why: list[str] = field(default_factory=list)


class Crew(Generic[Item, Answer]):
    """Spawned processes that are started anew when they die. To be closed."""

    def __init__(self, make_work: MakeWork[Item, Answer], workers: int, limits: Limits, threads: int = 1) -> None:
        """`make_work`, items and answers are pickled. What `make_work` raises, `work` raises. Each process has so many
        threads."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `Processes`
        for name in ("OMP_NUM_THREADS", "SCANWARD_THREADS"):
            os.environ.setdefault(name, str(threads))
        self._limits, self._make = limits, make_work
        self._theirs, self._ours = get_context("spawn").Pipe(duplex=False)
        self._stillborn = 0
        self._hands: list[_Hand[Item]] = []
        self._workers = workers

    def work(self, items: Iterable[Item | None]) -> Iterator[Done[Item, Answer]]:
        """What became of every item, as they are done; an item that is None says that there is none yet.

        What the work raises of `ScanwardError` is an answer; any other exception, a death, and what takes more than it
        may, is tried again. Work that has a method `ahead` is told by it, before an item, which one it is likely to
        be given next, or None; and, if it has such a method, to `close`, in the end.
        """
        begun = _begun(iter(items))
        if begun is None:
            return
        todo, again = _Todo(begun), deque[_Job[Item]]()
        while True:
            self._complete()
            idle = [hand for hand in self._hands if hand.ready and hand.job is None]
            if idle:
                todo.draw(len(idle) + sum(hand.ahead for hand in self._hands))
            for hand in idle:
                self._give(hand, todo, again)
            if todo.over and not again and all(hand.job is None for hand in self._hands):
                return
            yield from self._heard(again)

    def _give(self, hand: _Hand[Item], todo: _Todo[Item], again: deque[_Job[Item]]) -> None:
        """What it made ready, if nobody else has it; or what is to be tried again; or what nobody makes ready, or in
        the end what another does."""
        own = hand.next if hand.next in todo.drawn else None
        job = own or (again.popleft() if again else self._free(todo) or next(iter(todo.drawn), None))
        if job is not None:
            with suppress(ValueError):  # of what is tried again
                todo.drawn.remove(job)
            hand.next = None
            following = self._free(todo) if hand.ahead and not again and not job.alone else None
            hand.take(job, None if following is None or following.alone else following)

    def _free(self, todo: _Todo[Item]) -> _Job[Item] | None:
        kept = [hand.next for hand in self._hands]
        return next((job for job in todo.drawn if job not in kept), None)

    def _complete(self) -> None:
        try:
            while len(self._hands) < self._workers:
                self._hands.append(_Hand(self._make, self._theirs))
        except OSError as error:  # no memory, or as many processes as there may be
            why = f"No other worker process can be started ({error.strerror}); give fewer workers."
            raise ScanwardError(why) from error

    def _heard(self, again: deque[_Job[Item]]) -> Iterator[Done[Item, Answer]]:
        """What comes within a `LOOK`, and what is overdue then; jobs that failed go to `again`."""
        lines = {hand.line: hand for hand in self._hands}
        for line in wait(list(lines), timeout=LOOK):
            hand = lines[line]  # type: ignore[index]
            try:
                word, value = hand.line.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                yield from self._died(hand, again, "")
                continue
            if word == "unmade":
                raise value
            if word == "done":
                job, hand.job = hand.job, None
                found, error = value
                if job is not None:
                    yield from self._finished(job, found, error, again)
            elif word == "ready":
                self._stillborn, hand.ready, hand.ahead = 0, True, value
            hand.since = time.monotonic()
        for hand in list(self._hands):
            if why := hand.overdue(self._limits):
                yield from self._died(hand, again, why)

    def _finished(self, job: _Job[Item], found: Answer | None, error: Exception | None,
                  again: deque[_Job[Item]]) -> Iterator[Done[Item, Answer]]:
        job.tries += 1
        if error is None or isinstance(error, ScanwardError) or job.tries >= self._limits.tries:
            yield Done(job.item, found, error, job.tries)
        else:
            again.append(job)

    def _died(self, hand: _Hand[Item], again: deque[_Job[Item]], why: str) -> Iterator[Done[Item, Answer]]:
        """Clears up after a process, and starts none yet."""
        how = hand.end()
        self._hands.remove(hand)
        job = hand.job
        for one in (job, hand.next):
            if one is not None:
                one.alone = True
        if job is None:
            self._stillborn += not hand.ready
            if self._stillborn >= STILLBORN:
                raise ScanwardError(f"A worker process died before it was ready ({why or how}), perhaps for want of "
                                    "memory; give fewer workers or more memory.")
            return
        job.tries += 1
        job.why.append(why or f"its process died ({how})")
        if job.tries < self._limits.tries:
            again.append(job)
            return
        reasons = ", then ".join(dict.fromkeys(job.why))
        yield Done(job.item, None, SetAsideError(f"It was set aside after {job.tries} tries: {reasons}; look at it by "
                                                 "other means."), job.tries)

    def close(self) -> None:
        """Ends all processes."""
        for hand in self._hands:
            hand.dismiss()
        patience = time.monotonic() + GONE
        for hand in self._hands:
            hand.process.join(max(0.0, patience - time.monotonic()))
        for hand in self._hands:
            hand.end()
        self._hands.clear()
        self._ours.close()
        self._theirs.close()


class _Todo(Generic[Item]):
    """Items that were drawn and are given to nobody yet."""

    def __init__(self, items: Iterator[Item | None]) -> None:
        self._items, self._more = items, True
        self.drawn: list[_Job[Item]] = []

    @property
    def over(self) -> bool:
        return not self._more and not self.drawn

    def draw(self, wanted: int) -> None:
        """Has so many, or all that there are yet."""
        while self._more and len(self.drawn) < wanted:
            try:
                item = next(self._items)
            except StopIteration:
                self._more = False
                return
            if item is None:
                return
            self.drawn.append(_Job(item))


def _begun(items: Iterator[Item | None]) -> Iterator[Item | None] | None:
    """The items, once there is one: for none no process is started."""
    for item in items:
        if item is not None:
            return chain([item], items)
        time.sleep(LOOK)
    return None


class _Hand(Generic[Item]):
    """One process, and the job it has in hand."""

    def __init__(self, make_work: MakeWork[Item, Any], life: Connection) -> None:
        spawn = get_context("spawn")
        self.line, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(make_work, theirs, life), name="scanward-worker", daemon=True)
        with uninterrupted():
            self.process.start()
        theirs.close()
        self.job: _Job[Item] | None = None
        self.next: _Job[Item] | None = None
        """What it makes ready meanwhile."""
        self.ready = self.ahead = False
        self.since = time.monotonic()

    def take(self, job: _Job[Item], following: _Job[Item] | None) -> None:
        """One that just died is noticed when it is listened to."""
        self.job, self.next, self.since = job, following, time.monotonic()
        with suppress(OSError):
            self.line.send((job.item, following and following.item))

    def dismiss(self) -> None:
        """Kills the process, but only tells one that has nothing in hand to clear up what it made ready, and to end."""
        if self.ahead and self.job is None:
            with suppress(OSError):
                self.line.send(None)
                return
        self.process.kill()

    def overdue(self, limits: Limits) -> str:
        """What of the limits the job in hand goes beyond, a clause; empty where it keeps to them."""
        seconds = time.monotonic() - self.since
        if not self.ready:
            return f"it was not ready in {STARTUP:.0f} seconds" if seconds > STARTUP else ""
        if self.job is None:
            return ""
        if seconds > limits.seconds:
            return f"it took more than {limits.seconds:g} seconds"
        if memory_of(self.process.pid) > limits.mb:
            return f"it took more than {limits.mb:g} MB of memory"
        return ""

    def end(self) -> str:
        """Kills the process if it lives; how it ended."""
        code = self.process.exitcode
        if code is None:
            self.process.join(0.1)  # a death is heard of a moment before it is over
            code = self.process.exitcode
        self.process.kill()
        self.process.join(GONE)
        self.line.close()
        with suppress(ValueError):
            return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return f"exit code {code}"


class Watching(Protocol):
    """Works items off under limits. Closing the iterator ends the run."""

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item | None]) -> Iterator[Done[Item, Answer]]:
        """What became of every item, as they are done; an item that is None says that there is none yet."""


@dataclass(frozen=True)
class Watched:
    """So many spawned processes, under limits; as `Crew`."""

    workers: int
    limits: Limits = Limits()

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item | None]) -> Iterator[Done[Item, Answer]]:
        """As `Watching`."""
        crew = Crew(make_work, self.workers, self.limits, max(1, cores() // self.workers))
        try:
            yield from crew.work(items)
        finally:
            crew.close()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_of(pid: int | None) -> float:
    """MB that a process holds for itself alone; 0 where that cannot be told."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = file.read().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGESIZE") / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


_LINE: list[Connection] = []
_THREAD = threading.local()


def still_alive() -> None:
    """To be called by work that waits for others: its time begins anew."""
    told = getattr(_THREAD, "told", None)
    if told is not None:
        told()
        return
    for line in _LINE:
        line.send(("alive", None))


@contextmanager
def told_instead(told: Callable[[], None]) -> Iterator[None]:
    """In this thread `still_alive` calls `told`: what it does is not what the time is measured of."""
    _THREAD.told = told
    try:
        yield
    finally:
        _THREAD.told = None


def _serve(make_work: Callable[[], Callable[[Any], Any]], line: Connection, life: Connection) -> None:
    made_ready(life)
    try:
        work = make_work()
    except Exception as error:
        line.send(("unmade", _sendable(noted(error))))
        return
    _LINE[:] = [line]
    ahead = getattr(work, "ahead", None)
    line.send(("ready", ahead is not None))
    with suppress(EOFError):
        while (given := line.recv()) is not None:
            item, following = given
            if ahead is not None:
                ahead(following)
            found, raised = tried(work, item)
            line.send(("done", (found, None if raised is None else _sendable(noted(raised)))))
    getattr(work, "close", lambda: None)()


def _sendable(error: Exception) -> Exception:
    """The error, or where it cannot be taken to another process what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
