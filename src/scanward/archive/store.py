"""What fsspec reaches as archives: S3 and its like, and whatever else it has a driver for."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from scanward.archive.fetching import fetching, no_room
from scanward.archive.folder import HIDDEN, NAMELESS, units_of
from scanward.archive.patience import patient
from scanward.archive.unit import Cursor, Unit
from scanward.archive.walk import Entry, Found, walk
from scanward.delivery.spool import Unreachable
from scanward.delivery.webclient import Faulty
from scanward.errors import ArgumentError, MissingExtraError, ScanwardError, UnreadableError
from scanward.formats import Source
from scanward.formats.guard import clean, shown
from scanward.judging.watched import still_alive

HEAD = 1 << 17
"""Bytes of each file that tell what it is and, of a CT slice, of which series."""
AT_ONCE = 256
"""Heads that are asked for together."""
PIECE = 8 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Of a disk here, whatever the file."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Store:
    """All images below a URL. fsspec takes its settings and its secrets from the environment or its own configuration
    files. Of one folder it holds the listing in memory."""

    url: str
    relisted = repeats = False
    distant = True

    @property
    def name(self) -> str:
        return self.url

    def terms(self) -> dict[str, Any]:
        return {}

    def check(self) -> None:
        """Raises `ArgumentError` where nothing is there."""
        system, root = opened(self.url)
        try:
            system.invalidate_cache()
            there = system.info(root)["type"] == "directory"
        except FileNotFoundError:
            there = False
        except Exception as error:  # drivers have errors of their own
            raise ArgumentError(f"{self.url} cannot be reached ({clean(error)}); check it and the credentials.") from \
                error
        if not there:
            raise ArgumentError(f"{self.url} names no folder; check it.")

    def _stands(self) -> None:
        """Raises `Unreachable` where what befell one object befalls every one."""
        try:
            self.check()
        except ArgumentError as error:
            raise Unreachable(str(error)) from error

    def entries(self, folder: str) -> Iterable[Entry]:
        """As `Tree`."""
        system, root = opened(self.url)
        try:
            found = asked(lambda: system.ls(f"{root}/{folder}" if folder else root, detail=True))
            system.invalidate_cache()  # or it keeps all listings for ever
        except (FileNotFoundError, PermissionError) as error:
            raise UnreadableError(f"{self.url}/{folder} may not be searched ({clean(error)}).") from error
        here, nameless = f"{root}/{folder}".rstrip("/"), False
        for one in found:
            whole, inside, size = str(one["name"]), one.get("type") == "directory", int(one.get("size") or 0)
            name = whole.rstrip("/").rpartition("/")[2]
            if whole.rstrip("/") == here:  # the folder's own entry, if it holds nothing
                nameless |= (inside and whole != here) or size > 0
            elif inside and name.startswith("."):
                yield Entry(False, name, HIDDEN)
            else:
                yield Entry(inside, name, 0 if inside else size)
        if nameless:
            yield Entry(False, "/", NAMELESS)

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        """As a folder of this machine, by the heads of the files."""
        folder, before, last = after or ("", "", "")
        for found in walk(self, (folder, before) if after else None, scratch):
            here = after is not None and (found.folder, found.before) == (folder, before)
            with tempfile.TemporaryDirectory(dir=scratch) as heads:
                lost = set(_heads(self.url, found, Path(heads)))
                units = units_of(_without(found, lost), Path(heads).joinpath)
            prefix = f"{found.folder}/" if found.folder else ""
            units += [Unit((prefix + one.name,), one.size) for one in lost]
            for unit in sorted(units, key=lambda unit: unit.parts[0]):
                first = unit.parts[0].removeprefix(prefix)
                if not here or first > last:
                    yield unit, [found.folder, found.before, first]

    def address(self, unit: Unit) -> str:
        return f"{self.url.rstrip('/')}/{unit.parts[0]}"

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Source]:
        system, root = opened(self.url)
        with fetching() as folder:
            paths = []
            for number, part in enumerate(unit.parts):
                paths.append(Path(folder, f"{number:06d}-{_plain(part)}"))
                try:
                    asked(partial(_copied, system, f"{root}/{part}", paths[-1]))
                except (FileNotFoundError, PermissionError, Unreachable) as error:
                    self._stands()
                    raise UnreadableError(f"{shown(self.address(unit))} cannot be read ({clean(error)}).") from error
            yield Source(tuple(paths), "series" if unit.series else "file")


def _plain(part: str) -> str:
    """The end of an object's name, which tells some formats, as any file system takes it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", part.rpartition("/")[2])[-60:]


def _heads(url: str, found: Found, heads: Path) -> Iterator[Entry]:
    """Puts the head of each file there, with the file's length; gives those of which none can be had."""
    files = [one for one in found.files if one.size >= 0]
    for some in (files[at:at + AT_ONCE] for at in range(0, len(files), AT_ONCE)):
        got = _begins(url, found.folder, some)
        for one, head in zip(some, got, strict=True):
            try:
                (heads / one.name).write_bytes(head)
                os.truncate(heads / one.name, one.size)
            except OSError as error:
                if error.errno in FULL:
                    raise
                yield one  # no file here may have that name, or that length
            except (TypeError, ValueError):  # an error in its place, or such a name
                yield one


def _begins(url: str, folder: str, files: Sequence[Entry]) -> list[Any]:
    """The first bytes of each, or what is wrong with it; what a second try may mend is asked again."""
    system, root = opened(url)
    found: dict[str, Any] = {}

    def once() -> None:
        left = [one for one in files if one.name not in found]
        names = ["/".join(filter(None, (root, folder, one.name))) for one in left]
        got = system.cat_ranges(names, [0] * len(names), [min(HEAD, one.size) for one in left], on_error="return")
        lasting = (bytes, FileNotFoundError, PermissionError)
        found.update((one.name, head) for one, head in zip(left, got, strict=True) if isinstance(head, lasting))
        for head in got:
            if not isinstance(head, lasting):
                raise Faulty(f"The store does not answer as it should ({type(head).__name__}: {clean(head)}).")

    with suppress(Faulty):
        asked(once)
    return [found.get(one.name) for one in files]


def _without(found: Found, lost: set[Entry]) -> Found:
    """Without those."""
    return found._replace(files=[one for one in found.files if one not in lost])


def _copied(system: Any, remote: str, local: Path) -> None:
    with system.open(remote, "rb") as source:
        local.unlink(missing_ok=True)
        while piece := source.read(PIECE):
            try:
                with local.open("ab") as file:
                    file.write(piece)
            except OSError as error:
                raise no_room(error) from error
            still_alive()
        local.touch()


def asked(ask: Callable[[], Answer]) -> Answer:
    """As `patient`, of a driver, which has errors of its own: what is missing or forbidden is raised at once."""
    def once() -> Answer:
        try:
            return ask()
        except (FileNotFoundError, PermissionError, MemoryError, ScanwardError):
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {clean(error)}"
            raise Unreachable(f"The store does not answer as it should ({why}).") from error

    return patient(once)


@cache
def opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of this process, and the root within it. Raises `ArgumentError`, `MissingExtraError`."""
    try:
        import fsspec
    except ModuleNotFoundError as missing:
        raise MissingExtraError("A URL needs fsspec, which is not installed; install scanward[archive].") from missing
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(f"{url} needs a driver that is not installed ({clean(error)}).") from error
    except Exception as error:
        raise ArgumentError(f"{url} is no URL that fsspec knows ({clean(error)}).") from error
    return system, str(root).rstrip("/")
