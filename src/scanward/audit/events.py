"""What the audit log says of one study: found by the index, which reads on where it stopped; the log alone counts."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from scanward.audit import tally
from scanward.audit.trail import put_aside
from scanward.errors import ScanwardError
from scanward.inbox.index import Index
from scanward.inbox.record import KEY

CHUNK = 1 << 20
"""Bytes that are read in one transaction."""
LONGEST = 1 << 16
"""Bytes of a line."""
MOST = 200
"""Events of one study, the newest."""
UNSAID = frozenset({"time", "event", "outcome", "key", "study_uid", "patient"})


@dataclass(frozen=True)
class Event:
    """A line of the log."""

    moment: str
    """ISO-8601, UTC."""
    event: str
    """One of `trail.EVENTS`."""
    outcome: str
    facts: dict[str, str]
    """What else it says, but whose study it is."""


def of_study(index: Index, log: Path, key: str) -> list[Event]:
    """The newest first. Raises `ScanwardError` where the index cannot be read."""
    with suppress(ScanwardError, OSError):  # a full disk: what is known is shown
        read_on(index, log)
    lines = index.read(lambda one: one.execute(
        "SELECT line FROM events WHERE key = ? ORDER BY moment DESC, rowid DESC LIMIT ?", (key, MOST)).fetchall())
    return [_event(line) for (line,) in lines]


def read_on(index: Index, log: Path) -> None:
    """Takes what is new in the log, and in the files that it was moved to, into the index.

    Raises `ScanwardError` where that cannot be written, `OSError` where a file cannot be read.
    """
    known = dict(index.read(lambda one: one.execute("SELECT name, read FROM journals").fetchall()))
    for path in (*put_aside(log), log):
        with suppress(FileNotFoundError):
            if path.stat().st_size == known.get(path.name):
                continue
            with path.open("rb") as file:
                # A file that is moved has another name and the same first line, which says to the millisecond when.
                first = file.readline(LONGEST)
                while first.endswith(b"\n") and index.write(partial(_taken, file=file, first=first, name=path.name)):
                    pass


def _taken(to: sqlite3.Connection, file: BinaryIO, first: bytes, name: str) -> bool:
    """A chunk of the file, all or nothing; whether there may be more."""
    digest = hashlib.sha256(first).digest()
    row = to.execute("SELECT read FROM journals WHERE first = ?", (digest,)).fetchone()
    start = row[0] if row else 0
    file.seek(start)
    data = file.read(CHUNK)
    end = data.rfind(b"\n") + 1
    for line in data[:end].splitlines():
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if not isinstance(value, dict):
                continue
            tally.add(to, value)
            if KEY.fullmatch(str(value.get("key"))):
                to.execute("INSERT INTO events VALUES (?, ?, ?)",
                           (value["key"], str(value.get("time")), line.decode()))
    to.execute("DELETE FROM journals WHERE name = ?", (name,))
    to.execute("INSERT OR REPLACE INTO journals (first, name, read) VALUES (?, ?, ?)", (digest, name, start + end))
    return end > 0 and len(data) == CHUNK


def _event(line: str) -> Event:
    value = json.loads(line)
    facts = {str(name): str(fact) for name, fact in value.items() if name not in UNSAID and fact not in (None, "")}
    return Event(str(value.get("time")), str(value.get("event")), str(value.get("outcome")), facts)
