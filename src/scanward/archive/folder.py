"""Folders of this machine, and lists of files."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanward.archive.unit import Cursor, Unit
from scanward.archive.walk import TOGETHER, Entry, Found, walk
from scanward.errors import ArgumentError, InputError, ScanwardError, UnreadableError
from scanward.formats import Source
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.sniff import HEAD, kind_of
from scanward.formats.sources import PASSED, Passed, in_one_folder

KERNELS = ("/proc/", "/sys/")
"""Where a link leads to no files but to what the kernel tells, which lists itself without end."""
HANGS = 60.0
"""Seconds after which a file is one over which the disk hangs."""
HIDDEN = -1
"""The size of a hidden folder, which is listed like a file."""
NAMELESS = -2
"""The size of what lies in a store under an empty name, `folder//`, where no file system has anything."""
SAID = {HIDDEN: PASSED["hidden"],
        NAMELESS: "A folder or an object there has an empty name, which Scanward does not enter; rename it."}
LONGEST_LINE = 1 << 16
"""Bytes of a line of a list."""


class Local:
    """A folder of this machine as a `Tree`. Links to files are files. A folder that a link leads to is searched there,
    unless it lies in what is searched already, or holds all of it, or is one of `KERNELS`."""

    def __init__(self, root: Path, out: Path | None = None) -> None:
        """`out`, wherever it lies, is not searched."""
        self.root, self._out = root, out and os.stat(out)
        self._entered = [os.path.realpath(root)]

    def entries(self, folder: str) -> Iterator[Entry]:
        """As `Tree`; a hidden folder is a file of size `HIDDEN`."""
        here = self.root / folder
        try:
            with os.scandir(here) as found:
                for one in found:
                    yield from self._entry(one)
        except OSError as error:
            raise UnreadableError(f"{shown(here)} may not be searched ({clean(error.strerror)}); ask its owner for "
                                  "read permission.") from error

    def _entry(self, one: os.DirEntry[str]) -> Iterator[Entry]:
        try:
            status = one.stat()
        except OSError:  # a link to nothing, or a file that is gone
            yield Entry(False, one.name)
            return
        if not stat.S_ISDIR(status.st_mode):
            yield Entry(False, one.name, status.st_size)
        elif self._out and os.path.samestat(status, self._out):
            return
        elif one.name.startswith("."):
            yield Entry(False, one.name, HIDDEN)
        elif not one.is_symlink() or self._enters(one.path):
            yield Entry(True, one.name)

    def _enters(self, link: str) -> bool:
        real = os.path.realpath(link)
        if f"{real}/".startswith(KERNELS) or os.path.commonpath([self._entered[0], real]) == real or any(
                os.path.commonpath([root, real]) == root for root in self._entered):
            return False
        self._entered.append(real)
        return True


@dataclass(frozen=True)
class Folder:
    """All images below a folder, but for those in `out`, where answers go."""

    root: Path
    out: Path | None = None
    relisted = repeats = distant = False

    @property
    def name(self) -> str:
        return str(self.root)

    def terms(self) -> dict[str, Any]:
        return {}

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        """By folder and name. The cursor: a folder, what came before the files that were looked at together, and the
        last of them that has its unit."""
        folder, before, last = after or ("", "", "")
        for found in walk(Local(self.root, self.out), (folder, before) if after else None, scratch):
            here = after is not None and (found.folder, found.before) == (folder, before)
            for unit in units_of(found, (self.root / found.folder).joinpath):
                first = unit.parts[0].rpartition("/")[2]
                if not here or first > last:
                    yield unit, [found.folder, found.before, first]

    def address(self, unit: Unit) -> str:
        return str(self.root / unit.parts[0])

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Source]:
        paths = tuple(self.root / part for part in unit.parts)
        if not os.path.lexists(paths[0]):
            self._stands()
        yield Source(paths, "series" if unit.series else "file")

    def _stands(self) -> None:
        """Raises `ScanwardError` where what befell one file befalls every one: a disk that is no longer there leaves an
        empty folder."""
        try:
            with os.scandir(self.root) as found:
                if next(found, None) is not None:
                    return
        except OSError:
            pass
        raise ScanwardError(f"{shown(self.root)} is empty or gone; when its files are back, the same command goes on.")


def units_of(found: Found, local: Callable[[str], Path]) -> list[Unit]:
    """What lies in files of one folder, in the order of the first files; `local` is where a file can be opened."""
    prefix = f"{found.folder}/" if found.folder else ""
    if found.error is not None:
        return [Unit((f"{prefix}.",), 0, said="inconclusive", reason=str(found.error))]
    sizes = {entry.name: entry.size for entry in found.files}
    passed: list[Passed] = []
    groups = _looked_into([local(name) for name, size in sizes.items() if size >= 0], passed)
    units = [Unit(tuple(prefix + path.name for path in paths), sum(sizes[path.name] for path in paths), len(paths) > 1)
             for paths in groups]
    units += [Unit((prefix + one.path.name,), 0, said="unscanned", reason=one.reason) for one in passed]
    units += [Unit((prefix + name,), 0, said="unscanned", reason=SAID[size])
              for name, size in sizes.items() if size in SAID]
    return sorted(units, key=lambda unit: unit.parts[0])


def _looked_into(paths: list[Path], passed: list[Passed]) -> list[list[Path]]:
    """As `in_one_folder`. A file over which a disk hangs is an image by itself: the watch over those who judge ends
    what there is no waiting for."""
    hung: list[Path] = []
    while True:
        looking = _Looking([path for path in paths if path not in hung])
        looking.start()
        while looking.is_alive():
            at = looking.at
            looking.join(HANGS)
            if looking.is_alive() and looking.at is at and at is not None:
                hung.append(at)
                break
        else:
            if looking.error is not None:
                raise looking.error
            passed += looking.passed
            return looking.found + [[path] for path in hung]


class _Looking(threading.Thread):
    """Nobody waits for it in the end."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(name="looking", daemon=True)
        self._paths = paths
        self.at: Path | None = None
        self.found: list[list[Path]] = []
        self.passed: list[Passed] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.found = in_one_folder(self._each(), self.passed)
        except Exception as error:
            self.error = error

    def _each(self) -> Iterator[Path]:
        for path in self._paths:
            self.at = path
            yield path


@dataclass(frozen=True)
class Listed:
    """The files that a text file names, one a line, from its own folder on. Slices of a series are one unit where
    their lines follow each other, at most `TOGETHER`."""

    path: Path
    relisted, repeats, distant = False, True, False

    @property
    def name(self) -> str:
        return str(self.path)

    def terms(self) -> dict[str, Any]:
        with self.path.open("rb") as file:
            return {"list": hashlib.file_digest(file, "sha256").hexdigest()}

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        """In the order of the list. The cursor: where in it a run of lines begins whose files lie in one folder, and
        how many units of that run are listed."""
        start, done = after or (0, 0)
        for at, lines in self._runs(start):
            for number, unit in enumerate(self._units(lines), 1):
                if at != start or number > done:
                    yield unit, [at, number]

    def _runs(self, start: int) -> Iterator[tuple[int, list[str]]]:
        run: list[str] = []
        with self.path.open("rb") as file:
            at = file.seek(start)
            while line := file.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE or b"\0" in line:
                    raise UnreadableError(f"{shown(self.path)} is no list of files; write one path a line, in UTF-8.")
                first = file.tell() == len(line)
                name = os.fsdecode((line.removeprefix(BOM_UTF8) if first else line).rstrip(b"\r\n"))
                if run and (len(run) == TOGETHER or os.path.dirname(name) != os.path.dirname(run[0])):
                    yield at, run
                    at, run = file.tell() - len(line), []
                run += [name] if name else []
        if run:
            yield at, run

    def _units(self, lines: list[str]) -> Iterator[Unit]:
        urls = dict.fromkeys(line for line in lines if "://" in line and not os.path.lexists(self.path.parent / line))
        for line in urls:
            yield Unit((line,), 0, said="inconclusive", reason=f"{shown(line)} is a URL; list files of this machine, "
                       "or name the URL of a folder in the place of the list.")
        parts = [self._part(line) for line in lines if line not in urls]
        named = {str(self.path.parent / part): part for part in parts}
        folders = [path for path in named if os.path.isdir(path)]
        passed: list[Passed] = []
        groups = {str(paths[0]): paths for paths in _looked_into(
            [Path(path) for path in named if path not in folders], passed)}
        reasons = {str(one.path): one.reason for one in passed}
        members = {str(path) for paths in groups.values() for path in paths}
        for path, line in named.items():
            if path in groups:
                own = tuple(named[str(one)] for one in groups[path])
                yield Unit(own, sum(_size(one) for one in groups[path]), len(own) > 1)
            elif path in folders:
                yield Unit((line,), 0, said="inconclusive",
                           reason=f"{shown(path)} is a folder; list its files, or name it in the place of the list.")
            elif path in reasons:
                yield Unit((line,), 0, said="unscanned", reason=reasons[path])
            elif path not in members:
                yield Unit((line,), 0)  # reading says what it is

    def _part(self, line: str) -> str:
        """A line without its detours, `a/../b` and the list's own folder: a file that is named twice is one. Where a
        link makes something else of them they stay."""
        whole, root = os.path.join(self.path.parent, line), str(self.path.parent)
        short = os.path.normpath(whole)
        if ".." in line.split("/") and os.path.realpath(os.path.dirname(short)) != os.path.realpath(
                os.path.dirname(whole)):
            return line
        return os.path.relpath(short, root) if os.path.commonpath([short, root]) == root else short

    def address(self, unit: Unit) -> str:
        first = unit.parts[0]
        return first if unit.said and "://" in first else str(self.path.parent / first)

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Source]:
        yield Source(tuple(self.path.parent / part for part in unit.parts), "series" if unit.series else "file")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def local_archive(path: Path, out: Path | None = None) -> Folder | Listed:
    """What a path of this machine names; `out` as in `Folder`. Raises `ArgumentError` where it is neither a folder
    nor a list."""
    path = Path(os.path.abspath(path))
    try:
        if path.is_dir():
            os.scandir(path).close()
            return Folder(path, out)
        with decoding(path), open_file(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise ArgumentError(f"{shown(path)} may not be searched ({clean(error.strerror)}).") from error
    except InputError as error:
        raise ArgumentError(str(error)) from error
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ArgumentError(f"{shown(path)} is a list in UTF-16; save it as UTF-8.")
    if kind_of(path, head) is not None or b"\0" in head:
        raise ArgumentError(f"{shown(path)} is no folder and no list of files; `scanward scan` is for one image.")
    return Listed(path)
