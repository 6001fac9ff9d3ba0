"""Who is connected to a port: so many in all and from one address, and nobody keeps it waiting for long.

A caller *waits* until he has said what he wants, and is *busy* from then on. One that waits may be hung up on, to make
room for another: by then he has had more time than the other. A flood of silent callers so pushes itself out, and the
first of all those from the address that has most of them. One that is busy gives way to nobody, and may still be *slow*
for so long: who does not take what he asked for is hung up on, too.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

from scanward.web.limits import network_of

Peer = tuple[str, int]
"""Address and port."""


@dataclass
class Caller:
    """One connection."""

    line: socket.socket
    network: str
    until: float
    """When he must have said what he wants, or taken on some of it, in seconds of the clock; infinite for one that is
    busy."""
    waits: bool = True
    """Gives way to others."""


class Callers:
    """The connections to one port; any number of threads may ask. Who has hung up is forgotten by himself."""

    def __init__(self, most: int, each: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` connections in all, `each` from one address."""
        self._most, self._each, self._clock = most, each, clock
        self._known: dict[Peer, Caller] = {}
        self._lock = threading.Lock()

    def enter(self, peer: Peer, line: socket.socket, seconds: float) -> bool:
        """One that calls, and has so long to say what he wants. False where there is no room for him, even by hanging
        up on another that waits."""
        with self._lock:
            network, known = network_of(peer[0]), self._open()
            each = Counter(one.network for one in known.values())
            if each[network] >= self._each:
                if not self._hang_up(lambda one: one.network == network):
                    return False
            elif len(known) >= self._most:
                waiting = Counter(one.network for one in known.values() if one.waits)
                largest = max(waiting.values(), default=0)
                if not self._hang_up(lambda one: waiting[one.network] == largest):
                    return False
            self._known.pop(peer, None)  # so that the order is that of their coming
            self._known[peer] = Caller(line, network, self._clock() + seconds)
            return True

    def waits(self, peer: Peer, seconds: float) -> None:
        """He has so long to go on."""
        self._set(peer, self._clock() + seconds, True)

    def busy(self, peer: Peer) -> None:
        """He has said what he wants."""
        self._set(peer, inf, False)

    def slow(self, peer: Peer, seconds: float) -> None:
        """He has so long to take on some of what he asked for."""
        self._set(peer, self._clock() + seconds, False)

    def admit(self, peer: Peer, most: int, each: int) -> bool:
        """As `busy`, unless so many are in all, or from his address."""
        with self._lock:
            caller = self._open().get(peer)
            busy = [one.network for one in self._known.values() if not one.waits]
            if caller is None or len(busy) >= most or busy.count(caller.network) >= each:
                return False
            caller.until, caller.waits = inf, False
            return True

    def sweep(self) -> None:
        """Hangs up on those whose time is over."""
        with self._lock:
            now = self._clock()
            for peer in [peer for peer, one in self._known.items() if one.until <= now]:
                _cut(self._known.pop(peer))

    def end(self) -> None:
        """Hangs up on all that wait."""
        with self._lock:
            while self._hang_up(lambda _: True):
                pass

    def _set(self, peer: Peer, until: float, waits: bool) -> None:
        with self._lock:
            if peer in self._known:
                self._known[peer].until, self._known[peer].waits = until, waits

    def _open(self) -> dict[Peer, Caller]:
        self._known = {peer: one for peer, one in self._known.items() if one.line.fileno() >= 0}
        return self._known

    def _hang_up(self, whom: Callable[[Caller], bool]) -> bool:
        """On the first that came of those that wait; whether there was one."""
        peer = next((peer for peer, one in self._known.items() if one.waits and whom(one)), None)
        if peer is None:
            return False
        _cut(self._known.pop(peer))
        return True


def _cut(caller: Caller) -> None:
    """Who reads from it reads its end, and closes it. Not as an SSLSocket has it, whose state is its reader's."""
    with suppress(OSError):
        socket.socket.shutdown(caller.line, socket.SHUT_RDWR)


class Counted(socket.socket):
    """A listening socket whose connections are counted before a byte of theirs is read, TLS or not."""

    callers: Callers
    seconds: float

    @staticmethod
    def of(listening: socket.socket, callers: Callers, seconds: float) -> Counted:
        """In the place of a plain one."""
        made = Counted(fileno=listening.detach())
        made.callers, made.seconds = callers, seconds
        return made

    def accept(self) -> tuple[socket.socket, Any]:
        """As a plain one does; callers for whom there is no room hear nothing, and `ConnectionAbortedError` is raised,
        which servers take for that."""
        line, address = super().accept()
        if not self.callers.enter(address[:2], line, self.seconds):
            line.close()
            raise ConnectionAbortedError
        return line, address
