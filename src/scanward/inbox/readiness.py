"""Whether the gateway can take in and scan, as those ask who watch it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from scanward.inbox import pulse
from scanward.inbox.troubles import Trouble, troubles

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox

FRESH = 2.0
"""Seconds for which an answer of `/readyz` holds: anybody may ask, and it costs the disk something."""
STOPS = frozenset(("disk.full", "worker.stalled", "worker.dies", "node.stalled"))
"""Troubles with which the gateway is not ready."""


class Readiness:
    """Whether the gateway can take in and scan."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox, self._lock = inbox, threading.Lock()
        self._known: tuple[float, list[Trouble]] | None = None

    def reasons(self) -> list[Trouble]:
        """Why not; empty where it can. An answer of a moment ago holds."""
        with self._lock:
            now = time.monotonic()
            if self._known is None or not 0 <= now - self._known[0] < FRESH:
                self._known = now, list(self._looked())
            return self._known[1]

    def _looked(self) -> Iterator[Trouble]:
        if not self._writable():
            yield Trouble("inbox.unwritable", "The inbox cannot be written to; see to its owner and its disk.")
        if not pulse.heard(self._inbox.root, pulse.NODE):
            yield Trouble("node.stalled", "The DICOM node gives no sign of life.")
        with suppress(OSError):  # which the first of them says
            yield from (one for one in troubles(self._inbox) if one.name in STOPS and one.name != "node.stalled")

    def _writable(self) -> bool:
        path = self._inbox.root / f".ready-{os.getpid()}"
        try:
            path.write_bytes(b"1")
            path.unlink()
        except OSError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return False
        return True
