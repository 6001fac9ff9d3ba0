"""DICOM images: a film, a slice, or the slices of a CT series or of an enhanced CT in HU, sorted along their normal."""

from __future__ import annotations

import dataclasses
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.errors import ScanwardError, UnreadableError, UnsupportedError
from scanward.formats import views
from scanward.formats.dicom import (
    Header,
    bright,
    check_image,
    grid_of,
    hounsfield,
    layout_of,
    modality_of,
    opened,
    provenance_of,
    spacing_of,
)
from scanward.formats.dicom import whole_hounsfield as whole
from scanward.formats.frames import GROUPS, frames_of, single
from scanward.formats.guard import check_packed, check_size, decoding, rows_of, shown, three
from scanward.formats.pixels import LOSSY, read_frame, read_frames
from scanward.image import Image, Modality

_STEP_TOLERANCE = 0.02
"""Part of a step by which two steps may differ: headers round positions to a hundredth of a millimetre or so."""
_TILT_TOLERANCE = 0.02
"""Sideways shift a step, as a part of the step: the tangent of the gantry tilt, here about one degree."""

MOST = 8
"""Volumes that one series is taken for at most."""
LISTED = 12
"""Names in one sentence."""


@dataclass(frozen=True)
class Slice:
    """One frame's place in its series."""

    path: Path
    frame: int
    name: str
    """For messages."""
    rows: int
    columns: int
    spacing: tuple[float, float]
    orientation: npt.NDArray[np.float64]
    """(2, 3): unit vectors along the rows and along the columns, patient coordinates."""
    position: npt.NDArray[np.float64]
    """(3,): centre of the first pixel, mm."""

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """(3,): row direction x column direction."""
        return np.cross(self.orientation[0], self.orientation[1])


def by_position(paths: Sequence[Path]) -> list[Path]:
    """`paths` sorted along the normal; files whose position cannot be read come last, by name."""
    return sorted(paths, key=lambda path: (_extent(path).first, str(path)))


def versions(paths: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """A series in which a position may be there several times, as at most `MOST` whole layers: of each position the
    first file in the first, the last in the last, by the headers' numbers and then by when the files were written. A
    layer is a volume; a file of several frames that no other file continues is one of its own.

    Files that do not say where they lie, or are in no volume, come apart, as the second value: nothing is passed over.
    """
    extents = {path: _extent(path) for path in paths}
    found = [path for path in paths if np.isfinite(extents[path].first)]
    layers: list[_Layer] = []
    used = set()
    for path in sorted(found, key=lambda path: (extents[path].numbers, path.stat().st_mtime_ns, str(path))):
        one = extents[path].first, extents[path].last, path
        if not any(_put(layer, one) for layer in layers):
            if len(layers) == MOST:
                continue
            layers.append([one])
        used.add(path)
    for before, layer in pairwise(layers):
        for one in before:
            _put(layer, one)
    whole = dict.fromkeys(volume for layer in layers for volume in _volumes(layer, extents))
    return [list(one) for one in whole], sorted(set(paths) - used)


@dataclass(frozen=True)
class _Extent:
    """Where a file's frames lie along their normal, and what tells phases of one place apart."""

    first: float
    """Of its frames, mm; infinite where one does not say."""
    last: float
    step: float
    """The largest between two of its frames, mm; 0 for a single one."""
    numbers: tuple[int, ...]


_Layer = list[tuple[float, float, Path]]
"""(first, last, file), sorted, of which none overlap."""


def _put(layer: _Layer, one: tuple[float, float, Path]) -> bool:
    """Adds a file to a layer, where it is free; whether it was."""
    at = bisect(layer, one[1], key=lambda other: other[0])
    if at and layer[at - 1][1] >= one[0]:
        return False
    layer.insert(at, one)
    return True


def _volumes(layer: _Layer, extents: dict[Path, _Extent]) -> Iterator[tuple[Path, ...]]:
    """The files of a layer, apart where one of several frames ends and no other continues it."""
    start = 0
    for i, (before, after) in enumerate(pairwise(layer), 1):
        step = max(extents[before[2]].step, extents[after[2]].step)
        if step and after[0] - before[1] > 1.5 * step:
            yield tuple(path for *_, path in layer[start:i])
            start = i
    yield tuple(path for *_, path in layer[start:])


def _extent(path: Path) -> _Extent:
    try:
        with decoding(path), opened(path, (*GROUPS, "AcquisitionNumber", "InstanceNumber")) as (header, _):
            found = [_geometry(own) for own in frames_of(header)]
            numbers = [header.numbers(name, 1) for name in ("AcquisitionNumber", "InstanceNumber")]
    except ScanwardError:
        return _Extent(np.inf, np.inf, 0, ())
    places = sorted(np.inf if one is None else round(float(one[1] @ np.cross(*one[0])), 2) for one in found)
    said = tuple(0 if number is None else int(number[0]) for number in numbers)
    first, last = (places[0], places[-1]) if np.isfinite(places).all() else (np.inf, np.inf)
    return _Extent(first, last, max((after - before for before, after in pairwise(places)), default=0), said)


def read_dicom(path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    """One DICOM file: the slices of an enhanced CT as `read_series` gives them, or else one slice, whose z spacing is
    1.0, as a single image has none."""
    with opened(path, (*GROUPS, *views.ELEMENTS)) as (whole_header, stream):
        check_image(whole_header)
        kind, layout = modality or modality_of(whole_header), layout_of(whole_header)
        if kind == "CT" and layout.frames > 1:
            return read_series((path,), modality, spacing)
        header = single(whole_header)
        stored, layout = read_frame(stream, layout)
    inverted = kind == "MG" and header.text("PhotometricInterpretation") == "MONOCHROME1"
    pixels = hounsfield(stored, header) if kind == "CT" else bright(stored, layout, header, inverted)
    return Image(pixels[None], kind, three(spacing or spacing_of(header)), layout.stored,
                 integer=kind == "MG" or whole(header), inverted=inverted, provenance=provenance_of(header),
                 untested=views.untested(whole_header) if kind == "MG" else "")


def read_series(paths: Sequence[Path], modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    """The volume (z, y, x) in HU; z ascends along the normal, and its spacing comes from the positions.

    Every file must be a slice, or hold slices, of one evenly spaced stack: `UnsupportedError` names the first that is
    not.
    """
    where = paths[0].parent if len(paths) > 1 else paths[0]
    if modality == "MG":
        raise UnsupportedError(f"{shown(where)} is a series of {len(paths)} CT slices and no mammogram.")
    slices = stack(paths, modality)
    first = slices[0]
    check_size(where, first.rows, first.columns, len(slices))
    check_packed(where, 2 * first.rows * first.columns * len(slices), sum(path.stat().st_size for path in paths))
    step = _step(slices, where)
    places = {(one.path, one.frame): z for z, one in enumerate(slices)}
    pixels = np.empty((len(slices), first.rows, first.columns), np.float32)
    integer, bits, grids, synthetic = True, 0, set(), False
    instances: dict[Path, str] = {}
    for path in paths:
        with decoding(path), opened(path, GROUPS) as (header, stream):
            frames = zip(frames_of(header), read_frames(stream, layout_of(header)), strict=True)
            for number, (own, (stored, layout)) in enumerate(frames):
                pixels[places[path, number]] = hounsfield(stored, own)
                integer, bits = integer and whole(own), max(bits, layout.stored)
                grids.add(grid_of(own, layout))
            own_provenance = provenance_of(header, where)
            synthetic |= own_provenance.synthetic
            instances[path] = own_provenance.sop_instance_uid or ""
            if path == first.path:
                provenance = own_provenance
    y, x = spacing or first.spacing
    world = np.column_stack([first.orientation[0] * first.spacing[1], first.orientation[1] * first.spacing[0],
                             first.normal * step, first.position])
    return Image(pixels, "CT", (step, y, x), bits, integer, grid=grids.pop() if len(grids) == 1 else None,
                 provenance=dataclasses.replace(
                     provenance, synthetic=synthetic, to_world=rows_of(world),
                     slices=tuple((one.path, instances[one.path]) for one in slices)))


def stack(paths: Sequence[Path], modality: Modality | None = None) -> list[Slice]:
    """The slices of files in the order of their volume."""
    slices = [one for path in paths for one in _slices(path, modality)]
    return sorted(slices, key=lambda one: float(one.position @ one.normal))


def _geometry(header: Header) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """(orientation, position), or None where the header has no usable ones."""
    orientation, position = header.numbers("ImageOrientationPatient", 6), header.numbers("ImagePositionPatient", 3)
    if orientation is None or position is None:
        return None
    axes = np.array(orientation, np.float64).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-2:
        return None
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)  # headers round
    return axes, np.array(position, np.float64)


def _slices(path: Path, modality: Modality | None) -> list[Slice]:
    with decoding(path), opened(path, GROUPS) as (header, _):
        if modality is None and modality_of(header) != "CT":
            raise UnsupportedError(f"{shown(path)} is no CT slice; keep only one CT series in the folder.")
        layout = layout_of(header)
        frames = frames_of(header)
        made = []
        for number, own in enumerate(frames):
            geometry, spacing = _geometry(own), spacing_of(own)
            if geometry is None or spacing is None:
                raise UnreadableError(f"{shown(path)} does not say where {'its slice' if len(frames) == 1 else 'each'} "
                                      "lies (ImagePositionPatient, ImageOrientationPatient, PixelSpacing); export the "
                                      "series again.")
            name = path.name if len(frames) == 1 else f"frame {number + 1}"
            made.append(Slice(path, number, name, layout.rows, layout.columns, spacing, *geometry))
    return made


def _step(slices: Sequence[Slice], path: Path) -> float:
    """Millimetres between neighbours; refuses mixed sizes and orientations, tilt, duplicates and gaps."""
    first, folder = slices[0], shown(path)
    for other in slices[1:]:
        where = shown(other.name)
        if (other.rows, other.columns) != (first.rows, first.columns):
            raise UnsupportedError(f"{folder} mixes slices of {first.columns} x {first.rows} and {other.columns} x "
                                   f"{other.rows} pixels ({where}); keep one size.")
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            sizes = " and ".join(" x ".join(f"{mm:g}" for mm in one.spacing) for one in (first, other))
            raise UnsupportedError(f"{folder} mixes pixel spacings of {sizes} mm ({where}); keep one.")
        if not np.allclose(other.orientation, first.orientation, atol=1e-2):
            raise UnsupportedError(f"{folder} mixes slices of different orientation ({where}), perhaps a localizer; "
                                   "keep one orientation.")
    shifts = np.diff([s.position for s in slices], axis=0)
    steps = shifts @ first.normal
    step = float(np.median(steps)) if len(steps) else 1.0
    if len(steps) and steps.min() <= 1e-3 * max(step, 1e-3):
        raise UnsupportedError(_at_one_place(slices, steps <= 1e-3 * max(step, 1e-3), folder))
    for i, (shift, own) in enumerate(zip(shifts, steps, strict=True)):
        pair = f"{shown(slices[i].name)} and {shown(slices[i + 1].name)}"
        if abs(own - step) > _STEP_TOLERANCE * step:
            raise UnsupportedError(f"{folder} has a gap or uneven spacing: {own:.3g} mm between {pair}, where "
                                   f"{step:.3g} mm is usual; add the missing slices.")
        if np.linalg.norm(shift - own * first.normal) > _TILT_TOLERANCE * step:
            raise UnsupportedError(f"{folder} was scanned with a tilted gantry ({pair} are shifted sideways); resample "
                                   "it to an upright volume.")
    return step


def _at_one_place(slices: Sequence[Slice], close: npt.NDArray[np.bool_], folder: str) -> str:
    """The sentence that names all slices that lie where another does; `close` says of each but the first whether it
    lies where the one before does. Copies of one slice do no harm, and it says whether they are no more than that."""
    places: list[list[Slice]] = [[slices[0]]]
    for one, same in zip(slices[1:], close, strict=True):
        if same:
            places[-1].append(one)
        else:
            places.append([one])
    several = [place for place in places if len(place) > 1]
    copies = all(np.array_equal(_pixels(one), _pixels(place[0])) for place in several for one in place[1:])
    first = several[: LISTED // 2]
    words = "; ".join(", ".join(shown(one.name) for one in place[:LISTED]) for place in first)
    rest = sum(map(len, several)) - sum(len(place[:LISTED]) for place in first)
    words += f" and {rest} more" if rest else ""
    if copies:
        return f"{folder} holds copies of one slice at one position ({words}); keep one of each."
    taken = _acquisitions(several)
    mend = (f"they are of acquisitions {' and '.join(taken)}, so scan each acquisition in a folder of its own." if taken
            else "nobody can tell which are meant, so keep those that are.")
    return f"{folder} has several slices with other voxels at one position ({words}){_one_name(several)}; {mend}"


def _acquisitions(places: Sequence[Sequence[Slice]]) -> list[str]:
    """The AcquisitionNumbers of slices that share places, where at each place all are of different ones, as where a
    scanner puts parts of a scan that overlap into one series; else none."""
    numbers: set[str] = set()
    for place in places:
        own = set[str]()
        for one in place:
            with decoding(one.path), opened(one.path, ("AcquisitionNumber",)) as (header, _):
                own.add(header.text("AcquisitionNumber"))
        if "" in own or len(own) < len(place):
            return []
        numbers |= own
    return sorted(numbers, key=lambda number: (len(number), number))[:LISTED]


def _one_name(places: Sequence[Sequence[Slice]]) -> str:
    """Of the slices at one place the first that carry one SOP Instance UID and other voxels, none of which a
    compression explains: ends a sentence; empty where there are none."""
    for place in places:
        named: dict[str, Slice] = {}
        for one in place:
            with decoding(one.path), opened(one.path, ("LossyImageCompression",)) as (header, _):
                lossy = header.syntax in LOSSY or header.text("LossyImageCompression") == "01"
                uid = "" if lossy else header.text("SOPInstanceUID")
            other = named.setdefault(uid, one)
            if uid and other.path != one.path and not np.array_equal(_pixels(other), _pixels(one)):
                return (f", and {shown(other.name)} and {shown(one.name)} carry one SOP Instance UID, as no two images "
                        "may: one of the two was changed")
    return ""


def _pixels(one: Slice) -> npt.NDArray[np.float32]:
    with decoding(one.path), opened(one.path, GROUPS) as (header, stream):
        owners = frames_of(header)
        for number, (stored, _) in enumerate(read_frames(stream, layout_of(header))):
            if number == one.frame:
                return hounsfield(stored, owners[number])
    raise UnreadableError(f"{shown(one.path)} holds fewer frames than it says; export it again.")
