"""Audit messages on their way to a syslog server: RFC 5424 over TLS (RFC 5425) or UDP (RFC 5426).

They wait as files in `ROOT/outgoing-audit/`, bounded, so that a server that is away delays nothing here and loses
nothing within the bound. Over TLS a message is forgotten some seconds after it was written to a connection that still
stands: syslog has no acknowledgement. After a broken connection the last ones are sent again.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.delivery.contexts import web_context
from scanward.delivery.spool import pause
from scanward.errors import ScanwardError
from scanward.formats.guard import clean

if TYPE_CHECKING:
    from scanward.settings import Audit as Settings

FOLDER = "outgoing-audit"
MOST = 20_000
"""Messages that wait at most; then new ones are not spooled, and are in the JSON lines alone."""
CERTAIN = 2.0
"""Seconds after which a message on a connection that stands counts as received."""
LOOK = 5.0
"""Seconds between looks into the folder: other processes put messages there, too."""
LARGEST_UDP = 65_000
CONNECT = 15.0
PRIORITY = 10 * 8 + 5
"""Security and authorisation, notice (PS3.15 A.6)."""
BOM = b"\xef\xbb\xbf"


def spool(root: Path, message: bytes) -> bool:
    """Lays a message down to be sent; False where too many wait. `OSError` where the disk is full."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if sum(1 for _ in os.scandir(folder)) >= MOST:
        return False
    # Names sort by time; no sync, as with the JSON lines: a kill loses nothing, a power cut the last moment.
    name = f"{time.time_ns():020}-{secrets.token_hex(4)}"
    draft = folder / f".{name}"
    draft.write_bytes(framed(message))
    draft.rename(folder / name)
    return True


def framed(message: bytes) -> bytes:
    """The syslog message: header, no structured data, and the XML after a byte order mark."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
    return f"<{PRIORITY}>1 {stamp}.000Z {host} scanward {os.getpid()} DICOM+RFC3881 - ".encode() + BOM + message


class Forwarder:
    """A thread that sends what lies in the folder, in order, and waits longer and longer while nobody takes it."""

    def __init__(self, settings: Settings, root: Path) -> None:
        host, _, port = settings.syslog.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            from scanward.errors import ArgumentError

            raise ArgumentError(f"audit.syslog {clean(settings.syslog)!r} is no HOST:PORT, such as audit.example:6514.")
        self._address = (host.strip("[]"), int(port))
        self._udp = settings.protocol == "udp"
        self._context = None if self._udp else web_context(settings.tls)
        self._folder = root / FOLDER
        self._socket: socket.socket | None = None
        self._flying: deque[tuple[float, Path]] = deque()  # written, and not certain to have arrived
        self._stop, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._failures = 0

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def wake(self) -> None:
        """Says that there is something new."""
        self._news.set()

    def close(self, patience: float = 2 * CERTAIN) -> None:
        """Sends what can be sent at once and ends; what is left stays in the folder."""
        self._stop.set()
        self._news.set()
        self._thread.join(patience + CONNECT)

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            wait = LOOK
            try:
                self._round()
                self._failures = 0
                if self._flying:
                    wait = CERTAIN / 4
            except (OSError, ScanwardError) as error:
                self._broken(error)
                wait = pause(self._failures)
            if stopping:
                self._settle()
                return
            if self._failures:
                self._stop.wait(wait)
            else:
                self._news.wait(wait)
                self._news.clear()

    def _round(self) -> None:
        self._land()
        flying = {path for _, path in self._flying}
        for path in sorted(p for p in self._folder.glob("*") if not p.name.startswith(".") and p not in flying):
            self._send(path)

    def _send(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        if self._socket is None:
            self._socket = self._connect()
        if self._udp:
            # A datagram holds no more; what is longer is cut, as RFC 5426 has it.
            self._socket.send(data[:LARGEST_UDP])
            path.unlink(missing_ok=True)
            return
        self._check()
        self._socket.sendall(b"%d " % len(data) + data)
        self._flying.append((time.monotonic(), path))

    def _connect(self) -> socket.socket:
        if self._udp:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            plain = socket.socket(family, kind, protocol)
            plain.connect(address)
            return plain
        plain = socket.create_connection(self._address, timeout=CONNECT)
        try:
            assert self._context is not None  # noqa: S101
            return self._context.wrap_socket(plain, server_hostname=self._address[0])
        except BaseException:
            plain.close()
            raise

    def _check(self) -> None:
        """`OSError` where the server has ended the connection, which a write alone would not tell."""
        link = self._socket
        if not isinstance(link, ssl.SSLSocket) or not select.select([link], [], [], 0)[0]:
            return
        link.settimeout(0.05)
        try:
            if not link.recv(4096):
                raise ConnectionResetError("The server ended the connection.")
        except (TimeoutError, ssl.SSLWantReadError):
            pass  # a session ticket, say
        finally:
            link.settimeout(CONNECT)

    def _land(self) -> None:
        """Forgets what was written long enough ago to a connection that still stands."""
        if not self._flying or self._socket is None:
            return
        self._check()
        while self._flying and time.monotonic() - self._flying[0][0] >= CERTAIN:
            self._flying.popleft()[1].unlink(missing_ok=True)

    def _settle(self) -> None:
        """Before the end: a little patience for what is on its way."""
        end = time.monotonic() + 2 * CERTAIN
        with suppress(OSError):
            while self._flying and time.monotonic() < end:
                time.sleep(0.05)
                self._land()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _broken(self, error: Exception) -> None:
        if not self._failures:
            print(f"scanward: The audit server {self._address[0]}:{self._address[1]} cannot be reached "
                  f"({clean(error)}); its messages wait.", file=sys.stderr)
        self._failures += 1
        self._flying.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
