"""Nothing leaves the machine: no address is asked but those that were told, nothing is left in the home folder, nothing
forks. What is watched runs in fresh processes under `witness/sitecustomize.py`, their children included."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

WITNESS = Path(__file__).parent / "witness"
SECONDS = 300
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
MG_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
COMMANDS = """
import json, sys
from scanward import cli
codes = [cli.run(arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([codes, "openvino" in sys.modules, sys.modules.get("openvino_telemetry") is not None]))
"""
TRAINING = """
from pathlib import Path
import torch
from scanward.training.loop import Schedule, fit
fit(torch.nn.Linear(1, 1), lambda net, rng: net(torch.ones(2, 1)).square().mean(), Schedule(2, warmup=1),
    Path(sys.argv[2]))
"""


class Watch:
    """Starts Python in an empty home folder, and knows what it and its children did."""

    def __init__(self, folder):
        self.home, self._log = folder / "home", folder / "witness.jsonl"
        self.home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SCANWARD_", "MPL"))}
        path = os.pathsep.join(filter(None, [str(WITNESS), os.environ.get("PYTHONPATH")]))
        self.environment = kept | {"HOME": str(self.home), "WITNESS": str(self._log), "PYTHONPATH": path,
                                   "OMP_NUM_THREADS": "1"}
        self._started = []

    def start(self, *arguments, **environment):
        process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                                   env=self.environment | environment, start_new_session=True)
        self._started.append(process)
        return process

    def run(self, *arguments, **environment):
        """The lines that it printed, once it has ended well."""
        process = self.start(*arguments, **environment)
        out = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0
        return out.splitlines()

    def commands(self, *commands, train=None, **environment):
        """Runs commands one after the other in one process, and then a training with its checkpoint at `train`: their
        exit codes, and whether OpenVINO and its telemetry were loaded by the commands."""
        given = json.dumps([[str(argument) for argument in command] for command in commands])
        script = COMMANDS if train is None else COMMANDS + TRAINING
        return json.loads(self.run("-c", script, given, train, **environment)[-1])

    def close(self):
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def told(self, prefix):
        """What events were told whose name begins so."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line["told"] for line in map(json.loads, lines) if line["event"].startswith(prefix)]

    def asked(self):
        """Hosts that were looked up, hosts with ports that were connected to; None is this machine's own addresses."""
        events = ("socket.connect", "socket.send", "socket.get")
        return [told for event in events for told in self.told(event) if told is not None]

    def assert_silent(self, *programs):
        """That it kept to itself: of other programs than Python, which nobody watches, only `programs` ran."""
        assert self.asked() == []
        self.assert_alone(*programs)

    def assert_alone(self, *programs, bound=LOOPBACK):
        """That nobody else reaches it, Python was not forked, only these programs ran, and the home folder is empty."""
        # urllib3, which pydicom imports where it is there, binds to ::1 to see whether there is IPv6.
        assert {host for host, *_ in self.told("socket.bind")} <= bound
        assert self.told("os.fork") == []
        starts = self.told("subprocess") + self.told("os.posix_spawn") + self.told("os.exec") + self.told("os.system")
        assert set(starts) <= {sys.executable, *programs}
        assert list(self.home.iterdir()) == []


@pytest.fixture
def watch(tmp_path):
    watched = Watch(tmp_path)
    yield watched
    watched.close()


def plane(rows=256, columns=224):
    """(rows, columns) uint16: half an ellipse of grain on a slope at the left edge, black elsewhere."""
    y, x = np.mgrid[:rows, :columns]
    inside = ((y / rows - 0.5) / 0.42) ** 2 + (x / columns / 0.8) ** 2 < 1
    grain = np.random.default_rng(0).normal(0, 30, (rows, columns))
    return np.where(inside, 2000 + y + x + grain, 20).astype(np.uint16)


@pytest.fixture
def film(tmp_path):
    """A small mammogram as PNG."""
    path = tmp_path / "film.png"
    assert cv2.imwrite(str(path), plane() * 16)
    return path


@pytest.fixture
def mammogram(tmp_path):
    """The same as DICOM, alone in a folder."""
    pixels, path = plane(), tmp_path / "in" / "film.dcm"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.StudyInstanceUID = MG_CLASS, "1.2"
    data.SeriesInstanceUID, data.SOPInstanceUID = "1.2.3", "1.2.3.4"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.PatientName, data.PatientID, data.Modality, data.ImageType = "Doe", "PID", "MG", ["ORIGINAL", "PRIMARY"]
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = data.StudyID = data.AccessionNumber = ""
    data.Manufacturer, data.ReferringPhysicianName, data.SeriesNumber, data.InstanceNumber = "Phantom", "", 1, 1
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    (data.Rows, data.Columns), data.ImagerPixelSpacing = pixels.shape, [0.2, 0.2]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelData = 16, 12, 11, pixels.tobytes()
    data["PixelData"].VR = "OW"
    path.parent.mkdir()
    data.save_as(path, enforce_file_format=True)
    return path


def test_the_witness_sees_children_too(watch, tmp_path):
    """Else all below would pass for nothing."""
    child = ("import os, socket; made = socket.socket(); made.connect_ex(('127.0.0.1', 9)); made.close(); "
             "socket.getaddrinfo('127.0.0.2', 80); os.fork() or os._exit(0); os.wait()")
    watch.run("-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)", child)
    assert watch.asked() == [["127.0.0.1", 9], "127.0.0.2"]
    assert watch.told("os.fork") == [None] and watch.told("subprocess") == [sys.executable]


def test_a_fresh_scan_ends_and_asks_nobody(watch, film):
    (code,), openvino, telemetry = watch.commands(["scan", film], SCANWARD_ENGINE="openvino")
    assert code in (0, 1)
    assert openvino and not telemetry
    watch.assert_silent()


def test_scans_a_forgery_and_a_training_with_torch_ask_nobody(watch, film, tmp_path):
    """In one process: to import torch takes most of the time."""
    forgery = ["inject", film, "--method", "mammo-cgan", "--size", "8", "--modality", "MG", "--spacing", "0.2", "-o",
               tmp_path / "forged"]
    # Lightning loads matplotlib where it is installed, which lists the machine's fonts and keeps the list.
    codes, openvino, _ = watch.commands(["scan", film], ["scan", film, "--method", "forensic-transfer"], forgery,
                                        train=tmp_path / "net.ckpt", SCANWARD_ENGINE="torch",
                                        MPLCONFIGDIR=str(tmp_path / "fonts"))
    assert set(codes[:2]) <= {0, 1} and codes[2] == 0 and not openvino
    assert (tmp_path / "net.ckpt").exists()
    watch.assert_silent("fc-list")


def test_sealing_verifying_and_the_list_of_methods_ask_nobody(watch, film, old, tmp_path):
    key, woven = tmp_path / "site.key", old / "film" / "film-protected.png"
    codes, *_ = watch.commands(["methods"], ["key", key], ["seal", film, "--key", key], ["verify", film, "--key", key],
                               ["verify", woven, "--key", old / "site.key"])
    assert codes == [0] * 5
    watch.assert_silent()


def test_a_module_of_mercures_asks_nobody(watch, mammogram, tmp_path):
    watch.run("-m", "scanward", "mercure", MERCURE_IN_DIR=str(mammogram.parent), MERCURE_OUT_DIR=str(tmp_path / "out"))
    assert len(list((tmp_path / "out").iterdir())) > 1
    watch.assert_silent()


def test_the_gateway_asks_only_whom_it_was_told(watch, mammogram, tmp_path):
    inbox, settings = tmp_path / "inbox", tmp_path / "gateway.toml"
    with socket.socket() as deaf:  # holds a port on which nobody answers
        deaf.bind(("127.0.0.1", 0))
        pacs = deaf.getsockname()[1]
        settings.write_text(f'[node]\nport = 0\n[web]\nport = 0\n[store]\nfolder = "{inbox}"\nquiet_seconds = 0.2\n'
                            f'free_mb = 1\n[[destination]]\nname = "pacs"\nhost = "127.0.0.1"\nport = {pacs}\n')
        gateway = watch.start("-m", "scanward", "serve", "--config", settings)
        assert select.select([gateway.stdout], [], [], SECONDS)[0]
        line = gateway.stdout.readline()
        port, pages = int(re.search(r":(\d+)\. Inbox", line)[1]), re.search(r"Pages: (\S+)", line)[1]
        store(mammogram, port)
        wait_for(lambda: list(inbox.glob("done/[!.]*/study.json")))
        wait_for(lambda: ["127.0.0.1", pacs] in watch.asked())
        with urllib.request.urlopen(pages, timeout=60) as page:
            assert b"Scanward" in page.read()
        gateway.terminate()
        assert gateway.wait(SECONDS) == 0
    assert {told[0] if isinstance(told, list) else told for told in watch.asked()} == {"127.0.0.1"}
    assert watch.told("socket.send") == [] and {port for _, port in watch.told("socket.connect")} == {pacs}
    # pynetdicom binds what it connects from to any port of any address.
    assert all(told == ["0.0.0.0", 0] for told in watch.told("socket.bind") if told[0] not in LOOPBACK)
    watch.assert_alone(bound=LOOPBACK | {"0.0.0.0"})


def store(path, port):
    """C-STORE of one file."""
    data, entity = pydicom.dcmread(path), AE()
    entity.add_requested_context(MG_CLASS, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="SCANWARD")
    assert association.is_established
    assert association.send_c_store(data).Status == 0
    association.release()


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)
