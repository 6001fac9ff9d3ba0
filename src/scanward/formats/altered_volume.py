"""Altered MetaImage and NIfTI volumes: the host's own bytes with other voxels and a mark in the header."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file
from scanward.errors import UnreadableError
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.volume import meta_layout, nifti_layout, turned_back

Volume = npt.NDArray[np.float32]
_MOST_AFTER = 2**20


@dataclass(frozen=True)
class Voxels:
    """How a file stores its voxels."""

    stored: npt.NDArray[Any]
    """(z, y, x) of the file's own axes and type."""
    slope: float
    intercept: float
    axes: npt.NDArray[np.float64]
    """As `volume.upright` takes them."""

    def altered(self, before: Volume, after: Volume, path: Path) -> npt.NDArray[Any]:
        """The stored values with those of `after` where it differs from `before`, both upright."""
        if turned_back(before, self.axes).shape != self.stored.shape:
            raise UnreadableError(f"{shown(path)} has changed since it was read; read it again.")
        where, hu = turned_back(before != after, self.axes), turned_back(after, self.axes)
        made = self.stored.copy()
        values = (hu[where].astype(np.float64) - self.intercept) / self.slope
        if made.dtype.kind in "iu":
            limits = np.iinfo(made.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        made[where] = values
        return made


def write_volume(host: Path, kind: str, before: Volume, after: Volume, target: Path, mark: str) -> None:
    """Write the altered volume in its host's format, beside a `.mhd` its voxels; nothing is overwritten.

    `before` and `after` are upright (z, y, x) HU. `mark` goes into NIfTI's `descrip` (its first 79 letters) or
    MetaImage's `Comment`.
    """
    with decoding(host):
        files = (_nifti if kind == "nifti" else _meta)(host, before, after, target, mark)
    for path, data in files.items():
        with whole_file(path, replace=False) as file:
            file.write(data)


def _nifti(host: Path, before: Volume, after: Volume, target: Path, mark: str) -> dict[Path, bytes]:
    with open_file(host) as raw:
        data = raw.read()
    zipped = data[:2] == b"\x1f\x8b"
    # What follows the voxels comes along, but a few bytes must not inflate to gigabytes.
    engine = zlib.decompressobj(wbits=31)
    whole = bytearray(engine.decompress(data, 4 * before.size * 8 + _MOST_AFTER) if zipped else data)
    if zipped and engine.unconsumed_tail:
        raise UnreadableError(f"{shown(host)} holds more behind its voxels than a volume has; save it again.")
    layout = nifti_layout(bytes(whole[:540]), host)
    start, stop = layout.offset, layout.offset + layout.size
    stored = np.frombuffer(bytes(whole[start:stop]), layout.dtype).reshape(layout.shape)
    made = Voxels(stored, layout.slope, layout.intercept, layout.axes).altered(before, after, host)
    whole[start:stop] = made.tobytes()
    where = 240 if layout.second else 148
    whole[where:where + 80] = mark.encode("ascii", "replace")[:79].ljust(80, b"\0")
    # the time in a gzip header would make two equal forgeries differ
    return {target: gzip.compress(bytes(whole), 6, mtime=0) if zipped else bytes(whole)}

def _meta(host: Path, before: Volume, after: Volume, target: Path, mark: str) -> dict[Path, bytes]:
    layout = meta_layout(host)
    stored = np.frombuffer(layout.data, layout.dtype).reshape(layout.shape)
    body = Voxels(stored, 1.0, 0.0, layout.axes).altered(before, after, host).tobytes()
    if layout.compressed:
        body = zlib.compress(body, 6)
    header = re.sub(r"(?m)^Comment\s*=.*\n", "", layout.header)
    header = re.sub(r"(?m)^CompressedDataSize\s*=.*$", f"CompressedDataSize = {len(body)}", header)
    header = re.sub(r"(?m)^HeaderSize\s*=.*\n", "", header)
    # A list of files or a pattern in the name would be read as such.
    voxels = target.with_name(re.sub(r"[%\\]", "_", target.stem) + (".zraw" if layout.compressed else ".raw"))
    name = "LOCAL" if layout.local else voxels.name
    header = re.sub(r"(?m)^\s*ElementDataFile\s*=.*$", lambda _: f"Comment = {mark}\nElementDataFile = {name}", header)
    if layout.local:
        return {target: header.encode() + body}
    return {voxels: body, target: header.encode()}
