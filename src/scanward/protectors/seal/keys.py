"""Secrets: one key a site, from which each protected image gets its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.arguments import PathLike, path_of
from scanward.errors import ArgumentError, UnreadableError

HEADER = "scanward-key-1 "
SALT = 16
"""Bytes by which two images' keys differ."""


def make_key(path: PathLike) -> None:
    """Write a new random key into a file that its owner alone may read. `ArgumentError` where the file exists or cannot
    be written."""
    path = path_of(path, "path")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(f"{HEADER}{secrets.token_hex(32)}\n")
    except FileExistsError:
        raise ArgumentError(f"{path} exists, and what it protects could not be verified any more; choose another "
                            "name.") from None
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file; `UnreadableError` where it is none."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError  # a pipe or device would never end
        with path.open("rb") as file:
            text = file.read(200).decode("ascii").strip()
        key = bytes.fromhex(text.removeprefix(HEADER))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no key file"
        raise UnreadableError(f"{path} holds no key ({why}); name the one that `scanward key` made.") from None
    if not text.startswith(HEADER) or len(key) != 32:
        raise UnreadableError(f"{path} holds no key (it is no key file); name the one that `scanward key` made.")
    return key


def key_of(master: bytes, salt: bytes, purpose: str) -> bytes:
    """The key of one image for one purpose: HMAC-SHA-256 of the salt (RFC 2104)."""
    return hmac.new(master, b"scanward evidence 1 " + purpose.encode() + b"\0" + salt, hashlib.sha256).digest()


def words(key: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """A random byte for each voxel (z, y, x), slice by slice from SHAKE-256 (FIPS 202)."""
    depth, height, width = shape
    planes = [hashlib.shake_256(key + number.to_bytes(4, "big")).digest(height * width) for number in range(depth)]
    return np.frombuffer(b"".join(planes), np.uint8).reshape(shape)


def macs(key: bytes, blocks: npt.NDArray[np.int32]) -> bytes:
    """Four bytes of a keyed hash (BLAKE2b, RFC 7693) of each row of `blocks` and of its place, one after the other."""
    rows = memoryview(np.ascontiguousarray(blocks, "<i4").tobytes())
    length = len(rows) // len(blocks)
    return b"".join(hashlib.blake2b(rows[start:start + length], key=key, digest_size=4,
                                    salt=start.to_bytes(16, "big")).digest() for start in range(0, len(rows), length))
