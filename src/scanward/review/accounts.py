"""Who may sign in: names and argon2 hashes in one JSON file that only its owner can read."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.disk import write_json
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST, MOST = 10, 1024
"""Characters of a password."""
LONGEST_NAME = 64
_TURNS = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB for a moment; a crowd at the door must not take all memory."""


def add_user(path: Path, name: str, password: str) -> None:
    """Let `name` sign in with `password`, or give a known user another password. Makes the file where it is missing.

    Sessions that were opened with an earlier password end. Raises `ArgumentError` where the name or the password
    will not do or the file cannot be written, `UnreadableError` where what is there is no users file.
    """
    if not name or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise ArgumentError(f"A user's name must have 1 to {LONGEST_NAME} printable characters and no blank at its "
                            "ends; choose another.")
    if not LEAST <= len(password) <= MOST:
        raise ArgumentError(f"A password must have {LEAST} to {MOST} characters; choose another.")
    users = _users(path) | {name: _hasher().hash(password)}
    _write(path, users)


def check(path: Path, name: str, password: str) -> bool:
    """Whether `name` may sign in with `password`. An unknown name takes as long as a wrong password."""
    from argon2.exceptions import InvalidHashError, VerificationError

    known = _users(path).get(name)
    with _TURNS:
        try:
            matches = _hasher().verify(known or _nobody(), password[:MOST + 1])
        except (VerificationError, InvalidHashError):
            return False
    return matches and known is not None


def stamp(path: Path, name: str) -> str | None:
    """What changes with the user's password, for sessions to remember; None where there is no such user."""
    known = _users(path).get(name)
    return None if known is None else hashlib.sha256(known.encode()).hexdigest()[:16]


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobody() -> str:
    """The hash that unknown names are compared with."""
    return _hasher().hash("a password that nobody has")


def _users(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnreadableError(f"{shown(path)} cannot be read ({error.strerror}); check its owner and mode.") from error
    except ValueError as error:
        raise UnreadableError(f"{shown(path)} is no users file; remove it and add the users again.") from error
    users = data.get("users") if isinstance(data, dict) else None
    if not isinstance(users, dict) or not all(isinstance(v, str) for v in users.values()):
        raise UnreadableError(f"{shown(path)} is no users file; remove it and add the users again.")
    return users


def _write(path: Path, users: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"users": dict(sorted(users.items()))}, mode=0o600)
    except OSError as error:
        raise ArgumentError(f"{shown(path)} cannot be written ({error.strerror}); choose another folder.") from error
