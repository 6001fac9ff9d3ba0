"""Signing in and out."""

from __future__ import annotations

import math
from functools import partial

from fastapi import APIRouter
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from scanward.review import accounts, second_factor, tries
from scanward.review.access import Session
from scanward.review.door import Door, door_of, own
from scanward.review.pages import page
from scanward.web.security import client_of

WRONG = "The name or the password is wrong."
WRONG_CODE = "This code is wrong, or was used already."
router = APIRouter()


@router.get("/login")
def login_page(request: Request, to: str = "/") -> Response:
    """The sign-in page."""
    if door_of(request).visitor(request) is not None:
        return RedirectResponse(own(to), 303)
    return asked(request, to)


@router.post("/login")
async def login(request: Request) -> Response:
    """Check name and password."""
    from anyio import sleep

    form = await request.form()
    name, password, to = (str(form.get(key, "")) for key in ("name", "password", "to"))
    door = door_of(request)
    if door.users is None:
        return RedirectResponse("/login", 303)
    made = await run_in_threadpool(tries.password_try, door.access, door.whence(request), name)
    if made.wait:
        record(request, door, name, "too many tries")
        return _too_many(asked(request, to, name, _wait_words(made.wait), 429), made.wait)
    await sleep(made.delay)
    return await run_in_threadpool(_password, request, door, made, name, password, to)


def _password(request: Request, door: Door, made: tries.Try, name: str, password: str, to: str) -> Response:
    account = door.account(name)
    if door.users is None or not accounts.check(door.users, name, password) or account is None:
        record(request, door, name, "wrong name or password")
        return asked(request, to, name, WRONG, 401)
    tries.right(door.access, made)
    if account.totp:
        door.begin_half(request, name, account)
        return page(request, "code.html", to=own(to), error="")
    return _let_in(request, door, name, account, to)


@router.post("/login/code")
async def code(request: Request) -> Response:
    """Check the code of the second factor, or a recovery code."""
    form = await request.form()
    given, to = (str(form.get(key, ""))[:2000] for key in ("code", "to"))
    return await run_in_threadpool(_code, request, door_of(request), given, to)


def _code(request: Request, door: Door, given: str, to: str) -> Response:
    name = door.half(request)
    account = door.account(name)
    if door.users is None or account is None:
        return asked(request, to, "", "Too long has passed; begin again.", 401)
    if second_factor.DIGITS.fullmatch("".join(given.split())):
        made = tries.code_try(door.access, door.whence(request), name)
        matches = partial(second_factor.accepted, door.access, name, account.totp, given)
    else:
        made = tries.password_try(door.access, door.whence(request), name)
        matches = partial(accounts.use_recovery, door.users, name, given)
    if made.wait:
        record(request, door, name, "too many tries")
        return _too_many(page(request, "code.html", status=429, to=own(to), error=_wait_words(made.wait)), made.wait)
    if not matches():
        record(request, door, name, "wrong code")
        return page(request, "code.html", status=401, to=own(to), error=WRONG_CODE)
    tries.right(door.access, made)
    return _let_in(request, door, name, account, to)


def _let_in(request: Request, door: Door, name: str, account: accounts.Account, to: str) -> Response:
    answer = RedirectResponse(own(to), 303)
    door.begin(request, Session("password", name, account.stamp, ()))
    door.remember(request, answer, name)
    record(request, door, name)
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    """Sign out."""
    door = door_of(request)
    visitor = door.visitor(request)
    if visitor is not None and visitor.name:
        request.app.state.audit("logout", user=visitor.name, address=client_of(request))
    door.end(request)
    return RedirectResponse("/login", 303)


def asked(request: Request, to: str, name: str = "", error: str = "", status: int = 200) -> Response:
    """The sign-in page, perhaps with what was wrong."""
    door = door_of(request)
    return page(request, "login.html", status=status, to=own(to), name=name[:accounts.LONGEST_NAME], error=error,
                local=door.users is not None, provider=door.provider.name if door.provider else "")


def record(request: Request, door: Door, name: str, refused: str = "", *, known: bool = False) -> None:
    """Tell the audit. Names that are nobody's are not kept: people type passwords there."""
    is_one = known or door.account(name) is not None
    request.app.state.audit("login", "minor" if refused else "success", user=name if is_one else "unknown",
                            address=client_of(request), reason=refused or None)


def _wait_words(wait: float) -> str:
    return "Too many tries. Wait half a minute, then try again." if wait <= 30 else \
        "Too many tries. Wait some minutes, then try again; a recovery code works at once."


def _too_many(answer: Response, wait: float) -> Response:
    answer.headers["Retry-After"] = str(math.ceil(wait))
    return answer
