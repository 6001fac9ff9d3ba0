"""Where studies are found fast: one SQLite file beside the folders, which alone say what is true.

A row names a study and what lists are sorted and narrowed by; all that a page says is read from the study's folder. The
file may be lost, damaged or behind at any time: whoever looks brings it up to date first, so that no study is hidden.

Whoever moves a study says so before (`changing`), and writes its row after. A process that is killed in between leaves
the name of the study behind, and the next one to look reads its folder again. What a person moves by hand is seen by
`reconcile`, which holds every row against the folders.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from scanward.disk import alone, transaction
from scanward.errors import ArgumentError, ScanwardError
from scanward.formats.guard import shown
from scanward.inbox import reviews
from scanward.inbox.record import Study, seal_of

FILE = "index.sqlite3"
SCHEMA = 2
"""Of the file; one of another version is made anew."""
BUSY = 5.0
"""Seconds to wait for another process's transaction."""
CACHE_KB = 65536
AT_ONCE = 50
"""Studies that are read in one transaction, which keeps others waiting for some hundredths of a second."""
UNSURE = 60.0
"""Seconds after which whoever said that a study is about to change has done it, or is dead."""
EVERY = 60.0
"""Seconds after which all rows are held against the folders again, where somebody looks."""
UNSCORED = -math.inf
"""In the row of a study without a score."""
RANKS = {"tampered": 0, "failed": 1, "inconclusive": 2, "unscanned": 3, "authentic": 4}
"""Labels, those first that ask for a look."""
SCORED = ("tampered", "authentic")
"""Labels whose score says something: what could not be judged has none, whatever number stands there."""
SORTS = ("finished", "received", "result", "score", "description", "patient", "accession", "date")
"""Columns that lists are sorted by."""
COLUMNS = ("key", "state", "label", "modality", "review", "seal", "day", "issuer", *SORTS, "words", "facts", "said")
PUT = f"INSERT OR REPLACE INTO studies ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
TABLES = (
    "CREATE TABLE studies (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, state TEXT, label TEXT, modality TEXT, "
    "review TEXT, seal TEXT, day TEXT, issuer TEXT, finished TEXT, received TEXT, result INTEGER, score REAL, "
    "description TEXT, patient TEXT, accession TEXT, date TEXT, words TEXT, facts INTEGER, said INTEGER)",
    "CREATE INDEX narrowed ON studies (label, modality, review, seal, day, state)",
    *(f"CREATE INDEX by_{name} ON studies ({name}, key)" for name in SORTS),
    "CREATE TABLE changing (key TEXT PRIMARY KEY, since REAL)",
    "CREATE TABLE whole (since REAL)",
    "CREATE TABLE events (key TEXT, moment TEXT, line TEXT)",
    "CREATE INDEX of_study ON events (key, moment)",
    "CREATE TABLE counted (name TEXT, kind TEXT, number REAL, PRIMARY KEY (name, kind))",
    "CREATE TABLE journals (first BLOB PRIMARY KEY, name TEXT, read INTEGER)",
    f"PRAGMA user_version = {SCHEMA}")
"""`facts` and `said` are when `study.json` and the reviews were last written, in nanoseconds; `whole` has a row once
all folders were read; `events`, `counted` and `journals` are the audit's."""
Answer = TypeVar("Answer")


class Folders(Protocol):
    """What is indexed."""

    @property
    def root(self) -> Path: ...

    def study(self, key: str) -> Study | None:
        """One that is done with or failed."""

    def written(self) -> Iterator[tuple[str, str, int]]:
        """Of each of them the key, the state, and when `study.json` was last written, in nanoseconds."""


class Index:
    """Any number of processes and threads may use it at once; nothing is opened before it is needed."""

    def __init__(self, folders: Folders) -> None:
        self._folders, self._path = folders, folders.root / FILE
        self._lock = threading.RLock()
        self._open: tuple[sqlite3.Connection, tuple[int, int]] | None = None
        self._next = 0.0

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """The block changes the folder of a study, or what was said of it. The folders count: that a disk is full, or
        the file damaged, undoes nothing."""
        with suppress(ScanwardError):
            self.write(lambda to: to.execute("INSERT OR REPLACE INTO changing VALUES (?, ?)", (key, time.time())))
        try:
            yield
        finally:
            with suppress(ScanwardError):
                self._refresh([key], done=True)

    def read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What `work` finds in an index that is whole and up to date. Raises `ScanwardError` where it cannot be."""
        if time.monotonic() > self._next > 0:
            self._next = time.monotonic() + EVERY
            threading.Thread(target=self._again, name="index", daemon=True).start()
        with suppress(ScanwardError):  # a full disk: what is known is shown
            unsure = self._run(lambda one: one.execute("SELECT key FROM changing").fetchall())
            if unsure:
                self._refresh([key for (key,) in unsure])

        def found(one: sqlite3.Connection) -> tuple[Answer] | None:
            whole = one.execute("SELECT count(*) FROM whole").fetchone()[0]
            return (work(one),) if whole else None  # it is empty where it had to be made anew a moment ago

        answer = self._run(lambda one: _within(one, "DEFERRED", found))
        if answer is None:
            self.reconcile()
            answer = self._run(lambda one: _within(one, "DEFERRED", found))
        if answer is None:
            raise ScanwardError(f"{shown(self._path)} is damaged again and again; see to its disk.")
        return answer[0]

    def write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """One transaction, all or nothing. Raises `ScanwardError` where it cannot be written."""
        return self._run(lambda one: _within(one, "IMMEDIATE", work))

    def reconcile(self) -> None:
        """Holds every row against the folders. Raises `ScanwardError` where the file cannot be written."""
        self._next = time.monotonic() + EVERY
        said = {path.stem: path.stat().st_mtime_ns for path in (self._folders.root / "reviews").glob("*.jsonl")}
        there = {key: (state, when, said.get(key, 0)) for key, state, when in self._folders.written()}
        rows = self._run(lambda one: one.execute("SELECT key, state, facts, said FROM studies").fetchall())
        known = {key: tuple(row) for key, *row in rows}
        other = sorted(key for key in there.keys() | known.keys() if there.get(key) != known.get(key))
        for start in range(0, len(other), AT_ONCE):
            self._refresh(other[start:start + AT_ONCE])
        self.write(lambda one: one.execute("INSERT INTO whole SELECT ? WHERE NOT EXISTS (SELECT 1 FROM whole)",
                                           (time.time(),)))

    def remove(self) -> None:
        """It is made anew from the folders when it is next looked into."""
        with self._lock, alone(self._path.with_suffix(".lock")):
            self._discard()

    def _again(self) -> None:
        with suppress(ScanwardError, OSError):
            self.reconcile()

    def _refresh(self, keys: Sequence[str], *, done: bool = False) -> None:
        """Rows as the folders have it. The folders are read while nobody else writes: of two processes that change one
        study, the later one reads what the other did."""
        now = time.time()

        def put(to: sqlite3.Connection) -> None:
            for key in keys:
                row = self._row(key)
                if row is None:
                    to.execute("DELETE FROM studies WHERE key = ?", (key,))
                else:
                    to.execute(PUT, row)
                # One that has said it may still be about to do it; a clock that was set back makes it old, too.
                to.execute("DELETE FROM changing WHERE key = ? AND (? OR since NOT BETWEEN ? AND ?)",
                           (key, done, now - UNSURE, now + 1))

        self.write(put)

    def _row(self, key: str) -> tuple[object, ...] | None:
        path = reviews.path_of(self._folders.root, key)
        said = path.stat().st_mtime_ns if path.is_file() else 0
        study = self._folders.study(key)
        made: tuple[reviews.Review, ...] = ()
        with suppress(ScanwardError):
            made = reviews.read(path)
        with suppress(FileNotFoundError):  # whoever moves it just now writes the row after
            return None if study is None else row_of(study, made, said)
        return None

    def _run(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """With a file that was damaged made anew, once."""
        with self._lock:
            try:
                try:
                    return work(self._connection())
                except sqlite3.Error as error:
                    if not _damaged(error):
                        raise
                    self._replace()
                    return work(self._connection())
            except (sqlite3.Error, OSError, ArgumentError) as error:
                raise ScanwardError(f"{shown(self._path)} cannot be used ({error}); free some space, or see to its "
                                    "owner.") from error

    def _connection(self) -> sqlite3.Connection:
        """To the file that has the name now: another process may have made it anew."""
        if self._open is not None:
            with suppress(FileNotFoundError):
                if _identity(self._path) == self._open[1]:
                    return self._open[0]
            self._close()
        if not self._there():
            with alone(self._path.with_suffix(".lock")):
                if not self._there():  # one of no bytes is kept locked by those who had it open
                    self._discard()
                return self._opened()
        return self._opened()

    def _there(self) -> bool:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size > 0
        return False

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last rows: `reconcile`
            connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            if _version(connection) != SCHEMA:
                _within(connection, "EXCLUSIVE", _make)
            self._path.chmod(0o600)
            self._open = connection, _identity(self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _replace(self) -> None:
        """A file that is damaged, unless another process was faster."""
        self._close()
        with alone(self._path.with_suffix(".lock")):
            try:
                if _sound(self._opened()):
                    return  # or it was the disk
            except sqlite3.Error as error:
                if not _damaged(error):
                    raise
            self._discard()

    def _discard(self) -> None:
        self._close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(FILE + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open[0].close()
            self._open = None


def row_of(study: Study, said: Iterable[reviews.Review], when: int) -> tuple[object, ...]:
    """What the index has of a study, in the order of `COLUMNS`; `when` its reviews were last written."""
    record, label = study.record, study.label
    finished, received = record.finished or "", record.received or record.finished or ""
    scored = label in SCORED and record.score is not None
    texts = [text or "" for text in (record.description, record.patient_id, record.accession, record.study_date)]
    facts = (study.folder / "study.json").stat().st_mtime_ns
    return (study.key, study.state, label, record.modality or "", reviews.state(tuple(said)), seal_of(record.images),
            received[:10], record.issuer or "", finished, received, RANKS[label],
            float(record.score or 0.0) if scored else UNSCORED, *texts, words_of(study), facts, when)


def words_of(study: Study) -> str:
    """What a search looks in: whose study it is, what it is called and when it was made, in one case."""
    record, date = study.record, study.record.study_date or ""
    dashed = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    texts = (record.patient_id, record.accession, record.description, record.study_uid, date, dashed)
    return "\n".join(text or "" for text in texts).casefold()


def _within(connection: sqlite3.Connection, kind: str, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
    with transaction(connection, kind):
        return work(connection)


def _make(connection: sqlite3.Connection) -> None:
    """The tables, empty, in place of those of another version."""
    if _version(connection) == SCHEMA:
        return  # another process was faster
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        connection.execute(f'DROP TABLE "{name.replace(chr(34), chr(34) * 2)}"')
    for statement in TABLES:
        connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _sound(connection: sqlite3.Connection) -> bool:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    wanted = {statement.split()[2] for statement in TABLES if statement.startswith("CREATE")}
    return wanted <= there and connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)


def _damaged(error: sqlite3.Error) -> bool:
    """A file that is none, that was cut short, or that lacks a table; not one that is locked, or a full disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
