"""How long the worklist takes over 100,000 studies, beside the way of looking into every folder at each request.

    python benchmarks/worklist.py             # medians, in ms, and ratios; `--studies N` for others than 100,000

Fills an inbox of its own with studies whose folders hold what a scan's do but for objects and pictures, makes the index
from them, and asks the pages' own app.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from scanward.bench.tables import table
from scanward.inbox.folders import Inbox, key_of
from scanward.inbox.record import ImageRecord, Study, StudyRecord
from scanward.review.app import make_app

TIMES = 9
REQUESTS = {
    "first page": "/api/studies",
    "first page, as HTML": "/",
    "page in the middle": "/api/studies?page={middle}",
    "sorted by patient, middle": "/api/studies?sort=patient&page={middle}",
    "authentic, middle": "/api/studies?label=authentic&page={most}",
    "one patient": "/api/studies?q=PAT-000123",
    "one accession": "/api/studies?q=ACC0000077",
    "a word of 1 in 3": "/api/studies?q=thorax",
    "a word of 1 in 3, its middle": "/api/studies?q=thorax&page={third}",
    "a word that nobody has": "/api/studies?q=nowhere",
    "tampered, one day, sorted by score": "/api/studies?label=tampered&since=2026-03-05&until=2026-03-05&sort=-score",
    "a study's page": "/studies/{key}",
    "a study's page, of a search": "/studies/{key}?q=PAT&label=authentic",
}


def fill(root: Path, count: int) -> None:
    """Studies in `done`, as scans leave them."""
    chance = random.Random(0)  # noqa: S311
    for number in range(count):
        label = chance.choices(["authentic", "inconclusive", "tampered"], [90, 7, 3])[0]
        day, minute = number * 300 // count, number % 1440
        when = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T{minute // 60:02}:{minute % 60:02}:00Z"
        images = tuple(ImageRecord(f"{image:032x}", ("objects/1.dcm",), f"1.2.{number}.{image}", f"1.2.{number}.9",
                                   "MG", label, chance.random(), reason="A sentence of the usual length stands here.",
                                   shape=(1, 3328, 2560), spacing=(1.0, 0.07, 0.07), method="default", version="0.1.0",
                                   weights_sha256="0" * 64, seconds=4.0, evidence={"label": "authentic", "seal": "a"})
                       for image in range(4))
        record = StudyRecord(
            key_of(f"1.2.{number}"), f"1.2.{number}", f"PAT-{number // 3:06}", f"ACC{number:07}",
            chance.choice(["Screening", "CT thorax", "Diagnostic"]) + f" {number % 97}", when[:10].replace("-", ""),
            chance.choice(["MG", "CT"]), when, when, 1, label=label, score=chance.random(), images=images)
        folder = root / "done" / record.key
        folder.mkdir()
        (folder / "study.json").write_text(json.dumps(record.to_json()))


def old_way(inbox: Inbox, known: dict[str, tuple[int, Study]]) -> None:
    """As before the index: every folder is looked at, every file that changed is read, all are sorted."""
    for key, _, when in inbox.written():
        study = inbox.study(key) if key not in known or known[key][0] != when else None
        if study is not None:
            known[key] = when, study
    sorted((study for _, study in known.values()), key=lambda study: str(study.record.finished), reverse=True)


class Watch:
    """Milliseconds of several turns: by the clock, and of this process's own work, which others do not disturb."""

    def __init__(self) -> None:
        self._clock: list[float] = []
        self._work: list[float] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        clock, work = time.perf_counter(), time.process_time()
        yield
        self._clock.append(1000 * (time.perf_counter() - clock))
        self._work.append(1000 * (time.process_time() - work))

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self._clock), statistics.median(self._work)


def medians(work: Callable[[], object]) -> tuple[float, float]:
    """Of `TIMES` turns."""
    watch = Watch()
    for _ in range(TIMES):
        with watch.turn():
            work()
    return watch.medians


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=100_000)
    count = options.parse_args().studies
    with tempfile.TemporaryDirectory() as folder:
        inbox = Inbox(Path(folder) / "inbox")
        fill(inbox.root, count)
        start = time.perf_counter()
        app = make_app(inbox, users=None, secret=b"a secret of the benchmark", https=False)
        print(f"{count} studies; index made in {time.perf_counter() - start:.1f} s, "
              f"{(inbox.root / 'index.sqlite3').stat().st_size / 1e6:.0f} MB.")
        clock, work = medians(inbox.index.reconcile)
        print(f"Held against the folders again, as at each start: {clock:.0f} ms, of work {work:.0f} ms.")
        known: dict[str, tuple[int, Study]] = {}
        old_way(inbox, known)
        asyncio.run(ask(app, count, medians(lambda: old_way(inbox, known))))


async def ask(app: FastAPI, count: int, before: tuple[float, float]) -> None:
    """Prints the table."""
    pages = -(-count // 25)
    places = {"middle": pages // 2, "most": pages * 45 // 100, "third": pages // 6, "key": key_of(f"1.2.{count // 2}")}
    rows = [["every folder at each request, as before", f"{before[0]:.0f}", f"{before[1]:.0f}", "1"]]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for name, path in REQUESTS.items():
            watch = Watch()
            for _ in range(TIMES):
                with watch.turn():
                    answer = await http.get(path.format(**places))
                answer.raise_for_status()
            clock, work = watch.medians
            rows.append([name, f"{clock:.0f}", f"{work:.0f}", f"{before[1] / work:.1f}"])
    print(table(["request", "median, ms", "of work, ms", "times less work"], rows))


if __name__ == "__main__":
    main()
