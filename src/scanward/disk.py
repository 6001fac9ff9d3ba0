"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from scanward.errors import ArgumentError


@contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes the name `path` only when the block ends without an exception.

    The folder is made where it is missing. With `replace=False` an existing file is left alone. Raises
    `ArgumentError` where the file cannot be written, or exists and must not be replaced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".scanward-", suffix=".part", dir=path.parent)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # mkstemp makes files that only their owner can read; results are meant to be shared as usual.
        temporary.chmod(0o666 & ~umask())
        _place(temporary, path, replace)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); free some space or choose another "
                            "folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, last: str, taken: Sequence[str] = ()) -> Iterator[Path]:
    """A draft folder, whose files appear in `folder` together when the block ends without an exception, the one named
    `last` after all others.

    Nothing is overwritten. Raises `ArgumentError` where `folder` cannot be written, or holds one of the files or of the
    names `taken`.
    """
    draft = None
    try:
        _refuse_taken(folder, (last, *taken))
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
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


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


def umask() -> int:
    """The process's file mode creation mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


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
