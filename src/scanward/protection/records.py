"""Where the records of protected images lie, and what an image says itself of the one that belongs to it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scanward.arguments import PathLike, path_of
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import Source
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.identity import identity_of
from scanward.formats.write import SIDECAR
from scanward.image import Image
from scanward.protection.answer import Answer, held_to_record
from scanward.protection.make import Key, key_in
from scanward.protectors.seal import Record, from_json
from scanward.protectors.seal.record import is_key_of, salt_of

RECORD = "evidence.json"
LARGEST = 1 << 30
"""Bytes of a record."""
HEADER = 1 << 16
"""Bytes of a file in which its mark is looked for."""
CARRIED = 0.5
"""Share of the blocks that are as a record says, from which on it is the image's, whatever that says of itself."""
ANSWERS = ("inconclusive", "tampered", "authentic")
"""Later ones count before earlier ones: `authentic` says that the voxels are those of a record."""


@dataclass(frozen=True)
class Sealed:
    """What an image may have been put under: the records that may be its own, and the salt that it names.

    Its mark, its name and what lies beside it are for a forger to choose. So every record is asked, and one that only
    lies there counts where the voxels say that they carry its evidence.
    """

    master: bytes
    records: tuple[tuple[Record, bool], ...] = ()
    """Each with whether it is the image's by more than its place: by salt, by name, or because its user says so."""
    salt: bytes | None = None
    """In the image's mark."""
    doubt: InputError | None = None
    """Why a record or a mark of its own cannot be read."""

    @property
    def claimed(self) -> bool:
        """The image says of itself, or its user does, that it was protected."""
        return self.salt is not None or self.doubt is not None or any(claimed for _, claimed in self.records)

    @property
    def silent(self) -> bool:
        """Nothing is there to hold an image against: `verify` could but raise the doubt, if there is one."""
        return not self.records and self.salt is None

    def verify(self, image: Image) -> Answer | None:
        """The first `authentic` there is, else the first `tampered`, else the first answer; None where nothing is known
        of the image.

        Raises `doubt` unless something else tells.
        """
        answers = []
        for record, claimed in self.records:
            answer, same = held_to_record(image, self.master, record)
            if claimed or same >= CARRIED:
                answers.append(answer)
        if self.salt is not None and all(record.salt != self.salt for record, _ in self.records):
            answers.append(Answer("inconclusive", "It says that it was protected, and its record is not there, without "
                                                  "which nothing can be told."))
        found = max(answers, key=lambda answer: ANSWERS.index(answer.label), default=None)
        if self.doubt is not None and (found is None or found.label == "inconclusive"):
            raise self.doubt
        return found


def sealed(source: Source, master: bytes, records: Mapping[Path, bool]) -> Sealed | None:
    """What an image may have been put under, by `records`, each with whether it is the image's by more than its place,
    and by its own word; None where there is nothing."""
    kept, doubt, salt = [], None, None
    try:
        own = _mark_in(source)
        if own is not None and not is_key_of(own[1], own[0], master):
            raise UnreadableError(f"{shown(source.path)} says that it was protected with another key; name that one.")
        salt = None if own is None else own[0]
    except InputError as error:
        doubt = error
    for path, claimed in records.items():
        try:
            kept.append((read_record(path, master), claimed))
        except InputError as error:
            doubt = error if claimed or salt is not None else doubt
    return Sealed(master, tuple(kept), salt, doubt) if kept or salt is not None or doubt is not None else None


def seal_for(source: Source | None, master: bytes, record: Record | PathLike | None) -> Sealed | None:
    """What an image is held against: the `record` that was named, or its file; otherwise as `sealed`, by what lies
    beside it. Raises `InputError` for a record that cannot be used, and where none is named of an image that is no
    file."""
    if record is None and source is None:
        raise ArgumentError("No record can be looked for beside an image in memory; give record=, or its file.")
    if record is not None:
        return Sealed(master, ((record_in(record, master), True),))
    return None if source is None else sealed(source, master, beside(source))


def record_in(record: Record | PathLike, master: bytes) -> Record:
    """A record, given or in its file. Raises as `read_record`."""
    if isinstance(record, Record):
        return record
    return read_record(path_of(record, "record", "a Record or its file"), master)


def read_record(path: PathLike, key: Key) -> Record:
    """The record in a file, `evidence.json`; `UnreadableError` for one that this key did not write."""
    path, master = path_of(path, "path"), key_in(key)
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UnreadableError(f"{shown(path)} is no record of protected images; it is too large.")
        return from_json(data.decode("utf-8", "replace"), master, shown(path))


def record_beside(path: Path) -> Path | None:
    """In the folder of a file, or in that of a series or the one around it."""
    real = Path(os.path.realpath(path))
    folders = (real, real.parent) if os.path.isdir(real) else (real.parent,)
    return next((folder / RECORD for folder in folders if os.path.isfile(folder / RECORD)), None)


def beside(source: Source) -> dict[Path, bool]:
    """The record beside an image, if any, and whether salt or name say that it is the image's: other images may lie
    there too."""
    path = record_beside(source.path)
    if path is None:
        return {}
    salt, name = _head(path)
    # What was protected keeps its name, or as much of it as the file system takes, before this ending.
    named, end, _ = os.path.basename(os.path.realpath(source.path)).partition("-protected")
    return {path: bool(end and named and name.startswith(named)) or (bool(salt) and salt == _salt_named(source))}


class Records:
    """Folders of records: `own`, whose files are named by `names_of`, and others, which are searched."""

    def __init__(self, own: Path, *others: Path) -> None:
        self._own, self._others = own, others

    def find(self, source: Source) -> dict[Path, bool]:
        """Those with the salt that the image names, and that of the series it says it is: a forger may have changed
        either."""
        salt, found = _salt_named(source), []
        with suppress(InputError):  # a header that says nothing; the salt may still tell
            found.append(self._own / _series_name(identity_of(source.paths[0]).series))
        if salt:
            found.append(self._own / f"{salt}.json")
            found += [path for folder in self._others for path in folder.rglob("*.json") if _head(path)[0] == salt][:1]
        return {path: True for path in found if os.path.isfile(path)}

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
        if path is not None and os.path.isfile(path):
            with decoding(path), open_file(path) as file:
                # marks are ASCII in every format; what surrounds them need not be
                text = re.sub(rb"[^\x20-\x7e]+", b" ", file.read(HEADER)).decode()
            own = salt_of(text)
            if own is not None:
                return own
    return None


def _salt_named(source: Source) -> str:
    """The salt that an image names, in hexadecimal; empty where it names none that can be read."""
    with suppress(InputError):
        return (salt_in(source) or b"").hex()
    return ""


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
