"""Studies found in the index: by what somebody typed, narrowed, sorted, a page at a time."""

from __future__ import annotations

import base64
import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

from scanward.errors import ArgumentError
from scanward.inbox.index import SORTS, Index
from scanward.inbox.record import KEY

PAGE = 25
"""Studies a page."""
FEW = 5000
"""Studies that are sorted here; the order of more is read from the index."""
TERMS, LONGEST = 8, 100
"""Words that are searched for, and characters of all."""
NEWEST = "-finished"
NUMBERS = ("result", "score")
NARROWED = ("state", "label", "modality", "review", "seal")
Entry = tuple[Any, str]
"""What a study is sorted by, and its key."""


@dataclass(frozen=True)
class Filter:
    """Which studies are wanted; an empty text wants all."""

    q: str = ""
    """Words, each of which must stand in patient ID, accession, description, Study Instance UID or study date."""
    label: str = ""
    modality: str = ""
    review: str = ""
    state: str = ""
    """`done` or `failed`."""
    seal: str = ""
    since: str = ""
    """First day on which the study was received, `YYYY-MM-DD`, UTC."""
    until: str = ""
    """Last such day."""
    sort: str = NEWEST
    """One of `index.SORTS`; with `-` before it the largest comes first."""
    page: int = 1

    def __post_init__(self) -> None:
        if self.column not in SORTS:  # it becomes a part of what the index is asked
            raise ArgumentError(f"Nothing is sorted by {self.sort!r}; there are {', '.join(SORTS)}.")

    @property
    def active(self) -> bool:
        """Whether it leaves anything out."""
        return bool(replace(self, sort=NEWEST).query(page=1))

    @property
    def terms(self) -> list[str]:
        return self.q.casefold()[:LONGEST].split()[:TERMS]

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def down(self) -> bool:
        return self.sort.startswith("-")

    def query(self, **changes: Any) -> str:
        """As a query string, with a leading `?` where there is anything to say."""
        said = asdict(replace(self, **changes))
        pairs = {k: v for k, v in said.items() if v and (k, v) not in (("page", 1), ("sort", NEWEST))}
        return f"?{urlencode(pairs)}" if pairs else ""


@dataclass(frozen=True)
class Found:
    """A page of what was found."""

    keys: tuple[str, ...]
    total: int
    page: int
    pages: int
    next: str
    """Where the page after it begins, for `found`; empty on the last."""


@dataclass(frozen=True)
class Neighbours:
    """Where a study stands among those that are wanted."""

    previous: str
    """A key, or empty."""
    next: str
    place: tuple[int, int] | None
    """From 1, of how many; None where it is not among them."""


def found(index: Index, wanted: Filter, cursor: str = "") -> Found:
    """The page `wanted.page`, or the last where there are not so many; with a `cursor`, the page that begins there,
    whatever came or went meanwhile. Raises `ArgumentError` for a cursor that is none, `ScanwardError` as the index."""
    start = _start(cursor, wanted) if cursor else None
    return index.read(lambda one: _found(one, wanted, start))


def beside(index: Index, wanted: Filter, key: str) -> Neighbours:
    """The studies before and after one in the list."""
    return index.read(lambda one: _beside(one, wanted, key))


def every(index: Index, wanted: Filter) -> list[str]:
    """All keys in their order."""
    def keys(one: sqlite3.Connection) -> list[str]:
        few = _few(one, wanted)
        return [key for _, key in (_ordered(one, wanted, -1) if few is None else few)]

    return index.read(keys)


def of_patient(index: Index, patient: str, issuer: str, but: str, most: int) -> list[str]:
    """Keys of at most so many studies of a patient, the newest first, without the study `but`. Both the Patient ID and
    its issuer must be the same, letter by letter; nobody has an empty one."""
    asked = "SELECT key FROM studies WHERE patient = ? AND issuer = ? AND key != ? ORDER BY date DESC, key LIMIT ?"
    if not patient:
        return []
    return index.read(lambda one: [key for (key,) in one.execute(asked, (patient, issuer, but, most))])


def _found(one: sqlite3.Connection, wanted: Filter, start: Entry | None) -> Found:
    few = _few(one, wanted)
    total = _total(one, wanted) if few is None else len(few)
    pages = max(1, -(-total // PAGE))
    if start is not None:
        number = 1
        entries = _ordered(one, wanted, PAGE + 1, start) if few is None else _after(few, wanted, start)[:PAGE + 1]
    else:
        number = min(wanted.page, pages)
        first = (number - 1) * PAGE
        entries = few[first:first + PAGE + 1] if few is not None else _middle(one, wanted, first, total)
    shown, more = entries[:PAGE], len(entries) > PAGE
    return Found(tuple(key for _, key in shown), total, number, pages, _cursor(shown[-1], wanted) if more else "")


def _few(one: sqlite3.Connection, wanted: Filter) -> list[Entry] | None:
    """All in their order; None where there are more than `FEW`."""
    where, values = _where(wanted)
    asked = f"SELECT {wanted.column}, key FROM studies WHERE {where} LIMIT ?"  # noqa: S608
    rows = one.execute(asked, (*values, FEW + 1)).fetchall()
    return None if len(rows) > FEW else sorted(rows, reverse=wanted.down)


def _total(one: sqlite3.Connection, wanted: Filter) -> int:
    where, values = _where(wanted)
    return int(one.execute(f"SELECT count(*) FROM studies WHERE {where}", values).fetchone()[0])  # noqa: S608


def _middle(one: sqlite3.Connection, wanted: Filter, first: int, total: int) -> list[Entry]:
    """`PAGE` and one more from the `first`, counted from the nearer end."""
    if first <= total // 2:
        return _ordered(one, wanted, PAGE + 1, offset=first)
    last = min(total, first + PAGE + 1)
    return _ordered(one, wanted, last - first, offset=total - last, backwards=True)[::-1]


def _ordered(one: sqlite3.Connection, wanted: Filter, most: int, start: Entry | None = None, *, offset: int = 0,
             backwards: bool = False) -> list[Entry]:
    """At most so many after `start`, by the index of the column: all others are narrowed as it is gone through."""
    where, values = _where(wanted, scanned=True)
    down, column = wanted.down != backwards, wanted.column
    if start is not None:
        where, values = f"{where} AND ({column}, key) {'<' if down else '>'} (?, ?)", (*values, *start)
    order = "DESC" if down else "ASC"
    asked = (f"SELECT {column}, key FROM studies INDEXED BY by_{column} WHERE {where} "  # noqa: S608
             f"ORDER BY {column} {order}, key {order} LIMIT ? OFFSET ?")
    return one.execute(asked, (*values, most, offset)).fetchall()


def _after(few: list[Entry], wanted: Filter, start: Entry) -> list[Entry]:
    return [entry for entry in few if (entry < start if wanted.down else entry > start)]


def _beside(one: sqlite3.Connection, wanted: Filter, key: str) -> Neighbours:
    where, values = _where(wanted)
    asked = f"SELECT {wanted.column}, key FROM studies WHERE key = ? AND {where}"  # noqa: S608
    here = one.execute(asked, (key, *values)).fetchone()
    if here is None:
        return Neighbours("", "", None)
    few = _few(one, wanted)
    if few is not None:
        at = few.index(here)
        return Neighbours(few[at - 1][1] if at else "", few[at + 1][1] if at + 1 < len(few) else "", (at + 1, len(few)))
    sign = ">" if wanted.down else "<"
    # One pass over all, rather than a look-up for each that stands before it.
    asked = (f"SELECT count(*), coalesce(sum((+{wanted.column}, +key) {sign} (?, ?)), 0) "  # noqa: S608
             f"FROM studies WHERE {where}")
    total, before = one.execute(asked, (*here, *values)).fetchone()
    last = _ordered(one, wanted, 1, here, backwards=True)
    after = _ordered(one, wanted, 1, here)
    return Neighbours(last[0][1] if last else "", after[0][1] if after else "", (before + 1, total))


def _where(wanted: Filter, *, scanned: bool = False) -> tuple[str, tuple[Any, ...]]:
    """The condition and its values; `scanned` where another index is to be used than that of what is narrowed."""
    plus = "+" if scanned else ""
    parts, values = ["1"], []
    for name in NARROWED:
        if getattr(wanted, name):
            parts.append(f"{plus}{name} = ?")
            values.append(getattr(wanted, name))
    if wanted.since:
        parts.append(f"{plus}day >= ?")
        values.append(wanted.since)
    if wanted.until:
        parts.append(f"{plus}day <= ? AND {plus}day > ''")
        values.append(wanted.until)
    for term in wanted.terms:
        parts.append("instr(words, ?) > 0")
        values.append(term)
    return " AND ".join(parts), tuple(values)


def _cursor(last: Entry, wanted: Filter) -> str:
    return base64.urlsafe_b64encode(json.dumps([wanted.sort, *last]).encode()).decode().rstrip("=")


def _start(cursor: str, wanted: Filter) -> Entry:
    try:
        sort, value, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value = float(value) if wanted.column in NUMBERS else str(value)
        str(value).encode()  # which half a surrogate pair cannot be
        if sort == wanted.sort and KEY.fullmatch(key):
            return value, key
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise ArgumentError("The cursor is none that this list gave; begin without one.")
