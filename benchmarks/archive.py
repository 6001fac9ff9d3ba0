"""How fast `scanward archive` is, what the engine itself costs, and whether every image is answered once.

    python benchmarks/archive.py costs FOLDER -o COSTS     # CPU-seconds of each image on one core, for `simulate`
    python benchmarks/archive.py rate FOLDER               # images a second: one core, processes, Ray of 2 to 8 nodes
    python benchmarks/archive.py overhead                  # of the engine for an image, where judging takes no time
    python benchmarks/archive.py listing                   # 1,000,000 paths: time and memory
    python benchmarks/archive.py simulate COSTS            # efficiency on 64 and 1,024 cores
    python benchmarks/archive.py plan COSTS                # hours and money of 100 million images
    python benchmarks/archive.py faults                    # kills, a lost node, a full disk: archive_faults.py

Rates are of the machine as it is: run them on an idle one. `rate` with Ray needs scanward[ray].
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import archive_faults
import archive_simulation
import cv2
import numpy as np
from archive_nothing import Nothing

from scanward.archive.folder import Folder
from scanward.archive.listing import progress_of, write_listing
from scanward.archive.places import archive_of
from scanward.archive.run import Run
from scanward.archive.unit import Login
from scanward.archive.work import Judging, judged
from scanward.bench.tables import table
from scanward.judging.case import Terms
from scanward.judging.cluster import Cluster
from scanward.judging.watched import Limits, Watched, Watching

A_FOLDER = 1000
"""Files of a folder, of those that are made here."""
LINKS = 50_000
"""Names of one file: file systems have an end to them."""


def links(root: Path, count: int, flat: bool = False) -> Path:
    """`count` names of few small films, in folders of `A_FOLDER`, or in one."""
    root.mkdir(parents=True)
    film = np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16)
    real = root
    for i in range(count):
        if i % A_FOLDER == 0:
            folder = root if flat else root / f"{i // A_FOLDER:06}"
            folder.mkdir(exist_ok=True)
        path = folder / f"film-{i:08}.png"
        if i % LINKS == 0:
            cv2.imwrite(str(path), film)
            real = path
        else:
            os.link(real, path)
    return root


def costs(source: str, output: Path) -> None:
    """One image after the other on one core; a line each of bytes and CPU-seconds. The first is judged twice: it loads
    the networks."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    archive, terms, first = archive_of(source, Login()), Terms(), True
    with tempfile.TemporaryDirectory() as scratch, output.open("w") as file:
        for unit, _ in archive.listed(None, Path(scratch)):
            if unit.said:
                continue
            if first:
                judged(unit, archive, terms, "")
            first, start = False, time.process_time()
            answer, _ = judged(unit, archive, terms, "")
            line = {"bytes": unit.cost, "seconds": time.process_time() - start, "modality": answer.modality,
                    "label": answer.label, "peak_mb": round(answer.peak_mb)}
            file.write(json.dumps(line) + "\n")
            print(json.dumps(line), answer.path, flush=True)


@dataclass(frozen=True)
class Took:
    """Of one run."""

    images: int
    seconds: float
    cpu: float
    """Seconds of this process and all that it started."""
    driver: float
    """Seconds of this process alone."""


def run(judging: Judging, runner: Watching) -> Took:
    """A run into a folder of its own."""
    with tempfile.TemporaryDirectory() as out:
        start, before, own = time.perf_counter(), _cpu(), time.process_time()
        counts = Run(Path(out, "out"), judging).go(runner, lambda _: None)
        driver = time.process_time() - own
        return Took(counts.images, time.perf_counter() - start, _cpu() - before, driver)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def runners(nodes: list[int]) -> Iterator[tuple[str, Any]]:
    """Ways to run, each in a context."""
    yield "one core", _one_core()
    yield "one process, all cores", _watched(1)
    yield "two processes", _watched(2)
    for count in nodes:
        yield f"Ray, {count} nodes of one core", _cluster(count)


@contextmanager
def _one_core() -> Iterator[Watching]:
    """One process, none of whose threads runs on another core."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        yield Watched(1, Limits())
    finally:
        os.sched_setaffinity(0, every)


@contextmanager
def _watched(workers: int) -> Iterator[Watching]:
    yield Watched(workers, Limits())


@contextmanager
def _cluster(nodes: int) -> Iterator[Watching]:
    """That many nodes, simulated on this machine: each is a raylet with one core of its own."""
    here = str(Path(__file__).parent)  # where nodes find `Nothing`
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    made, _ = archive_faults.nodes_of_ray(nodes)
    try:
        yield Cluster(made.address, None, Limits(), lambda task: task.unit.cost)
    finally:
        made.shutdown()


def rate(source: str, nodes: list[int], turns: int) -> None:
    """Prints images a second of every way to run, of `turns` the median."""
    rows = []
    for name, made in runners(nodes):
        with made as runner:
            runs = [run(Judging(archive_of(source, Login())), runner) for _ in range(turns)]
        one = sorted(runs, key=lambda took: took.seconds)[turns // 2]
        # Ray's own processes are no children that are waited for, so that their time is not known.
        cpu = "–" if name.startswith("Ray") else f"{1000 * one.cpu / one.images:.2f}"
        rows.append((name, f"{one.images:,}", f"{one.seconds:.1f}", f"{one.images / one.seconds:.2f}",
                     f"{1000 * one.seconds / one.images:.2f}", cpu))
        print(rows[-1], flush=True)
    print(table(("run by", "images", "seconds", "images a second", "ms an image", "CPU-ms an image"), rows))


def overhead(count: int, nodes: list[int]) -> None:
    """Prints what the engine takes for an image where judging takes no time: listing, sending, keeping, Parquet. Of a
    run of `count` images less one of a tenth, so that the start of the processes is not in it."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        few, many = (Folder(links(Path(name, str(size)), size)) for size in (count // 10, count))
        for way, made in runners(nodes):
            with made as runner:
                less, more = (run(Nothing(archive), runner) for archive in (few, many))
            images = more.images - less.images
            cpu = "–" if way.startswith("Ray") else f"{1000 * (more.cpu - less.cpu) / images:.2f}"
            rows.append((way, f"{images:,}", f"{1000 * (more.seconds - less.seconds) / images:.2f}", cpu,
                         f"{1000 * (more.driver - less.driver) / images:.2f}"))
            print(rows[-1], flush=True)
    print(table(("run by", "images", "ms an image", "CPU-ms an image", "of these the driver"), rows))


def listing(counts: list[int]) -> None:
    """Prints time and memory of the process that lists, for trees and for one folder."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for flat in (False, True):
            for count in counts:
                root = links(Path(name, f"in-{flat}-{count}"), count, flat)
                line = [sys.executable, __file__, "list", str(root), str(Path(name, f"out-{flat}-{count}"))]
                said = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
                rows.append(("one folder" if flat else f"folders of {A_FOLDER}", f"{count:,}", f"{int(said[0]):,}",
                             f"{float(said[1]):.1f}", f"{float(said[2]):.0f}", f"{float(said[3]):.0f}"))
                print(rows[-1], flush=True)
    print(table(("paths in", "paths", "units", "seconds", "MB at most", "CPU-µs a path"), rows))


def list_one(root: Path, out: Path) -> None:
    """Units, seconds, MB that this process had at most, and its CPU-µs a unit."""
    start, before = time.perf_counter(), time.process_time()
    write_listing(Folder(root), out)
    units = progress_of(out).units
    print(units, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
          1e6 * (time.process_time() - before) / units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("costs")
    one.add_argument("source")
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("rate")
    one.add_argument("source")
    one.add_argument("--nodes", type=int, nargs="*", default=[2, 4, 8])
    one.add_argument("--turns", type=int, default=1)
    one = commands.add_parser("overhead")
    one.add_argument("--images", type=int, default=20_000)
    one.add_argument("--nodes", type=int, nargs="*", default=[2])
    one = commands.add_parser("listing")
    one.add_argument("--paths", type=int, nargs="+", default=[100_000, 1_000_000])
    one = commands.add_parser("list")
    one.add_argument("root", type=Path)
    one.add_argument("out", type=Path)
    for name, workers in (("simulate", [1, 2, 64, 1024]), ("plan", [256, 512, 1024, 2048])):
        one = commands.add_parser(name)
        one.add_argument("costs", type=Path)
        one.add_argument("--cores", type=int, nargs="+", default=workers)
        one.add_argument("--images", type=int, default=1_000_000 if name == "simulate" else 100_000_000)
        for field, value in vars(archive_simulation.Engine()).items():
            one.add_argument(f"--{field.replace('_', '-')}", type=float, default=value)
        if name == "plan":
            for field, value in vars(archive_simulation.Prices()).items():
                one.add_argument(f"--{field.replace('_', '-')}", type=type(value), default=value)
    archive_faults.arguments(commands.add_parser("faults"))
    carry_out(parser.parse_args())


def carry_out(given: argparse.Namespace) -> None:
    """One command."""
    if given.command == "costs":
        costs(given.source, given.output)
    elif given.command == "rate":
        rate(given.source, given.nodes, given.turns)
    elif given.command == "overhead":
        overhead(given.images, given.nodes)
    elif given.command == "listing":
        listing(given.paths)
    elif given.command == "list":
        list_one(given.root, given.out)
    elif given.command == "faults":
        archive_faults.faults(given)
    else:
        read = archive_simulation.Costs.read(given.costs)
        engine, prices = (kind(**{field: getattr(given, field) for field in vars(kind()) if hasattr(given, field)})
                          for kind in (archive_simulation.Engine, archive_simulation.Prices))
        if given.command == "simulate":
            archive_simulation.simulate(read, given.cores, given.images, engine)
        else:
            archive_simulation.plan(read, given.images, given.cores, engine, prices)


if __name__ == "__main__":
    main()
