"""What goes wrong in a night, done on purpose: every image has to be answered once. Run by `archive.py faults`.

Counted at the end from the Parquet files, not from what the run says.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gateway import MG, ORTHANC, Orthanc, objects

from scanward.archive.listing import progress_of
from scanward.archive.reading import Answers
from scanward.bench.tables import table

METHOD = "copy-move"
"""The quickest: it is the engine that is tried."""
WORKERS = 2
EVERY = 12
"""Answers between two kills."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--driver-kills", type=int, default=10)
    parser.add_argument("--objects", type=int, default=120, help="Of the server that fails.")
    parser.add_argument("--only", nargs="*", default=list(FAULTS), choices=list(FAULTS))


def faults(given: argparse.Namespace) -> None:
    """Prints a row a fault."""
    rows = []
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            said = FAULTS[name](Path(folder), given)
            rows.append((name, said, *counted(Path(folder, "out")), f"{time.perf_counter() - start:.0f}"))
            print(rows[-1], flush=True)
    print(table(("fault", "done", "listed", "answered", "twice", "set aside", "other errors", "tried more than once",
                 "seconds"), rows))


def counted(out: Path) -> tuple[str, ...]:
    """What is in the answers: a missing image shows as fewer answered than listed."""
    with Answers(out) as answers:
        found = answers.rows("SELECT count(DISTINCT unit), count(*) - count(DISTINCT unit), "
                             "count(*) FILTER (WHERE contains(error, 'set aside')), "
                             "count(*) FILTER (WHERE NOT contains(error, 'set aside')), "
                             "count(*) FILTER (WHERE attempts > 1) FROM answers")[0]
    return (str(progress_of(out).units), *map(str, found))


def films(folder: Path, count: int) -> Path:
    """`count` films of noise."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:05}.png"), chance.integers(20000, 40000, (128, 128), dtype=np.uint16))
    return folder


class Archiving:
    """`scanward archive`, which can be killed and started again."""

    def __init__(self, source: str, out: Path, *more: str) -> None:
        self._line = [sys.executable, "-m", "scanward", "archive", source, "-o", str(out), "--method", METHOD, *more]
        self.out = out
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def workers(self) -> list[int]:
        """Processes that it started: those that judge, and the one that lists."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return [pid for pid in found if b"spawn_main" in _words(pid)]

    def kill(self) -> None:
        """The driver alone; returns when what it started has ended of itself."""
        started = self.workers()
        self.process.kill()
        self.process.wait()
        while any(b"spawn_main" in _words(pid) for pid in started):
            time.sleep(0.02)

    def reaches(self, answers: int) -> bool:
        """Waits until so many are kept; False where it ended before."""
        while done_of(self.out) < answers:
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def ended(self) -> str:
        """Waits, and tells its exit code."""
        _, said = self.process.communicate()
        if not any((self.out / "answers").glob("part-*.parquet")):
            sys.exit(said)
        return f"exit code {self.process.returncode}"


def _words(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def done_of(out: Path) -> int:
    """Answers so far, whether their part is done or not."""
    kept = 0
    for path in (out / "answers").glob("part-*.jsonl"):
        with suppress(FileNotFoundError):  # it just became Parquet
            kept += path.read_bytes().count(b"\n")
    if any((out / "answers").glob("part-*.parquet")):
        with Answers(out) as answers:
            kept += answers.rows("SELECT count(*) FROM answers")[0][0]
    return kept


def kills(folder: Path, given: argparse.Namespace) -> str:
    """Signal 9 to workers, the lister among them, and to the driver, which is started again."""
    archiving = Archiving(str(films(folder / "in", given.images)), folder / "out", "--workers", str(WORKERS))
    chance = random.Random(0)  # noqa: S311
    plan = ["worker"] * given.worker_kills + ["driver"] * given.driver_kills
    chance.shuffle(plan)
    done = {"worker": 0, "driver": 0}
    for kill in plan:
        if not archiving.reaches(done_of(archiving.out) + EVERY):
            break
        if kill == "driver":
            archiving.kill()
            archiving.start()
        else:
            with suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(archiving.workers()), signal.SIGKILL)
        done[kill] += 1
    return f"{done['worker']} workers and {done['driver']} drivers killed, {archiving.ended()}"


def nodes_of_ray(count: int) -> tuple[Any, list[Any]]:
    """A cluster on this machine whose nodes have one core each, and all of them but the head. Ray gives each half a
    minute to start, which a busy machine needs."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    from ray.cluster_utils import Cluster as Nodes

    made = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    return made, [made.add_node(num_cpus=1) for _ in range(count - 1)]


def node(folder: Path, given: argparse.Namespace) -> str:
    """Of three nodes of Ray one is lost in the middle."""
    made, extra = nodes_of_ray(3)
    try:
        archiving = Archiving(str(films(folder / "in", given.images)), folder / "out", "--ray", made.address)
        archiving.reaches(given.images // 4)
        made.remove_node(extra[0], allow_graceful=False)
        at = done_of(archiving.out)
        return f"1 of 3 nodes lost after {at} answers, {archiving.ended()}"
    finally:
        made.shutdown()


def full_disk(folder: Path, given: argparse.Namespace) -> str:
    """No file may grow beyond 30 KB, then they may."""
    source = films(folder / "in", given.images)
    line = [sys.executable, "-m", "scanward", "archive", str(source), "-o", str(folder / "out"), "--method", METHOD,
            "--workers", str(WORKERS)]
    full = subprocess.run(["sh", "-c", 'ulimit -f 60; exec "$@"', "sh", *line], check=False, capture_output=True,  # noqa: S607
                          text=True)
    at = done_of(folder / "out")
    return f"full after {at} answers with exit code {full.returncode}, then " \
           f"{Archiving(str(source), folder / 'out', '--workers', str(WORKERS)).ended()}"


def server(folder: Path, given: argparse.Namespace) -> str:
    """Orthanc behind a door that answers 500 one time in ten, and never about one object."""
    if ORTHANC is None:
        sys.exit("Orthanc is not installed; Debian has it in orthanc.")
    orthanc = Orthanc(folder / "orthanc", 14342, 18142)
    try:
        for path in objects(folder / "in", given.objects, 128, 4, MG, "61"):
            request = urllib.request.Request(f"{orthanc.http}/instances", path.read_bytes())  # noqa: S310
            urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
        silent = str(orthanc.get("/instances")[3])  # type: ignore[index]
        with door(orthanc.http, silent) as (address, answered):
            archiving = Archiving(f"orthanc:{address}", folder / "out", "--workers", str(WORKERS), "--seconds", "20")
            said = archiving.ended()
        return f"{answered['500']} of {answered['all']} requests failed, 1 object hung, {said}"
    finally:
        orthanc.stop()


@contextmanager
def door(behind: str, silent: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Its address, and how many requests there were."""
    chance, lock, answered = random.Random(0), threading.Lock(), {"all": 0, "500": 0}  # noqa: S311
    over = threading.Event()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.pass_on(None)

        def do_POST(self) -> None:
            self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def pass_on(self, body: bytes | None) -> None:
            if self.path.startswith(f"/instances/{silent}/file"):
                over.wait()
                return
            with lock:
                answered["all"] += 1
                fails = chance.random() < 0.1
                answered["500"] += fails
            status, data, kind = 500, b"", "text/plain"
            if not fails:
                try:
                    request = urllib.request.Request(behind + self.path, body)  # noqa: S310
                    with urllib.request.urlopen(request, timeout=60) as found:  # noqa: S310
                        status, data, kind = found.status, found.read(), found.headers["Content-Type"]
                except urllib.error.HTTPError as error:
                    status, data = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", answered
    finally:
        over.set()
        made.shutdown()
        made.server_close()


FAULTS: dict[str, Callable[[Path, argparse.Namespace], str]] = {
    "kills": kills, "node": node, "disk": full_disk, "server": server}
