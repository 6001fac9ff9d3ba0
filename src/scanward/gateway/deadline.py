"""How long the scan of a study may take: past it the process ends, and the study does not hold up the others."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scanward.gateway.processes import OVERDUE

GRACE = 30.0
"""Seconds after which the process ends even if no Python runs in it any more, as inside of a library that hangs."""
_USUAL = 100_000_000
"""Bytes of a study that `work.study_seconds` is meant for: larger ones have more in proportion."""


def seconds_for(objects: list[Path], study_seconds: float) -> float:
    """Of a study with these files."""
    return study_seconds * max(1.0, sum(path.stat().st_size for path in objects) / _USUAL)


@contextmanager
def within(seconds: float, late: Callable[[str], None]) -> Iterator[None]:
    """Ends the process where what it does takes longer, after `late` was told why in one sentence. Where `late` cannot
    be told, nothing is: the study is tried again, as after any other death."""
    lock, over = threading.Lock(), False

    def end() -> None:
        with lock:
            if over:
                return
            try:
                late(f"Its scan took more than {seconds:,.0f} seconds; look at it by other means, or allow more "
                     "(work.study_seconds) and try again.")
            finally:
                os._exit(OVERDUE)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    # stderr as the process began with, which is a file for sure
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__ or sys.stderr)
    timer.start()
    try:
        yield
    finally:
        with lock:  # held by `end` until the process is no more
            over = True
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()
