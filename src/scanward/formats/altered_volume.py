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
from scanward.formats.guard import decoding, shown
from scanward.formats.metaimage import meta_layout
from scanward.formats.volume import nifti_file, nifti_layout, turned_back

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
            # float64 has no 2**63 - 1, and what it has instead would wrap around
            values = np.clip(np.rint(values), max(limits.min, -(2**53)), min(limits.max, 2**53))
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
    with nifti_file(host) as (file, zipped):
        layout = nifti_layout(file.read(540), host)
        start, stop = layout.offset, layout.offset + layout.size
        file.seek(0)
        # What follows the voxels comes along, but a few bytes must not inflate to gigabytes.
        whole = bytearray(file.read(stop + _MOST_AFTER + 1))
    if len(whole) > stop + _MOST_AFTER:
        raise UnreadableError(f"{shown(host)} holds more behind its voxels than a volume has; save it again.")
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
    header = re.sub(r"(?m)^[ \t]*(Comment|CompressedDataSize|HeaderSize)[ \t]*[=:].*\n", "", layout.header)
    size = f"CompressedDataSize = {len(body)}\n" if layout.compressed else ""
    # A list of files or a pattern in the name would be read as such, and names are plain ASCII.
    voxels = target.with_name(re.sub(r"[^ -~]|[%\\]", "_", target.stem) + (".zraw" if layout.compressed else ".raw"))
    name = "LOCAL" if layout.local else voxels.name
    header = re.sub(r"(?m)^[ \t]*ElementDataFile[ \t]*[=:].*$",
                    lambda _: f"Comment = {mark}\n{size}ElementDataFile = {name}", header)
    head = header.encode("latin-1")
    return {target: head + body} if layout.local else {voxels: body, target: head}
