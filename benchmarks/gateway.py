"""How fast the gateway is, beside Orthanc in the same run, and how much memory it takes.

    python benchmarks/gateway.py rate       # C-STORE objects a second, Scanward's and Orthanc's
    python benchmarks/gateway.py large      # seconds until a mammogram of 35 MB is acknowledged
    python benchmarks/gateway.py studies    # studies of real films scanned a minute
    python benchmarks/gateway.py memory     # the receiver's memory over an hour's worth of objects

Needs Orthanc and DCMTK (Debian: orthanc, dcmtk).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from scanward.bench.tables import table

CT, MG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin")
STORESCU = shutil.which("storescu") or ""
QUIET = 2.0
"""Seconds of silence after which the gateway takes a study for complete."""


class Orthanc:
    """One in a folder of its own."""

    def __init__(self, folder: Path, dicom: int, http: int) -> None:
        self.port, self.http = dicom, f"http://127.0.0.1:{http}"
        folder.mkdir()
        settings = folder / "orthanc.json"
        settings.write_text(json.dumps({
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": http,
            "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "DicomAlwaysAllowStore": True}))
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([str(ORTHANC), str(settings)], stdout=log, stderr=log)
        while True:
            with suppress(OSError):
                self.get("/system")
                return
            time.sleep(0.1)

    def get(self, path: str) -> object:
        with urllib.request.urlopen(self.http + path, timeout=600) as answer:  # noqa: S310
            return json.load(answer)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Gateway:
    """`scanward serve` in a process group of its own, which can be killed as a whole."""

    def __init__(self, folder: Path, pacs: int | None, port: int, more: str = "", **store: int) -> None:
        """`more` are further lines of the pages' settings."""
        self.port, self.folder = port, folder
        folder.mkdir(exist_ok=True)
        self._settings = folder / "gateway.toml"
        text = f'[node]\nport = {port}\n[store]\nfolder = "inbox"\nquiet_seconds = {QUIET}\n'
        text += "".join(f"{name} = {value}\n" for name, value in store.items()) + f"[web]\nport = 0\n{more}"
        text += "" if pacs is None else f'[[destination]]\nname = "pacs"\nport = {pacs}\n'
        self._settings.write_text(text)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "scanward", "serve", "--config", str(self._settings)],
                                        stdout=subprocess.PIPE, stderr=sys.stderr, text=True, start_new_session=True)

    def ready(self) -> None:
        """Waits for the line that says where it listens."""
        found = self.process.stdout and re.search(r"Pages: (\S+)", self.process.stdout.readline())
        if not found:
            sys.exit("The gateway did not start.")
        self.pages = found[1]

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    def waiting(self) -> int:
        """Studies that are not done with, and results under way."""
        return sum(not p.name.startswith(".") and p.is_dir() for state in ("incoming", "working", "outgoing")
                   for p in (self.inbox / state).iterdir())


def objects(folder: Path, count: int, side: int, a_study: int, sop_class: str, stem: str) -> list[Path]:
    """`count` objects of random pixels in studies of `a_study`; UIDs follow from `stem`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    base = rng.integers(200, 3000, (side, side), dtype=np.uint16)
    paths = []
    for i in range(count):
        study, slice_ = divmod(i, a_study)
        data, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
        meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"2.25.{stem}1{i:07}"
        data.StudyInstanceUID, data.SeriesInstanceUID = f"2.25.{stem}2{study:07}", f"2.25.{stem}3{study:07}"
        data.Modality = "CT" if sop_class == CT else "MG"
        data.PatientID, data.PatientName = f"P{stem}{study}", "Phantom"
        data.PatientBirthDate = data.PatientSex = data.StudyID = data.AccessionNumber = data.ReferringPhysicianName = ""
        data.StudyDate, data.StudyTime, data.InstanceNumber = "20260101", "120000", slice_ + 1
        data.Rows = data.Columns = side
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.RescaleIntercept, data.RescaleSlope = -1024, 1
        data.PixelSpacing = data.ImagerPixelSpacing = [0.7, 0.7]
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, slice_], [1, 0, 0, 0, 1, 0]
        data.PixelData = np.roll(base, 37 * i).tobytes()
        data.file_meta = meta
        paths.append(folder / f"{i:05}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def storescu(paths: Path, port: int, called: str, syntax: str = "-x=") -> float:
    """Seconds that DCMTK's storescu takes for a folder or a file; `syntax` is its option for what it proposes. Folders
    in a folder go side by side, each by a storescu of its own."""
    beside = sorted(path for path in paths.iterdir() if path.is_dir()) if paths.is_dir() else []
    start = time.perf_counter()
    running = [subprocess.Popen([STORESCU, syntax, "-aec", called, "+sd", "127.0.0.1", str(port), str(one)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env={**os.environ, "TCP_NODELAY": "1"}) for one in beside or [paths]]
    if any(one.wait() for one in running):
        sys.exit(f"{called} did not take everything.")
    return time.perf_counter() - start


def rate(rounds: int) -> None:
    """Objects a second from one sender and from four, in turns."""
    kinds = {"CT slice, 64 x 64": (1000, 64, 100, CT), "CT slice, 512 x 512": (500, 512, 100, CT),
             "mammogram, 3000 x 3000": (40, 3000, 4, MG)}
    rows = []
    for label, (count, side, a_study, sop_class) in kinds.items():
        for senders in (1, 4):
            seconds: dict[str, list[float]] = {"SCANWARD": [], "ORTHANC": []}
            for turn in range(rounds):
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    for one in range(senders):
                        objects(folder / "in" / str(one), count // senders, side, a_study, sop_class, f"8{turn}{one}")
                    pacs = Orthanc(folder / "orthanc", 14242, 18042)
                    gateway = Gateway(folder / "gateway", None, 14104)
                    gateway.ready()
                    for called, port in (("ORTHANC", pacs.port), ("SCANWARD", gateway.port))[::1 - 2 * (turn % 2)]:
                        seconds[called].append(storescu(folder / "in", port, called))
                    gateway.kill()
                    pacs.stop()
            ours, theirs = (count / float(np.median(seconds[who])) for who in ("SCANWARD", "ORTHANC"))
            rows.append((label, str(count), str(senders), f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}"))
            print(rows[-1], flush=True)
    print(table(("objects", "count", "senders", "Scanward a second", "Orthanc a second", "ratio"), rows))


def large(count: int) -> None:
    """Mammograms of 35 MB, one after the other, and what the node holds at most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = objects(folder / "in", count, 4184, 1, MG, "5")
        gateway = Gateway(folder / "gateway", None, 14104)
        gateway.ready()
        seconds = [storescu(path, gateway.port, "SCANWARD") for path in paths]
        print(table(("mammograms", "MB", "seconds, median", "seconds, longest", "MB resident at most"), [(
            str(count), f"{paths[0].stat().st_size / 1e6:.0f}", f"{np.median(seconds):.2f}", f"{max(seconds):.2f}",
            f"{resident(gateway.process.pid, 'VmHWM'):.0f}")]))
        gateway.kill()


def studies(count: int) -> None:
    """Studies of four real films, from the last C-STORE to `done`, a minute."""
    from scanward.demo import films_folder

    films = sorted(films_folder().rglob("*.dcm"))[:4]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for study in range(count):
            for i, film in enumerate(films):
                data = pydicom.dcmread(film)
                data.decompress()
                data.StudyInstanceUID = f"2.25.9{study:05}"
                data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"2.25.8{study:05}{i}"
                data.PixelData = (data.pixel_array + study).astype(np.uint16).tobytes()
                data.save_as(folder / "in" / f"{study}-{i}.dcm", enforce_file_format=True)
        gateway = Gateway(folder / "gateway", None, 14104)
        gateway.ready()
        storescu(folder / "in", gateway.port, "SCANWARD")
        start = time.perf_counter()
        time.sleep(QUIET)
        while gateway.waiting():
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        done = len(list((gateway.inbox / "done").glob("[!.]*")))
        gateway.kill()
        print(table(("studies of 4 films", "seconds", "studies a minute", "films a minute"),
                    [(str(done), f"{seconds:.0f}", f"{60 * done / seconds:.1f}", f"{240 * done / seconds:.1f}")]))


def memory(count: int) -> None:
    """Resident memory of the gateway's main process while objects come in without end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gateway = Gateway(folder / "gateway", None, 14104)
        gateway.ready()
        rows, sent = [], 0
        for turn in range(10):
            paths = objects(folder / "in", count // 10, 256, 100, CT, f"6{turn}")
            storescu(folder / "in", gateway.port, "SCANWARD")
            sent += len(paths)
            shutil.rmtree(folder / "in")
            rows.append((str(sent), f"{resident(gateway.process.pid):.0f}"))
            print(rows[-1], flush=True)
        gateway.kill()
        print(table(("objects received", "MB resident"), rows))


def resident(pid: int, which: str = "VmRSS") -> float:
    """MB."""
    found = re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "large", "studies", "memory"))
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if ORTHANC is None or not STORESCU:
        sys.exit("Orthanc or storescu is not installed; Debian has them in orthanc and dcmtk.")
    if given.what == "rate":
        rate(given.rounds)
    elif given.what == "large":
        large(10)
    elif given.what == "studies":
        studies(6)
    else:
        memory(given.objects)


if __name__ == "__main__":
    main()
