"""Who may sign in: names, argon2 hashes, roles and second factors in one JSON file that only its owner can read."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.disk import alone, write_json
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown
from scanward.roles import ROLES, Role

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST, MOST = 10, 1024
"""Characters of a password."""
LONGEST_NAME = 64
_TURNS = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB for a moment; a crowd at the door must not take all memory."""


@dataclass(frozen=True)
class Account:
    """What is kept of one user."""

    password: str
    """Its argon2 hash."""
    roles: tuple[Role, ...] = ("reviewer",)
    totp: str = ""
    """The second factor's secret, base32; empty where there is none."""
    recovery: tuple[str, ...] = ()
    """SHA-256 of the recovery codes that are left, hexadecimal."""

    @property
    def stamp(self) -> str:
        """What changes with the password and the second factor, for sessions to remember."""
        return hashlib.sha256(f"{self.password} {self.totp}".encode()).hexdigest()[:16]


def add_user(path: Path, name: str, password: str, roles: Collection[str] = ()) -> None:
    """Let `name` sign in with `password`, or give a known user another password. Makes the file where it is missing.

    Sessions that were opened with an earlier password end. `roles` take the place of those that the user had; where
    none is named they stay, and a new user is a reviewer. Raises `ArgumentError` where a name, a password or a role
    will not do or the file cannot be written, `UnreadableError` where what is there is no users file.
    """
    if not name or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise ArgumentError(f"A user's name must have 1 to {LONGEST_NAME} printable characters and no blank at its "
                            "ends; choose another.")
    if not LEAST <= len(password) <= MOST:
        raise ArgumentError(f"A password must have {LEAST} to {MOST} characters; choose another.")
    made = Account(_hasher().hash(password))
    wanted = _roles(roles) if roles else None

    def change(users: dict[str, Account]) -> None:
        known = users.get(name)
        made_now = made if known is None else replace(known, password=made.password)
        users[name] = made_now if wanted is None else replace(made_now, roles=wanted)

    _change(path, change)


def set_roles(path: Path, name: str, roles: Collection[str]) -> None:
    """Give a user these roles and no others; `ArgumentError` for none, for an unknown one, or for an unknown user."""
    wanted = _roles(roles)
    _change_one(path, name, lambda account: replace(account, roles=wanted))


def set_second_factor(path: Path, name: str, secret: str, recovery: Sequence[str]) -> None:
    """Ask the user for a code of `secret` (base32) from now on, or for one of `recovery`; for none where it is empty.
    The user's sessions end."""
    kept = tuple(_code_hash(code) for code in recovery)
    _change_one(path, name, lambda account: replace(account, totp=secret, recovery=kept))


def use_recovery(path: Path, name: str, code: str) -> bool:
    """Whether `code` is one of the user's recovery codes, which it then is no more."""
    given = _code_hash(code)
    account = accounts(path).get(name)
    if account is None or given not in account.recovery:
        return False
    used = []

    def change(users: dict[str, Account]) -> None:
        known = users[name]
        used.append(given in known.recovery)
        users[name] = replace(known, recovery=tuple(one for one in known.recovery if one != given))

    _change(path, change)
    return used == [True]


def remove_user(path: Path, name: str) -> None:
    """Let somebody sign in no more; `ArgumentError` where nobody is called so."""
    def change(users: dict[str, Account]) -> None:
        _known(path, users, name)
        del users[name]

    _change(path, change)


def check(path: Path, name: str, password: str) -> bool:
    """Whether `name` may sign in with `password`. An unknown name takes as long as a wrong password."""
    from argon2.exceptions import InvalidHashError, VerificationError

    known = accounts(path).get(name)
    with _TURNS:
        try:
            matches = _hasher().verify(known.password if known else _nobody(), password[:MOST + 1])
        except (VerificationError, InvalidHashError):
            return False
    return matches and known is not None


def accounts(path: Path) -> dict[str, Account]:
    """All users by name; none where there is no file. Raises `UnreadableError` where it is no users file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnreadableError(f"{shown(path)} cannot be read ({error.strerror}); check its owner and mode.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    users = data.get("users") if isinstance(data, dict) else None
    if not isinstance(users, dict):
        raise _damaged(path)
    return {name: _account(path, value) for name, value in users.items()}


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobody() -> str:
    """The hash that unknown names are compared with."""
    return _hasher().hash("a password that nobody has")


def _account(path: Path, value: Any) -> Account:
    """An account as it is kept; a text is a reviewer's hash, from before there were roles."""
    if isinstance(value, str):
        return Account(value)
    known = value if isinstance(value, dict) else {}
    password, totp = known.get("password"), known.get("totp", "")
    roles, recovery = known.get("roles", []), known.get("recovery", [])
    if not isinstance(password, str) or not isinstance(totp, str) or not _texts(recovery) or not _texts(roles) \
            or not roles or not set(roles) <= set(ROLES):
        raise _damaged(path)
    return Account(password, _roles(roles), totp, tuple(recovery))


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _roles(names: Collection[str]) -> tuple[Role, ...]:
    """In their own order, each once."""
    unknown = sorted(set(names) - set(ROLES))
    if unknown or not names:
        what = f"There is no role {shown(unknown[0])}" if unknown else "An account needs a role"
        raise ArgumentError(f"{what}; choose of {', '.join(ROLES)}.")
    return tuple(role for role in ROLES if role in names)


def _code_hash(code: str) -> str:
    """Of a recovery code, however it is typed. It has 80 random bits, which no salt makes harder to guess."""
    return hashlib.sha256("".join(code.split()).replace("-", "").upper().encode("utf-8", "replace")).hexdigest()


def _known(path: Path, users: dict[str, Account], name: str) -> Account:
    if name not in users:
        raise ArgumentError(f"{shown(path)} has no account of {shown(name)}; check the name.")
    return users[name]


def _change_one(path: Path, name: str, made: Callable[[Account], Account]) -> None:
    def change(users: dict[str, Account]) -> None:
        users[name] = made(_known(path, users, name))

    _change(path, change)


def _change(path: Path, change: Callable[[dict[str, Account]], None]) -> None:
    """One change at a time: the command line and the pages write the same file."""
    try:
        with alone(path.with_name(f".{path.name}.lock")):
            users = accounts(path)
            change(users)
            write_json(path, {"users": {name: asdict(users[name]) for name in sorted(users)}}, mode=0o600)
    except OSError as error:
        raise ArgumentError(f"{shown(path)} cannot be written ({error.strerror}); choose another folder.") from error


def _damaged(path: Path) -> UnreadableError:
    return UnreadableError(f"{shown(path)} is no users file; remove it and add the users again.")
