"""How long another system may take over all of a request and its answer.

httpx bounds each read and each write by itself, and who says a byte a second keeps within that for years.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

PACE = 16 << 10
"""Bytes a second that whoever takes or sends much must keep to."""
LINES = ("connection.connect_tcp.complete", "connection.start_tls.complete")
BEGINS = "http11.send_request_headers.started"
"""httpcore's names of what it tells a trace of."""


class Patience:
    """Of one client, which has one request under way at a time. Where it is over, the connection is cut, whatever
    another thread waits for there."""

    def __init__(self, seconds: float) -> None:
        """`seconds` for an answer; on top come those that a long request, or a long answer, takes at `PACE`."""
        self._seconds, self._lock = seconds, threading.Lock()
        self._line: Any = None
        self._timer: threading.Timer | None = None
        self._answer: httpx.Response | None = None
        self._allowed, self._counted, self.over = seconds, 0, False

    def begin(self, request: httpx.Request) -> None:
        """To be called before each request; its time starts once there is a connection."""
        length = request.headers.get("Content-Length", "")
        self.end()
        self._allowed = self._seconds + (int(length) / PACE if length.isdecimal() else 0.0)
        self._answer, self._counted, self.over = None, 0, False
        request.extensions = {**request.extensions, "trace": self._hear, "patience": self}

    def long(self, answer: httpx.Response) -> None:
        """The answer may be of any length as long as it keeps to `PACE`."""
        self._answer = answer
        self._start(self._seconds)

    def end(self) -> None:
        """What is done with may take its time."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None

    def _hear(self, event: str, info: Mapping[str, Any]) -> None:
        if event in LINES:
            self._line = info["return_value"]
        elif event == BEGINS:
            self._start(self._allowed)

    def _start(self, seconds: float, instead: threading.Timer | None = None) -> None:
        with self._lock:
            if instead is not None and instead is not self._timer:
                return  # it ended just now
            if self._timer is not None:
                self._timer.cancel()
            timer = self._timer = threading.Timer(seconds, lambda: self._look(timer))
            timer.daemon = True
            timer.start()

    def _look(self, timer: threading.Timer) -> None:
        if self._answer is not None:
            counted, self._counted = self._counted, self._answer.num_bytes_downloaded
            if self._counted - counted >= PACE * self._seconds:
                self._start(self._seconds, timer)
                return
        with self._lock:
            if self._timer is timer:
                self.over = True
                with suppress(OSError):  # not TLS's own, which says goodbye and takes away what the other thread reads
                    socket.socket.shutdown(self._line.get_extra_info("socket"), socket.SHUT_RDWR)
