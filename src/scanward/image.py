"""`Image`: what every method works on, whatever file it came from."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from scanward.arguments import check_millimetres, refused
from scanward.brief import brief
from scanward.errors import ArgumentError, UnsupportedError

Modality = Literal["MG", "CT"]
AIR = -1024.0
"""HU that readers raise a CT's padding to: what lies there or below is no part of the patient, and stays as it is."""


@dataclass(frozen=True)
class Provenance:
    """Where an image came from. Reports print it; no detector may read it."""

    path: Path | None = None
    format: str = ""
    """`dicom`, `png`, `tiff`, `npy`, `pgm`, `metaimage` or `nifti`."""
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    transfer_syntax: str | None = None
    manufacturer: str | None = None
    body_part: str | None = None
    synthetic: bool = False
    """The file says that it holds synthetic data (0008,001C), or in another format than DICOM Scanward's mark, in it or
    beside it, says so."""
    to_world: tuple[tuple[float, float, float, float], ...] | None = None
    """Of a volume: three rows that take (x, y, z, 1) in voxels to the patient's coordinates in mm (LPS)."""
    slices: tuple[tuple[Path, str], ...] = ()
    """Of a CT series: the file and the SOP Instance UID of each slice, in their order."""

    __repr__ = brief


def as_uint16(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16] | None:
    """The same values as 16-bit integers; None if not all of them are whole numbers from 0 to 65535."""
    if plane.min() < 0 or plane.max() > 65535:
        return None
    whole = plane.astype(np.uint16)
    return whole if np.array_equal(whole, plane) else None


def as_int16(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.int16] | None:
    """The same values as signed 16-bit integers; None if not all of them are whole numbers from -32768 to 32767."""
    if pixels.min() < -32768 or pixels.max() > 32767:
        return None
    whole = pixels.astype(np.int16)
    return whole if np.array_equal(whole, pixels) else None


@dataclass(frozen=True, eq=False)
class Image:
    """A 2-D or 3-D medical image in its modality's own unit.

    `scanward.load` makes one of a file or of any array. Raises `ArgumentError` when built from pixels that are not a
    finite float32 (z, y, x) array, and for a modality or a spacing that is none.
    """

    pixels: npt.NDArray[np.float32]
    """(z, y, x); one slice for a mammogram. HU for CT, stored values for MG. Larger is always brighter:
    readers flip MONOCHROME1 about the depth's maximum and set `inverted`."""
    modality: Modality
    spacing: tuple[float, float, float] | None = None
    """Millimetres a voxel, (z, y, x); None where the file does not say."""
    bits: int = 16
    """Bits the file stores a value in; an MG image's values lie in [0, 2**bits - 1]."""
    integer: bool = True
    """The file stores whole numbers, so whatever is made from it is rounded to whole numbers too."""
    inverted: bool = False
    """The file was MONOCHROME1; writers flip back."""
    provenance: Provenance = field(default_factory=Provenance)
    grid: tuple[float, float, float] | None = None
    """Of a CT: the step between the HU that its file can store, and the lowest and highest of them; None where it
    stores broken numbers, or each slice on a grid of its own."""
    untested: str = ""
    """What its header says that it is, of kinds of mammogram that no detector was tested on; empty for an ordinary
    one."""

    def __post_init__(self) -> None:
        takes = "a finite, non-empty float32 array (z, y, x), which scanward.load makes of any other"
        if not isinstance(self.pixels, np.ndarray):
            raise refused("pixels", takes, self.pixels)
        if self.pixels.ndim != 3 or self.pixels.dtype != np.float32 or 0 in self.pixels.shape:
            raise ArgumentError(f"The argument pixels takes {takes}, not {self.pixels.dtype} {self.pixels.shape}.")
        if not np.isfinite(self.pixels).all():
            raise ArgumentError(f"The argument pixels takes {takes}, and these hold NaN or infinity.")
        if not isinstance(self.modality, str) or self.modality not in get_args(Modality):
            raise refused("modality", " or ".join(map(repr, get_args(Modality))), self.modality)
        if self.spacing is not None:
            check_millimetres(self.spacing, "spacing", "three positive numbers of millimetres a voxel, (z, y, x)", 3)

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        z, y, x = self.pixels.shape
        return z, y, x

    @property
    def plane(self) -> npt.NDArray[np.float32]:
        """The (y, x) pixels of an image with one slice; `UnsupportedError` for a volume."""
        if self.shape[0] != 1:
            raise UnsupportedError(f"{self.name} is a volume of {self.shape[0]} slices where a single image is needed.")
        return self.pixels[0]

    @property
    def name(self) -> str:
        """The file's path, or `image` where there is none; for messages."""
        return str(self.provenance.path) if self.provenance.path else "image"

    @property
    def largest(self) -> float:
        """The largest value that the file's depth can store (MG)."""
        return float(2**self.bits - 1)

    def storable(self, values: npt.NDArray[np.float32], known: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """HU as a CT's file can hold them. Where they come back as `known`, the values of the image there, they are
        those: padding may lie off the grid."""
        if self.grid is None:
            return np.rint(values) if self.integer else values
        step, low, high = self.grid
        wide = values.astype(np.float64)
        made = np.clip(low + np.rint((wide - low) / step) * step, low, high).astype(np.float32)
        return np.where(np.abs(wide - known) < 0.5 * step, known, made)

    def with_plane(self, plane: npt.NDArray[np.floating]) -> Image:
        """The same image with other (y, x) pixels, rounded and clipped to the file's own depth."""
        values = np.asarray(plane, dtype=np.float32)
        if self.integer:
            values = np.clip(np.rint(values), 0, self.largest) + np.float32(0)  # no -0.0, which files do not keep
        return dataclasses.replace(self, pixels=np.ascontiguousarray(values[None], dtype=np.float32))


def digest(image: Image) -> str:
    """SHA-256 of the image's shape and float32 pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image.pixels).tobytes()).hexdigest()
