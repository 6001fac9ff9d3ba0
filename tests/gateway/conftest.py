"""A real Orthanc, certificates made with openssl, and small real DICOM files, for everything that serves."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from chests import gate  # noqa: F401  (a fixture)
from hearing import listener  # noqa: F401  (a fixture)
from outside import need, program
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from serving import gateways  # noqa: F401  (a fixture)

from scanward.formats.dataset import meta_of
from scanward.formats.identity import SENDER, file_head, identity_of
from scanward.inbox.folders import Inbox

MG_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ORTHANC = program("Orthanc")
PLUGINS = Path("/usr/share/orthanc/plugins")
START_SECONDS = 60
GIVEN: set[int] = set()


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on, of those that systems give to no outgoing connection,
    so that nobody takes it before it is listened on; never one that it has given before."""
    while True:
        number = secrets.choice(range(20000, 32000))
        with suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", number))
            if number not in GIVEN:
                GIVEN.add(number)
                return number


class Orthanc:
    """An Orthanc with DICOMweb in a folder of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.aet = folder, "ORTHANC"
        self.http_port, self.dicom_port = free_port(), free_port()
        self.http = f"http://localhost:{self.http_port}"
        self.web = f"{self.http}/dicom-web"
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
            "HttpPort": self.http_port, "DicomPort": self.dicom_port, "DicomAet": self.aet,
            "DicomCheckCalledAet": True, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "StableAge": 1,
            "OverwriteInstances": False, "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        self._file = folder / "orthanc.json"
        self._authorization = self._basic(settings.get("RegisteredUsers") or {})
        self._file.write_text(json.dumps(config | settings))
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it on its old data and waits until it answers."""
        assert ORTHANC is not None
        with open(self.folder / "orthanc.log", "ab") as log:
            self.process = subprocess.Popen([ORTHANC, str(self._file)], stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                self.get("/system")
                return
            except (OSError, urllib.error.URLError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError((self.folder / "orthanc.log").read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        """Ends it properly, so that `start` finds all it held; takes three seconds."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:
        """The JSON that the REST API answers."""
        return json.loads(self._call(path))

    def post(self, path: str, body: bytes | dict[str, Any] | list[Any]) -> Any:
        """What it answers to `body`: bytes as they are, everything else as JSON."""
        return json.loads(self._call(path, body if isinstance(body, bytes) else json.dumps(body).encode(), "POST"))

    def delete(self, path: str) -> None:
        self._call(path, None, "DELETE")

    def raw(self, path: str) -> bytes:
        """The bytes that the REST API answers."""
        return self._call(path)

    def add(self, *files: Path) -> list[str]:
        """Puts files into it; Orthanc's identifiers of their instances."""
        return [self.post("/instances", path.read_bytes())["ID"] for path in files]

    def sop_uids(self) -> set[str]:
        """SOP Instance UIDs of everything in it."""
        found = self.get("/instances?expand")
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}

    def _call(self, path: str, body: bytes | None = None, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.http + path, data=body, method=method, headers=self._authorization)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    @staticmethod
    def _basic(users: dict[str, str]) -> dict[str, str]:
        from base64 import b64encode

        if not users:
            return {}
        first = ":".join(next(iter(users.items())))
        return {"Authorization": "Basic " + b64encode(first.encode()).decode()}


@pytest.fixture(scope="session")
def start_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """Starts one more Orthanc; keyword arguments are keys of its configuration."""
    need("Orthanc")
    started: list[Orthanc] = []

    def start(**settings: Any) -> Orthanc:
        started.append(Orthanc(tmp_path_factory.mktemp("orthanc"), **settings))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def orthanc(start_orthanc: Callable[..., Orthanc]) -> Iterator[Orthanc]:
    """An empty Orthanc of the test's own: `.http`, `.web` (DICOMweb root), `.dicom_port`, `.aet`, `.get(path)`."""
    one = start_orthanc()
    yield one
    one.kill()


@pytest.fixture(scope="session")
def shared_orthanc(start_orthanc: Callable[..., Orthanc]) -> Iterator[Orthanc]:
    """One Orthanc for all tests that look for their own UIDs only and stop nothing."""
    one = start_orthanc()
    yield one
    one.kill()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """PEM files made with openssl: `ca`; `cert`, `key` of a server on localhost; `client_cert`, `client_key`; and
    `other_ca`, `other_cert`, `other_key`, which nobody trusts."""
    need("openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "other_ca"):
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
                 f"/CN=Test {authority}", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout",
                 f"{authority}.key", "-out", f"{authority}.pem")
    for name, authority in (("server", "ca"), ("client", "ca"), ("other", "other_ca")):
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                 "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n"
                                            "extendedKeyUsage=serverAuth,clientAuth\n"
                                            "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                 "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    both = folder / "server-both.pem"
    both.write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
    return SimpleNamespace(
        ca=folder / "ca.pem", cert=folder / "server.pem", key=folder / "server.key", both=both,
        client_cert=folder / "client.pem", client_key=folder / "client.key", other_ca=folder / "other_ca.pem",
        other_cert=folder / "other.pem", other_key=folder / "other.key")  # fmt: skip


class TlsFront:
    """TLS before a plain port: Debian's Orthanc 1.10.1 dies of its first HTTPS request."""

    def __init__(self, target: int, context: ssl.SSLContext, host: str) -> None:
        self._target, self._context = target, context
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(10)
        try:
            with (self._context.wrap_socket(raw, server_side=True) as near,
                  socket.create_connection(("127.0.0.1", self._target)) as far):
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far)
                back.join()
        except OSError:
            raw.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def tls_front(certificates: SimpleNamespace) -> Iterator[Callable[..., TlsFront]]:
    """Puts TLS before a plain port, with `clients=True` for clients of our authority only: `.port`."""
    fronts: list[TlsFront] = []

    def start(target: int, *, clients: bool = False, host: str = "127.0.0.1") -> TlsFront:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        if clients:
            context.load_verify_locations(certificates.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        fronts.append(TlsFront(target, context, host))
        return fronts[-1]

    yield start
    for front in fronts:
        front.stop()


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def dicom_file(path: Path, **elements: Any) -> Path:
    """A small mammogram in a DICOM file; `elements` replace header elements, None removes them."""
    rows, columns = elements.pop("shape", (64, 48))
    seed = elements.pop("seed", 0)
    pixels = np.random.default_rng(seed).integers(0, 4096, (rows, columns), dtype=np.uint16)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = UID(MG_CLASS)
    # Fresh every time: tests share an Orthanc.
    data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID = (generate_uid() for _ in range(3))
    data.PatientName, data.PatientID, data.AccessionNumber = "Doe^Secret", "PID-4711", "ACC-1"
    data.PatientBirthDate, data.PatientSex, data.StudyID, data.ReferringPhysicianName = "19500101", "F", "1", ""
    data.StudyDate, data.StudyTime = time.strftime("%Y%m%d"), "120000"
    data.StudyDescription = "Screening of Doe"
    data.Modality, data.Manufacturer, data.BodyPartExamined = "MG", "Phantom", "BREAST"
    data.PatientOrientation = ["A", "F"]
    data.SeriesNumber, data.InstanceNumber, data.ImageType = 1, 1, ["ORIGINAL", "PRIMARY"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns, data.ImagerPixelSpacing = rows, columns, [0.1, 0.1]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def ct_files(folder: Path, slices: int = 3, **elements: Any) -> list[Path]:
    """A small CT series, a file a slice, one millimetre apart."""
    study, series = generate_uid(), generate_uid()
    shared: dict[str, Any] = {
        "SOPClassUID": UID(CT_CLASS), "Modality": "CT", "BodyPartExamined": "CHEST", "StudyInstanceUID": study,
        "SeriesInstanceUID": series, "FrameOfReferenceUID": generate_uid(), "RescaleSlope": 1,
        "RescaleIntercept": -1024, "PixelSpacing": [0.7, 0.7], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SliceThickness": 1, "ImagerPixelSpacing": [0.7, 0.7], "shape": (64, 64)}  # fmt: skip
    return [dicom_file(folder / f"{z:04}.dcm", InstanceNumber=z + 1, ImagePositionPatient=[-20, -20, float(z)], seed=z,
                       **(shared | elements)) for z in range(slices)]


def arrive(inbox: Inbox, path: Path, sender: str, *, instead: bool = False) -> None:
    """Puts a file into the inbox as if it came by C-STORE from an AE title."""
    identity = identity_of(path)
    with path.open("rb") as file:
        meta = FileMetaDataset(meta_of(file))
        setattr(meta, SENDER, sender)
        inbox.add(identity.study, identity.sop_instance, file_head(meta), [file.read()], instead=instead)


@pytest.fixture(scope="session")
def dicom() -> SimpleNamespace:
    """`file(path, **elements)` makes a mammogram, `ct(folder, slices, **elements)` a CT series; `arrive` puts a file
    into an inbox."""
    return SimpleNamespace(file=dicom_file, ct=ct_files, arrive=arrive)


@pytest.fixture
def port() -> int:
    """A free port."""
    return free_port()


class Peer:
    """DCMTK's storescp."""

    def __init__(self, folder: Path, *options: str, aet: str = "STORESCP") -> None:
        self.folder, self.port, self.aet = folder, free_port(), aet
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(shutil.which("storescp")), "-d", "-aet", aet, "-od", str(folder), *options, str(self.port)]
        self._log = open(folder / "log.txt", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("storescp did not start")

    def received(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.name != "log.txt")

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Starts DCMTK's storescp with the options given: `.port`, `.aet`, `.received()`, `.log()`, `.stop()`."""
    need("storescp")
    started: list[Peer] = []

    def start(*options: str, aet: str = "STORESCP") -> Peer:
        started.append(Peer(tmp_path / f"storescp-{len(started)}", *options, aet=aet))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pynetdicom leaves a socket that could not be connected to the garbage collector."""
    here = Path(__file__).parent
    socket_words = r"unclosed <s[a-z]+\.(SSLS|s)ocket fd=\d+, family=\d+, type=1, proto=0(, laddr=[^>r]*\))?>"
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(f"ignore:{socket_words}:ResourceWarning"))
