"""Through folders in a fixed order and in flat memory, however many files there are, and in however few folders."""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from scanward.errors import InputError

RUN = 50_000
"""Entries that are sorted in memory; of a folder with more, sorted runs lie on the disk and are merged."""
TOGETHER = 20_000
"""Files of one folder among which a series is looked for. A folder with more is cut, by name, after every so many: what
a cut divides becomes two units."""


class Entry(NamedTuple):
    """Of a folder; files sort before folders."""

    folder: bool
    name: str
    size: int = 0


class Tree(Protocol):
    """Folders that can be looked into."""

    def entries(self, folder: str) -> Iterable[Entry]:
        """What is in a folder, named from the root by `/`, in any order. Raises `InputError` where it may not be
        searched."""


class Found(NamedTuple):
    """Files of one folder, in order, at most `TOGETHER`; or why it cannot be searched."""

    folder: str
    files: list[Entry]
    before: str = ""
    """The last file of the folder that came before these."""
    error: InputError | None = None


def walk(tree: Tree, after: tuple[str, str] | None, scratch: Path) -> Iterator[Found]:
    """Every folder's files, before those of its subfolders, names in the order of their code points.

    `after` is a folder and what is `before` in it: what lies before that is not listed again, nor looked into.
    """
    start = None if after is None else _parts(after[0])
    waiting: list[Iterator[tuple[str, Entry]]] = [iter([("", Entry(True, ""))])]
    while waiting:
        parent, entry = next(waiting[-1], (None, None))
        if entry is None or parent is None:
            waiting.pop()
            continue
        folder = f"{parent}/{entry.name}" if parent else entry.name
        place = "behind" if start is None else _place(_parts(folder), start)
        if place == "before":
            continue
        try:
            inside = in_order(tree.entries(folder), scratch)
        except InputError as error:
            if place != "above":
                yield Found(folder, [], error=error)
            continue
        first = yield from _files(folder, inside, after[1] if after and place == "here" else "", place == "above")
        if first is not None:
            waiting.append(_below(folder, first, inside))


def _parts(folder: str) -> list[str]:
    return folder.split("/") if folder else []


def _place(parts: list[str], start: list[str]) -> str:
    """Where a folder lies of the one where the walk goes on: `before`, `above`, `here` or `behind`."""
    if parts == start:
        return "here"
    if parts == start[:len(parts)]:
        return "above"
    return "before" if parts < start else "behind"


def _files(folder: str, inside: Iterator[Entry], before: str, above: bool) -> Generator[Found, None, Entry | None]:
    """The files; returns the first of the subfolders."""
    files: list[Entry] = []
    first = None
    for entry in inside:
        if entry.folder:
            first = entry
            break
        if above or entry.name <= before:
            continue
        files.append(entry)
        if len(files) == TOGETHER:
            yield Found(folder, files, before)
            before, files = files[-1].name, []
    if files:
        yield Found(folder, files, before)
    return first


def _below(folder: str, first: Entry, rest: Iterator[Entry]) -> Iterator[tuple[str, Entry]]:
    yield folder, first
    for entry in rest:
        yield folder, entry


def in_order(entries: Iterable[Entry], scratch: Path) -> Iterator[Entry]:
    """Sorted."""
    run: list[Entry] = []
    runs: list[IO[str]] = []
    for entry in entries:
        run.append(entry)
        if len(run) >= RUN:
            runs.append(_spilled(run, scratch))
            run = []
    run.sort()
    return heapq.merge(*map(_read, runs), run) if runs else iter(run)


def _spilled(run: list[Entry], scratch: Path) -> IO[str]:
    file = tempfile.TemporaryFile("w+", dir=scratch)  # noqa: SIM115  `_read` closes it
    run.sort()
    file.writelines(json.dumps(entry) + "\n" for entry in run)
    file.seek(0)
    return file


def _read(file: IO[str]) -> Iterator[Entry]:
    with file:
        for line in file:
            yield Entry(*json.loads(line))
