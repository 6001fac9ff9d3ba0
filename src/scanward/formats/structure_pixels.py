"""What stored values tell of the ways that an image went: levels left out, a lossy past, extremes, jumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter, uniform_filter1d

from scanward.formats.dicom import CAPTURE
from scanward.formats.fact import Fact, gathered
from scanward.formats.sheet import Sheet
from scanward.formats.structure_header import derived
from scanward.formats.structure_series import LEAST, MOST_ODD, which
from scanward.formats.structure_shown import Plane, shown_facts
from scanward.image import Image

LOOKED_AT = 5
"""Slices of a volume, at even steps, in which a lossy past and levels are looked for."""
ENOUGH, NEAR, MOST_LEVELS = 10.0, 33, 1 << 17
"""Pixels a level, among so many levels, that make an empty one odd; and levels that are looked at."""
FEW = 0.35
FILLED = 0.85
"""Part of the levels within the middle of the range that images fill."""
_GRID = 8
ROWS = 1024
"""Rows of an image, about, in which blocks are looked for."""
BLOCKY = 5.0
"""Standard deviations by which steps at every eighth pixel pass the other steps."""
_SMALL = 64
LONE, JUMP, LEAST_JUMP = 1.1, 4.0, 15.0
"""Times the difference of a slice's neighbours (0.65 at most in scans as they came), times that of slices near by, and
HU, that are no breath."""
DARK, AIRS, EVEN = (-1150.0, -600.0), (-1080.0, -920.0), 40.0
"""HU that may be air, that air has, and between the quartiles of what is as even as air; lungs are not."""


def pixel_facts(image: Image, sheets: Sequence[Sheet], marks: Sequence[bytes | None]) -> Iterator[Fact]:
    """`sheets` by slice, in the order of the volume; one of a file of several frames. `marks` as `marks_of`."""
    picked = np.unique(np.linspace(0, len(image.pixels) - 1, LOOKED_AT).round().astype(int))
    planes = [image.pixels[z] for z in picked]
    yield from gathered(_levels(image, sheets[0], planes), _blocks(sheets[0], planes),
                        shown_facts(image, sheets, planes))
    if len(sheets) == len(image.pixels):
        yield from gathered(_extremes(image, sheets))
    if image.modality == "CT":
        yield from _air(image, planes)
        if len(image.pixels) >= LEAST:
            yield from _repeats(marks)
            yield from _jumps(image)


def _blocks(sheet: Sheet, planes: Sequence[Plane]) -> Iterator[Fact]:
    if sheet.text("LossyImageCompression") != "01" and all(blockiness(plane) > BLOCKY for plane in planes
                                                           if plane.max() > plane.min()):
        yield Fact("blocks", "Its pixels step at every eighth row and column, as JPEG leaves them, and it says of no "
                   "compression with loss.")


def _levels(image: Image, sheet: Sheet, planes: Sequence[Plane]) -> Iterator[Fact]:
    if image.modality == "CT" and image.bits <= 8:
        yield Fact("eight bits", f"It is a CT that stores {image.bits} bits a pixel, as pictures do and no scanner.")
    if not image.integer or image.bits <= 8:
        return
    step = image.grid[0] if image.grid else 1.0
    found = [occupancy(np.rint(plane / step).astype(np.int64).ravel()) for plane in planes]
    filled = float(np.median([one for one in found if one is not None] or [1.0]))
    made = derived(sheet) or sheet.text("SOPClassUID") == CAPTURE  # maps and scanned films have what levels they like
    if filled < FEW:
        yield Fact("levels", f"Of the grey levels within its range it has {filled:.0%}, as after eight bits.",
                   harmless=made)
    elif filled < FILLED:
        yield Fact("combed", f"Of the grey levels within its range it has {filled:.0%}, as after its contrast "
                   "was stretched.", harmless=made)


def occupancy(values: npt.NDArray[np.int64]) -> float | None:
    """The part of the levels that occur where, by the levels near by, each should; None where too few should to tell.
    `values` (n,)."""
    low = int(values.min())
    if int(values.max()) - low > MOST_LEVELS:
        return None
    times = np.bincount(values - low).astype(np.float64)
    expected = uniform_filter1d(np.minimum(times, times.sum() / 50), NEAR, mode="constant") >= ENOUGH
    return float((times[expected] > 0).mean()) if expected.sum() >= 2 * NEAR else None


def blockiness(plane: Plane) -> float:
    """Standard deviations by which steps between blocks of eight pass steps within them, in the weaker of the two
    directions; 0 where there is too little to tell. `plane` (y, x)."""
    return min(_steps(plane), _steps(plane.T))


def _steps(plane: Plane) -> float:
    if min(plane.shape) < 8 * _GRID:
        return 0.0
    rows = plane[::max(1, len(plane) // ROWS)]  # each tells of all columns
    rises = np.abs(np.diff(rows.astype(np.float32), axis=1))
    odd = rises[:, 1:-1] - (rises[:, :-2] + rises[:, 2:]) / 2
    # Edges are larger than any step that a quantiser leaves.
    odd = np.clip(odd, *np.percentile(odd, (5, 95)))
    columns = odd.mean(axis=0)
    where = (np.arange(len(columns)) + 2) % _GRID  # the step from column x to x + 1 lies at x + 1
    means = np.array([columns[where == phase].mean() for phase in range(_GRID)])
    # Two phases beside it are lower where it is higher, by how `odd` is made.
    others = means[2:-1]
    spread = columns.std() / np.sqrt(len(columns) / _GRID)
    return float((means[0] - others.mean()) / max(spread, 1e-6)) if means[0] == means.max() else 0.0


def _extremes(image: Image, sheets: Sequence[Sheet]) -> Iterator[Fact]:
    """Whether slices hold larger values than Largest Image Pixel Value: no scanner's do, and masks make none larger."""
    if image.inverted or image.modality != "CT" or len(sheets) < LEAST:
        return
    off: list[int] = []
    for z, sheet in enumerate(sheets):
        said = sheet.stored("LargestImagePixelValue")
        if said is None:
            return
        slope, intercept = sheet.number("RescaleSlope") or 1.0, sheet.number("RescaleIntercept") or 0.0
        if float(image.pixels[z].max()) > said * slope + intercept + abs(slope) / 2:
            off.append(z)
    if off:
        yield Fact("largest", f"{which(off)} {'holds' if len(off) == 1 else 'hold'} larger values than "
                   "LargestImagePixelValue says.", harmless=sheets[0].text("LossyImageCompression") == "01",
                   slices=tuple(off))


def marks_of(image: Image) -> list[bytes | None]:
    """What tells the values of a slice from all others, by slice; None where it shows next to nothing."""
    return [None if plane[::4, ::4].std() < 1 else
            blake2b(np.ascontiguousarray(plane).data, digest_size=16).digest() for plane in image.pixels]


def _repeats(marks: Sequence[bytes | None]) -> Iterator[Fact]:
    """Slices that hold the same values to the last bit: noise never does."""
    seen: dict[bytes, int] = {}
    for z, mark in enumerate(marks):
        if mark is not None and seen.setdefault(mark, z) != z:
            yield Fact("slice twice", f"Slice {z + 1} holds the same values as slice {seen[mark] + 1}, noise and all.",
                       slices=(seen[mark], z))


def _jumps(image: Image) -> Iterator[Fact]:
    """Slices that are unlike both neighbours, while these are alike; and where another anatomy goes on."""
    small = np.stack([cv2.resize(np.clip(plane, -1000, 400), (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
                      for plane in image.pixels])
    near = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))
    across = np.abs(small[2:] - small[:-2]).mean(axis=(1, 2))
    both = np.minimum(near[:-1], near[1:])
    lone = (both > LONE * across) & (both > LEAST_JUMP)
    edges = (near > JUMP * median_filter(near, 11, mode="nearest")) & (near > LEAST_JUMP)
    odd = tuple(sorted({int(z) + 1 for z in (*np.flatnonzero(lone), *np.flatnonzero(edges))}))
    if odd and len(odd) <= MOST_ODD * len(image.pixels):
        yield Fact("jump", f"{which(odd)} {'shows' if len(odd) == 1 else 'show'} another anatomy than the slice "
                   "before.", slices=odd)


def _air(image: Image, planes: Sequence[Plane]) -> Iterator[Fact]:
    """Whether what is darkest around a patient, and no padding, is air."""
    values = np.concatenate([part.ravel() for plane in planes for part in _rims(plane)])
    dark = values[(values > DARK[0]) & (values < DARK[1])]
    if len(dark) < 0.05 * len(values):
        return
    lower, found, upper = (float(one) for one in np.percentile(dark, (25, 50, 75)))
    if upper - lower < EVEN and not AIRS[0] <= found <= AIRS[1]:
        yield Fact("air", f"The air around its patient has {found:.0f} HU, and air has -1000.")


def _rims(plane: Plane) -> tuple[Plane, ...]:
    """The outermost twelfth of a slice (y, x), but for the lower one, where the table is."""
    y, x = (size // 12 for size in plane.shape)
    return plane[:y], plane[:, :x], plane[:, -x:]
