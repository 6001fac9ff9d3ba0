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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.arrays import grid_of, image_of
from scanward.formats.guard import (
    FREELY,
    INFLATION,
    LABELS,
    check_packed,
    check_size,
    clean,
    cut_short,
    left_in,
    open_file,
    plausible,
    rows_of,
    shown,
)
from scanward.formats.metaimage import meta_layout
from scanward.formats.sniff import GZIP
from scanward.image import Image, Modality

TILT = 0.02
"""Cosine between two axes from which on a volume is sheared: about one degree, as in a DICOM series."""
_TURNED = 2e-3
"""Most by which directions of sform and qform differ: near a half turn a quaternion is that coarse in float32."""
_MOVED = 0.01
"""Most by which their origins differ, in voxels."""
_SIZED = 1e-4
"""Most by which sizes of the sform and pixdim differ, as a part of them: a hundred times what float32 rounds off."""
_FORMS = 5
"""The largest code of a sform and a qform that NIfTI knows."""
_PIECE = 2**20
_INTENTS = (0, 1001, 1002)
"""Of a sealed image: none, an estimate, labels. Of displacements ITK turns signs."""
_LONGEST_HEADER = 2**20
_META_MODALITIES = ("", "MET_MOD_CT", "MET_MOD_OTHER", "MET_MOD_UNKNOWN")
"""What a MetaImage that is read may say of its modality."""
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MM = 2
_MILLIMETRES = {1: 1000.0, 3: 1e-3}
"""Of NIfTI's units; unknown ones count as mm, as nibabel and ITK have it."""

Spacing = tuple[float, float] | None
Stored = tuple[npt.NDArray[Any], tuple[float, float], npt.NDArray[np.float64]]


def upright(
    path: Path, values: npt.NDArray[Any], axes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """`values` (z, y, x) turned to LPS, and the (z, y, x) spacing.

    Column i of `axes` (3, 3 or more columns) is the step in mm, patient coordinates (LPS), from one voxel to the next
    along the file's axis i, counted x, y, z.
    """
    steps = np.linalg.norm(axes[:, :3], axis=0)
    if not np.isfinite(axes).all():
        raise UnreadableError(f"{shown(path)} has an affine with numbers that are not finite; correct it.")
    if not all(plausible(float(s)) for s in steps):
        raise UnreadableError(f"{shown(path)} has voxels of {' x '.join(f'{s:g}' for s in steps)} mm; correct its "
                              "spacing and direction.")
    if sorted(np.abs(axes[:, :3] / steps).argmax(axis=0)) != [0, 1, 2]:
        raise UnsupportedError(f"{shown(path)} lies too oblique to name its axes; resample it along the patient's.")
    if sheared(axes):
        raise UnsupportedError(f"{shown(path)} is sheared, as by a tilted gantry; resample it to an upright volume.")
    order, flips = _turn(axes)
    x, y, z = (float(s) for s in steps[order])
    return values.transpose(2, 1, 0).transpose(order)[flips].transpose(2, 1, 0), (z, y, x)


def sheared(axes: npt.NDArray[np.float64]) -> bool:
    """Whether two axes of a volume do not stand upright on each other."""
    units = axes[:, :3] / np.linalg.norm(axes[:, :3], axis=0)
    return bool(np.abs(units.T @ units - np.eye(3)).max() > TILT)


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
        hu = np.empty(values.shape, np.float32)
        for plane, kept in zip(hu, values, strict=True):  # of a whole volume, float64 would take gigabytes
            plane[:] = kept.astype(np.float64) * scale[0] + scale[1]
        values = hu
    turned, (z, y, x) = upright(path, values, axes)
    if spacing is not None:
        y, x = spacing
    image = image_of(path, turned, kind, modality or "CT", (z, y, x))
    world = rows_of(placed(axes, values.shape))
    return dataclasses.replace(image, grid=grid_of(stored, *scale) if image.modality == "CT" else None,
                               provenance=dataclasses.replace(image.provenance, to_world=world))


def read_metaimage(path: Path, modality: Modality | None, spacing: Spacing) -> Image:
    """A `.mha`, or a `.mhd` with its data file in the same folder; raw or zlib-compressed."""
    layout = meta_layout(path)
    if modality is None and layout.modality not in _META_MODALITIES:
        raise UnsupportedError(f"{shown(path)} is of modality {clean(layout.modality, 40)}; Scanward scans mammograms "
                               "(MG) and chest CT (CT).")
    values = np.frombuffer(layout.data, layout.dtype).reshape(layout.shape)
    return _image(path, values, layout.axes, "metaimage", modality, spacing)


def stored_metaimage(path: Path) -> Stored:
    """As `stored_nifti`."""
    layout = meta_layout(path, LABELS)
    return np.frombuffer(layout.data, layout.dtype).reshape(layout.shape), (1.0, 0.0), layout.axes


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
    placed: bool
    """By a sform or a qform."""
    intent: int
    """The standard's code of what the voxels mean."""
    units: int
    """The standard's code: 0 unknown, 1 m, 2 mm, 3 µm."""

    @property
    def size(self) -> int:
        """Bytes of the voxels."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_nifti(path: Path, modality: Modality | None, spacing: Spacing) -> Image:
    """NIfTI-1 or -2 in one file, plain or gzipped, with its scale applied."""
    values, scale, axes = stored_nifti(path)
    return _image(path, values, axes, "nifti", modality, spacing, scale)


def stored_nifti(path: Path, alike: bool = False) -> Stored:
    """The stored values (z, y, x) along the file's own axes, slope and intercept, and the axes as `upright` takes
    them.

    With `alike`, `UnsupportedError` unless every program places the file alike: without a sform and a qform, each goes
    by a guess of its own, and not all of them heed units; and unless it is a picture by its intent.
    """
    if alike and path.name.lower().endswith(".nii.gz") and path.with_name(path.name[:-3]).exists():
        raise UnsupportedError(f"{shown(path)} lies beside {shown(path.name[:-3])}, whose voxels some programs show "
                               "in its place; keep one of the two.")
    held = path.stat().st_size
    with nifti_file(path) as (file, zipped):
        layout = nifti_layout(file.read(540), path)
        if alike:
            _check_placed(layout, path)
        if held * INFLATION < layout.size:
            raise cut_short(path, layout.size, held)
        if zipped:
            check_packed(path, layout.size, held, LABELS if alike else FREELY)
        file.seek(layout.offset, io.SEEK_SET)
        if not zipped and left_in(file) < layout.size:
            raise cut_short(path, layout.size, left_in(file))
        data = file.read(layout.size)
        file.read(1)  # at the end of the stream gzip compares its checksum
    if alike and zipped:
        _check_members(path, layout.offset + layout.size)
    if len(data) < layout.size:
        raise cut_short(path, layout.size, len(data))
    return np.frombuffer(data, layout.dtype).reshape(layout.shape), (layout.slope, layout.intercept), layout.axes


def _check_placed(layout: NiftiLayout, path: Path) -> None:
    if not layout.placed:
        raise UnsupportedError(f"{shown(path)} has neither a sform nor a qform, so that programs place it each in "
                               "their own way; write one of them.")
    if layout.units not in (0, _MM):
        raise UnsupportedError(f"{shown(path)} says its sizes in another unit than mm, which not all programs heed; "
                               "convert them.")
    if layout.intent not in _INTENTS:
        raise UnsupportedError(f"{shown(path)} has an intent_code of {layout.intent}, by which some programs take its "
                               "voxels for something else than a picture; write 0.")


def _check_members(path: Path, needed: int) -> None:
    """Raises where anything stands between the gzip members of the first `needed` bytes: zlib ends there, and Python
    passes over zeros."""
    with open_file(path) as file:
        engine, rest = zlib.decompressobj(wbits=31), file.read(_PIECE)
        while rest and needed > 0:
            needed -= len(engine.decompress(rest, _PIECE))
            rest = engine.unconsumed_tail or (b"" if engine.eof else file.read(_PIECE))
            if engine.eof:
                rest = engine.unused_data + file.read(2)
                engine = zlib.decompressobj(wbits=31)
                if needed > 0 and not rest.startswith(GZIP):
                    raise UnreadableError(f"{shown(path)} holds bytes between its gzip members, behind which some "
                                          "programs read no more; compress it again.")


@contextmanager
def nifti_file(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """A NIfTI file opened, unzipped where it is gzipped (in several members, too), and whether it is."""
    with open_file(path) as raw:
        zipped = raw.read(2) == GZIP
        raw.seek(0)
        yield (cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw), zipped


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
    return NiftiLayout(shape, dtype, offset, *_nifti_scale(header, path), _nifti_axes(header, path), second,
                       bool(header["sform_code"] > 0 or header["qform_code"] > 0), int(header["intent_code"]),
                       int(header["xyzt_units"]) & 7)


def _nifti_scale(header: Any, path: Path) -> tuple[float, float]:
    """(slope, intercept) to HU."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        slope, intercept = 1.0, 0.0 if np.isnan(intercept) else intercept
        # nibabel leaves the intercept out then, and ITK adds it.
        if intercept == 0:
            return slope, intercept
    elif np.isfinite([slope, intercept]).all():
        return slope, intercept
    raise UnreadableError(f"{shown(path)} has a scl_slope of {float(header['scl_slope']):g} and a scl_inter of "
                          f"{float(header['scl_inter']):g}, which give no HU; correct them.")


def _nifti_axes(header: Any, path: Path) -> npt.NDArray[np.float64]:
    """As `_image` takes them: of the sform, else of the qform, else nibabel's guess.

    nibabel goes by the sform, and ITK takes the steps of pixdim and at times the rest of the qform: where both are
    there, they must say the same.
    """
    sizes = header["pixdim"]
    if not (np.isfinite(sizes[1:4]) & (sizes[1:4] >= 0)).all():
        raise UnreadableError(f"{shown(path)} has a pixdim of {' x '.join(f'{s:g}' for s in sizes[1:4])}, which are no "
                              "sizes of voxels; correct it.")
    if header["qform_code"] > 0 and sizes[0] not in (-1, 0, 1):
        raise UnreadableError(f"{shown(path)} has a pixdim[0] of {float(sizes[0]):g}, by which some programs turn "
                              "its third axis and others do not; write 1 or -1.")
    sizes[0] = -1 if sizes[0] == -1 else 1  # 0 counts as 1 (NIfTI-1 standard)
    sizes[1:4] = np.where(sizes[1:4] == 0, 1, sizes[1:4])
    units = _RAS_TO_LPS * _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    for form in ("sform_code", "qform_code"):
        if not 0 <= header[form] <= _FORMS:
            raise UnreadableError(f"{shown(path)} has a {form} of {int(header[form])}, which the standard does not "
                                  "know and some programs take for none; correct it.")
    sform, qform = header["sform_code"] > 0, header["qform_code"] > 0
    try:
        said = units @ np.asarray(header.get_qform() if qform else header.get_base_affine(), np.float64)[:3]
    except ValueError:
        raise UnreadableError(f"{shown(path)} has a qform that is no rotation; correct it.") from None
    if not sform:
        return said
    axes = units @ np.asarray(header.get_sform(), np.float64)[:3]
    steps, others = (np.linalg.norm(one[:, :3], axis=0) for one in (axes, said))
    if not all(plausible(float(s)) for s in steps) or sheared(axes):
        return axes  # which `upright` refuses
    apart = np.abs(axes[:, :3] / steps - said[:, :3] / others).max(), np.abs(axes[:, 3] - said[:, 3]).max()
    if not np.allclose(steps, others, rtol=_SIZED, atol=0) or (
            qform and not (apart[0] <= _TURNED and apart[1] <= _MOVED * steps.min())):
        raise UnsupportedError(f"{shown(path)} says in its sform that its voxels are of another size, or lie elsewhere "
                               "or in another order, than its pixdim and qform say; correct the wrong one.")
    return axes


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
