"""One association with a destination, on which every answer reaches the one who asked."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE

from scanward.delivery.bounded import BoundedSocket
from scanward.delivery.contexts import client_context
from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.webclient import ANSWER, CONNECT, tls_refusal
from scanward.delivery.words import name_of
from scanward.formats.guard import clean

if TYPE_CHECKING:
    from scanward.settings import Destination

HEARD = 32 << 20
"""Bytes that a receiver may say on one association: 65,535 answers of 400, and a report of storage commitment."""
RELEASE = 5.0
"""Seconds to wait for the end of an association once all is answered."""


class Answers(DIMSEServiceProvider):
    """Keeps answers for whoever asked, and takes none for another's.

    pynetdicom's own thread of an association also takes messages from the queue, and throws answers away: a sender
    holds it with an event while it waits for one, but not where that thread has passed the event and was not given the
    processor since. Nothing comes to a sender's queue that this thread would have to serve.
    """

    _asked = 0

    def send_msg(self, primitive: Any, context_id: int) -> None:
        self._asked = primitive.MessageID or self._asked
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> Any:
        """The answer to the last request; nothing where the connection is gone or `dimse_timeout` over."""
        if not block:
            return None, None
        end = time.monotonic() + (self.dimse_timeout or ANSWER)
        with suppress(queue.Empty):
            while (left := end - time.monotonic()) > 0:
                context_id, message = self.msg_queue.get(timeout=left)
                if message is None or message.MessageIDBeingRespondedTo == self._asked:
                    return context_id, message
        return None, None


class Line(Association):
    """Ends once what the receiver reports is answered.

    pynetdicom serves an N-EVENT-REPORT in a thread of its own, and its state machine breaks where that answers after
    the release was asked for. Nor does a line wait for its own thread to pause: `Answers` made that needless, and a
    report that is served meanwhile would say that it goes on, for ever.
    """

    _serving: threading.Lock

    def _serve_request(self, msg: Any, context_id: int) -> None:
        with self._serving:
            super()._serve_request(msg, context_id)

    def release(self) -> None:
        if not self._serving.acquire(timeout=RELEASE):
            self.abort()
            return
        try:
            super().release()
        finally:
            self._serving.release()

    @property
    def _is_paused(self) -> bool:
        return True

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass


def _opened(event: evt.Event) -> None:
    """Before the association's thread runs."""
    event.assoc.__class__, event.assoc.dimse.__class__ = Line, Answers
    cast(Any, event.assoc)._serving = threading.Lock()
    line: Any = event.assoc.dul.socket
    # What a receiver says would be kept in memory whole, whatever it claims and however much comes.
    line.__class__, line.left = BoundedSocket, HEARD
    # Or the rest of each object waits for the receiver's acknowledgement of its beginning.
    line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def associated(contexts: Iterable[tuple[str, str]], to: Destination, calling: str,
               handlers: Iterable[tuple[Any, Any]] = (), *, none: str = "takes none of these kinds of object; allow "
               "their SOP classes there", patience: float | None = None) -> Iterator[Association]:
    """An association that proposes pairs of SOP class and transfer syntax, 128 at most; released at the end.

    Raises `Unreachable` where trying again later may help, `Refused` where it cannot; `none` is what to say where it
    takes none of the pairs, and `patience` the seconds to wait for each answer, if not `ANSWER`.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # files go as they lie, and no object is held in memory
    entity = AE(ae_title=calling)
    entity.connection_timeout = CONNECT
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = patience or ANSWER
    for sop_class, syntax in sorted(contexts):
        entity.add_requested_context(sop_class, syntax)
    context = client_context(to.tls)
    tls = None if context is None else (context, to.host)
    try:
        line = entity.associate(to.host, to.port, ae_title=to.aet, tls_args=cast(Any, tls),
                                evt_handlers=cast(Any, [(evt.EVT_CONN_OPEN, _opened), *handlers]))
    except (OSError, RuntimeError) as error:
        raise Unreachable(f"{name_of(to)} cannot be reached ({clean(error)}).") from error
    try:
        if not line.is_established:
            raise _no_association(line, to, context, none)
        yield line
    finally:
        if line.is_established:
            line.acse_timeout = RELEASE
            line.release()


def _no_association(line: Any, to: Destination, context: ssl.SSLContext | None, none: str) -> Refused | Unreachable:
    answer = _rejection(line)
    if answer is not None:
        why = clean(f"{answer.result_str}: {answer.reason_str}")
        if answer.result == 1:
            return Refused(f"{name_of(to)} rejected the association ({why}); check the AE titles on both sides.")
        return Unreachable(f"{name_of(to)} rejected the association for now ({why}).")
    if line.rejected_contexts:
        return Refused(f"{name_of(to)} {none}.")
    return _probed(to, context)


def _rejection(line: Any) -> A_ASSOCIATE | None:
    """The receiver's, if it gave one. Where it hung up before pynetdicom looked whether it was connected, that took it
    for a peer that is away and left the answer unread."""
    if line.is_rejected:
        return cast(A_ASSOCIATE, line.acceptor.primitive)
    with suppress(queue.Empty):
        while True:
            answer = line.dul.to_user_queue.get_nowait()
            if isinstance(answer, A_ASSOCIATE) and answer.result in (1, 2):
                return answer
    return None


def _probed(to: Destination, context: ssl.SSLContext | None) -> Refused | Unreachable:
    """Why no association came about: pynetdicom keeps it to itself."""
    why = "cannot be reached"
    try:
        with socket.create_connection((to.host, to.port), timeout=CONNECT) as plain:
            if context is None:
                return Unreachable(f"{name_of(to)} did not answer the request for an association.")
            why = "broke the TLS handshake off; check whether it speaks TLS and believes our certificate"
            with context.wrap_socket(plain, server_hostname=to.host) as secure:
                secure.settimeout(2.0)
                with suppress(TimeoutError):
                    secure.recv(1)  # with TLS 1.3 a refusal of our certificate comes after the handshake
            return Unreachable(f"{name_of(to)} did not answer the request for an association.")
    except ssl.SSLError as error:
        return tls_refusal(name_of(to), error)
    except OSError as error:
        return Unreachable(f"{name_of(to)} {why} ({clean(error.strerror or error)}).")
