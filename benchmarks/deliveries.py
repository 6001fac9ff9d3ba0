"""Whether results are lost, doubled or misreported on their way out, and whether the sender grows.

    python benchmarks/deliveries.py               # 50,000 deliveries to eight of DCMTK's storescp, counted there
    python benchmarks/deliveries.py --plain       # as many C-STOREs by pynetdicom alone: how many answers it loses

Needs DCMTK (Debian: dcmtk).
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, Thread

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE

from scanward.bench.tables import table
from scanward.delivery.outgoing import Outgoing
from scanward.settings import Destination

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
BATCH = 500
"""Deliveries that wait at a time."""
RECEIVERS = 8
"""Served side by side, as many as the gateway does."""
STEM = "2.25.77"
SILENCE = 5.0
"""Seconds after which pynetdicom alone gives an answer up."""


class Receiver:
    """storescp, which keeps each object that comes under a name of its own, be it the same one twice."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        folder.mkdir()
        self._process = subprocess.Popen([shutil.which("storescp") or "storescp", "-q", "-aet", "PACS", "-od",
                                          str(folder), "-uf", str(port)])
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)

    def count(self) -> Counter[str]:
        """How often each SOP Instance UID came."""
        return Counter(str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
                       for path in self.folder.iterdir())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def made(path: Path, number: int) -> Path:
    """A small Secondary Capture, whose UID tells which it is."""
    data, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = data.SOPClassUID = UID(CAPTURE)
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID(f"{STEM}{number}")
    data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientID = f"{STEM}1", f"{STEM}2", "PHANTOM"
    data.Modality, data.Rows, data.Columns = "OT", 8, 8
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelData = 1, "MONOCHROME2", bytes(64)
    data.file_meta = meta
    data.save_as(path, enforce_file_format=True)
    return path


def resident() -> float:
    """MB of this process, the sender."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmRSS:") + 1]) / 1024


def fill(outgoing: Outgoing, names: list[str], count: int, each: int, told: Counter[str], folder: Path) -> None:
    """Puts deliveries into the queue as others leave it, so that `BATCH` wait."""
    for number in range(count):
        while number - told["sent"] > BATCH:
            time.sleep(0.01)
        files, to = [made(folder / f"{i}.dcm", number * each + i) for i in range(each)], names[number % len(names)]
        outgoing.add(f"{number:024x}-{to}-{number:032x}", files, to)
        for path in files:
            path.unlink()


def deliveries(count: int, each: int, folder: Path, port: int) -> None:
    """Through the gateway's own queue on disk."""
    receivers, told, lock = [Receiver(folder / f"pacs-{i}", port + i) for i in range(RECEIVERS)], Counter[str](), Lock()

    def hear(identifier: str, to: str, outcome: str, why: str) -> None:
        with lock:
            told[outcome] += 1

    outgoing = Outgoing(folder / "root", hear)
    all_ = [Destination(one.folder.name, port=one.port, aet="PACS") for one in receivers]
    memory, begun, wanted = dict[str, float](), time.monotonic(), {f"{STEM}{i}" for i in range(count * each)}
    marks = {"start": count // 100, "middle": count // 2, "end": count}
    filling = Thread(target=fill, args=(outgoing, [one.name for one in all_], count, each, told, folder))
    filling.start()
    while filling.is_alive() or told["sent"] + told["refused"] < count:
        wait = outgoing.run_once(all_, "SCANWARD")
        memory |= {words: resident() for words, mark in marks.items() if words not in memory and told["sent"] >= mark}
        print(f"{told['sent']} of {count}, {time.monotonic() - begun:.0f} s, {resident():.0f} MB", file=sys.stderr)
        time.sleep(0.05 if wait is None else min(wait, 1.0))
    seconds, came, sent = time.monotonic() - begun, Counter[str](), outgoing.spool.sent()
    for one in receivers:
        came += one.count()
        one.stop()
    print(table(("what", "count"), [
        ("deliveries", str(count)), ("objects in them", str(len(wanted))),
        ("objects lost", str(len(wanted - set(came)))),
        ("objects that came twice", str(sum(some > 1 for some in came.values()))),
        ("objects that were never sent", str(len(set(came) - wanted))),
        ("tries that were repeated", str(told["waiting"])), ("refused", str(told["refused"])),
        ("sent, as the sender says", str(told["sent"])), ("in its ledger", str(len(sent))),
        ("minutes", f"{seconds / 60:.1f}")]))
    print()
    print(table(("deliveries", "MB resident"), [(f"{marks[words]}", f"{memory[words]:.0f}") for words in marks]))


def plain(count: int, folder: Path, port: int) -> None:
    """By pynetdicom alone, an association for five objects, to each receiver from a thread of its own."""
    receivers, begun = [Receiver(folder / f"pacs-{i}", port + i) for i in range(RECEIVERS)], time.monotonic()
    with ThreadPoolExecutor(RECEIVERS) as pool:
        lost = sum(pool.map(lambda one: _plain(count // RECEIVERS, one, folder / f"{one.port}.dcm"), receivers))
    minutes, came = (time.monotonic() - begun) / 60, 0
    for one in receivers:
        came += len(one.count())
        one.stop()
    print(table(("what", "count"), [("C-STOREs by pynetdicom alone", str(count)), ("objects that came", str(came)),
                                    ("answers lost", str(lost)), ("minutes", f"{minutes:.1f}")]))


def _plain(count: int, receiver: Receiver, path: Path) -> int:
    """How many of its answers are lost."""
    entity, lost, data = AE("PLAIN"), 0, pydicom.dcmread(made(path, 1))
    entity.add_requested_context(CAPTURE, ExplicitVRLittleEndian)
    entity.dimse_timeout = SILENCE
    while count:
        line = entity.associate("127.0.0.1", receiver.port, ae_title="PACS")
        for _ in range(min(5, count)):
            if line.is_established:
                data.SOPInstanceUID, count = UID(f"{STEM}{count}"), count - 1
                lost += "Status" not in line.send_c_store(data)
        line.release()
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--objects", type=int, default=2, help="in each delivery")
    parser.add_argument("--plain", action="store_true")
    chosen = parser.parse_args()
    port = random.SystemRandom().randrange(20000, 32000)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.plain:
            plain(chosen.count, Path(folder), port)
        else:
            deliveries(chosen.count, chosen.objects, Path(folder), port)


if __name__ == "__main__":
    main()
