"""Files and folders that appear whole or not at all, and journals that lose no line but one that was cut short."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from scanward.errors import ArgumentError, InputError

MOST = 1 << 30
"""Bytes of a journal that are read."""
BLOCK = 1 << 16
"""Of a journal's end, that are read at a time."""


@contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes the name `path` only when the block ends without an exception.

    The folder is made where it is missing. With `replace=False` an existing file is left alone. Raises
    `ArgumentError` where the file cannot be written, or exists and must not be replaced.
    """
    mend = "choose another folder"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _drafted(path, replace=replace) as file:
            mend = "free some space or choose another folder"
            yield file
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); {mend}.") from error


@contextmanager
def whole_folder(folder: Path, *, last: str, taken: Sequence[str] = ()) -> Iterator[Path]:
    """A draft folder, whose files appear in `folder` together when the block ends without an exception, the one named
    `last` after all others.

    Nothing is overwritten. Raises `ArgumentError` where `folder` cannot be written, or holds one of the files or of the
    names `taken`.
    """
    draft = None
    check_free(folder, (last, *taken))
    try:
        within = folder if folder.is_dir() else folder.parent
        within.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".scanward-", dir=within))
        yield draft
        if within == folder:
            _move(draft, folder, last)
        else:
            draft.chmod(0o777 & ~umask())
            draft.rename(folder)
    except OSError as error:
        raise ArgumentError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    except InputError as error:
        if draft is None or str(draft) not in str(error):
            raise
        # the draft is gone when the user reads of it
        raise type(error)(str(error).replace(str(draft), str(folder))) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def check_free(folder: Path, names: Sequence[str] = ()) -> None:
    """What `whole_folder` refuses, for those who work long before they write. Raises `ArgumentError` where `folder`
    cannot be written, or holds one of the names."""
    try:
        _refuse_taken(folder, names)
        with suppress(FileNotFoundError):
            os.lstat(folder)  # which says of some names that no file may have them
        within = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not stat.S_ISDIR(os.stat(within).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(within, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ArgumentError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error


def _move(draft: Path, folder: Path, last: str) -> None:
    """Marks (`.json`) before what they mark. Taken back where one cannot be moved."""
    made = sorted(draft.iterdir(), key=lambda path: (path.name == last, path.suffix != ".json"))
    _refuse_taken(folder, tuple(path.name for path in made))
    moved = []
    try:
        for path in made:
            if path.is_dir():
                path.rename(folder / path.name)  # which fails where something of that name is not empty
            else:
                os.link(path, folder / path.name)  # unlike a rename, it replaces nothing
            moved.append(folder / path.name)
    except BaseException:
        for path in moved:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _refuse_taken(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ArgumentError(f"{folder / name} exists already and is not overwritten; choose another folder.")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One block at a time of all threads and processes that name this file, which is there meanwhile, locked and empty.

    The folder is made where it is missing. A kill leaves the file and no lock; in a folder that knows no locks nobody
    waits. Raises `ArgumentError` where the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(path)
    except OSError as error:
        raise ArgumentError(f"{path.parent} cannot be written ({error.strerror}); choose another folder.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)  # who had the lock took the file away


def held(folder: Path, sentence: str) -> int:
    """The folder, opened and locked for this process alone, until it is closed. Raises `ArgumentError` with the
    `sentence` where another has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ArgumentError(sentence) from None
    except OSError:
        pass  # a file system that locks no folders
    return handle


def umask() -> int:
    """The process's file mode creation mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def _drafted(path: Path, *, replace: bool = True, mode: int | None = None) -> Iterator[BinaryIO]:
    handle, name = tempfile.mkstemp(prefix=".scanward-", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # mkstemp makes files that only their owner can read; results are meant to be shared as usual.
        temporary.chmod(0o666 & ~umask() if mode is None else mode)
        _place(temporary, path, replace)
    finally:
        temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        # A hard link fails where the name is taken, so two writers cannot both win.
        os.link(temporary, path)
    except FileExistsError:
        raise ArgumentError(f"{path} exists already and is not overwritten; choose another name.") from None
    except OSError:
        if path.exists():
            raise ArgumentError(f"{path} exists already and is not overwritten; choose another name.") from None
        temporary.replace(path)


def write_json(path: Path, value: Any, *, mode: int | None = None) -> None:
    """JSON, whole and on disk, in place of what was there; `mode` as for `chmod`, that of any new file where None.

    Raises `OSError` where it cannot be written.
    """
    with _drafted(path, mode=mode) as file:
        file.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        with plain_file(path) as file:
            value = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def plain_file(path: Path) -> BinaryIO:
    """A regular file of at most `MOST` bytes, open for reading: a pipe would wait for its other end, and a device has
    no end. Raises `OSError` where it is none."""
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def _regular(path: Path, flags: int, mode: int = 0o666) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or (flags == os.O_RDONLY and found.st_size > MOST):
        os.close(handle)
        code = errno.EFBIG if stat.S_ISREG(found.st_mode) else errno.EINVAL
        raise OSError(code, os.strerror(code) if code == errno.EFBIG else "not a regular file")
    return handle


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def linked(path: Path, target: Path) -> None:
    """A file, or a folder of files, under a second name."""
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link, dirs_exist_ok=True)
    else:
        target.parent.mkdir(exist_ok=True)
        _link(path, target)


def _link(path: str | Path, target: str | Path) -> None:
    with suppress(FileExistsError):
        os.link(path, target)


class Journal:
    """A file of lines that are only ever added, by any number of processes.

    What a kill or a full disk cut short was never acknowledged: no reader sees it, and the next line takes its place.
    """

    def __init__(self, path: Path, *, mode: int = 0o666, synced: bool = True, largest: int | None = None) -> None:
        """`mode`, less the umask, is for a new file. With `synced=False` a power cut may take the last lines. A file
        of `largest` bytes becomes `older`, in place of the one before."""
        self.path, self.older = path, path.with_name(path.name + ".1")
        self._mode, self._synced, self._largest = mode, synced, largest

    def append(self, *lines: bytes) -> None:
        """Adds lines, given without their ends, by one write; on disk when it returns. Makes the folder, but none above
        it. Raises `OSError` where they cannot be written."""
        with suppress(FileExistsError):
            self.path.parent.mkdir()
        written = False
        while not written:
            handle = _regular(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, self._mode)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)  # or a line that is just being written looks like one cut short
                written = self._largest is None or self._has_room(handle, self._largest)
                if written:
                    self._write(handle, b"".join(line + b"\n" for line in lines))
            finally:
                os.close(handle)

    def _has_room(self, handle: int, largest: int) -> bool:
        """Whether lines belong into the open file: not where it is full, nor where another process found it so."""
        found = os.fstat(handle)
        with suppress(FileNotFoundError):
            if os.path.samestat(found, self.path.stat()):
                if found.st_size < largest:
                    return True
                self.path.replace(self.older)
                sync_folder(self.path.parent)
        return False

    def _write(self, handle: int, data: bytes) -> None:
        size = _ended(handle)
        os.ftruncate(handle, size)
        if os.write(handle, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._synced:
            os.fsync(handle)
            if not size:
                sync_folder(self.path.parent)

    def lines(self) -> list[bytes]:
        """All lines of the file that ended, without their ends; none where there is no file. `OSError` where it
        cannot be read, or is larger than `MOST`."""
        try:
            with plain_file(self.path) as file:
                return file.read(MOST).split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def values(self) -> list[Any]:
        """The JSON values of the lines; what is none is left out."""
        found = []
        for line in self.lines():
            with suppress(ValueError, RecursionError):
                found.append(json.loads(line))
        return found


def _ended(handle: int) -> int:
    """Bytes of an open file up to the end of the last line that ended."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - BLOCK)
        if found := os.pread(handle, end - start, start).rfind(b"\n") + 1:
            return start + found
        end = start
    return 0


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """What is done to a database in autocommit mode within, all or nothing; `kind` is SQLite's, of BEGIN."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back already
            connection.execute("ROLLBACK")
        raise
