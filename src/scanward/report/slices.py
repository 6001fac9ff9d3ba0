"""A volume packed slice by slice: still one NIfTI-1 file in gzip, of which a page reads one slice without the others.

Each slice is a gzip member of its own (RFC 1952 2.2), whose extra field `SW` says how long the member is.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError
from scanward.image import Image

ZIP = 1
"""A volume is read once or twice and drawn for every study, so it is packed fast rather than small."""
HEAD = struct.Struct("<4sIBBH2sHI")
"""Magic, time, flags of the packer, system, length of the extra field; its name, its length, the member's length."""
PART = 1 << 18
"""Bytes that are read or unpacked at a time."""
_START, _NAME, _SYSTEM = b"\x1f\x8b\x08\x04", b"SW", 255
_NIFTI = 352
"""Bytes of a NIfTI-1 header before its voxels."""
KNOWN = 1
"""`sform_code` of a volume that says where it lies in the patient (NIFTI_XFORM_SCANNER_ANAT)."""


@dataclass(frozen=True)
class Layout:
    """What a packed volume says of itself."""

    shape: tuple[int, int, int]
    """(z, y, x)."""
    affine: npt.NDArray[np.float64]
    """(4, 4): (x, y, z, 1) in voxels to mm, right, anterior and superior."""
    known: bool
    """The directions are the file's own; otherwise they are those of an ordinary axial scan."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres a voxel, (z, y, x)."""
        x, y, z = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z, y, x


def affine_of(image: Image) -> npt.NDArray[np.float64]:
    """(4, 4): (x, y, z, 1) in an image's voxels to mm, right, anterior and superior; where it does not say how it lies,
    as an ordinary axial scan does."""
    if image.provenance.to_world is not None:
        return np.vstack([np.diag([-1.0, -1.0, 1.0]) @ np.array(image.provenance.to_world), [0, 0, 0, 1]])
    z, y, x = image.spacing or (1.0, 1.0, 1.0)
    return np.diag([-x, -y, z, 1.0])


def pack_image(image: Image, path: Path) -> None:
    """A CT as `pack` writes it, in whole HU."""
    values = np.clip(np.rint(image.pixels), -32768, 32767).astype(np.int16)
    pack(values, affine_of(image), path, known=image.provenance.to_world is not None)


def pack(values: npt.NDArray[np.int16], affine: npt.NDArray[np.float64], path: Path, *, known: bool) -> None:
    """Write HU (z, y, x) as NIfTI-1; the same values make the same bytes."""
    import nibabel

    made = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    made.header.set_xyzt_units("mm")
    if known:
        made.set_sform(affine, KNOWN)
    made.update_header()
    made.header["vox_offset"] = _NIFTI
    with path.open("wb") as file:
        file.write(_member(made.header.binaryblock.ljust(_NIFTI, b"\0")))
        for plane in values.astype("<i2", copy=False):
            file.write(_member(plane.tobytes()))


def layout(path: Path) -> Layout:
    """Raises `UnreadableError` for a file that is not packed so, as an earlier version's."""
    import nibabel

    with path.open("rb") as file:
        block = b"".join(unpacked([file.read(_length(file, path))], path))
    header = nibabel.Nifti1Header(block[:348])
    x, y, z = (int(n) for n in header.get_data_shape())
    return Layout((z, y, x), header.get_best_affine(), int(header["sform_code"]) == KNOWN)


def packed_slice(path: Path, z: int) -> tuple[int, Iterator[bytes]]:
    """Slice z, from 0, as a gzip member: int16 little-endian HU (y, x), and first its length in bytes. It is read as it
    is asked for: a frame may be larger than what is kept for one reader. Raises `IndexError` where there is none and
    `UnreadableError` for a file that is not packed so, or cut short."""
    with path.open("rb") as file:
        for _ in range(z + 1):
            file.seek(_length(file, path), 1)
        length, start = _length(file, path), file.tell()
        if start + length > file.seek(0, os.SEEK_END):
            raise UnreadableError(f"{path.name} is cut short; scan the study again.")
    return length, _parts(path, start, length)


def unpacked(parts: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The bytes in a gzip member of the file at `path`; `UnreadableError` where it is damaged."""
    packer = zlib.decompressobj(wbits=31)
    try:
        for part in parts:
            yield packer.decompress(part, PART)
            while packer.unconsumed_tail:
                yield packer.decompress(packer.unconsumed_tail, PART)
        yield packer.flush()
    except zlib.error as error:
        raise UnreadableError(f"{path.name} is damaged ({error}); scan the study again.") from error
    if not packer.eof:
        raise UnreadableError(f"{path.name} is damaged; scan the study again.")


def volume_in(path: Path) -> npt.NDArray[np.int16]:
    """All of a packed volume, HU (z, y, x)."""
    found = layout(path)
    made = np.empty(found.shape, "<i2")
    for z in range(len(made)):
        made[z] = np.frombuffer(b"".join(unpacked(packed_slice(path, z)[1], path)), "<i2").reshape(found.shape[1:])
    return made.astype(np.int16, copy=False)


def _parts(path: Path, start: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:  # not before it is asked for: who hangs up first leaves none open
        file.seek(start)
        while length and (part := file.read(min(PART, length))):
            length -= len(part)
            yield part


def _member(data: bytes) -> bytes:
    packer = zlib.compressobj(ZIP, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush() + struct.pack("<II", zlib.crc32(data), len(data))
    return HEAD.pack(_START, 0, 0, _SYSTEM, HEAD.size - 12, _NAME, 4, HEAD.size + len(body)) + body


def _length(file: BinaryIO, path: Path) -> int:
    """Of the member at which the file stands, where it is left."""
    head = file.read(HEAD.size)
    if not head:
        raise IndexError(f"{path.name} has no such slice")
    # A member that ends before it begins would be come to again and again.
    if len(head) < HEAD.size or (found := HEAD.unpack(head))[0] != _START or found[5] != _NAME or found[-1] < HEAD.size:
        raise UnreadableError(f"{path.name} is not packed slice by slice; scan the study again.")
    file.seek(-HEAD.size, 1)
    return int(found[-1])
