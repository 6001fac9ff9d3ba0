"""Processes of the gateway: they die with it, and are started anew when they die alone."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

from scanward.inbox.troubles import Trouble

FIRST, LONGEST = 1.0, 300.0
"""Seconds before one that died is started anew: the first time, doubled each time in a row, and at most."""
HEALTHY = 60.0
"""Seconds after which one that lives is no more held to have died in a row."""
OVERDUE = 75
"""Exit code of a process that ended itself for a study that took too long: no fault of the process."""
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Has this process killed the instant `parent` is dead, whatever it is doing then (Linux; elsewhere nothing).

    To be called by a process that `parent`'s main thread started: the system goes by the thread.
    """
    control = getattr(ctypes.CDLL(None), "prctl", None)
    if control is not None:
        control(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *map(ctypes.c_ulong, (0, 0, 0)))
    if os.getppid() != parent:  # it was dead before
        os._exit(1)


def left_to_parent() -> None:
    """Signals that reach the whole group are left to the parent, which lets the last study end."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


class Kept:
    """A process that is started anew when it dies: the later the more often it died in a row."""

    def __init__(self, name: str, what: str, target: Callable[..., None], arguments: tuple[Any, ...],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is for the audit and for machines, `what` for people: the beginning of a sentence."""
        self.name, self._what, self._clock = name, what, clock
        self._target, self._arguments = target, arguments
        self._process: BaseProcess | None = None
        self._deaths, self._code, self._born, self._next = 0, 0, 0.0, 0.0
        self._start()

    def _start(self) -> None:
        self._born = self._clock()
        process = multiprocessing.get_context("spawn").Process(
            target=self._target, args=self._arguments, name=f"scanward-{self.name}")
        process.start()
        self._process = process

    def tend(self, said: Callable[..., None]) -> None:
        """Starts it anew if it is dead and its time has come. From the main thread only."""
        now = self._clock()
        if self._process is None:
            if now >= self._next:
                with suppress(OSError):  # no memory or no processes left; tried again
                    self._start()
        elif self._process.exitcode == OVERDUE:
            self._process, self._next = None, now
        elif not self._process.is_alive():
            self._deaths = 1 if now - self._born >= HEALTHY else self._deaths + 1
            self._code = self._process.exitcode or 0
            self._process = None
            wait = min(LONGEST, FIRST * 2 ** min(self._deaths - 1, 20))
            self._next = now + wait
            said(f"{self.name}.died", "serious", reason=f"{_ended(self._code)}; started anew in {wait:.0f} s.")
        elif now - self._born >= HEALTHY:
            self._deaths = 0

    @property
    def trouble(self) -> Trouble | None:
        """That it died again and again."""
        if self._deaths < 2:
            return None
        return Trouble(f"{self.name}.dies", f"{self._what} died {self._deaths} times in a row ({_ended(self._code)}); "
                                            "it is started again and again, with longer and longer pauses.")

    def terminate(self) -> None:
        """Asks it to end; one that leaves signals to its parent is told in another way."""
        if self._process is not None:
            self._process.terminate()

    def end(self, until: float) -> None:
        """Waits for its end until that time of the clock, then kills it."""
        if self._process is not None:
            self._process.join(max(0.0, until - self._clock()))
            if self._process.is_alive():
                self._process.kill()
                self._process.join()


def _ended(code: int) -> str:
    """How, a clause."""
    with suppress(ValueError):
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
    return f"exit code {code}"
