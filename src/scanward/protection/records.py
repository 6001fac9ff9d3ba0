"""Where the records of protected images lie, and what an image says itself of the one that belongs to it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scanward.errors import InputError, UnreadableError
from scanward.formats import Source
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.identity import identity_of
from scanward.formats.write import SIDECAR
from scanward.image import Image
from scanward.protectors.seal import Answer, Record, from_json, verify
from scanward.protectors.seal.record import is_key_of, salt_of

RECORD = "evidence.json"
LARGEST = 1 << 30
"""Bytes of a record."""
HEADER = 1 << 16
"""Bytes of a file in which its mark is looked for."""


@dataclass(frozen=True)
class Sealed:
    """What an image was put under: enough to ask whether it still is what it was."""

    master: bytes
    salt: bytes
    record: Record | None

    def verify(self, image: Image) -> Answer:
        """As `protectors.seal.verify`."""
        return verify(image, self.master, self.salt, self.record)


def sealed(source: Source, master: bytes, record: Path | None) -> Sealed | None:
    """What an image was put under by its `record` or, without one, by its own word; None where there is neither.

    Raises `InputError` for a record that cannot be read, or that this key did not write, and for an image that names
    another key.
    """
    kept = read_record(record, master) if record is not None else None
    if kept is not None:
        return Sealed(master, kept.salt, kept)
    own = _mark_in(source)
    if own is None:
        return None
    salt, named = own
    if not is_key_of(named, salt, master):
        raise UnreadableError(f"{shown(source.path)} says that it was protected with another key; name that one.")
    return Sealed(master, salt, None)


def read_record(path: Path, master: bytes) -> Record:
    """A record's file; `UnreadableError` for one that this key did not write."""
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UnreadableError(f"{shown(path)} is no record of protected images; it is too large.")
        return from_json(data.decode("utf-8", "replace"), master, shown(path))


def record_beside(path: Path) -> Path | None:
    """In the folder of a file, or in that of a series or the one around it."""
    real = Path(os.path.realpath(path))
    folders = (real, real.parent) if real.is_dir() else (real.parent,)
    return next((folder / RECORD for folder in folders if (folder / RECORD).is_file()), None)


def beside(source: Source) -> Path | None:
    """The record beside an image, where it is that image's by its salt or its name: other images may lie there too."""
    path = record_beside(source.path)
    if path is None:
        return None
    salt, name = _head(path)
    own = salt_in(source)
    # What was protected keeps its name, or as much of it as the file system takes, before this ending.
    named, end, _ = os.path.basename(os.path.realpath(source.path)).partition("-protected")
    return path if (own is not None and own.hex() == salt) or (end and named and name.startswith(named)) else None


class Records:
    """Folders of records: `own`, whose files are named by `names_of`, and others, which are searched."""

    def __init__(self, own: Path, *others: Path) -> None:
        self._own, self._others = own, others

    def find(self, source: Source) -> Path | None:
        """By the salt that the image names or, where a forger took that away, by the series it says it is."""
        salt = salt_in(source)
        names = [f"{salt.hex()}.json"] if salt else []
        with suppress(InputError):  # a header that says nothing; the salt may still tell
            names.append(_series_name(identity_of(source.paths[0]).series))
        for name in names:
            if (self._own / name).is_file():
                return self._own / name
        return None if salt is None else next(
            (path for folder in self._others for path in folder.rglob("*.json") if _head(path)[0] == salt.hex()), None)

    @staticmethod
    def names_of(record: Path, series: str) -> tuple[str, str]:
        """What a record is called in `own`: by its salt, and by the series that it belongs to."""
        return f"{_head(record)[0]}.json", _series_name(series)


def mark_beside(source: Source) -> Path | None:
    """The small file beside an image that says that it was altered, if there is one."""
    real = os.path.realpath(source.path) + SIDECAR
    return Path(real) if os.path.isfile(real) else None


def salt_in(source: Source) -> bytes | None:
    """Names an image's evidence: the salt in its own mark, or in the small file beside it that says it was altered."""
    own = _mark_in(source)
    return None if own is None else own[0]


def _mark_in(source: Source) -> tuple[bytes, str] | None:
    """As `salt_of`."""
    for path in (source.paths[0], mark_beside(source)):
        if path is not None and path.is_file():
            with decoding(path), open_file(path) as file:
                # marks are ASCII in every format; what surrounds them need not be
                text = re.sub(rb"[^\x20-\x7e]+", b" ", file.read(HEADER)).decode()
            own = salt_of(text)
            if own is not None:
                return own
    return None


def _series_name(uid: str) -> str:
    return f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}.json"


def _head(path: Path) -> tuple[str, str]:
    """The salt of a record and the name of what it was written for; empty where the file is none."""
    try:
        status = path.stat()
        return _head_at(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return "", ""


@lru_cache(maxsize=4096)
def _head_at(path: Path, changed: int, size: int) -> tuple[str, str]:
    try:
        body = json.loads(path.read_bytes()) if size <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        body = None
    return (str(body.get("salt", "")), str(body.get("name", ""))) if isinstance(body, dict) else ("", "")
