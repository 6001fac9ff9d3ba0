"""How often somebody may ask: token buckets in memory."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_KEYS = 20_000
"""Buckets kept; a flood from many addresses must not fill the memory."""


@dataclass
class Buckets:
    """One bucket of `burst` tokens a key, refilled by `rate` tokens a second."""

    burst: float
    rate: float
    clock: Callable[[], float] = time.monotonic
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Key to (tokens, when)."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str) -> float:
        """Take one token. Answers 0 where there was one, otherwise the seconds until there will be."""
        with self._lock:
            now = self.clock()
            if len(self._levels) >= MOST_KEYS and key not in self._levels:
                self._prune(now)
            level = self._level(key, now)
            if level < 1:
                return (1 - level) / self.rate
            self._levels[key] = (level - 1, now)
            return 0.0

    def forget(self, key: str) -> None:
        """Fill the bucket up again."""
        with self._lock:
            self._levels.pop(key, None)

    def _level(self, key: str, now: float) -> float:
        level, when = self._levels.get(key, (self.burst, now))
        return min(self.burst, level + (now - when) * self.rate)

    def _prune(self, now: float) -> None:
        """Drop full buckets, which say nothing; where none is full, the fullest half."""
        levels = {key: self._level(key, now) for key in self._levels}
        kept = sorted((key for key, level in levels.items() if level < self.burst), key=lambda key: levels[key])
        self._levels = {key: self._levels[key] for key in kept[:MOST_KEYS // 2]}


def network_of(host: str) -> str:
    """The address that limits count by; of IPv6 the /64 network, which one client has to itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return host
