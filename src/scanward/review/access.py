"""Who is signed in, who tried, and from which device: SQLite in the gateway's folder, so that no restart forgets it.

Tokens are kept as SHA-256, names that were tried under a key: people type passwords there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scanward.disk import transaction
from scanward.errors import UnreadableError
from scanward.formats.guard import shown

FILE = "access.db"
MOST_BUCKETS = 50_000
"""Kept at most; a flood from many addresses must not fill the disk."""
SWEEP = 1000
"""Tries between two looks for buckets that are full again."""
MOST_DEVICES = 20
"""Of one user; the one that signed in longest ago gives way."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (token BLOB PRIMARY KEY, kind TEXT NOT NULL, user TEXT NOT NULL,
    stamp TEXT NOT NULL, roles TEXT NOT NULL, since REAL NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS devices (token BLOB, user TEXT, ends REAL NOT NULL, PRIMARY KEY (token, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (key BLOB PRIMARY KEY, full REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (key BLOB PRIMARY KEY, ends REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (name TEXT PRIMARY KEY, subject BLOB NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Limit:
    """A bucket of `burst` tokens a key, refilled by `rate` tokens a second."""

    name: str
    burst: float
    rate: float


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in, or half so."""

    kind: str
    """What signed them in."""
    user: str
    stamp: str
    roles: tuple[str, ...]


class Access:
    """One file, for any number of threads and processes. Every method may raise `UnreadableError`."""

    def __init__(self, path: Path, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """`secret` keys what must not be read back from the file. Makes the file, which only its owner can read."""
        self._path, self._clock = path, clock
        self._key = hashlib.sha256(b"scanward access" + secret).digest()
        self._lock = threading.Lock()
        self._tries = 0
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            path.chmod(0o600)
            # Journal and index take the file's mode. FULL: a sign-out that was answered outlives a power cut.
            self._open = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
            self._open.execute("PRAGMA journal_mode = WAL")
            self._open.execute("PRAGMA synchronous = FULL")
            self._open.executescript(SCHEMA)

    def begin(self, session: Session, lifetime: float) -> str:
        """Open a session of `lifetime` seconds; its token, which is kept nowhere."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._change() as file:
            file.execute("DELETE FROM sessions WHERE ends <= ?", (now,))
            file.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", (
                _hashed(token), session.kind, session.user, session.stamp, " ".join(session.roles), now,
                now + lifetime))
        return token

    def session(self, token: str) -> Session | None:
        """The session of a token; None where it has ended, or the clock says that it has not begun."""
        now = self._clock()
        with self._change(reads=True) as file:
            row = file.execute("SELECT kind, user, stamp, roles FROM sessions WHERE token = ? AND ends > ? "
                               "AND since <= ?", (_hashed(token), now, now + 60)).fetchone()
        return None if row is None else Session(row[0], row[1], row[2], tuple(row[3].split()))

    def end(self, token: str) -> None:
        """End a session."""
        with self._change() as file:
            file.execute("DELETE FROM sessions WHERE token = ?", (_hashed(token),))

    def end_all(self, user: str) -> None:
        """End all sessions of a user, and forget the devices."""
        with self._change() as file:
            file.execute("DELETE FROM sessions WHERE user = ?", (user,))
            file.execute("DELETE FROM devices WHERE user = ?", (user,))

    def meet(self, user: str, device: str, lifetime: float) -> str:
        """Know a device of a user for `lifetime` seconds. `device` is kept where it is known, of whomever; otherwise
        answers a new one."""
        now = self._clock()
        with self._change() as file:
            file.execute("DELETE FROM devices WHERE ends <= ?", (now,))
            if not file.execute("SELECT 1 FROM devices WHERE token = ?", (_hashed(device),)).fetchone():
                device = secrets.token_urlsafe(32)
            file.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", (_hashed(device), user, now + lifetime))
            file.execute("DELETE FROM devices WHERE user = ? AND token NOT IN (SELECT token FROM devices WHERE "
                         "user = ? ORDER BY ends DESC LIMIT ?)", (user, user, MOST_DEVICES))
        return device

    def knows(self, user: str, device: str) -> bool:
        """Whether the user has signed in with this device."""
        with self._change(reads=True) as file:
            return file.execute("SELECT 1 FROM devices WHERE token = ? AND user = ? AND ends > ?",
                                (_hashed(device), user, self._clock())).fetchone() is not None

    def take(self, limit: Limit, *key: str) -> float:
        """Take one token. Answers 0 where there was one, otherwise the seconds until there will be."""
        name, longest = self._named(limit.name, *key), limit.burst / limit.rate
        with self._change() as file:
            now = self._clock()
            missing = min(self._missing(file, name, now), longest)  # a clock that was set back locks nobody out
            wait = missing + 1 / limit.rate - longest
            refused = wait > 1e-6
            file.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?)",
                         (name, now + missing + (0 if refused else 1 / limit.rate)))
            self._sweep(file, now)
        return wait if refused else 0.0

    def push(self, limit: Limit, *key: str) -> float:
        """Take one token whether there is one or not; how many were missing before, at most `burst`."""
        name = self._named(limit.name, *key)
        with self._change() as file:
            now = self._clock()
            missing = min(self._missing(file, name, now), limit.burst / limit.rate)
            full = now + min(missing + 1 / limit.rate, limit.burst / limit.rate)
            file.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?)", (name, full))
            self._sweep(file, now)
        return missing * limit.rate

    def give_back(self, limit: Limit, *key: str) -> None:
        """Put a token back: it was taken by somebody who had the right to."""
        with self._change() as file:
            file.execute("UPDATE buckets SET full = full - ? WHERE key = ?",
                         (1 / limit.rate, self._named(limit.name, *key)))

    def spend(self, lifetime: float, *key: str) -> bool:
        """Use something up for `lifetime` seconds; False where it was used up already."""
        now = self._clock()
        with self._change() as file:
            file.execute("DELETE FROM spent WHERE ends <= ?", (now,))
            return file.execute("INSERT OR IGNORE INTO spent VALUES (?, ?)",
                                (self._named("spent", *key), now + lifetime)).rowcount == 1

    def own(self, name: str, subject: str, lifetime: float) -> bool:
        """Let `name` be `subject`'s for `lifetime` seconds from now; False where it is another's."""
        now, who = self._clock(), self._named("subject", subject)
        with self._change() as file:
            row = file.execute("SELECT subject FROM owners WHERE name = ? AND ends > ?",
                               (name.casefold(), now)).fetchone()
            if row is not None and row[0] != who:
                return False
            file.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?)", (name.casefold(), who, now + lifetime))
        return True

    def _named(self, *parts: str) -> bytes:
        return hmac.digest(self._key, "\0".join(parts).encode("utf-8", "replace"), "sha256")

    def _missing(self, file: sqlite3.Connection, name: bytes, now: float) -> float:
        """Seconds until the bucket is full."""
        row = file.execute("SELECT full FROM buckets WHERE key = ?", (name,)).fetchone()
        return 0.0 if row is None else max(0.0, float(row[0]) - now)

    def _sweep(self, file: sqlite3.Connection, now: float) -> None:
        """Drop full buckets, which say nothing; where too many are left, the fullest."""
        self._tries += 1
        if self._tries % SWEEP:
            return
        file.execute("DELETE FROM buckets WHERE full <= ?", (now,))
        file.execute("DELETE FROM buckets WHERE key IN (SELECT key FROM buckets ORDER BY full DESC LIMIT -1 OFFSET ?)",
                     (MOST_BUCKETS,))

    @contextmanager
    def _change(self, *, reads: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._said():
            if reads:
                yield self._open
                return
            with transaction(self._open):
                yield self._open

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise UnreadableError(f"{shown(self._path)} cannot be used ({error}); free some space, check its owner, or "
                                  "take it away, which signs everybody out.") from error


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
