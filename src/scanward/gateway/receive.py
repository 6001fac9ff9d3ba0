"""The C-STORE SCP (PS3.4 B): who may send, what is taken, and the answer once it is safely on disk."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.dsutils import create_file_meta
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from scanward.delivery.bounded import PDU
from scanward.delivery.commitment import SYNTAXES as PLAIN
from scanward.delivery.commitment import Take, answer_to
from scanward.errors import ArgumentError, UnsupportedError
from scanward.formats.commitment import PUSH_MODEL
from scanward.formats.dicom import CAPTURE
from scanward.formats.guard import decoding
from scanward.formats.identity import SCANNED, SENDER, file_head, head_in, identity_of, looked_at, sort_of
from scanward.gateway.associations import ENDING, Handler, Said, Server
from scanward.inbox.folders import FullError, Inbox
from scanward.settings import Node

SUCCESS, FULL, MISMATCH, UNREADABLE, REFUSED = 0x0000, 0xA700, 0xA900, 0xC000, 0x0122
"""PS3.4 table B.2-1, and PS3.7 annex C for the last one: SOP class not supported."""
WHY = {FULL: "full", MISMATCH: "mismatched", UNREADABLE: "unreadable", REFUSED: "unsupported"}
"""`audit.tally.REASONS` of them."""
DEAF = 15.0
"""Seconds after which a node that heard nobody's call, not even that nobody calls, is held to be stuck."""
DERIVED = frozenset((CAPTURE, "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.22",
                     "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34"))
"""Secondary Capture, Segmentation, and reports: what our own results are."""
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
            "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
            "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
"""All that the readers decode. Not the deflated one: what stays unknown is how large it will be."""


WRONG = 10
"""Reports that do not count, on one association; then it is cut off."""


@dataclass
class Tally:
    """What came in over one association, and waits in memory."""

    waiting: int = 0
    """Bytes."""
    over: bool = False
    """It was cut off, or closed."""
    refused: Counter[str] = field(default_factory=Counter)
    """By `audit.tally.REASONS`."""
    reason: str = ""
    wrong: int = 0
    """Reports of storage commitment that do not count."""
    studies: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Objects stored, by (key, Study Instance UID)."""


def take_file(path: Path, inbox: Inbox, node: Node) -> str:
    """Puts a DICOM file that came another way into the inbox; returns the key of its study, an empty text where it is a
    result of ours. Raises `InputError` where it is none or of a kind that is not kept, and `FullError`."""
    identity = identity_of(path)
    if not identity.scanned and identity.sop_class in DERIVED and inbox.made(identity.sop_instance):
        return ""
    if not node.keep_unknown and not identity.scanned:
        raise UnsupportedError(f"Objects of the SOP class {identity.sop_class} are not kept; set node.keep_unknown.")
    with path.open("rb") as file:
        with decoding(path):
            head = head_in(file)
        kept = inbox.add(identity.study, identity.sop_instance, head, iter(lambda: file.read(1 << 20), b""))
    return kept.parent.parent.name


class Receiver:
    """Takes objects into an inbox until `stop`. `port` is the one that it listens on."""

    def __init__(self, node: Node, inbox: Inbox, context: ssl.SSLContext | None = None,
                 said: Said = lambda *_, **__: None, preferred: Callable[[str], bool] = lambda sender: False,
                 reported: Take | None = None) -> None:
        """Listens at once; `ArgumentError` where the address is taken or not ours. Of an object that came from several,
        the sender whose AE title is `preferred` is kept. Where reports of storage commitment are awaited, `reported`
        takes them."""
        self._preferred, self._take = preferred, reported or (lambda *_: "None is awaited.")
        self._node, self._inbox, self._said = node, inbox, said
        self._lock, self._waiting = threading.Lock(), 0
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        _config.UNRESTRICTED_STORAGE_SERVICE = False
        entity = AE(node.aet)
        entity.maximum_pdu_size = PDU
        entity.maximum_associations = node.associations + ENDING
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = node.idle_seconds
        entity.require_called_aet = node.check_called
        entity.require_calling_aet = list(node.allow)
        contexts = [build_context(str(c.abstract_syntax), list(SYNTAXES)) for c in AllStoragePresentationContexts
                    if node.keep_unknown or c.abstract_syntax in {*SCANNED, *DERIVED}]
        contexts.append(build_context(Verification))
        if reported is not None:
            contexts.append(build_context(PUSH_MODEL, list(PLAIN)))
            contexts[-1].scu_role = contexts[-1].scp_role = True
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda event: SUCCESS),
                    (evt.EVT_N_EVENT_REPORT, self._reported),
                    (evt.EVT_PDU_RECV, self._count), (evt.EVT_ACCEPTED, self._accepted),
                    (evt.EVT_REJECTED, self._rejected), (evt.EVT_CONN_CLOSE, self._closed)]
        try:
            self._server = entity.make_server((node.host, node.port), contexts=contexts, ssl_context=context,
                                              evt_handlers=handlers,  # type: ignore[arg-type]
                                              server_class=Server, request_handler=Handler)
        except OSError as error:
            raise ArgumentError(f"{node.host}:{node.port} cannot be listened on ({error.strerror}); choose another "
                                "node.host or node.port.") from None
        cast(Server, self._server).limit(node, said)
        entity._servers.append(self._server)
        self.port = int(self._server.server_address[1])
        self._entity = entity
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    @property
    def listens(self) -> bool:
        """Whether whoever calls is still heard."""
        return time.monotonic() - cast(Server, self._server).turned < DEAF

    def stop(self) -> None:
        """Associations that are open are aborted: what was not acknowledged will be sent again."""
        cast(Server, self._server).callers.end()
        for association in self._server.active_associations:
            # A peer that drips would keep the abort waiting.
            with contextlib.suppress(OSError, AttributeError):
                association.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        for association in self._server.active_associations:
            if association.is_rejected:  # it ends by itself, and its state machine knows no abort any more
                association.join(1.0)
        self._entity.shutdown()

    def _tally(self, event: evt.Event) -> Tally:
        with self._lock:
            found: Tally = event.assoc.__dict__.setdefault("_scanward", Tally())
            return found

    def _count(self, event: evt.Event) -> None:
        """Cuts off what grows beyond what is allowed before it fills the memory: one object, or all that wait."""
        pdu: Any = event.pdu
        if pdu.pdu_type != 0x04:
            return
        tally, most = self._tally(event), self._node.largest_mb << 20
        with self._lock:
            tally.waiting += pdu.pdu_length
            self._waiting += pdu.pdu_length
            cut = not tally.over and (tally.waiting > most or self._waiting > 2 * most)
            if cut:
                tally.over = True
                tally.refused["too_large"] += 1
                tally.reason = "An object, or all at once, were larger than node.largest_mb allows."
        if cut:
            event.assoc.dul.socket.cut = True  # type: ignore[union-attr]  # what is on its way stays there
            event.assoc.abort()

    def _store(self, event: evt.Event) -> int:
        tally, request = self._tally(event), cast(Any, event.request)
        try:
            status, stored = self._stored(event)
        finally:
            self._done(tally, len(request.DataSet.getbuffer()))
        with self._lock:
            late = tally.over and stored is not None
            if status != SUCCESS:
                tally.refused[WHY[status]] += 1
            if stored is not None and not late:
                tally.studies[stored] += 1
        if late and stored is not None:  # the peer was gone before the disk was done
            self._said("objects.stored", "success", key=stored[0], study_uid=stored[1], stored=1, **_peer(event))
        return status

    def _done(self, tally: Tally, size: int) -> None:
        """So many bytes wait in memory no more."""
        with self._lock:
            size = min(tally.waiting, size)
            tally.waiting -= size
            self._waiting -= size

    def _reported(self, event: evt.Event) -> tuple[int, None]:
        """A report of storage commitment: kept, or refused and written down."""
        tally, request = self._tally(event), cast(Any, event.request)
        try:
            status, why = answer_to(event, str(event.assoc.requestor.ae_title), self._take)
        finally:
            self._done(tally, len(request.EventInformation.getbuffer()) if request.EventInformation else 0)
        if status != SUCCESS:
            self._said("commitment.refused", "minor", reason=why, **_peer(event))
            with self._lock:
                tally.wrong += 1
                cut = tally.wrong == WRONG
            if cut:
                event.assoc.abort()
        return status, None

    def _stored(self, event: evt.Event) -> tuple[int, tuple[str, str] | None]:
        """The answer and, where an object was put on disk, its key and study."""
        request: Any = event.request
        syntax = event.context.transfer_syntax
        asked = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        request.DataSet.seek(0)
        sop_class, sop_uid, modality, study = sort_of(request.DataSet, syntax)
        if not study:
            return UNREADABLE, None
        if (sop_class, sop_uid) != asked:
            return MISMATCH, None
        scanned = looked_at(sop_class, modality)
        if not scanned and sop_class in DERIVED and self._inbox.made(sop_uid):
            return SUCCESS, None
        if not scanned and not self._node.keep_unknown:
            return REFUSED, None
        meta = create_file_meta(sop_class_uid=request.AffectedSOPClassUID, transfer_syntax=syntax,
                                sop_instance_uid=request.AffectedSOPInstanceUID)
        sender = str(event.assoc.requestor.ae_title)
        setattr(meta, SENDER, sender)
        try:
            path = self._inbox.add(study, sop_uid, file_head(meta), (request.DataSet.getbuffer(),),
                                   instead=self._preferred(sender))
        except FullError as error:
            self._tally(event).reason = str(error)
            return FULL, None
        return SUCCESS, (path.parent.parent.name, study)

    def _accepted(self, event: evt.Event) -> None:
        self._said("association.accepted", "success", **_peer(event))

    def _rejected(self, event: evt.Event) -> None:
        primitive: Any = event.assoc.acceptor.primitive
        why = getattr(primitive, "reason_str", "") or "refused"
        self._said("association.rejected", "minor", reason=str(why), **_peer(event))

    def _closed(self, event: evt.Event) -> None:
        tally = self._tally(event)
        with self._lock:
            tally.over = True
            self._waiting -= tally.waiting
            tally.waiting = 0
            studies = list(tally.studies.items())
        for (key, study), count in studies:
            self._said("objects.stored", "success", key=key, study_uid=study, stored=count, **_peer(event))
        if tally.refused:
            self._said("objects.stored", "minor", refused=tally.refused.total(), reasons=dict(tally.refused),
                       reason=tally.reason, **_peer(event))


def _peer(event: evt.Event) -> dict[str, str]:
    requestor = event.assoc.requestor
    return {"aet": str(requestor.ae_title), "peer": str(requestor.address)}
