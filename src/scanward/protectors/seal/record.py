"""What earlier versions wrote down of an image that they wove into: enough to verify it voxel by voxel and to undo it.

The record is authenticated with the key (HMAC-SHA-256), so that nobody else can write one. It is not secret, but holds
the means of the image's blocks: a thumbnail.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.brief import brief
from scanward.errors import UnreadableError
from scanward.protectors.seal.keys import SALT, key_of
from scanward.protectors.seal.pattern import Grid

VERSION = 1
LARGEST = 2**28
"""Bytes that a packed array may unfold to."""
LARGEST_CHANGE = 2**32
"""The same of a change, which has four bytes a voxel."""


@dataclass(frozen=True, eq=False)
class Record:
    """One protected image's record."""

    name: str
    """Of the file or folder, for people."""
    salt: bytes
    grid: Grid
    step: float
    """Of the stored values, in the image's unit."""
    offset: float
    """The image's value at stored step 0."""
    amplitude: int
    """Of the pattern, in steps."""
    cell: float
    """Width of an interval of means, in steps."""
    spacing: tuple[float, ...] | None
    """Millimetres a voxel, (z, y, x)."""
    to_world: tuple[tuple[float, ...], ...] | None
    """As in `Provenance`."""
    means: npt.NDArray[np.int32]
    """Of each block (z, y, x) before the protection, in whole steps."""
    woven: npt.NDArray[np.bool_]
    """The blocks that carry the pattern; the others could not without leaving the range, or lie in no image."""
    macs: bytes
    """Four bytes a block of the protected image."""
    original_sha256: str
    """Of the steps before the protection, int32 in little-endian order."""
    change: npt.NDArray[np.int32] | None = None
    """What a perturbation had added before the evidence was woven in, in steps, (z, y, x)."""

    __repr__ = brief


def from_json(text: str, master: bytes, where: str) -> Record:
    """A record from its file; `UnreadableError`, which names it as `where`, for one that this key did not write."""
    try:
        body = json.loads(text)
        seal = body.pop("hmac")
        version = body["scanward_evidence"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise UnreadableError(f"{where} is no record of protected images; name the one that `scanward protect` "
                              "wrote.") from None
    if version != VERSION:
        raise UnreadableError(f"{where} was written by another version of scanward; verify it with that one.")
    if not (isinstance(seal, str) and hmac.compare_digest(seal.encode(), _seal(body, master).encode())):
        raise UnreadableError(f"{where} was altered, or written with another key; name the key and the record that "
                              "belong together.")
    grid = Grid(tuple(body["shape"]), tuple(body["block"]))
    count, blocks = grid.count, int(np.prod(grid.count))
    means = np.frombuffer(_unpacked(body["means"]), "<i4").reshape(count).astype(np.int32)
    woven = np.unpackbits(np.frombuffer(_unpacked(body["woven"]), np.uint8), count=blocks).astype(bool).reshape(count)
    change = body.get("change") and _shown(body["change"], master, bytes.fromhex(body["salt"])).reshape(grid.shape)
    return Record(body["name"], bytes.fromhex(body["salt"]), grid, body["step"], body["offset"], body["amplitude"],
                  body["cell"], body["spacing"] and tuple(body["spacing"]),
                  body["to_world"] and tuple(map(tuple, body["to_world"])), means, woven, _unpacked(body["macs"]),
                  body["original_sha256"], change)


MARK = "scanward evidence 1, salt "
"""What stands before the salt in an altered image's mark."""


def salt_of(text: str) -> tuple[bytes, str] | None:
    """The salt that an altered image's mark names, if any, and what it says of the key, which may be nothing."""
    found = re.search(rf"{MARK}([0-9a-f]{{{2 * SALT}}})(?:, key ([0-9a-f]{{8}}))?", text)
    return None if found is None else (bytes.fromhex(found[1]), found[2] or "")


def is_key_of(named: str, salt: bytes, master: bytes) -> bool:
    """False where a mark says that it was another key."""
    return named in ("", _name_of(salt, master))


def _name_of(salt: bytes, master: bytes) -> str:
    return key_of(master, salt, "name").hex()[:8]


def sha_of(steps: npt.NDArray[np.int32]) -> str:
    """SHA-256 of an image in steps."""
    return hashlib.sha256(np.ascontiguousarray(steps, "<i4").tobytes()).hexdigest()


def _seal(body: dict[str, Any], master: bytes) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hmac.new(key_of(master, b"", "record"), text.encode(), hashlib.sha256).hexdigest()


def _shown(text: str, master: bytes, salt: bytes) -> npt.NDArray[np.int32]:
    data = zlib.decompressobj().decompress(_veiled(base64.b64decode(text), master, salt), LARGEST_CHANGE)
    return np.frombuffer(data, "<i4").astype(np.int32)


def _veiled(data: bytes, master: bytes, salt: bytes) -> bytes:
    """Under a stream of SHAKE-256 (FIPS 202) that no other record shares."""
    stream = hashlib.shake_256(key_of(master, salt, "change")).digest(len(data))
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(stream, np.uint8)).tobytes()


def _unpacked(text: str) -> bytes:
    engine = zlib.decompressobj()
    return engine.decompress(base64.b64decode(text), LARGEST)
