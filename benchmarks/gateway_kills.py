"""Objects through the gateway while it is killed, its disk fills up and its clock is set back: none lost, none twice.

    python benchmarks/gateway_kills.py --objects 10000 --kills 30

Every kill is signal 9 to one of: the whole process group, the node alone, the pages' process, a worker, or pages and
workers together. The inbox lies in a file system of its own, which a file fills to the last byte twice; twice the clock
that the processes read goes back for an hour (file times do not). Counted at the end on the disk and in the Orthanc
that gets the results, not from what the gateway says.

Needs Orthanc and DCMTK (Debian: orthanc, dcmtk), and for the full disk the right to mount.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pydicom
from gateway import CT, MG, ORTHANC, SR, Gateway, Orthanc, objects
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from scanward.bench.tables import table

KINDS = "group", "node", "pages", "worker", "pages and workers"
"""What is killed."""
CLOCK = """
import os, time
_file, _time, _time_ns = os.environ["CLOCK_OFFSET"], time.time, time.time_ns
def _offset():
    with open(_file) as file:
        return float(file.read() or 0)
time.time, time.time_ns = lambda: _time() + _offset(), lambda: _time_ns() + int(_offset() * 1e9)
"""
"""What every Python process of the gateway runs first."""


def send_all(paths: list[Path], port: int, acknowledged: set[str], stop: threading.Event) -> None:
    """As a modality does: sends what was not acknowledged until it is."""
    entity = AE("MODALITY")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for sop_class in (CT, MG):
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    left = list(paths)
    while left and not stop.is_set():
        association = entity.associate("127.0.0.1", port, ae_title="SCANWARD")
        while left and association.is_established:
            data = pydicom.dcmread(left[-1])
            with suppress(RuntimeError, ValueError, AttributeError):
                if association.send_c_store(data).Status == 0:
                    acknowledged.add(str(data.SOPInstanceUID))
                    left.pop()
                    continue
            break
        if association.is_established:
            association.release()
        time.sleep(0.05)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """An ext4 of its own at `folder`, where that may be made; whether it was."""
    folder.mkdir()
    image = folder.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    made = all(subprocess.run(call, check=False, capture_output=True).returncode == 0 for call in (
        ["mkfs.ext4", "-q", "-m", "0", "-N", "200000", str(image)], ["mount", "-o", "loop", str(image), str(folder)]))
    try:
        yield made
    finally:
        if made:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


class Trouble:
    """What is done to a gateway."""

    def __init__(self, gateway: Gateway, disk: bool, clock: Path) -> None:
        self.gateway, self.disk, self.clock = gateway, disk, clock
        self.chance = np.random.default_rng(7)
        self.counts: Counter[str] = Counter()

    def plan(self, kills: int) -> list[str]:
        """`kills` kills of each kind in turn, and the others among them, in random order."""
        events = [KINDS[i % len(KINDS)] for i in range(kills)] + ["clock back"] * 2
        events += ["disk full"] * 2 if self.disk else []
        return [events[i] for i in self.chance.permutation(len(events))]

    def cause(self, event: str) -> None:
        if event == "clock back":
            self.clock.write_text(str(float(self.clock.read_text()) - 3600))
        elif event == "disk full":
            self._fill()
        elif event in ("group", "node"):
            self._kill_node(whole=event == "group")
        else:
            pages, workers = self._children()
            for pid in (pages if "pages" in event else []) + (
                    workers[:1] if event == "worker" else workers if "workers" in event else []):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.counts[event] += 1

    def _kill_node(self, *, whole: bool) -> None:
        """In one of three, once more while it comes back."""
        for turn in range(1 + (self.chance.random() < 1 / 3)):
            if turn:
                time.sleep(self.chance.uniform(0.0, 3.0))
            if whole:
                self.gateway.kill()
            else:
                self.gateway.process.kill()
                self.gateway.process.wait()
            self.gateway.start()
        self.gateway.ready()

    def _fill(self) -> None:
        filler = self.gateway.inbox.parent / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        time.sleep(self.chance.uniform(3.0, 8.0))
        filler.unlink()

    def _children(self) -> tuple[list[int], list[int]]:
        """Processes of the pages, which alone have the second listening socket of the node's, and those that scan."""
        node = self.gateway.process.pid
        own = set(Path(f"/proc/{node}/task/{node}/children").read_text().split())
        pages, workers = [], []
        for pid in map(int, own):
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    (pages if _sockets(pid) & _sockets(node) else workers).append(pid)
        return pages, workers


def _sockets(pid: int) -> set[str]:
    listening = {line.split()[9] for name in ("tcp", "tcp6") for line in
                 Path(f"/proc/net/{name}").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(one))
    return {name for name in found if name[8:-1] in listening}


def run(count: int, kills: int) -> None:
    """`count` objects through the node under everything."""
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name, "disk"), 2000) as disk:
        folder = Path(name)
        films = count // 10
        paths = objects(folder / "ct", count - films, 32, 100, CT, "71")
        paths += objects(folder / "mg", films, 64, 4, MG, "72")
        np.random.default_rng(7).shuffle(paths)  # type: ignore[arg-type]
        clock = folder / "clock"
        clock.write_text("0")
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(CLOCK)
        os.environ.update(CLOCK_OFFSET=str(clock), PYTHONPATH=os.pathsep.join(
            filter(None, (str(folder / "site"), os.environ.get("PYTHONPATH")))))
        pacs = Orthanc(folder / "orthanc", 14242, 18042)
        gateway = Gateway(folder / "disk" / "gateway", pacs.port, 14104, free_mb=32)
        gateway.ready()
        seconds, acknowledged, trouble = under(gateway, paths, Trouble(gateway, disk, clock), kills)
        gateway.kill()
        report(paths, acknowledged, gateway.inbox, pacs, trouble.counts, seconds)
        pacs.stop()


def under(gateway: Gateway, paths: list[Path], trouble: Trouble, kills: int) -> tuple[float, set[str], Trouble]:
    """Until everything is sent, scanned and delivered."""
    acknowledged: set[str] = set()
    stop, start = threading.Event(), time.time()
    senders = [threading.Thread(target=send_all, args=(paths[i::4], gateway.port, acknowledged, stop))
               for i in range(4)]
    for sender in senders:
        sender.start()
    plan = trouble.plan(kills)
    for number, event in enumerate(plan, 1):
        time.sleep(trouble.chance.uniform(0.5, 12.0))
        trouble.cause(event)
        print(f"{number:2} {event}: {len(acknowledged):5} acknowledged, {gateway.waiting()} waiting", flush=True)
    while any(sender.is_alive() for sender in senders) or gateway.waiting():
        time.sleep(1.0)
    return time.time() - start, acknowledged, trouble


def report(paths: list[Path], acknowledged: set[str], inbox: Path, pacs: Orthanc, done: Counter[str],
           seconds: float) -> None:
    """Counts from the disk and from the PACS, not from what the gateway says."""
    kept: Counter[str] = Counter()
    failed = len(list((inbox / "failed").glob("[!.]*")))
    for path in (inbox / "done").glob("[!.]*/objects/*.dcm"):
        kept[str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)] += 1
    told: Counter[str] = Counter()
    for study in (inbox / "done").glob("[!.]*/study.json"):
        for image in json.loads(study.read_bytes())["images"]:
            told.update(image["files"])
    films = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in paths if p.parent.name == "mg"}
    answers: Counter[str] = Counter()
    received: Counter[str] = Counter()
    for identifier in pacs.get("/instances"):  # type: ignore[attr-defined]
        with urllib.request.urlopen(f"{pacs.http}/instances/{identifier}/file", timeout=60) as file:  # noqa: S310
            data = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file.read()), stop_before_pixels=True)
        received[str(data.SOPInstanceUID)] += 1
        if data.SOPClassUID == SR:
            evidence = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
            answers[str(evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)] += 1
    rows: list[tuple[str, object]] = [
        *((f"{'killed: ' if event in KINDS else ''}{event}", n) for event, n in sorted(done.items())),
        ("objects sent", len(paths)),
        ("acknowledged", len(acknowledged)), ("acknowledged and lost", len(acknowledged - kept.keys())),
        ("kept twice", sum(n > 1 for n in kept.values())), ("in no study's answer", sum(kept.values()) - len(told)),
        ("in two answers", sum(n > 1 for n in told.values())), ("studies failed", failed),
        ("mammograms", len(films)), ("of these answered in the PACS", len(films & answers.keys())),
        ("of these answered twice", sum(n > 1 for n in answers.values())), ("result objects", len(received)),
        ("minutes", f"{seconds / 60:.1f}")]
    print(table(("what", "count"), [(what, str(value)) for what, value in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=30)
    given = parser.parse_args()
    if ORTHANC is None:
        sys.exit("Orthanc is not installed; Debian has it in orthanc.")
    run(given.objects, given.kills)


if __name__ == "__main__":
    main()
