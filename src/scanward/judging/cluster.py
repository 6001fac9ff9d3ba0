"""Runs on a Ray cluster: each of its cores judges one item after another, in a process that is watched over there.

Ray is the engine: what it loses with a node it does again elsewhere, and nodes that come are used. Nothing of it is
imported before a run begins.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from scanward.errors import MissingExtraError, ScanwardError
from scanward.formats.guard import clean
from scanward.judging.batch import Answer, Done, Item, MakeWork
from scanward.judging.watched import LOOK, Crew, Limits, SetAsideError

LOCAL = "local"
TOGETHER, BYTES = 32, 64 << 20
"""Items, and their cost, that go to a node at once, at most: it costs Ray a millisecond to send one."""
AHEAD = 2
"""Such batches for each core, so that none waits for the next."""
RETRIES = 3
"""Of Ray's own, where a node or a worker is lost."""
AGAIN = 5.0
"""Seconds between two looks at how large the cluster is."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster at an address, `auto` for the one that this machine belongs to, or `local` for one that is started
    here, on loopback, and ends with the run."""

    address: str
    workers: int | None = None
    """Cores that are used at most."""
    limits: Limits = field(default_factory=Limits)
    cost: Callable[[Any], float] = lambda item: 0.0
    """Of an item, in bytes."""

    def run(self, make_work: MakeWork[Item, Answer], items: Iterable[Item | None]) -> Iterator[Done[Item, Answer]]:
        """As `Watching`."""
        with _connected(self.address, self.workers) as ray:
            yield from _Sent(ray, self, ray.put(make_work)).work(items)


@contextmanager
def _connected(address: str, workers: int | None) -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    here = address == LOCAL
    if here:
        # Of a cluster of one machine nobody else is to know: ports on loopback, and a token of its own.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ModuleNotFoundError as missing:
        raise MissingExtraError("--ray needs ray, which is not installed; install scanward[ray].") from missing
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    joined = ray.is_initialized()  # by whoever calls from Python
    try:
        if not joined:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **(own if here else {}))
    except Exception as error:  # Ray raises what its parts raise
        raise ScanwardError(f"No Ray cluster can be reached at {address} ({clean(error)}); check the address, or give "
                            "--ray local.") from error
    try:
        yield ray
    finally:
        if not joined:
            ray.shutdown()


class _Sent:
    """The batches that are under way."""

    def __init__(self, ray: Any, cluster: Cluster, make_work: Any) -> None:
        self._ray, self._cluster, self._make = ray, cluster, make_work
        self._remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_batch)
        self._waiting: dict[Any, tuple[list[Any], int]] = {}
        self._again: deque[tuple[Any, int]] = deque()
        """Items that were lost, and how often."""
        self._cores, self._looked = 0, 0.0

    def work(self, items: Iterable[Any]) -> Iterator[Done[Any, Any]]:
        todo, more = iter(items), True
        while more or self._waiting or self._again:
            lacking = False
            while (self._again or (more and not lacking)) and len(self._waiting) < AHEAD * self._room():
                if self._again:
                    item, lost = self._again.popleft()
                    self._send([item], lost)
                    continue
                batch, ended, lacking = _drawn(todo, self._cluster.cost)
                more = not ended
                if batch:
                    self._send(batch, 0)
            if not self._waiting:
                time.sleep(LOOK if more else 0)
                continue
            waiting = list(self._waiting)
            first, _ = self._ray.wait(waiting, num_returns=1, timeout=LOOK)
            ready = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if len(first) else []
            for ref in ready:
                yield from self._answered(ref)

    def _room(self) -> int:
        now = time.monotonic()
        if not self._cores or now - self._looked > AGAIN:
            self._looked = now
            self._cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return min(self._cores, self._cluster.workers or self._cores)

    def _send(self, batch: list[Any], lost: int) -> None:
        self._waiting[self._remote.remote(self._make, self._cluster.limits, batch)] = batch, lost

    def _answered(self, ref: Any) -> Iterator[Done[Any, Any]]:
        batch, lost = self._waiting.pop(ref)
        try:
            yield from self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ScanwardError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            # Ray gave up on all of them: which one it is that takes nodes down shows when each goes alone.
            for item in batch:
                if lost + 1 >= self._cluster.limits.tries:
                    why = SetAsideError(f"It was set aside after {lost + 1} tries: the node that looked at it was lost "
                                        f"({clean(type(error).__name__)}); look at it by other means.")
                    yield Done(item, None, why, lost + 1)
                else:
                    self._again.append((item, lost + 1))


def _drawn(todo: Iterator[Any], cost: Callable[[Any], float]) -> tuple[list[Any], bool, bool]:
    """The next batch, whether it was the last, and whether there is no other yet."""
    batch: list[Any] = []
    held = 0.0
    while len(batch) < TOGETHER and held < BYTES:
        some = list(islice(todo, 1))
        if not some:
            return batch, True, False
        if some[0] is None:
            return batch, False, True
        batch += some
        held += cost(some[0])
    return batch, False, False


_CREWS: list[Crew[Any, Any]] = []
"""Of a process of Ray's, one: its networks are loaded once."""


def _batch(make_work: Callable[[], Callable[[Any], Any]], limits: Limits, batch: list[Any]) -> list[Done[Any, Any]]:
    """On a node: what became of every item."""
    if not _CREWS:
        _CREWS.append(Crew(make_work, 1, limits))
    try:
        return list(_CREWS[0].work(batch))
    except BaseException:
        with suppress(Exception):
            _CREWS.pop().close()
        raise
