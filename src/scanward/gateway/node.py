"""The gateway as a whole: what runs beside what, from the first line it prints to a clean end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from scanward.audit.trail import Audit
from scanward.delivery.certificates import Certificates
from scanward.delivery.contexts import server_context
from scanward.delivery.hooks import Hooks
from scanward.delivery.outgoing import Outgoing
from scanward.errors import ArgumentError
from scanward.gateway import work
from scanward.gateway.alarms import Alarms, expiring
from scanward.gateway.processes import Kept
from scanward.gateway.receive import Receiver, take_file
from scanward.gateway.trouble import refused
from scanward.inbox import pulse
from scanward.inbox.folders import Inbox
from scanward.inbox.record import StudyRecord
from scanward.inbox.troubles import Trouble, tell, troubles
from scanward.settings import Gateway, Web

TICK = 1.0
"""Seconds between two looks at what is to be sent or started again."""
GRACE = 3.0
"""Seconds that the pages are given for answers under way."""
HOUR = 3600.0
SILENT = 15.0
"""Seconds for which the node may be silent."""


def serve(gateway: Gateway, ready: Callable[[str, str], None] = lambda node, pages: None, *,
          reindex: bool = False) -> None:
    """Runs until it is told to stop by SIGTERM or SIGINT; `ready` hears where the node and the pages are. With
    `reindex` the index of the studies is made anew from the folders.

    Raises `ArgumentError` where an address is taken, a file named in the settings cannot be used, or another gateway
    works on the same inbox.
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    inbox = Inbox(gateway.store.folder, free_mb=gateway.store.free_mb)
    with ExitStack() as stack:
        stack.enter_context(inbox.alone())
        if reindex:
            inbox.index.remove()
        tell(inbox, ())
        audit = Audit(gateway.audit, inbox.root)
        audit.start()
        stack.callback(audit.close)
        _try_scanner(gateway, inbox)
        certificates = Certificates(gateway)
        outgoing = Outgoing(inbox.root, _told("results", inbox, audit))
        awaits = any(to.commitment for to in gateway.destination)
        receiver = Receiver(gateway.node, inbox, server_context(gateway.node.tls), audit.record, gateway.seal.by,
                            partial(outgoing.reported, destinations=gateway.destination) if awaits else None)
        stack.callback(receiver.stop)
        helpers = stack.enter_context(_helpers(gateway, inbox))
        _pull(gateway, inbox, audit, stop)
        audit.record("start")
        stack.callback(audit.record, "stop")
        ready(f"{gateway.node.aet} at {gateway.node.host}:{receiver.port}", helpers.address)
        _tend(gateway, inbox, audit, stop, receiver, helpers, certificates, outgoing)


def _try_scanner(gateway: Gateway, inbox: Inbox) -> None:
    """What would make every study fail is said now, and not at the first study."""
    from scanward.gateway.scanning import Scanner

    Scanner(gateway, inbox)


class Helpers:
    """The processes beside this one: those that scan, and the one that shows the pages."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        """Raises `ArgumentError` where the pages' address is taken, or who may see the metrics cannot be told."""
        from scanward.review.health import Watched

        Watched(gateway.monitoring)  # which says in one sentence what is wrong with the token
        self._gateway, run = gateway, uuid.uuid4().hex
        self.address, listening = _listening(gateway.web) if gateway.web.on else ("", None)
        self._sign = inbox.root / f".running-{run}"
        for old in inbox.root.glob(".running-*"):
            old.unlink(missing_ok=True)
        self._sign.touch()
        pulse.clear(inbox.root)
        signs = [f"{pulse.WORKER}-{number}" for number in range(gateway.work.processes)]
        for sign in signs:
            pulse.beat(inbox.root, sign, work.SILENT)
        self._workers = [Kept("worker", "A process that scans", work.run,
                              (gateway, run, self._sign, os.getpid(), sign)) for sign in signs]
        self._pages: list[Kept] = []
        if listening is not None:
            from scanward.gateway import pages

            self._pages = [Kept("pages", "The process of the pages", pages.run, (gateway, listening, os.getpid()))]

    def tend(self, said: Callable[..., None]) -> list[Trouble]:
        """Starts anew what died; what there is to tell of it."""
        for one in (*self._workers, *self._pages):
            one.tend(said)
        found = {one.trouble for one in (*self._workers, *self._pages)}
        return sorted(filter(None, found), key=lambda trouble: trouble.name)

    def stop(self) -> None:
        """Lets each end what it is at, for a while."""
        self._sign.unlink(missing_ok=True)
        for one in self._pages:
            one.terminate()
        now = time.monotonic()
        for one in self._workers:
            one.end(now + self._gateway.work.stop_seconds)
        for one in self._pages:
            one.end(now + GRACE)


@contextmanager
def _helpers(gateway: Gateway, inbox: Inbox) -> Iterator[Helpers]:
    helpers = Helpers(gateway, inbox)
    try:
        yield helpers
    finally:
        helpers.stop()


def _listening(web: Web) -> tuple[str, socket.socket]:
    """The address of the first page, and the socket that stays open whatever becomes of the process that serves it."""
    server_context(web.tls)  # which says in one sentence what is wrong with the files
    try:
        family = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((web.host, web.port), family=family, backlog=128)
    except OSError as error:
        raise ArgumentError(f"{web.host}:{web.port} cannot be listened on ({refused(error)}); choose another web.host "
                            "or web.port.") from None
    scheme = "http" if web.tls.cert is None else "https"
    return f"{scheme}://{web.host}:{listening.getsockname()[1]}/", listening


def _pull(gateway: Gateway, inbox: Inbox, audit: Audit, stop: threading.Event) -> None:
    if not gateway.pull:
        return
    from scanward.gateway.pull import follow
    from scanward.gateway.pull_dicomweb import DicomWeb
    from scanward.gateway.pull_orthanc import Orthanc

    kinds = {"orthanc": Orthanc, "dicomweb": DicomWeb}
    for pull in gateway.pull:
        threading.Thread(target=follow, name=f"pull {pull.name}", daemon=True, args=(
            pull, kinds[pull.kind], lambda path: take_file(path, inbox, gateway.node), inbox.root, stop,
            audit)).start()


def _told(what: str, inbox: Inbox, audit: Audit) -> Callable[[str, str, str, str], None]:
    """Writes down what became of a delivery."""
    def one(identifier: str, to: str, outcome: str, why: str) -> None:
        if outcome != "waiting":
            key = identifier.split("-", maxsplit=1)[0]
            study = inbox.study(key)
            record = study.record if study else StudyRecord()
            audit.record(f"{what}.{outcome}", "serious" if outcome == "refused" else "success", destination=to,
                         key=key, study_uid=record.study_uid, patient_id=record.patient_id, reason=why)

    return one


def _tend(gateway: Gateway, inbox: Inbox, audit: Audit, stop: threading.Event, receiver: Receiver, helpers: Helpers,
          certificates: Certificates, outgoing: Outgoing) -> None:
    """Sends, cleans up and starts anew until it is told to stop."""
    hooks = Hooks(inbox.root, _told("hook", inbox, audit))

    def courier(run_once: Callable[[], object]) -> None:
        while not stop.wait(TICK):
            # Whatever goes wrong with one parcel, the others are to be sent as long as the gateway runs.
            try:
                run_once()
            except Exception as error:
                audit.record("results.refused", "serious", reason=f"{type(error).__name__}: {error}")
                stop.wait(TICK * 60)

    for rounds in (partial(outgoing.run_once, gateway.destination, gateway.node.aet, stop),
                   partial(hooks.run_once, gateway.webhook, stop)):
        threading.Thread(target=courier, args=(rounds,), name="courier", daemon=True).start()
    alarms = Alarms(inbox, audit.record, hooks, gateway.webhook)
    swept = 0.0

    def removed(key: str) -> None:
        _beat(inbox, receiver)  # there may be many
        audit.record("study.removed", key=key)

    while not stop.wait(TICK):
        _beat(inbox, receiver)
        tell(inbox, [*helpers.tend(audit.record), *expiring(certificates, gateway.monitoring.certificate_days)])
        alarms.look(troubles(inbox))
        if time.monotonic() - swept > HOUR:
            swept = time.monotonic()
            with suppress(OSError):
                inbox.forget(gateway.store.keep_days, said=removed)


def _beat(inbox: Inbox, receiver: Receiver) -> None:
    """The node lives as long as this thread and the one that listens do."""
    if receiver.listens:
        pulse.beat(inbox.root, pulse.NODE, SILENT)
