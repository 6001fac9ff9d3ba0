"""DICOM's upper layer over TCP (PS3.8) between pynetdicom and the network: who is heard, for how long, and how much."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from scanward.delivery.bounded import PDU, BoundedSocket
from scanward.gateway.callers import Callers
from scanward.settings import Node

WAITING = 64
"""Callers beside the associations that may be there: those that have not asked yet, and those that are told no."""
ENDING = 32
"""Associations that pynetdicom still counts while they end."""
REQUEST = 0x01
"""PDU type of an A-ASSOCIATE-RQ (PS3.8 table 9-11)."""
TOO_MANY = bytes((0x03, 0, 0, 0, 0, 4, 0, 2, 3, 2))
"""A-ASSOCIATE-RJ (PS3.8 table 9-21): rejected for now by the service provider's presentation part, local limit
exceeded."""

Said = Callable[..., None]
"""`said(event, outcome, **facts)`, for the audit."""


class Handler(RequestHandler):
    """Hears what a caller asks for before anything is set up for him, and gives him a `BoundedSocket`."""

    def handle(self) -> None:
        server, line = cast(Server, self.server), cast(socket.socket, self.request)
        if isinstance(line, ssl.SSLSocket):
            line.do_handshake()
        self._asked = _request(line)
        if not self._asked:
            self.server.shutdown_request(line)
        elif server.admits(self.client_address, self._asked):
            super().handle()
        else:
            line.sendall(TOO_MANY)
            self.server.shutdown_request(line)

    def _create_association(self) -> Association:
        line = cast(socket.socket, self.request)
        line.settimeout(self.ae.network_timeout)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        association = super()._create_association()
        # A second socket object would say twice that somebody called.
        bounded = cast(BoundedSocket, association.dul.socket)
        bounded.__class__ = BoundedSocket
        bounded.ahead = self._asked
        return association


class Server(ThreadedAssociationServer):
    """One thread an association, or a caller that has not asked for one yet."""

    request_queue_size = 128
    daemon_threads = True  # who says nothing does not keep the gateway from its end
    callers: Callers
    turned: float
    """When it last went round, by the monotonic clock."""

    def limit(self, node: Node, said: Said) -> None:
        """How many may call; before anybody is served."""
        self._node, self._said, self.turned = node, said, time.monotonic()
        self.callers = Callers(node.associations + WAITING, node.associations + WAITING)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Leaves the handshake to the association's own thread: one silent peer must not keep the others waiting."""
        client, address = self.socket.accept()  # type: ignore[union-attr]
        if self.ssl_context is not None:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Hangs up at once where there is no room even to say so."""
        node = self._node
        return self.callers.enter(client_address[:2], request, min(node.request_seconds, node.idle_seconds))

    def service_actions(self) -> None:
        """Twice a second, and after each caller."""
        super().service_actions()
        self.turned = time.monotonic()
        self.callers.sweep()

    def admits(self, address: tuple[str, int], asked: bytes) -> bool:
        """Whether there is room for another association, and for one from there."""
        if self.callers.admit(address[:2], self._node.associations, self._node.associations_per_address):
            return True
        self._said("association.rejected", "minor", reason="Local limit exceeded", peer=str(address[0]),
                   aet=asked[26:42].decode("ascii", "replace").strip())
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that speaks no TLS, or none that we believe, is a line in the log and no traceback."""
        logging.getLogger(__name__).info("connection from %s broke off", client_address[0])


def _request(line: socket.socket) -> bytes:
    """The whole A-ASSOCIATE-RQ; nothing where another message comes, or the caller was hung up on."""
    head = _read(line, 6)
    length = int.from_bytes(head[2:], "big")
    if len(head) < 6 or head[0] != REQUEST or length > PDU:
        return b""
    body = _read(line, length)
    return head + body if len(body) == length else b""


def _read(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(min(size - len(data), 1 << 16))
        if not part:
            break
        data += part
    return data
