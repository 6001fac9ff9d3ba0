"""Who is let in, and what they may do there."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ScanwardError
from scanward.review.access import Access, Session
from scanward.review.accounts import Account, accounts
from scanward.review.tries import Whence
from scanward.roles import ROLES, Right, Role, rights_of
from scanward.web.security import LIFETIME, client_of, new_session

if TYPE_CHECKING:
    from scanward.review.openid import Provider

COOKIE = "scanward"
DEVICE_COOKIE, DEVICE_LIFETIME = "scanward-device", 180 * 86_400
HALF = 300.0
"""Seconds between the password and the code."""
OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


class NotSignedInError(ScanwardError):
    """The page needs somebody who is signed in."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in."""

    name: str
    """Where the door is open: what the reviewer called himself last, or empty."""
    roles: tuple[Role, ...]
    local: bool = True
    """Whether the account is one of ours."""


@dataclass(frozen=True)
class Door:
    """Who is let in."""

    users: Path | None
    """The users file; None: no local accounts."""
    provider: Provider | None
    """Of OpenID Connect. Without it and without `users` everybody is let in, with all roles."""
    access: Access
    https: bool

    @property
    def open(self) -> bool:
        return self.users is None and self.provider is None

    def account(self, name: str) -> Account | None:
        """The local account of that name."""
        return None if self.users is None else accounts(self.users).get(name)

    def names(self) -> tuple[str, ...]:
        """Of the local accounts."""
        return () if self.users is None else tuple(accounts(self.users))

    def visitor(self, request: Request) -> Visitor | None:
        """Who is signed in."""
        if self.open:
            return Visitor(str(request.session.get("user", "")), ROLES)
        found = self._session(request, "token")
        if found is None:
            return None
        account = self.account(found.user)
        if found.kind == "password" and account is not None and account.stamp == found.stamp:
            return Visitor(found.user, account.roles)
        if found.kind == "openid" and self.provider is not None and self.provider.stamp == found.stamp:
            return Visitor(found.user, tuple(role for role in ROLES if role in found.roles), local=False)
        return None

    def half(self, request: Request) -> str:
        """Who has given the password, and not the code yet; empty where nobody has."""
        found = self._session(request, "half")
        account = None if found is None or found.kind != "half" else self.account(found.user)
        return found.user if found is not None and account is not None and account.stamp == found.stamp else ""

    def begin_half(self, request: Request, name: str, account: Account) -> None:
        """The password was right; the code is asked for."""
        new_session(request)
        request.session["half"] = self.access.begin(Session("half", name, account.stamp, ()), HALF)

    def begin(self, request: Request, session: Session) -> None:
        """Begin a new session in place of the one before."""
        self.end(request)
        request.session["token"] = self.access.begin(session, LIFETIME)

    def end(self, request: Request) -> None:
        """End the session, for copies of its cookie and after a restart, too."""
        for name in ("token", "half"):
            if isinstance(token := request.session.get(name), str):
                self.access.end(token)
        new_session(request)

    def whence(self, request: Request) -> Whence:
        return Whence(client_of(request), request.cookies.get(DEVICE_COOKIE, "")[:100])

    def remember(self, request: Request, answer: Response, name: str) -> None:
        """Know this device from now on."""
        token = self.access.meet(name, self.whence(request).device, DEVICE_LIFETIME)
        answer.set_cookie(DEVICE_COOKIE, token, max_age=DEVICE_LIFETIME, path="/login", secure=self.https,
                          httponly=True, samesite="strict")

    def _session(self, request: Request, name: str) -> Session | None:
        token = request.session.get(name)
        return self.access.session(token) if isinstance(token, str) else None


def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


def visitor_of(request: Request) -> Visitor:
    """Who is signed in. Raises `NotSignedInError`, which the app answers with the sign-in page."""
    visitor = door_of(request).visitor(request)
    if visitor is None:
        raise NotSignedInError("Sign in first.")
    request.state.rights = rights_of(visitor.roles)
    return visitor


def may(right: Right) -> Callable[[Request], str]:
    """A dependency: the name of who is signed in and has this right. Others hear 401, or 403."""
    def allowed(request: Request) -> str:
        visitor = visitor_of(request)
        if right not in request.state.rights:
            raise HTTPException(403)
        return visitor.name

    return allowed


signed_in = may("see")
"""A dependency: the user's name."""


async def ask(request: Request, error: Exception) -> Response:
    """The answer to those who are not signed in."""
    path = request.url.path
    if path.startswith(("/api/", "/pictures/")) or request.method != "GET":
        return JSONResponse({"error": str(error)}, 401)
    here = path + (f"?{request.url.query}" if request.url.query else "")
    if COOKIE not in request.cookies and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return led_on(here)
    return RedirectResponse(f"/login?to={quote(here, safe='')}", 303)


def led_on(to: str) -> HTMLResponse:
    """A page that leads to one of ours. The cookie stays at home when a link or a redirect of another site is
    followed; our own page may ask with it."""
    return HTMLResponse('<!doctype html><title>Scanward</title><meta http-equiv="refresh" content="0;url='
                        f'{html.escape(own(to))}">')


def own(path: str) -> str:
    """`path` where it is one of ours, otherwise the worklist."""
    return path if OWN_PATH.fullmatch(path) else "/"
