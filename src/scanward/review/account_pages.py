"""One's own account, and for administrators those of others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scanward.errors import ArgumentError, MissingExtraError
from scanward.review import accounts, second_factor, tries
from scanward.review.access import Session
from scanward.review.door import Visitor, door_of, may, signed_in, visitor_of
from scanward.review.pages import page
from scanward.roles import ROLES
from scanward.web.security import client_of

DONE = {"password": "The account is made, or has the new password.", "roles": "The roles are changed.",
        "reset": "The second factor is taken away; a password is enough until another is set up.",
        "remove": "The account is removed."}
router = APIRouter()


@dataclass(frozen=True)
class Change:
    """What an administrator asks for."""

    action: str
    name: str
    password: str
    roles: tuple[str, ...]


@router.get("/account")
def own_account(request: Request, _: str = Depends(signed_in)) -> Response:
    """The page of one's own account."""
    return _own(request, visitor_of(request))


@router.post("/account/second-factor")
async def enrol(request: Request, _: str = Depends(signed_in)) -> Response:
    """Set up the second factor: password and a first code are right. Shows the recovery codes, once."""
    form = await request.form()
    return await run_in_threadpool(_enrol, request, form)


def _enrol(request: Request, form: FormData) -> Response:
    (users, visitor), door = _local(request), door_of(request)
    password, code, secret = (str(form.get(name, ""))[:2000] for name in ("password", "code", "secret"))
    account = door.account(visitor.name)
    if account is None or account.totp:
        return _own(request, visitor, "There is a second factor already; an administrator can take it away.", 409)
    if not second_factor.SECRET.fullmatch(secret):
        return _own(request, visitor, "This is no secret of ours; begin again.", 422)
    made = tries.password_try(door.access, door.whence(request), visitor.name)
    if made.wait:
        return _own(request, visitor, "Too many tries; wait some minutes.", 429)
    if not accounts.check(users, visitor.name, password):
        return _own(request, visitor, "The password is wrong.", 401, secret)
    tries.right(door.access, made)
    if not second_factor.accepted(door.access, visitor.name, secret, code):
        return _own(request, visitor, "The code is wrong; is the clock of the device right?", 401, secret)
    codes = second_factor.recovery_codes()
    accounts.set_second_factor(users, visitor.name, secret, codes)
    now = door.account(visitor.name)
    if now is None:
        raise HTTPException(404)
    _audit(request, visitor.name, visitor.name, "second factor")
    door.begin(request, Session("password", visitor.name, now.stamp, ()))
    return page(request, "recovery.html", user=visitor.name, can_leave=True, codes=codes)


@router.get("/accounts")
def everybody(request: Request, done: str = "", user: str = Depends(may("accounts"))) -> Response:
    """The page of all accounts."""
    return _everybody(request, user, notice=DONE.get(done, ""))


@router.post("/accounts")
async def change(request: Request, user: str = Depends(may("accounts"))) -> Response:
    """Make, change or remove an account."""
    form = await request.form()
    action, name, password = (str(form.get(one, ""))[:2000] for one in ("action", "name", "password"))
    wanted = Change(action, name, password, tuple(str(value) for value in form.getlist("role")[:10]))
    return await run_in_threadpool(_changed, request, user, wanted)


def _changed(request: Request, user: str, wanted: Change) -> Response:
    users = _users(request)
    try:
        if wanted.name == user and wanted.action in ("remove", "roles"):
            raise ArgumentError("Nobody takes away the own rights; ask another administrator.")
        _steps(users, wanted)()
    except ArgumentError as error:
        return _everybody(request, user, error=str(error).replace(str(users), "The users file"), status=422)
    if wanted.action != "roles":
        door_of(request).access.end_all(wanted.name)
    _audit(request, user, wanted.name, wanted.action)
    return RedirectResponse(f"/accounts?done={wanted.action}", 303)


def _steps(users: Path, wanted: Change) -> Callable[[], None]:
    name = wanted.name
    known: dict[str, Callable[[], None]] = {
        "password": lambda: accounts.add_user(users, name, wanted.password, wanted.roles),
        "roles": lambda: accounts.set_roles(users, name, wanted.roles),
        "reset": lambda: accounts.set_second_factor(users, name, "", ()),
        "remove": lambda: accounts.remove_user(users, name)}
    if wanted.action not in known:
        raise ArgumentError("There is no such change; reload the page.")
    return known[wanted.action]


def _users(request: Request) -> Path:
    users = door_of(request).users
    if users is None:
        raise HTTPException(404)
    return users


def _local(request: Request) -> tuple[Path, Visitor]:
    """The users file and who is signed in, where the account is in it."""
    visitor = visitor_of(request)
    if not visitor.local:
        raise HTTPException(404)
    return _users(request), visitor


def _own(request: Request, visitor: Visitor, error: str = "", status: int = 200, secret: str = "") -> Response:
    """The page; a secret is on it where there is none yet."""
    if door_of(request).open:
        raise HTTPException(404)
    account = door_of(request).account(visitor.name) if visitor.local else None
    if account is not None and not account.totp and not secret:
        with suppress(MissingExtraError):
            secret = second_factor.new_secret()
    return page(request, "account.html", status=status, user=visitor.name, can_leave=True, roles=visitor.roles,
                account=account, secret=secret, error=error,
                address=second_factor.address(secret, visitor.name) if secret else "")


def _everybody(request: Request, user: str, *, notice: str = "", error: str = "", status: int = 200) -> Response:
    known = accounts.accounts(_users(request))
    return page(request, "accounts.html", status=status, user=user, can_leave=True, roles=ROLES,
                accounts=sorted(known.items()), notice=notice, error=error)


def _audit(request: Request, user: str, account: str, decision: str) -> None:
    request.app.state.audit("account", user=user, account=account, decision=decision, address=client_of(request))
