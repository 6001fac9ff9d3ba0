"""Reduced copies on disk: beside the seal that they belong to, encrypted under the site's secret.

They show the patient, so they are no more public than the image: AES-256-GCM (NIST SP 800-38D) under a key of HKDF
(RFC 5869), with the seal's root as associated data, so that no copy passes for another's, and none is parsed before it
is known to be the site's own.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scanward.disk import whole_file
from scanward.errors import InputError, UnreadableError
from scanward.formats.content import Content, steps_of
from scanward.formats.guard import decoding, open_file, shown
from scanward.seals.lattice import Lattice
from scanward.seals.quantised import Blocks, Coarse, Quantised
from scanward.seals.record import Seal
from scanward.seals.reduced import SMALLEST, Reduced, Stored, reduced_of
from scanward.seals.signing import derived

SUFFIX = ".copy"
"""Behind the seal's own name."""
MAGIC, PURPOSE = b"scanward copy 1\n", b"scanward seal 1 reduced copy"
NONCE, ROOT, LENGTH = 12, 32, 4
LARGEST, MOST = 1 << 26, 4
"""Bytes of a file; files that are tried for one seal."""


def copy_path(seal: Path) -> Path:
    """Where the reduced copy that belongs to a seal is written."""
    return seal.with_name(seal.name + SUFFIX)


def find_copies(seal: Seal, folders: Sequence[Path]) -> list[Path]:
    """The files in these folders that say they are the seal's reduced copy."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with suppress(OSError, UnreadableError), open_file(path) as file:
                if file.read(len(MAGIC) + ROOT) == MAGIC + seal.root:
                    found.append(path)
    return found[:MOST]


def stored_of(content: Content, seal: Seal) -> Stored | None:
    """What is reduced of an image; None of colours, and of what is too small."""
    if content.values.ndim != 3 or min(content.values.shape[1:]) < SMALLEST or content.values.dtype.kind not in "iuf":
        return None
    steps = steps_of(seal.geometry["spacing"], seal.geometry["corners"])
    return Stored(content.values, content.scale, steps, seal.study.get("Modality") == "CT")


def write_copy(content: Content, seal: Seal, path: Path, master: bytes) -> bool:
    """Reduce an image and write its copy to `path`, in the place of one without a seal; whether there is anything to
    reduce in it."""
    stored = stored_of(content, seal)
    ends = np.array([content.values.min(), content.values.max()], np.float64)
    if stored is None or not np.isfinite(ends).all() or ends[0] == ends[1]:
        return False
    reduced = reduced_of(stored, np.random.default_rng(secrets.randbits(128)))
    nonce = secrets.token_bytes(NONCE)
    sealed = AESGCM(derived(master, PURPOSE)).encrypt(nonce, _packed(reduced), MAGIC + seal.root)
    with whole_file(path) as file:
        file.write(MAGIC + seal.root + nonce + sealed)
    return True


def read_copy(path: Path, seal: Seal, masters: Sequence[bytes]) -> Reduced:
    """The copy in a file. `UnreadableError` where it is of another seal or key, or damaged."""
    with decoding(path), open_file(path) as file:
        data = file.read(LARGEST + 1)
    head = len(MAGIC)
    if len(data) > LARGEST or not data.startswith(MAGIC):
        raise UnreadableError(f"{shown(path)} is no reduced copy; find the one that `scanward seal` wrote.")
    if data[head : head + ROOT] != seal.root:
        raise UnreadableError(f"{shown(path)} belongs to another seal; find the one that was written with this.")
    nonce, rest = data[head + ROOT : head + ROOT + NONCE], data[head + ROOT + NONCE :]
    for master in masters:
        try:
            return _unpacked(AESGCM(derived(master, PURPOSE)).decrypt(nonce, rest, MAGIC + seal.root))
        except (InvalidTag, ValueError, zlib.error):
            continue
    raise UnreadableError(f"{shown(path)} is damaged, or of another key; give the --key that sealed.")


def copy_of(seal: Seal, folders: Sequence[Path], masters: Sequence[bytes]) -> Reduced | None:
    """The reduced copy that lies with a seal; None where there is none, or nobody's secret to read it with."""
    doubt: InputError | None = None
    for path in find_copies(seal, folders) if masters else ():
        try:
            return read_copy(path, seal, masters)
        except InputError as error:
            doubt = error
    if doubt is not None:
        raise doubt
    return None


def _packed(reduced: Reduced) -> bytes:
    parts = [part for volume in (reduced.cells, *reduced.modes) for part in volume.packed()]
    parts += [allowed.packed() for allowed in reduced.tolerance]
    parts += [part for blocks in (reduced.least, reduced.most) for part in blocks.numbers.packed()]
    parts.append(zlib.compress(np.packbits(reduced.judged).tobytes()))
    lattice = reduced.lattice
    head = {"shape": lattice.shape, "first": lattice.first, "step": lattice.step,
            "apart": None if np.isinf(lattice.apart) else lattice.apart, "steps": reduced.steps,
            "hounsfield": reduced.hounsfield, "noise": reduced.noise, "levels": reduced.levels,
            "quanta": [volume.step for volume in (reduced.cells, *reduced.modes, reduced.least.numbers)],
            "origin": reduced.cells.origin,
            "tolerance": [allowed.step for allowed in reduced.tolerance], "lengths": [len(part) for part in parts]}
    text = json.dumps(head).encode()
    return len(text).to_bytes(LENGTH, "big") + text + b"".join(parts)


def _unpacked(data: bytes) -> Reduced:
    start = LENGTH + int.from_bytes(data[:LENGTH], "big")
    head: dict[str, Any] = json.loads(data[LENGTH:start])
    parts = []
    for length in head["lengths"]:
        parts.append(data[start : start + length])
        start += length
    given = iter(parts)
    apart = float("inf") if head["apart"] is None else head["apart"]
    lattice = Lattice(tuple(head["shape"]), tuple(head["first"]), tuple(head["step"]), apart)
    count = lattice.count
    *quanta, ends = head["quanta"]
    origin = head["origin"]
    volumes = [Quantised.unpacked([next(given) for _ in range(count[0])], count, step, 0.0 if number else origin)
               for number, step in enumerate(quanta)]
    tolerance = tuple(Coarse.unpacked(next(given), count, step) for step in head["tolerance"])
    blocks = Blocks.count(count)
    least, most = (Blocks(Quantised.unpacked([next(given) for _ in range(blocks[0])], blocks, ends, origin), count)
                   for _ in range(2))
    judged = np.unpackbits(np.frombuffer(zlib.decompress(next(given)), np.uint8), count=count[0] * count[1] * count[2])
    return Reduced(lattice, tuple(head["steps"]), head["hounsfield"], head["noise"], volumes[0], tuple(volumes[1:]),
                   judged.reshape(count).astype(bool), tolerance, tuple(head["levels"]), least, most)
