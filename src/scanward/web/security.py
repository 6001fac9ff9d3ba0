"""What keeps the pages to the people who may use them: headers, session cookie, CSRF, rate and Host checks."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanward.web.limits import Buckets, network_of

if TYPE_CHECKING:
    from fastapi import FastAPI

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LIFETIME = 12 * 3600
"""Seconds until a session ends, whatever its user does."""
MOST_BODY = 1_000_000
"""Bytes a request may carry."""
BURST, RATE = 1500.0, 150.0
"""Requests a client may make at once, and a second; a film's tiles come by the dozen."""
CSRF_HEADER, CSRF_FIELD = "x-csrf", "csrf"

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "font-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"))
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` with a page's own forms. Nothing goes to other sites.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
}
STATIC = "/static/"
"""Addresses below it hold no patient's data, and may be kept by a browser."""


def secure(app: FastAPI, *, cookie: str, secret: bytes, https: bool, hosts: Sequence[str] = ()) -> None:
    """Add every check to `app`; call it once, when the routes are in.

    `secret` (at least 16 bytes) signs the session cookie. It is called `cookie`: browsers keep those of two servers on
    one host together, and a name may tell what must not be known. With `https` it is sent over TLS only. `hosts` are
    names under which a proxy on this machine may ask; requests that reach a loopback address under any other name
    than `localhost` or a loopback address are refused, since DNS rebinding looks like that.

    The cookie is SameSite=Strict: who follows a link from another site arrives without it, and a redirect does not
    bring it back. A page reached by such a link must lead on by a form or a link of its own.
    """
    if len(secret) < 16:
        raise ValueError("the session secret must have at least 16 bytes")
    key = hashlib.sha256(b"scanward session" + secret).hexdigest()
    # Starlette runs the last one added first.
    app.add_middleware(_Csrf)
    app.add_middleware(SessionMiddleware, secret_key=key, session_cookie=cookie, max_age=LIFETIME,
                       same_site="strict", https_only=https)
    app.add_middleware(_Gate, https=https, hosts=tuple(hosts))


def csrf_token(request: Request) -> str:
    """The token that the session's forms and scripts send back; made at first use."""
    token = request.session.get("csrf")
    if not isinstance(token, str):
        token = secrets.token_urlsafe(24)
        request.session["csrf"] = token
    return token


def new_session(request: Request) -> None:
    """Forget all of the session, the CSRF token included; call it at login and logout."""
    request.session.clear()


def client_of(request: Request) -> str:
    """The address that limits count by."""
    return _client(request.scope)


class _Gate:
    """Host, size and rate of requests; headers of answers."""

    def __init__(self, app: ASGIApp, *, https: bool, hosts: tuple[str, ...]) -> None:
        self.app, self.https, self.hosts = app, https, frozenset(name.lower() for name in hosts)
        self.buckets = Buckets(BURST, RATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no page has a WebSocket
        static = scope["path"].startswith(STATIC)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Cache-Control"] = "no-cache" if static else "no-store"
                if self.https:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not self._known_host(scope, headers):
            return PlainTextResponse("This server does not answer to that name.\n", 421)
        wait = self.buckets.take(_client(scope))
        if wait:
            return PlainTextResponse("Too many requests; wait a moment.\n", 429, {"Retry-After": str(math.ceil(wait))})
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return PlainTextResponse("The request is too large.\n", 413)
        return None

    def _known_host(self, scope: Scope, headers: Headers) -> bool:
        server = scope.get("server")
        if not server or not _loopback(str(server[0])):
            return True
        name = _name_of(headers.get("host", ""))
        return name in self.hosts or name == "localhost" or _loopback(name)


class _Csrf:
    """Requests that change something must come from our own pages, and bring the session's token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, send)
            return
        request = Request(scope)
        if not _own_origin(request.headers) or not _token_matches(request, body):
            refusal = PlainTextResponse("This page is out of date or not ours; reload it and try again.\n", 403)
            await refusal(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None where it is too large or the client went away."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _own_origin(headers: Headers) -> bool:
    """Browsers say where a request comes from; what says nothing is no browser, and has the token to show."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or (urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != "")


def _token_matches(request: Request, body: bytes) -> bool:
    known = request.session.get("csrf")
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        sent = parse_qs(body.decode("utf-8", "replace")).get(CSRF_FIELD, [""])[0]
    return isinstance(known, str) and sent is not None and secrets.compare_digest(known.encode(), sent.encode())


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(str(client[0]) if client else "")


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
