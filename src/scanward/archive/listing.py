"""The listing of an archive on disk, written by a process of its own while what is listed is already judged.

Numbers, not times, say what is where: a listing that was cut short goes on behind its last part.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from scanward.archive.answers import COMPLETE, LISTING, unwritten
from scanward.archive.unit import Archive, Cursor, Unit
from scanward.disk import whole_file
from scanward.errors import ScanwardError, UnreadableError
from scanward.formats.guard import shown
from scanward.judging.batch import made_ready, noted, uninterrupted

FIRST, LARGEST, ALIKE = 64, 4096, 16
"""Units of a part: of the first ones, of the last ones, and how many parts have as many before it is doubled. So the
first answers are there soon, and the last ones in few files."""
DEATHS = 3
"""Of the process that lists, in a row, without a new part."""


@dataclass(frozen=True)
class Progress:
    """How much is listed."""

    parts: int = 0
    units: int = 0
    cost: int = 0
    complete: bool = False
    after: Cursor = None


def size_of(part: int) -> int:
    """Units of a part, the last one apart."""
    return min(LARGEST, FIRST << (part // ALIKE))


def listing_path(out: Path, part: int) -> Path:
    """Where the units of a part are."""
    return out / LISTING / f"{part:08d}.jsonl"


def progress_of(out: Path) -> Progress:
    """What is on disk. Raises `UnreadableError` where it is damaged."""
    try:
        done = json.loads((out / LISTING / COMPLETE).read_bytes())
        if done["units"]:  # an earlier version kept the end of an empty listing
            return Progress(int(done["parts"]), int(done["units"]), int(done["cost"]), True)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(out) from error
    numbers = [int(name[:8]) for name in _names(out) if name[:8].isdigit() and name.endswith(".jsonl")]
    if not numbers:
        return Progress()
    head, _ = read_part(out, max(numbers))
    return Progress(max(numbers) + 1, head["units"], head["cost"], after=head["after"])


def _names(out: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(out / LISTING)
    return []


def read_part(out: Path, part: int) -> tuple[dict[str, Any], list[Unit]]:
    """What the first line of a part says: `units` and `cost` of all parts up to it, and `after`, where the listing goes
    on; and its units. Raises `UnreadableError` where it is damaged, `FileNotFoundError` where it is not there."""
    lines = listing_path(out, part).read_bytes().splitlines()
    try:
        head = json.loads(lines[0])
        units = [Unit.of(line) for line in lines[1:]]
        if set(head) != {"units", "cost", "after"} or not units:
            raise ValueError
        return head, units
    except (ValueError, TypeError, IndexError) as error:
        raise _damaged(out) from error


def _damaged(out: Path) -> UnreadableError:
    return UnreadableError(f"The listing in {out / LISTING} is damaged; begin anew in another folder.")


def write_listing(archive: Archive, out: Path) -> None:
    """Lists what is not listed yet, to the end. Raises `UnreadableError` where nothing is there at all, which is kept
    nowhere: a disk that is not mounted yet is an empty folder."""
    known = progress_of(out)
    if known.complete:
        return
    folder = out / LISTING
    folder.mkdir(parents=True, exist_ok=True)
    part, count, cost = known.parts, known.units, known.cost
    with tempfile.TemporaryDirectory(prefix=".scanward-", dir=folder) as scratch:
        found = archive.listed(None if archive.relisted else known.after, Path(scratch))
        units = _unseen(found, out, part, Path(scratch)) if archive.repeats else found
        while some := list(islice(units, size_of(part))):
            count, cost = count + len(some), cost + sum(unit.cost for unit, _ in some)
            head = {"units": count, "cost": cost, "after": some[-1][1]}
            lines = (json.dumps(head), *(unit.line() for unit, _ in some))
            with whole_file(listing_path(out, part)) as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
            part += 1
    if not count:
        raise UnreadableError(f"{shown(archive.name)} holds no images; check it, and the same command looks again.")
    with whole_file(folder / COMPLETE) as file:
        file.write(json.dumps({"parts": part, "units": count, "cost": cost}).encode())


def _unseen(found: Iterator[tuple[Unit, Cursor]], out: Path, parts: int, scratch: Path) -> \
        Iterator[tuple[Unit, Cursor]]:
    """What is in no part yet, each once. Names of units are kept on the disk."""
    known = sqlite3.connect(scratch / "known", isolation_level=None)
    try:
        known.execute("PRAGMA journal_mode = OFF")
        known.execute("PRAGMA synchronous = OFF")
        known.execute("CREATE TABLE known (id TEXT PRIMARY KEY) WITHOUT ROWID")
        add = "INSERT OR IGNORE INTO known VALUES (?)"
        for part in range(parts):
            known.executemany(add, [(unit.id,) for unit in read_part(out, part)[1]])
        for unit, cursor in found:
            if known.execute(add, (unit.id,)).rowcount:
                yield unit, cursor
    finally:
        known.close()


class Lister:
    """The process that lists. To be closed."""

    def __init__(self, archive: Archive, out: Path) -> None:
        for name in _names(out):
            if name.startswith(".scanward-"):  # of one that was killed
                shutil.rmtree(out / LISTING / name, ignore_errors=True)
        self._archive, self._out = archive, out
        self._parts, self._deaths = -1, 0
        self._complete = progress_of(out).complete
        if not self._complete:
            self._start()

    def _start(self) -> None:
        spawn = get_context("spawn")
        theirs, self._ours = spawn.Pipe(duplex=False)
        self._line, line = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_list, args=(self._archive, self._out, line, theirs), daemon=True,
                                      name="scanward-lister")
        with uninterrupted():
            self._process.start()
        theirs.close()
        line.close()

    def check(self) -> bool:
        """Whether it has come to the end; raises what stopped it, and starts it anew where it died."""
        if self._complete:
            return True
        if not self._line.poll():
            return False
        try:
            error = self._line.recv()
        except (EOFError, OSError):
            self._died()
            return self._complete
        if error is not None:
            raise error
        self._complete = True
        self.close()
        return True

    def _died(self) -> None:
        self.close()
        found = progress_of(self._out)
        self._complete = found.complete
        self._deaths = 1 if found.parts > self._parts else self._deaths + 1
        self._parts = found.parts
        if not self._complete and self._deaths >= DEATHS:
            raise ScanwardError("The process that lists the archive died again and again, perhaps for want of memory; "
                                "the same command goes on with the listing.")
        if not self._complete:
            self._start()

    def close(self) -> None:
        """Ends the process."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.join(2)
            self._line.close()
            self._ours.close()


def _list(archive: Archive, out: Path, line: Connection, life: Connection) -> None:
    made_ready(life)
    try:
        write_listing(archive, out)
        line.send(None)  # or who waits for the end of the process may wait for a dead disk
    except (OSError, sqlite3.Error) as error:
        line.send(unwritten(out, error))
    except Exception as error:
        line.send(noted(error))


def parts(out: Path, lister: Lister) -> Iterator[tuple[int, list[Unit]] | None]:
    """Every part with its units, as they are listed; None where there is none yet."""
    part = 0
    while True:
        try:
            found = read_part(out, part)[1]
        except FileNotFoundError:
            if lister.check() and part >= progress_of(out).parts:
                return
            yield None
            continue
        yield part, found
        part += 1
