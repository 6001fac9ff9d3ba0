"""The gateway as a whole: what runs beside what, from the first line it prints to a clean end."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from scanward.audit.trail import Audit
from scanward.delivery.contexts import server_context
from scanward.delivery.hooks import Hooks
from scanward.delivery.outgoing import Outgoing
from scanward.disk import whole_file
from scanward.errors import ArgumentError
from scanward.gateway import work
from scanward.gateway.receive import Receiver, take_file
from scanward.inbox.folders import Inbox
from scanward.inbox.record import StudyRecord
from scanward.settings import Gateway

TICK = 1.0
"""Seconds between two looks at what is to be sent or started again."""
PATIENCE = 30.0
"""Seconds that a worker is given for its last study."""
HOUR = 3600.0


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
        audit = Audit(gateway.audit, inbox.root)
        audit.start()
        stack.callback(audit.close)
        _try_scanner(gateway, inbox)
        receiver = Receiver(gateway.node, inbox, server_context(gateway.node.tls), audit.record,
                            gateway.seal.by)
        stack.callback(receiver.stop)
        pages = stack.enter_context(_pages(gateway, inbox, audit))
        workers = stack.enter_context(_workers(gateway, inbox))
        _pull(gateway, inbox, audit, stop)
        audit.record("start")
        stack.callback(audit.record, "stop")
        ready(f"{gateway.node.aet} at {gateway.node.host}:{receiver.port}", pages)
        _tend(gateway, inbox, audit, workers, stop)


def _try_scanner(gateway: Gateway, inbox: Inbox) -> None:
    """What would make every study fail is said now, and not at the first study."""
    from scanward.gateway.scanning import Scanner

    Scanner(gateway, inbox)


class Workers:
    """Processes that scan; one that dies is started anew."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        run = uuid.uuid4().hex
        self._sign = inbox.root / f".running-{run}"
        for old in inbox.root.glob(".running-*"):
            old.unlink(missing_ok=True)
        self._sign.touch()
        self._arguments = (gateway, run, self._sign, os.getpid())
        self._context = multiprocessing.get_context("spawn")
        self._processes = [self._started() for _ in range(gateway.work.workers)]

    def _started(self) -> BaseProcess:
        process = self._context.Process(target=work.run, args=self._arguments, name="scanward-worker")
        process.start()
        return process

    def tend(self, said: Callable[..., None]) -> None:
        """Starts anew what died."""
        for i, process in enumerate(self._processes):
            if not process.is_alive():
                said("worker.died", "serious", reason=f"Exit code {process.exitcode}.")
                with suppress(OSError):  # no memory or no processes left; tried again
                    self._processes[i] = self._started()

    def stop(self) -> None:
        """Lets every worker end its study, for a while."""
        self._sign.unlink(missing_ok=True)
        end = time.monotonic() + PATIENCE
        for process in self._processes:
            process.join(max(0.1, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def _workers(gateway: Gateway, inbox: Inbox) -> Iterator[Workers]:
    workers = Workers(gateway, inbox)
    try:
        yield workers
    finally:
        workers.stop()


@contextmanager
def _pages(gateway: Gateway, inbox: Inbox, audit: Audit) -> Iterator[str]:
    """The web server in a thread of its own; yields the address of its first page, empty where there are no pages."""
    web = gateway.web
    if not web.on:
        yield ""
        return
    import uvicorn

    from scanward.review.app import make_app

    https = web.tls.cert is not None
    app = make_app(inbox, users=web.users, secret=_secret(inbox.root), https=https,
                   hosts=web.hosts, audit=audit.record, trail=audit.path,
                   send=lambda files: _send_review(files, gateway, inbox))
    listening = _listening(web.host, web.port)
    server_context(web.tls)  # which says in one sentence what is wrong with the files
    # Only where a proxy is meant to stand before the pages may a header say who asks.
    config = uvicorn.Config(app, log_level="error", access_log=False, ws="none", server_header=False, lifespan="off",
                            proxy_headers=bool(web.hosts),
                            ssl_certfile=web.tls.cert, ssl_keyfile=web.tls.key,
                            ssl_ca_certs=str(web.tls.ca) if web.tls.ca else None,
                            ssl_cert_reqs=ssl.CERT_REQUIRED if web.tls.ca else ssl.CERT_NONE)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="pages", daemon=True)
    thread.start()
    try:
        yield f"{'https' if https else 'http'}://{web.host}:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(5.0)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ArgumentError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another web.host or "
                            "web.port.") from None


def _secret(root: Path) -> bytes:
    """What sessions are signed with; outlives the process, so that a restart logs nobody out."""
    path = root / ".secret"
    if not path.exists():
        with suppress(ArgumentError), whole_file(path, replace=False) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secrets.token_bytes(32))
    path.chmod(0o600)
    return path.read_bytes()


def _send_review(files: list[Path], gateway: Gateway, inbox: Inbox) -> None:
    from scanward.formats.identity import identity_of

    for path in files:
        inbox.mark_made(identity_of(path).sop_instance)
    for to in gateway.destination:
        if to.results:
            Outgoing(inbox.root).add(work.delivery(files[0].parent.name, to.name, files), files, to.name)


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


def _tend(gateway: Gateway, inbox: Inbox, audit: Audit, workers: Workers, stop: threading.Event) -> None:
    """Sends, cleans up and starts anew until it is told to stop."""
    def told(what: str) -> Callable[[str, str, str, str], None]:
        def one(identifier: str, to: str, outcome: str, why: str) -> None:
            if outcome != "waiting":
                key = identifier.split("-", maxsplit=1)[0]
                study = inbox.study(key)
                record = study.record if study else StudyRecord()
                audit.record(f"{what}.{outcome}", "success" if outcome == "sent" else "serious", destination=to,
                             key=key, study_uid=record.study_uid, patient_id=record.patient_id, reason=why)

        return one

    outgoing, hooks = Outgoing(inbox.root, told("results")), Hooks(inbox.root, told("hook"))

    def courier() -> None:
        while not stop.wait(TICK):
            # Whatever goes wrong with one parcel, the others are to be sent as long as the gateway runs.
            try:
                outgoing.run_once(gateway.destination, gateway.node.aet, stop)
                hooks.run_once(gateway.webhook, stop)
            except Exception as error:
                audit.record("results.refused", "serious", reason=f"{type(error).__name__}: {error}")
                stop.wait(TICK * 60)

    threading.Thread(target=courier, name="courier", daemon=True).start()
    swept = 0.0
    while not stop.wait(TICK):
        workers.tend(audit.record)
        if time.monotonic() - swept > HOUR:
            swept = time.monotonic()
            with suppress(OSError):
                inbox.forget(gateway.store.keep_days, said=lambda key: audit.record("study.removed", key=key))
