"""MetaImage and NIfTI: CT volumes in HU, turned upright.

Whatever axes a file stores, the answer is (z, y, x) with x towards the patient's left, y to the back and z to the head
(LPS, as an axial DICOM series has it). Axes are permuted and flipped, never resampled: an oblique volume keeps its own
grid, its axes named after the patient's nearest ones.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.arrays import image_of
from scanward.formats.guard import check_size, clean, cut_short, left_in, open_file, plausible, rows_of, shown
from scanward.image import Image, Modality

INFLATION = 1032
"""Most bytes that one deflated byte can stand for (zlib's own documentation)."""
_LONGEST_HEADER = 2**20
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 1e-3}

Spacing = tuple[float, float] | None


def upright(
    path: Path, values: npt.NDArray[Any], axes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """`values` (z, y, x) turned to LPS, and the (z, y, x) spacing.

    Column i of `axes` (3, 3 or more columns) is the step in mm, patient coordinates (LPS), from one voxel to the next
    along the file's axis i, counted x, y, z.
    """
    steps = np.linalg.norm(axes[:, :3], axis=0)
    if not all(plausible(float(s)) for s in steps):
        raise UnreadableError(f"{shown(path)} has voxels of {' x '.join(f'{s:g}' for s in steps)} mm; correct its "
                              "spacing and direction.")
    if sorted(np.abs(axes[:, :3] / steps).argmax(axis=0)) != [0, 1, 2]:
        raise UnsupportedError(f"{shown(path)} lies too oblique to name its axes; resample it along the patient's.")
    order, flips = _turn(axes)
    x, y, z = (float(s) for s in steps[order])
    return values.transpose(2, 1, 0).transpose(order)[flips].transpose(2, 1, 0), (z, y, x)


def placed(axes: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """(3, 4): of the upright volume, the steps along its x, y and z and where its first voxel lies, from the file's own
    `axes` and `shape` (z, y, x)."""
    order, flips = _turn(axes)
    lengths = np.array(shape[::-1])[order]
    steps = axes[:, order] * [part.step for part in flips]
    first = axes[:, 3] - sum(steps[:, i] * (lengths[i] - 1) for i, part in enumerate(flips) if part.step < 0)
    return np.column_stack([steps, first])


def turned_back(values: npt.NDArray[Any], axes: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """The inverse of `upright`: LPS values (z, y, x) along the file's own axes."""
    order, flips = _turn(axes)
    return values.transpose(2, 1, 0)[flips].transpose(np.argsort(order)).transpose(2, 1, 0)


def _turn(axes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], tuple[slice, ...]]:
    """Which of the file's axes goes along each of the patient's, and in which direction."""
    order = np.argsort(np.abs(axes[:, :3] / np.linalg.norm(axes[:, :3], axis=0)).argmax(axis=0))
    return order, tuple(slice(None, None, -1 if axes[patient, own] < 0 else 1) for patient, own in enumerate(order))


def _image(
    path: Path, values: npt.NDArray[Any], axes: npt.NDArray[np.float64], kind: str, modality: Modality | None,
    spacing: Spacing, scale: tuple[float, float] = (1.0, 0.0),
) -> Image:  # fmt: skip
    """`axes` (3, 4): the steps, and where the file's first voxel lies; `scale`: slope and intercept to HU."""
    stored = values.dtype
    if scale != (1.0, 0.0):
        values = values.astype(np.float32) * np.float32(scale[0]) + np.float32(scale[1])
    turned, (z, y, x) = upright(path, values, axes)
    if spacing is not None:
        y, x = spacing
    image = image_of(path, turned, kind, modality or "CT", (z, y, x))
    world = rows_of(placed(axes, values.shape))
    grid = None
    if stored.kind in "iu" and image.modality == "CT":
        low, high = sorted(scale[0] * float(end) + scale[1] for end in (np.iinfo(stored).min, np.iinfo(stored).max))
        grid = (abs(scale[0]), low, high)
    return dataclasses.replace(image, grid=grid, provenance=dataclasses.replace(image.provenance, to_world=world))


@dataclass(frozen=True)
class MetaLayout:
    """A MetaImage in memory."""

    header: str
    """Its lines, up to and with ElementDataFile."""
    data: bytes
    """The voxels, inflated."""
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    """(z, y, x) of the file's own axes."""
    axes: npt.NDArray[np.float64]
    """(3, 4), as `_image` takes them."""
    local: bool
    """The voxels follow the header in one file."""
    compressed: bool


def read_metaimage(path: Path, modality: Modality | None, spacing: Spacing) -> Image:
    """A `.mha`, or a `.mhd` with its data file in the same folder; raw or zlib-compressed."""
    layout = meta_layout(path)
    values = np.frombuffer(layout.data, layout.dtype).reshape(layout.shape)
    return _image(path, values, layout.axes, "metaimage", modality, spacing)


def meta_layout(path: Path) -> MetaLayout:
    """All of a MetaImage file. Raises as `read`."""
    with open_file(path) as file:
        fields = _meta_fields(file, path)
        shape = _meta_shape(fields, path)
        kind = _META_TYPES.get(fields.get("ElementType", ""))
        if kind is None or fields.get("ElementNumberOfChannels", "1") != "1":
            raise UnsupportedError(f"{shown(path)} stores {clean(fields.get('ElementNumberOfChannels', '1'), 9)} x "
                                   f"{clean(fields.get('ElementType', 'nothing'), 40)} a voxel; Scanward reads one "
                                   "number a voxel.")
        order = ">" if _true(fields, "BinaryDataByteOrderMSB") or _true(fields, "ElementByteOrderMSB") else "<"
        dtype = np.dtype(f"{order}{kind}")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        local = file.tell()
        data = _meta_data(file, fields, path, needed)
        file.seek(0)
        header = file.read(local).decode("utf-8", "replace")
    return MetaLayout(header, data, dtype, shape, _meta_axes(fields, path), fields["ElementDataFile"] == "LOCAL",
                      _true(fields, "CompressedData"))


def _meta_fields(file: BinaryIO, path: Path) -> dict[str, str]:
    """`Key = Value` lines up to ElementDataFile, which is the last; the file then stands at local data."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = file.readline(4096)
        if not line or file.tell() > _LONGEST_HEADER:
            raise UnreadableError(f"{shown(path)} has a MetaImage header without ElementDataFile; save it again.")
        key, _, value = line.decode("utf-8", "replace").partition("=")
        fields[key.strip()] = value.strip()
    return fields


def _true(fields: dict[str, str], key: str) -> bool:
    return fields.get(key, "False").lower() in ("true", "1")


def _numbers(fields: dict[str, str], key: str, count: int, path: Path) -> list[float]:
    words = fields.get(key, "").split()
    numbers = [float(w) for w in words]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UnreadableError(f"{shown(path)} has {len(words)} numbers in its {key} instead of {count}; save it again.")
    return numbers


def _meta_shape(fields: dict[str, str], path: Path) -> tuple[int, int, int]:
    if fields.get("NDims") != "3":
        raise UnsupportedError(f"{shown(path)} has {clean(fields.get('NDims', 'no'), 20)} axes; Scanward reads volumes "
                               "of 3.")
    x, y, z = (int(n) for n in _numbers(fields, "DimSize", 3, path))
    check_size(path, *sorted((z, y, x), reverse=True))
    return z, y, x


def _meta_axes(fields: dict[str, str], path: Path) -> npt.NDArray[np.float64]:
    steps = _numbers(fields, "ElementSpacing", 3, path) if "ElementSpacing" in fields else [1.0, 1.0, 1.0]
    key = next((k for k in ("TransformMatrix", "Rotation", "Orientation") if k in fields), None)
    # The file lists one direction after the other: its rows are our columns.
    directions = np.array(_numbers(fields, key, 9, path)).reshape(3, 3).T if key else np.eye(3)
    place = next((k for k in ("Offset", "Position", "Origin") if k in fields), None)
    origin = _numbers(fields, place, 3, path) if place else [0.0, 0.0, 0.0]
    return np.column_stack([directions * np.array(steps), origin])


def _meta_data(file: BinaryIO, fields: dict[str, str], path: Path, needed: int) -> bytes:
    """The voxels' bytes, from the file itself or from its neighbour."""
    name = fields["ElementDataFile"]
    if name == "LOCAL":
        return _meta_bytes(file, fields, path, needed)
    # A header may name any path, a list of files or a pattern: only a plain neighbour is opened.
    if not name or Path(name).name != name or name == "LIST" or "%" in name or "\\" in name:
        raise UnsupportedError(f"{shown(path)} keeps its voxels in {clean(name, 60)!r}; Scanward reads them from the "
                               "header's own file or from one file beside it.")
    neighbour = path.parent / name
    if not neighbour.exists():
        raise UnreadableError(f"{shown(path)} keeps its voxels in {clean(name, 60)}, which is missing; copy it too.")
    with open_file(neighbour) as data:
        return _meta_bytes(data, fields, neighbour, needed)


def _meta_bytes(file: BinaryIO, fields: dict[str, str], path: Path, needed: int) -> bytes:
    skip = int(fields.get("HeaderSize", "0"))
    if skip == -1:
        skip = left_in(file) - needed
    if fields.get("ElementDataFile") != "LOCAL" and skip > 0:
        file.seek(skip)
    compressed, held = _true(fields, "CompressedData"), left_in(file)
    if held * (INFLATION if compressed else 1) < needed:
        raise cut_short(path, needed, held)
    # One byte more than needed, because only at the end of the stream does zlib compare its checksum.
    data = zlib.decompressobj().decompress(file.read(), needed + 1) if compressed else file.read(needed)
    if len(data) < needed:
        raise cut_short(path, needed, len(data))
    return data[:needed]


@dataclass(frozen=True)
class NiftiLayout:
    """Where and how a NIfTI file stores its voxels."""

    shape: tuple[int, int, int]
    """(z, y, x) of the file's own axes."""
    dtype: np.dtype[Any]
    offset: int
    """Byte of the first voxel."""
    slope: float
    intercept: float
    axes: npt.NDArray[np.float64]
    """(3, 4), as `_image` takes them."""
    second: bool
    """NIfTI-2."""

    @property
    def size(self) -> int:
        """Bytes of the voxels."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_nifti(path: Path, modality: Modality | None, spacing: Spacing) -> Image:
    """NIfTI-1 or -2 in one file, plain or gzipped, with its scale applied."""
    with open_file(path) as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        held = left_in(raw)  # gzip reads ahead: a small file is at its end before the first voxel
        file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        layout = nifti_layout(file.read(540), path)
        if held * INFLATION < layout.size:
            raise cut_short(path, layout.size, held)
        file.seek(layout.offset, io.SEEK_SET)
        if not zipped and left_in(file) < layout.size:
            raise cut_short(path, layout.size, left_in(file))
        data = file.read(layout.size)
        file.read(1)  # at the end of the stream gzip compares its checksum
    if len(data) < layout.size:
        raise cut_short(path, layout.size, len(data))
    values = np.frombuffer(data, layout.dtype).reshape(layout.shape)
    return _image(path, values, layout.axes, "nifti", modality, spacing, (layout.slope, layout.intercept))


def nifti_layout(head: bytes, path: Path) -> NiftiLayout:
    """What the first 540 bytes of a NIfTI file say. Raises as `read`."""
    import nibabel  # a third of a second

    second = head[4:8] == b"n+2\0"
    length = 540 if second else 348
    if len(head) < length or (not second and head[344:348] != b"n+1\0"):
        raise UnreadableError(f"{shown(path)} is no NIfTI file of one piece; save it as .nii or .nii.gz.")
    # check=False: the library's checks write to stderr; those that matter are made here.
    header = (nibabel.Nifti2Header if second else nibabel.Nifti1Header)(head[:length], check=False)  # type: ignore[no-untyped-call]
    shape, dtype = _nifti_voxels(header, path)
    offset = int(header.get_data_offset())
    if not length <= offset <= _LONGEST_HEADER + length:
        raise UnreadableError(f"{shown(path)} places its voxels at byte {offset}; save it again.")
    slope, intercept = header.get_slope_inter()
    unit = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    axes = _RAS_TO_LPS @ np.asarray(header.get_best_affine(), np.float64)[:3] * unit
    return NiftiLayout(shape, dtype, offset, 1.0 if slope is None else float(slope), float(intercept or 0.0), axes,
                       second)


def _nifti_voxels(header: Any, path: Path) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """(z, y, x) shape and type of the voxels."""
    dims = tuple(int(n) for n in header.get_data_shape())
    if len(dims) < 3 or any(n != 1 for n in dims[3:]):
        raise UnsupportedError(f"{shown(path)} has {len(dims)} axes; Scanward reads volumes of 3.")
    x, y, z = dims[:3]
    check_size(path, *sorted((z, y, x), reverse=True))
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnsupportedError(f"{shown(path)} stores voxels of type {clean(dtype, 40)}; Scanward reads one number a "
                               "voxel.")
    return (z, y, x), dtype


READERS: dict[str, Callable[[Path, Modality | None, Spacing], Image]] = {
    "metaimage": read_metaimage,
    "nifti": read_nifti,
}
