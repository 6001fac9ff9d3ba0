"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
