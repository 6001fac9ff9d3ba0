"""A peer's end of DICOM's upper layer over TCP (PS3.8): how much of it is read, and for how long."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import time

from pynetdicom.transport import AssociationSocket

PDU = 1 << 18
"""Bytes that one message of the upper layer may have; peers that claim more are cut off before they are heard."""
QUICK = getattr(socket, "TCP_QUICKACK", None)


class BoundedSocket(AssociationSocket):
    """Reads no more than a PDU can have, at the network's speed rather than 4 KB at a time, and not for ever."""

    cut = False
    """Nothing more is read: the peer was told that it sends too much."""
    ahead = b""
    """Was read before, and comes first."""
    left = math.inf
    """Bytes that the peer may still say."""

    @property
    def ready(self) -> bool:
        """As pynetdicom's own, whose `select` knows no descriptor beyond 1023."""
        if self.socket is None or not self._is_connected:
            return False
        if self.ahead or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        try:
            asked = select.poll()
            asked.register(self.socket, select.POLLIN)
            return bool(asked.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the connection is closed
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        if self.cut:
            return bytearray()
        if self.ahead:
            data, self.ahead = bytearray(self.ahead[:nr_bytes]), self.ahead[nr_bytes:]
            return data
        if nr_bytes > PDU + 6 or self.socket is None:
            raise OSError("the peer claims a longer message than was agreed on")
        self.left -= nr_bytes
        if self.left < 0:
            raise OSError("the peer says more than it was asked for")
        data, patience = bytearray(nr_bytes), self.assoc.network_timeout or 60.0
        view, read, end = memoryview(data), 0, time.monotonic() + patience
        if QUICK is not None:
            # Senders that wait for an acknowledgement before they send a small rest would wait 40 ms for it.
            self.socket.setsockopt(socket.IPPROTO_TCP, QUICK, 1)
        while read < nr_bytes:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            got = self.socket.recv_into(view[read:])
            if not got:
                break
            read += got
        self.socket.settimeout(patience)
        view.release()
        del data[read:]
        return data

    def _shutdown_socket(self) -> None:
        """pynetdicom's own leaves the socket open where the peer was gone before."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
