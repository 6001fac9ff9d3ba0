"""Runs over many items: one after another in this process, or side by side in processes of their own.

A run draws its items only as fast as it works them off, so that they may come from a listing without end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import cv2

from scanward.errors import ScanwardError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MakeWork = Callable[[], Callable[[Item], Answer]]
"""Loads what the work needs and gives the work; what it raises ends the run, since every item would meet it."""

_Tried = tuple[Answer | None, Exception | None]

AHEAD = 4
"""Items a process that are drawn before they are asked for."""


@dataclass(frozen=True)
class Done(Generic[Item, Answer]):
    """What became of one item."""

    item: Item
    found: Answer | None = None
    error: Exception | None = None
    """What the work raised."""
    tries: int = 1

    def answer(self) -> Answer:
        """What the work gave; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.found  # type: ignore[return-value]


class Runner(Protocol):
    """Works items off. Closing the iterator ends the run."""

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item], *,
            in_order: bool = True) -> Iterator[Done[Item, Answer]]:
        """What became of every item, in their order, or as they are done."""


class Serial:
    """One item after another, in this process, each drawn when it is asked for."""

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item], *,
            in_order: bool = True) -> Iterator[Done[Item, Answer]]:
        work = make_work()
        for item in items:
            yield Done(item, *tried(work, item))


@dataclass(frozen=True)
class Processes:
    """So many spawned processes; `make_work`, items and answers are pickled.

    Threads of OpenCV and BLAS stay off in them. They end with the run, at an interrupt, or where this process dies.
    """

    workers: int

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item], *,
            in_order: bool = True) -> Iterator[Done[Item, Answer]]:
        # Spawned processes read this when they import NumPy: two that each run two threads wait for one another.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        spawn = get_context("spawn")
        theirs, ours = spawn.Pipe(duplex=False)
        pool = ProcessPoolExecutor(self.workers, spawn, initializer=_start, initargs=(make_work, theirs))
        waiting: dict[Future[_Tried[Answer]], Item] = {}
        try:
            for item in items:
                with uninterrupted():
                    future = pool.submit(_one, item)
                waiting[future] = item
                if len(waiting) >= AHEAD * self.workers:
                    yield _next(waiting, in_order)
            while waiting:
                yield _next(waiting, in_order)
        except KeyboardInterrupt:
            ours.close()
            raise
        except BrokenProcessPool as error:
            raise ScanwardError("A worker process died, perhaps for want of memory; give fewer workers or more "
                                "memory.") from error
        finally:
            pool.shutdown(cancel_futures=True)
            ours.close()
            theirs.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A process that is started here hears of an interrupt only once it is ready to end without a word, and this one
    when the block ends."""
    resource_tracker.ensure_running()  # which would let interrupts through again
    with _later(signal.SIGINT):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _later(number: signal.Signals) -> Iterator[None]:
    """Heard at the end of the block: masked in this thread, a signal still reaches the handler by way of another."""
    handler = signal.getsignal(number)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[FrameType | None] = []
    signal.signal(number, lambda _, frame: heard.append(frame))
    try:
        yield
    finally:
        signal.signal(number, handler)
        if heard:
            handler(number, heard[-1])


def runner(workers: int) -> Runner:
    """This process alone for one worker, processes of their own for more."""
    return Processes(workers) if workers > 1 else Serial()


def _next(waiting: dict[Future[_Tried[Answer]], Item], in_order: bool) -> Done[Item, Answer]:
    future = next(iter(waiting if in_order else wait(waiting, return_when=FIRST_COMPLETED).done))
    return Done(waiting.pop(future), *future.result())


def tried(work: Callable[[Item], Answer], item: Item) -> _Tried[Answer]:
    """What the work gives of an item, or what it raises."""
    try:
        return work(item), None
    except Exception as error:
        return None, error


_MAKE: list[Callable[[], Callable[[Any], Any]]] = []


def _start(make_work: Callable[[], Callable[[Any], Any]], parent: Connection) -> None:
    """Make a process of a pool ready, up to what may fail: the pool would not say why."""
    made_ready(parent)
    _MAKE[:] = [make_work]


def made_ready(parent: Connection) -> None:
    """Make a spawned process ready for work: it ends with whoever holds the other end of `parent`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupted terminal ends it, without a word
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    if not sys.warnoptions:  # what libraries say of a hostile header is no line of ours; threads share the filters
        warnings.simplefilter("ignore")


def _end_with(parent: Connection) -> None:
    """End this process once the other end is closed, by the parent or by its death."""
    with suppress(EOFError, OSError):
        parent.recv()
    os._exit(1)


@cache
def _work() -> Callable[[Any], Any]:
    return _MAKE[0]()


def _one(item: Any) -> _Tried[Any]:
    found, error = tried(_work(), item)
    return found, None if error is None else noted(error)


def noted(error: Exception) -> Exception:
    """With its traceback as a note: frames stay behind where it is pickled."""
    error.add_note("".join(traceback.format_exception(error)))
    return error
