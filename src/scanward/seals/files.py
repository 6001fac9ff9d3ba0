"""Seals on disk: made beside what they seal, found again there, and held against it."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from scanward.disk import whole_file
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.key_object import seal_in
from scanward.seals.check import Checked, Identity, Part, check
from scanward.seals.log import Log
from scanward.seals.record import Seal, from_json, seal_of
from scanward.seals.signing import Signer

SUFFIX = ".seal"
LARGEST = 1 << 26
"""Bytes of a seal."""
STEM = 240
"""Bytes of an image's name that its seal's keeps."""


def seal_path(source: Source, folder: Path | None = None) -> Path:
    """Where the seal of an image lies: beside the file or the series' folder, or in `folder`."""
    real = Path(os.path.realpath(source.path))
    name = os.fsdecode(os.fsencode(real.name)[:STEM]) + SUFFIX
    return (folder or real.parent) / name


def seal_file(source: Source, signer: Signer, folder: Path | None = None, log: Log | None = None) -> Path:
    """Seal a file or series and write the seal, which is returned; with `log`, it is added there first.

    Raises `ArgumentError` where there is a seal already, other `InputError` for what cannot be read or written.
    """
    path = seal_path(source, folder)
    if os.path.lexists(path):
        raise ArgumentError(f"{shown(path)} exists already and is not overwritten; verify with it, or write the new "
                            "one elsewhere with -o.")
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    seal = seal_of(read_content(source), path.name.removesuffix(SUFFIX), made, signer)
    if log is not None:
        log.add(seal)
    with whole_file(path, replace=False) as file:
        file.write(seal.to_json(signer).encode())
    return path


def read_seal(path: Path) -> Seal:
    """A seal's file, or the DICOM object that holds one; `UnreadableError` where it is none, or was altered."""
    with decoding(path):
        kept = seal_in(path)
        if kept is not None:
            return from_json(kept, shown(path))
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UnreadableError(f"{shown(path)} is too large for a seal; name the one that `scanward seal` wrote.")
        return from_json(data.decode("utf-8", "replace"), shown(path))


def find_seal(source: Source, where: Path | None = None) -> Path | None:
    """The seal of an image: `where` itself if that is a file, or the one that lies in that folder or beside the
    image."""
    if where is not None and not where.is_dir():
        return where
    path = seal_path(source, where)
    return path if path.is_file() else None


def verify_seal(source: Source, seal: Seal, trusted: Sequence[x509.Certificate], identity: Identity = "same",
                log: Log | None = None) -> Checked:
    """Hold a file or series to its seal, and the seal to a log. Raises `InputError` for what cannot be read."""
    answer = check(read_content(source), seal, trusted, identity)
    if log is None:
        return answer
    newer, wrong = log.newer(seal), log.check([], trusted)
    if wrong:
        return dataclasses.replace(answer, history=Part("inconclusive", wrong[0]))
    if newer is None:
        return answer
    old = Part("inconclusive", f"It was sealed on {seal.made}, and a newer version on {newer.made}.")
    return dataclasses.replace(answer, history=old)
