"""Signing in and out."""

from __future__ import annotations

import html
import math
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ScanwardError
from scanward.review import accounts
from scanward.review.pages import page
from scanward.web.limits import Buckets
from scanward.web.security import LIFETIME, client_of, new_session

COOKIE = "scanward"
TRIES, REFILL = 10.0, 1 / 30
"""Wrong passwords at once, and a second, for an address and for a name."""
OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
WRONG = "The name or the password is wrong."


class NotSignedInError(ScanwardError):
    """The page needs somebody who is signed in."""


@dataclass
class Door:
    """Who is let in."""

    users: Path | None
    """None: everybody; then nobody has a name but the one he gives."""
    by_address: Buckets = field(default_factory=lambda: Buckets(TRIES, REFILL))
    by_name: Buckets = field(default_factory=lambda: Buckets(TRIES, REFILL))
    _left: dict[str, float] = field(default_factory=dict)
    """Sessions that were signed out and could still be replayed, with the time they end by themselves."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def open(self) -> bool:
        return self.users is None

    def user(self, request: Request) -> str | None:
        """Who is signed in. Where the door is open: the name that the reviewer gave last, or an empty one."""
        session = request.session
        name = session.get("user", "")
        if self.users is None:
            return str(name)
        if not name or time.time() - float(session.get("since", 0)) > LIFETIME or session.get("id") in self._left:
            return None
        return name if accounts.stamp(self.users, name) == session.get("stamp") else None

    def sign_in(self, request: Request, name: str) -> None:
        """Begin a new session."""
        new_session(request)
        assert self.users is not None  # noqa: S101
        request.session.update(user=name, since=int(time.time()), id=secrets.token_urlsafe(12),
                               stamp=accounts.stamp(self.users, name))

    def sign_out(self, request: Request) -> None:
        """End the session, for copies of its cookie too."""
        now = time.time()
        with self._lock:
            self._left = {key: end for key, end in self._left.items() if end > now}
            if "id" in request.session:
                self._left[request.session["id"]] = now + LIFETIME
        new_session(request)

    def wait(self, request: Request, name: str) -> float:
        """Seconds until another try is allowed."""
        return max(self.by_address.take(client_of(request)), self.by_name.take(name.casefold()[:100]))


def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


def signed_in(request: Request) -> str:
    """A dependency: the user's name. Raises `NotSignedInError`, which the app answers with the sign-in page."""
    user = door_of(request).user(request)
    if user is None:
        raise NotSignedInError("Sign in first.")
    return user


router = APIRouter()


@router.get("/login")
def login_page(request: Request, to: str = "/") -> Response:
    """The sign-in page."""
    if door_of(request).user(request) is not None:
        return RedirectResponse(_own(to), 303)
    return page(request, "login.html", to=_own(to), error="", name="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Check name and password."""
    from starlette.concurrency import run_in_threadpool

    form = await request.form()
    name, password, to = (str(form.get(key, "")) for key in ("name", "password", "to"))
    door = door_of(request)
    if door.users is None:
        return RedirectResponse("/", 303)
    wait = door.wait(request, name)
    if wait:
        _record(request, door, name, "too many tries")
        answer = page(request, "login.html", status=429, to=_own(to), name=name[:accounts.LONGEST_NAME],
                      error="Too many tries. Wait half a minute, then try again.")
        answer.headers["Retry-After"] = str(math.ceil(wait))
        return answer
    if not await run_in_threadpool(accounts.check, door.users, name, password):
        _record(request, door, name, "wrong name or password")
        return page(request, "login.html", status=401, to=_own(to), name=name[:accounts.LONGEST_NAME], error=WRONG)
    door.by_name.forget(name.casefold()[:100])
    door.sign_in(request, name)
    _record(request, door, name)
    return RedirectResponse(_own(to), 303)


@router.post("/logout")
def logout(request: Request) -> Response:
    """Sign out."""
    user = door_of(request).user(request)
    if user:
        request.app.state.audit("logout", user=user, address=client_of(request))
    door_of(request).sign_out(request)
    return RedirectResponse("/login", 303)


def _record(request: Request, door: Door, name: str, refused: str = "") -> None:
    """Names that are nobody's are not kept: people type passwords there."""
    known = door.users is not None and accounts.stamp(door.users, name) is not None
    request.app.state.audit("login", "minor" if refused else "success", user=name if known else "unknown",
                            address=client_of(request), reason=refused or None)


def add_door(app: FastAPI, users: Path | None) -> None:
    """Add the sign-in page, and the answer to those who are not signed in."""
    app.state.door = Door(users)
    app.include_router(router)
    app.add_exception_handler(NotSignedInError, _ask)


async def _ask(request: Request, error: Exception) -> Response:
    path = request.url.path
    if path.startswith(("/api/", "/pictures/")) or request.method != "GET":
        return JSONResponse({"error": str(error)}, 401)
    here = path + (f"?{request.url.query}" if request.url.query else "")
    if COOKIE not in request.cookies and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # The cookie stays at home when a link of another site is followed; our own page may ask with it.
        return HTMLResponse('<!doctype html><title>Scanward</title><meta http-equiv="refresh" content="0;url='
                            f'{html.escape(_own(here))}">')
    return RedirectResponse(f"/login?to={quote(here, safe='')}", 303)


def _own(path: str) -> str:
    """`path` where it is one of ours, otherwise the worklist."""
    return path if OWN_PATH.fullmatch(path) else "/"
