"""A real Orthanc, certificates made with openssl, and small real DICOM files, for everything that serves."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from chests import gate  # noqa: F401  (a fixture)
from hearing import listener  # noqa: F401  (a fixture)
from objects import ct_files, dicom_file
from orthancs import free_port, orthanc, shared_orthanc, start_orthanc  # noqa: F401  (fixtures, three of them)
from outside import need
from pydicom.dataset import FileMetaDataset
from serving import gateways  # noqa: F401  (a fixture)

from scanward.formats.dataset import meta_of
from scanward.formats.identity import SENDER, file_head, identity_of
from scanward.inbox.folders import Inbox


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
