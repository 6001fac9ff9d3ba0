"""The review app: worklist, study pages, REST API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scanward.audit.events import read_on
from scanward.errors import ScanwardError
from scanward.inbox.readiness import Readiness
from scanward.review import (
    account_pages,
    api,
    api_docs,
    audit_page,
    health,
    openid_pages,
    queue_page,
    sign_in,
    slices,
    study_page,
    worklist,
)
from scanward.review.access import FILE, Access
from scanward.review.door import COOKIE, Door, NotSignedInError, ask
from scanward.review.openid import Provider
from scanward.review.pages import page
from scanward.web.pages import add_static
from scanward.web.security import secure

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox
    from scanward.review.health import Watched
    from scanward.settings import OpenId

log = logging.getLogger("scanward.pages")
WORDS = {
    403: ("Not yours", "Your account has no role that may do this; an administrator can give it one."),
    404: ("Not here", "There is no such page, or the study is being scanned anew. Look for it in the worklist."),
    405: ("Not so", "This address does not take such requests."),
}


def make_app(inbox: Inbox, *, users: Path | None, secret: bytes, https: bool,
             send: Callable[[list[Path]], None] | None = None, hosts: Sequence[str] = (),
             audit: Callable[..., None] | None = None, trail: Path | None = None,
             openid: OpenId | None = None, viewer: str = "", watched: Watched | None = None) -> FastAPI:
    """The pages and the API over an inbox.

    `users` is the users file of `accounts`, `openid` a provider that signs people in. Without both everybody is let in,
    which is for loopback addresses only, and the page then asks for the reviewer's name. `secret`, `https` and `hosts`
    are as `security.secure` takes them. `send` is given the DICOM report of each review, and may raise `ScanwardError`
    or `OSError`. `audit` is called as `Audit.record` is; `trail` is the file that it writes to, which auditors read,
    and of which a study's page shows what it says of the study. `viewer` is as `Web.viewer`. `watched` says who may ask
    for `/metrics`; without it nobody may. The index of the studies is held against the folders first.

    Raises `MissingExtraError` where `openid` needs what is not installed, `ArgumentError` or `UnreadableError` where
    its secret or the file of the sessions cannot be used.
    """
    app = FastAPI(title="Scanward", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.inbox, app.state.send, app.state.audit, app.state.trail = inbox, send, audit or _nothing, trail
    app.state.viewer = viewer
    app.state.ready, app.state.watched = Readiness(inbox), watched
    with suppress(ScanwardError):  # on a full disk there are pages all the same, and they say so
        inbox.index.reconcile()
        if trail is not None:
            read_on(inbox.index, trail)
    app.state.door = Door(users, None if openid is None else Provider(openid, secret),
                          Access(inbox.root / FILE, secret), https)
    app.add_exception_handler(NotSignedInError, ask)
    for part in (sign_in, openid_pages, worklist, study_page, queue_page, account_pages, audit_page, slices, api,
                 api_docs, health):
        app.include_router(part.router)
    add_static(app)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ScanwardError, _broken)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    secure(app, cookie=COOKIE, secret=secret, https=https, hosts=hosts)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    title, words = WORDS.get(status, ("Something is wrong", "The request cannot be answered."))
    if request.url.path.startswith(("/api/", "/pictures/", "/static/", "/metrics")):
        return JSONResponse({"error": words}, status)
    return page(request, "refused.html", status=status, heading=title, words=words)


async def _broken(request: Request, error: Exception) -> Response:
    """The users file or the inbox cannot be read: its path is for the log, not for the page."""
    log.error("%s cannot be answered: %s", request.url.path, error)
    return PlainTextResponse("Scanward cannot answer at the moment; its log says why.\n", 503)


def _nothing(*_: object, **__: object) -> None:
    """No audit."""


async def _misunderstood(request: Request, _: Exception) -> Response:
    return JSONResponse({"error": "The request is not understood; see the documentation of the API."}, 422)
