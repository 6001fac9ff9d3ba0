"""Protecting and verifying from Python."""

from __future__ import annotations

from pathlib import Path

from scanward import formats
from scanward.errors import ArgumentError
from scanward.formats.sources import series_or_file
from scanward.image import Image
from scanward.protectors.base import Protected
from scanward.protectors.evidence import Answer, Record, read_key, weave
from scanward.protectors.evidence import verify as verify_image


def protect(source: Image | str | Path, key: bytes | str | Path) -> Protected[Record]:
    """An image under keyed evidence, with the record that verifies and undoes it.

    `key` is 32 secret bytes or the file that `scanward key` made. Raises `UnsupportedError` for an image that is not
    stored in whole steps or has no room for a pattern; other `InputError` for what cannot be read.
    """
    return weave(_image(source), _key(key))


def verify(source: Image | str | Path, key: bytes | str | Path, record: Record) -> Answer:
    """Whether an image is what was protected: authentic, tampered and where, or indeterminate. Raises `InputError`."""
    return verify_image(_image(source), _key(key), record.salt, record)


def _image(source: Image | str | Path) -> Image:
    return source if isinstance(source, Image) else formats.read(series_or_file(Path(source)))


def _key(key: bytes | str | Path) -> bytes:
    if not isinstance(key, bytes):
        return read_key(Path(key))
    if len(key) != 32:
        raise ArgumentError(f"A key has 32 bytes, not {len(key)}; use what `scanward key` made.")
    return key
