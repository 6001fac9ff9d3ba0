"""Holding an image that was encoded anew to the reduced copy of what was sealed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.box import Box, largest_first
from scanward.seals.lattice import SIGMA
from scanward.seals.reduced import Reduced, Stored, bounds_of, copied, extremes
from scanward.seals.remains import SCALES, fitted, level, smoothed
from scanward.verdict import Label

MANY, FURTHER = 20, 1.2
"""From how many places, or how many times the furthest trial's level on, what differs is no forgery but an image that
was processed as a whole in a way that was not allowed for."""
VOUCHED = 0.25
"""Share of the judged cells under which what the range still holds vouches for nothing."""
LESIONS_MM, LESIONS_PIXELS = (4.0, 10.0), (8.0, 20.0)
"""Diameters for which it is said how large a change would have been noticed."""
FILLS = 16.0
"""Pitches of a ball that fills the widest of `SCALES`; a larger one shows no more of itself."""
MOST = 95
"""Per cent of the cells that this holds for."""


@dataclass(frozen=True)
class Likeness:
    """What holding an image to a reduced copy gave."""

    label: Label
    reason: str
    boxes: tuple[Box, ...] = ()
    """A box in voxels about each place that differs, the largest first."""
    notes: tuple[str, ...] = ()
    """What is to be known besides: a range cut off, a gain."""
    consistent: bool = False
    """It is, but for the treatments, what was sealed."""


def held(stored: Stored, known: Reduced) -> Likeness:
    """Whether an image (z, y, x) of the sealed shape is, but for the treatments, the one that was sealed:
    `inconclusive` where it is, with what is vouched for, or where it was processed in another way; `tampered` where
    places differ. Never `authentic`."""
    low, high = _span(stored)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Likeness("tampered", "It holds voxels that are no numbers.")
    keep = known.judged & ~_cut(stored, known, low, high)
    share = float(keep.sum() / max(1, known.judged.sum()))
    if share < VOUCHED:
        return Likeness("inconclusive", "Its values were cut off to a narrow range, or hardly a place in it can be "
                                        "judged; the seal vouches for nothing in it.")
    cells = known.cells.values
    terms = [cells - np.float32(known.cells.origin), *(mode.values for mode in known.modes)]
    left, numbers = fitted(copied(stored, known.lattice) - cells, terms, keep, bounds_of(known.noise))
    beyond, further = np.zeros(keep.shape, bool), False
    for scale, allowed, furthest in zip(SCALES, known.tolerance, known.levels, strict=True):
        mean, tolerance = smoothed(left, keep, known.lattice, scale), allowed.values
        beyond |= keep & ~(np.abs(mean) <= tolerance)
        further |= level(mean, tolerance, keep) > FURTHER * furthest
    notes = _notes(known, share, low, high, numbers)
    if not beyond.any():
        return Likeness("inconclusive", f"It was encoded anew as a whole, and is consistent with its seal: "
                                        f"{_promise(known, keep)}.", (), notes, consistent=True)
    labels, count = ndimage.label(beyond, np.ones((3, 3, 3)))
    if count > MANY or further:
        return Likeness("inconclusive", "It was processed as a whole in a way that the seal does not allow for, and "
                                        "the seal vouches for nothing in it.")
    where = "one place" if count == 1 else f"{count} places"
    return Likeness("tampered", f"It was encoded anew as a whole, and besides altered in {where}.",
                    _boxes(labels, known), notes)


def _cut(stored: Stored, known: Reduced, low: float, high: float) -> npt.NDArray[np.bool_]:
    """Cells of which the ends of the received values took something away: they reached beyond, and now reach just these
    ends. What was bright and is not so any more is none of these."""
    slack = known.noise
    below, above = known.least.values < low - slack, known.most.values > high + slack
    if not (below & known.judged).any() and not (above & known.judged).any():
        return below & above
    least, most = extremes(stored, known.lattice)
    return (below & (least <= low + slack)) | (above & (most >= high - slack))


def _span(stored: Stored) -> tuple[float, float]:
    ends = [(float(plane.min()), float(plane.max())) for plane in map(stored.raised, stored)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _notes(known: Reduced, share: float, low: float, high: float, numbers: npt.NDArray[np.float64]) -> \
        tuple[str, ...]:
    unit = " HU" if known.hounsfield else ""
    notes = []
    if share < 1:
        notes.append(f"Its values end at {low:g} and {high:g}{unit}: what reached beyond, {100 * (1 - share):.2g} % of "
                     "what can be judged, is not vouched for.")
    if abs(numbers[1]) > 0.001:
        notes.append(f"All its values are {1 + numbers[1]:.4f} times those that were sealed.")
    if abs(numbers[0]) > known.noise / 5:
        notes.append(f"All its values are {numbers[0]:+.2g}{unit} off.")
    return tuple(notes)


def _boxes(labels: npt.NDArray[np.int32], known: Reduced) -> tuple[Box, ...]:
    lattice, found = known.lattice, []
    for parts in ndimage.find_objects(labels):
        sides = []
        for axis, part in enumerate(parts):
            half = lattice.step[axis] / 2
            start = lattice.centre(axis, part.start) - half
            stop = lattice.centre(axis, part.stop - 1) + half
            sides.append(slice(max(0, round(start)), min(lattice.shape[axis], max(round(start) + 1, round(stop)))))
        found.append(Box.of(sides))
    return largest_first(found)


def _promise(known: Reduced, keep: npt.NDArray[np.bool_]) -> str:
    """The smallest change of a ball of each size that would have been noticed in nearly every place."""
    pixel = known.steps[1]
    sizes = [mm / pixel for mm in LESIONS_MM] if pixel else list(LESIONS_PIXELS)
    words = [f"{mm:g} mm" for mm in LESIONS_MM] if pixel else [f"{pixels:g} pixels" for pixels in LESIONS_PIXELS]
    unit = " HU" if known.hounsfield else ""
    parts = []
    for pixels, word in zip(sizes, words, strict=True):
        gains = ball(known, pixels)
        least = np.minimum.reduce([allowed.values[keep] / gain for allowed, gain
                                   in zip(known.tolerance, gains, strict=True)])
        parts.append(f"{_rounded(float(np.percentile(least, MOST)))}{unit} in {word}")
    return f"no change of more than {', nor of '.join(parts)}, in {MOST} % of it"


def ball(known: Reduced, pixels: float) -> list[float]:
    """How much of a ball's change each of `SCALES` shows, between two cells, where it shows least."""
    lattice = known.lattice
    pixels = min(pixels, FILLS * lattice.step[1])
    z, y, _ = known.steps
    thin = z / y if z and y and lattice.shape[0] > 1 else 0.0
    fine = 2  # samples a pixel
    reach = math.ceil(pixels / 2 + 4 * lattice.step[1] * SCALES[-1] / 2.355) * fine
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    slices = math.ceil(pixels / 2 / thin) if thin else 0
    stack = np.stack([(rows**2 + columns**2) / fine**2 + (k * thin) ** 2 <= (pixels / 2) ** 2
                      for k in range(-slices, slices + 1)]).astype(np.float32)
    deep = SIGMA * lattice.step[0] if lattice.step[0] > 1 else 0.0
    gains = []
    for scale in SCALES:
        wide = 0.0 if scale == 1 else scale / 2.355
        flat = math.hypot(SIGMA, wide) * lattice.step[1] * fine
        along = math.hypot(deep, wide / lattice.apart * lattice.step[0]) if thin else 0.0
        padded = np.pad(stack, [(int(3 * along) + 1,) * 2, (0, 0), (0, 0)])
        shown = ndimage.gaussian_filter(padded, (along, flat, flat), mode="constant", truncate=3)
        off = int(lattice.step[1] * fine / 2)
        gains.append(max(1e-3, float(shown[len(shown) // 2, reach + off, reach + off])))
    return gains


def _rounded(value: float) -> str:
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


