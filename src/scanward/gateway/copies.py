"""Reduced copies of what was sealed, made while no study waits: they take a minute where the seal takes seconds."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from scanward.disk import sync_folder
from scanward.errors import ScanwardError
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.inbox.folders import SEALS, WAITING
from scanward.protection import key_in
from scanward.seals.copies import copy_path, write_copy
from scanward.seals.files import SUFFIX, read_seal
from scanward.settings import Gateway


def ask(root: Path, name: str, source: Source) -> None:
    """Remember that a seal lacks its copy, whatever becomes of the study meanwhile."""
    folder = root / WAITING
    draft = folder / f".{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    for number, path in enumerate(source.paths):
        os.link(path, draft / f"{number:06}")
    draft.rename(folder / name)
    sync_folder(folder)


class Copies:
    """Makes what is missing; of any number of processes each takes another."""

    def __init__(self, gateway: Gateway, root: Path) -> None:
        """Raises `InputError` where the key cannot be read."""
        self._root = root
        self._master = None if gateway.seal.key is None else key_in(gateway.seal.key)

    def make_one(self) -> bool:
        """Whether there was one to make. What cannot be made, as its seal is gone or damaged, is let go."""
        if self._master is None:
            return False
        with suppress(OSError):
            for folder in sorted((self._root / WAITING).iterdir()):
                if not folder.name.startswith(".") and self._made(folder, self._master):
                    return True
        return False

    def _made(self, folder: Path, master: bytes) -> bool:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = self._root / SEALS / f"{folder.name}{SUFFIX}"
            paths = tuple(sorted(folder.iterdir()))
            with suppress(ScanwardError):
                source = Source(paths, "file" if len(paths) == 1 else "series")
                write_copy(read_content(source), read_seal(path), copy_path(path), master)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another has it, or there is no room now
            return False
        finally:
            os.close(handle)
        return True
