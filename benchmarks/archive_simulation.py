"""A run on many cores, event by event, by the rule by which `judging/cluster.py` sends batches.

One driver draws batches in the order of the listing (at most `TOGETHER` items, and `BYTES`), keeps `AHEAD` of them a
core under way, and keeps every answer; each core judges one batch after another. What an image costs is drawn from
measured costs. The driver's own times are measured by `archive.py rate`. Cores are lost at random and come back; what
was under way there is done again.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.bench.tables import table
from scanward.judging.cluster import AHEAD, BYTES, TOGETHER


@dataclass(frozen=True)
class Costs:
    """Measured images: bytes, and CPU-seconds on one core."""

    bytes: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Costs:
        """From what `archive.py costs` wrote."""
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return cls(np.array([x["bytes"] for x in lines], float), np.array([x["seconds"] for x in lines], float))


@dataclass(frozen=True)
class Engine:
    """What is not judging, in seconds."""

    send: float = 0.001
    """Of the driver, for a batch."""
    keep: float = 0.0005
    """Of the driver, for an answer."""
    travel: float = 0.003
    """From the driver to a core, while neither works."""
    start: float = 8.0
    """Of a core, once: its process and its networks."""
    lost_after: float = math.inf
    """Mean seconds until a core is lost with its node."""
    back_after: float = 300.0


@dataclass(frozen=True)
class Outcome:
    """Of one simulated run."""

    seconds: float
    efficiency: float
    """Judging that was of use, of all the time of all cores."""
    driver: float
    """Share of its time that the driver worked."""
    again: int
    """Batches that were lost and done again."""


def simulated(costs: Costs, images: int, workers: int, engine: Engine, seed: int = 0) -> Outcome:
    """A run of `images` drawn from `costs` on `workers` cores."""
    chance = np.random.default_rng(seed)
    drawn = chance.integers(0, len(costs.seconds), images)
    batches = _batches(costs.bytes[drawn])
    total = np.concatenate([[0.0], np.cumsum(costs.seconds[drawn])])
    todo = deque((int(b - a), float(total[b] - total[a])) for a, b in batches)
    free = [engine.start] * workers
    under_way: list[tuple[float, int, float, bool]] = []
    now = busy = 0.0
    again = 0
    while todo or under_way:
        while todo and len(under_way) < AHEAD * workers:
            items, work = todo.popleft()
            now, busy = now + engine.send, busy + engine.send
            begin = max(now + engine.travel, heapq.heappop(free))
            lost = chance.exponential(engine.lost_after) if math.isfinite(engine.lost_after) else math.inf
            end = begin + min(work, lost)
            heapq.heappush(free, end + (engine.back_after if lost < work else 0.0))
            heapq.heappush(under_way, (end, items, work, lost < work))
        end, items, work, failed = heapq.heappop(under_way)
        now = max(now, end)
        if failed:
            todo.appendleft((items, work))
            again += 1
        else:
            now, busy = now + items * engine.keep, busy + items * engine.keep
    return Outcome(now, float(total[-1]) / (workers * now), busy / now, again)


def _batches(sizes: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """From and to of each batch: closed by the item with which it has `TOGETHER` of them, or `BYTES`."""
    found, first, held = [], 0, 0.0
    for place, size in enumerate(sizes.tolist(), 1):
        held += size
        if place - first >= TOGETHER or held >= BYTES:
            found.append((first, place))
            first, held = place, 0.0
    if first < len(sizes):
        found.append((first, len(sizes)))
    return found


def simulate(costs: Costs, workers: Sequence[int], images: int, engine: Engine) -> None:
    """Prints efficiency by the number of cores; of five draws the median, the least and the most."""
    print(f"{len(costs.seconds)} measured images: {costs.seconds.mean():.2f} CPU-seconds in the mean, median "
          f"{np.median(costs.seconds):.2f}, most {costs.seconds.max():.2f}; {costs.bytes.mean() / 1e6:.1f} MB\n")
    rows = []
    for count in workers:
        runs = [simulated(costs, images, count, engine, seed) for seed in range(5)]
        shares = [100 * run.efficiency for run in runs]
        middle = runs[int(np.argsort(shares)[2])]
        rows.append((f"{count:,}", f"{images:,}", f"{middle.seconds / 3600:.2f}",
                     f"{np.median(shares):.1f} ({min(shares):.1f}–{max(shares):.1f})", f"{100 * middle.driver:.1f}",
                     f"{middle.again:,}"))
    print(table(("cores", "images", "hours", "efficiency, %", "driver busy, %", "batches done again"), rows))


@dataclass(frozen=True)
class Prices:
    """Assumptions, each an option."""

    core_hour: float = 0.04
    """Of a cloud's core, on demand."""
    spot: float = 0.35
    """What an interruptible core costs of that."""
    cores_a_machine: int = 32
    utilised: float = 0.7
    """Of a network's nominal rate."""


def plan(costs: Costs, images: int, workers: Sequence[int], engine: Engine, prices: Prices,
         sample: int = 1_000_000) -> None:
    """Prints machines, hours, money and network for `images`, at the efficiency of a simulated sample: a longer run has
    less of a beginning and an end."""
    total = images * float(costs.seconds.mean())
    stored = images * float(costs.bytes.mean())
    print(f"{images:,} images: {total / 3600:,.0f} core-hours, {stored / 1e12:,.0f} TB to read\n")
    rows = []
    for count in workers:
        run = simulated(costs, sample, count, engine)
        hours = total / run.efficiency / count / 3600
        paid = hours * count * prices.core_hour
        rate = stored / (hours * 3600)
        rows.append((f"{count:,}", f"{math.ceil(count / prices.cores_a_machine)}", f"{hours:,.0f} ({hours / 24:.1f} d)",
                     f"{100 * run.efficiency:.1f}", f"{paid:,.0f}", f"{paid * prices.spot:,.0f}",
                     f"{rate * 8 / 1e9:.1f}", f"{rate * 8 / 1e9 / prices.utilised:.1f}",
                     f"{images * engine.keep / (hours * 3600) * 100:.1f}"))
    print(table(("cores", f"machines of {prices.cores_a_machine}", "hours", "efficiency, %", "EUR on demand",
                 "EUR interruptible", "Gbit/s read", "network, Gbit/s", "driver busy by answers, %"), rows))
