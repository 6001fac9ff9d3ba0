"""A study's web server: one process, one study."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from scanward.errors import ArgumentError
from scanward.formats.guard import shown
from scanward.readerstudy.app import build
from scanward.readerstudy.folder import ANSWERS, Study

LOCK = ".lock"


def serve(study: Study, host: str, port: int, cert: Path | None, key: Path | None,
          ready: Callable[[str], None]) -> None:
    """Serve a study until interrupted; `ready` hears the address. Raises `ArgumentError` where the address is taken,
    another server has the study, or an address of the network is asked for without TLS."""
    if cert is None and not _loopback(host):
        raise ArgumentError(f"{host} can be reached from the network, and links and films would cross it in the clear; "
                            "give --cert and --key, or stay on 127.0.0.1 behind a proxy.")
    with _alone(study), _bound(host, port) as listening:
        config = uvicorn.Config(build(study, https=cert is not None), access_log=False, log_level="warning",
                                server_header=False, date_header=True, proxy_headers=False, ws="none",
                                ssl_certfile=cert, ssl_keyfile=key, timeout_graceful_shutdown=3)
        name = f"[{host}]" if ":" in host else host
        ready(f"{'https' if cert else 'http'}://{name}:{listening.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """One server a study: two would not know of each other's answers."""
    handle = os.open(study.folder / ANSWERS / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ArgumentError(f"{shown(study.folder)} is being served already; stop that server first.") from None
    finally:
        os.close(handle)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise ArgumentError(f"{host} port {port} cannot be used ({error.strerror}); choose another with "
                            "--port.") from error
    with listening:
        yield listening


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
