"""A real Orthanc of a test's own."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from outside import need, program

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
