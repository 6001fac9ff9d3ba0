"""The pages, in a process of their own: whatever reaches them does not reach the DICOM node."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from scanward.audit.trail import Audit
from scanward.delivery.certificates import Certificates
from scanward.delivery.outgoing import Outgoing
from scanward.disk import plain_file, whole_file
from scanward.errors import ArgumentError
from scanward.formats.identity import identity_of
from scanward.gateway import work
from scanward.gateway.callers import Callers, Counted
from scanward.gateway.processes import die_with
from scanward.inbox.folders import Inbox
from scanward.settings import Gateway, Web

BACKLOG = 128
"""Callers that are taken at a time."""
GRACE = 2
"""Seconds in which answers under way may end."""


def run(gateway: Gateway, listening: socket.socket, parent: int) -> None:
    """Answers whoever calls `listening`, until SIGTERM, SIGINT or the death of `parent`, which started it."""
    from scanward.review.app import make_app
    from scanward.review.health import Watched

    die_with(parent)
    web = gateway.web
    inbox = Inbox(gateway.store.folder, free_mb=gateway.store.free_mb)
    https = web.tls.cert is not None
    audit = Audit(gateway.audit, inbox.root)
    app = make_app(inbox, users=web.users, secret=_secret(inbox.root), https=https, hosts=web.hosts,
                   audit=audit.record, trail=audit.path, openid=web.openid, viewer=web.viewer,
                   watched=Watched(gateway.monitoring, Certificates(gateway)),
                   send=lambda files: _send_review(files, gateway, inbox))
    # A proxy is one caller that speaks for all.
    callers = Callers(web.connections, web.connections if web.hosts else web.connections_per_address)
    # Only where a proxy is meant to stand before the pages may a header say who asks.
    config = uvicorn.Config(app, http=_patient(callers, web), loop="asyncio", log_level="error", access_log=False,
                            ws="none", server_header=False, lifespan="off", proxy_headers=bool(web.hosts),
                            backlog=BACKLOG, timeout_graceful_shutdown=GRACE,
                            ssl_certfile=web.tls.cert, ssl_keyfile=web.tls.key,
                            ssl_ca_certs=str(web.tls.ca) if web.tls.ca else None,
                            ssl_cert_reqs=ssl.CERT_REQUIRED if web.tls.ca else ssl.CERT_NONE)
    Server(config, callers).run([Counted.of(listening, callers, web.header_seconds)])


class Server(uvicorn.Server):
    """Hangs up on those who keep it waiting."""

    def __init__(self, config: uvicorn.Config, callers: Callers) -> None:
        super().__init__(config)
        self._callers = callers

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._callers.sweep()
        return await super().on_tick(counter)


def _patient(callers: Callers, web: Web) -> type[H11Protocol]:
    """HTTP whose requests must be there, and whose answers must be taken, in time."""
    seconds = {"head": web.header_seconds, "body": web.body_seconds}

    class Patient(H11Protocol):
        """Tells `callers` what is waited for: a request's head, its body, or our answer."""

        _phase = "head"

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._tell()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._tell()

        def pause_writing(self) -> None:
            """More of the answer waits here than is kept for him."""
            super().pause_writing()
            if self._phase == "answer" and self.client is not None:
                callers.slow(self.client, web.answer_seconds)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._phase == "answer" and self.client is not None:
                callers.busy(self.client)

        def _tell(self) -> None:
            phase = "body" if self.conn.their_state is h11.SEND_BODY else \
                "head" if self.cycle is None or self.cycle.response_complete else "answer"
            if phase != self._phase and self.client is not None:
                self._phase = phase
                if phase == "answer":
                    callers.busy(self.client)
                else:
                    callers.waits(self.client, seconds[phase])

    return Patient


def _secret(root: Path) -> bytes:
    """What sessions are signed with; outlives the process, so that a restart logs nobody out."""
    path, made = root / ".secret", secrets.token_bytes(32)
    with suppress(OSError), plain_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        known = file.read()
        if len(known) >= len(made):  # one that was cut short could be guessed
            return known
    with suppress(ArgumentError, OSError):  # on a full disk it is this process's alone
        with whole_file(path) as file:
            file.write(made)
        path.chmod(0o600)
    return made


def _send_review(files: list[Path], gateway: Gateway, inbox: Inbox) -> None:
    for path in files:
        inbox.mark_made(identity_of(path).sop_instance)
    for to in gateway.destination:
        if to.results:
            Outgoing(inbox.root).add(work.delivery(files[0].parent.name, to.name, files), files, to.name)
