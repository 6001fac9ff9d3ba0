"""What waits for others waits longer and longer, and not for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from scanward.delivery.spool import Unreachable
from scanward.delivery.webclient import Faulty
from scanward.judging.watched import still_alive

Found = TypeVar("Found")
LONGEST = 600.0
"""Seconds for which a server that cannot be reached is asked again."""
FAULTS = 8
"""How often one over whose answer it breaks down: of one time in ten, one in a hundred million is as often."""
FIRST, SLOWEST = 0.2, 30.0
"""Seconds before the second try, and between two at most."""
_CHANCE = random.SystemRandom()


def patient(ask: Callable[[], Found], longest: float = LONGEST) -> Found:
    """What `ask` gives, asked again with longer and longer pauses while it raises `Unreachable`, which it raises in the
    end. The pauses differ by chance: those that were turned away together do not come back together."""
    tries, end = 0, time.monotonic() + longest
    while True:
        try:
            return ask()
        except Unreachable as error:
            tries += 1
            if tries >= FAULTS if isinstance(error, Faulty) else time.monotonic() >= end:
                raise
            wanted = min(SLOWEST, FIRST * 2.0 ** min(tries - 1, 20)) * _CHANCE.uniform(0.5, 1.0)
            _wait(max(wanted, min(error.retry_after or 0.0, SLOWEST)))


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        still_alive()
        time.sleep(min(left, 0.5))
    still_alive()
