"""`CtCopyMove`: the detector that puts patches, pairs and regions together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import Lungs, inside
from scanward.box import told
from scanward.detectors.base import regions
from scanward.detectors.ct_copy_move.describe import Mask, Patches, Volume, across, describe, detail, fine, places
from scanward.detectors.ct_copy_move.pairs import pairs
from scanward.detectors.ct_copy_move.slices import repeated, resampled
from scanward.detectors.ct_copy_move.stored import equal, twins
from scanward.detectors.ct_copy_move.verify import COARSE, FINE, Field, Match, Move, field_of, grown, refined, seeds
from scanward.image import Image
from scanward.verdict import Evidence, untold

NAME = "ct-copy-move"
THRESHOLD = HEAT_THRESHOLD = 0.5
THIN_MM = 1.5
"""Slices up to this far apart are compared with those above and below, too."""
AROUND = 8
"""Pixels about the lungs that are looked at."""
ANATOMY = 8.0
"""Decades that a match of coarse grain must be surer by, since anatomy that was resampled has some in common."""
EDGE_MM = 5.0
"""From the edge of the lungs, where coarse grain is not compared."""
BORDER = 8
"""Pixels at the border of the slices that are not: what a field of view cuts off looks alike from slice to slice."""
LOWEST = 0.7
"""Deviations of the grain that a place stands out by, at least."""
_RINGS = (1.25, 2.5, 3.75, 5.0)
PATCHES = {True: Patches(_RINGS, 5, 3, 40, 120_000), False: Patches(_RINGS, 5, 1, 32, 120_000)}
"""By whether slices are thin."""
TABLES = 12
"""Hashes that patches are compared by."""
PAIRS, GROWN, REFINED = 3000, 100, 12
"""Pairs of patches that are looked at, transforms that are grown of those that are likely, and of the others, once they
were refined."""
LOG_NFA = -3.0
"""Decimal logarithm of the false alarms that one authentic scan may be expected to give: the threshold."""
SLOPE = 2.0
"""Decades of false alarms from the threshold over which the score's odds change tenfold."""
FAINT = 0.01
"""Below this score the heat is left at zero."""


@dataclass(frozen=True)
class Part:
    """The box about the lungs."""

    volume: Volume
    inside: Mask
    deep: Mask
    """The lungs without what lies near their edge, along which compression leaves the same traces in many slices."""
    corner: tuple[int, int, int]


class CtCopyMove:
    """Finds regions of the lungs that one chest CT shows twice, also mirrored, turned, or upside down, and slices that
    repeat.

    Noise is compared, not anatomy: two places never share their noise, a copy does. Both places are marked, since the
    pixels do not tell which is the original.
    """

    name = NAME

    def load(self) -> None:
        """Nothing: it is untrained, and its libraries came with the module."""

    def detect(self, image: Image) -> Evidence:
        """Judge one chest CT; a CT without lungs does not concern it."""
        start = time.perf_counter()
        lungs = lungs_alone(image)
        if not lungs.mask.any():
            return _nothing(image, "No lungs were found in this CT.", start, concerned=False)
        if image.spacing is None:
            return _nothing(image, "The file does not say how large a voxel is, which the detector goes by.", start)
        part = _part(image, lungs)
        if resampled(part.volume):
            return _nothing(image, "Many of its slices repeat the one before, as resampling makes them.", start)
        view = _view(part, image.spacing)
        if view is None:
            return _nothing(image, "The lungs hold too little noise to compare.", start)
        twice = repeated(part.volume)
        return _answer(image, part, _matches(view, {z for _, z in twice}), twice, start)


@dataclass(frozen=True)
class View:
    """A part through the filters that its noise is compared in."""

    part: Part
    coarse: Volume
    fields: tuple[Field, Field]
    """Fine, and coarse, which outlives compression."""
    thin: bool


def _view(part: Part, spacing: tuple[float, float, float]) -> View | None:
    thin = spacing[0] <= THIN_MM
    if min(part.volume.shape[1:]) < 32:
        return None
    coarse, sharp = detail(part.volume), fine(part.volume)
    fields = (field_of(across(sharp) if thin else sharp, part.inside, spacing, FINE),
              field_of(coarse, part.deep, spacing, COARSE, ANATOMY))
    return None if fields[0] is None or fields[1] is None else View(part, coarse, (fields[0], fields[1]), thin)


def _part(image: Image, lungs: Lungs) -> Part:
    used = [np.flatnonzero(lungs.mask.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    low, high = [int(used[0][0])], [int(used[0][-1]) + 1]
    for where, step, length in zip(used[1:], lungs.step[1:], image.shape[1:], strict=True):
        low.append(max(0, int(where[0] * step) - AROUND))
        high.append(min(length, math.ceil((where[-1] + 1) * step) + AROUND))
    z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
    mask = np.stack([inside(lungs, k, image.shape[1:])[y, x] for k in range(low[0], high[0])])
    mask &= _middle(image.shape[1:])[y, x]
    size = image.shape[:0:-1]
    far = np.stack([cv2.resize((lungs.depth[k] > EDGE_MM).view(np.uint8), size, interpolation=cv2.INTER_NEAREST)[y, x]
                    for k in range(low[0], high[0])]).view(np.bool_)
    return Part(np.ascontiguousarray(image.pixels[z, y, x]), mask, mask & far, (low[0], low[1], low[2]))


def _middle(shape: tuple[int, ...]) -> Mask:
    """(y, x) of a slice, without its border."""
    made = np.zeros(shape, np.bool_)
    made[BORDER:-BORDER, BORDER:-BORDER] = True
    return made


def _matches(view: View, without: set[int]) -> list[Match]:
    """Regions that occur twice, surest first; slices that repeat as a whole are left out of the comparison."""
    looked = view.part.inside.copy()
    looked[list(without)] = False
    found = Found(np.zeros(looked.shape, np.bool_), [])
    spacing, tests = view.fields[0].spacing, view.fields[0].tests
    for move in found.new(twins(view.part.volume, looked, spacing), GROWN):
        found.take(equal(view.part.volume, looked, move, spacing, tests))
    likely, others = _seeds(view, looked & view.part.deep)
    for move in found.new(likely, GROWN):
        if not found.take(_surest(view, move)):
            others.insert(0, move)
    for move in found.new(others, REFINED):
        found.take(_surest(view, refined(view.fields[1], move)))
    return sorted(found.matches, key=lambda match: match.log_nfa)


def _surest(view: View, move: Move) -> Match | None:
    """The surest region of a transform; of one between voxels there and back, since a copy that was interpolated is
    like its source only once that is interpolated, too."""
    ways = (move,) if move.exact else (move, move.inverse)
    found = (grown(field, way) for field in view.fields for way in ways)
    return min((match for match in found if match), key=lambda match: match.log_nfa, default=None)


@dataclass
class Found:
    """What was found so far."""

    taken: Mask
    matches: list[Match]

    def new(self, moves: list[Move], most: int) -> Iterator[Move]:
        """Those, up to so many, that do not repeat what was found by then."""
        for move in moves:
            if most and not all(self.taken[tuple(int(v) for v in place)] for place in (move.source, move.target)):
                most -= 1
                yield move

    def take(self, match: Match | None) -> bool:
        """Keep what is not far from being sure, and say whether it is."""
        if match is None or match.log_nfa > LOG_NFA + 4 * SLOPE:
            return False
        self.matches.append(match)
        if match.log_nfa >= LOG_NFA:
            return False
        source, copy = laid(match, self.taken.shape)
        self.taken |= _wider(source | copy)
        return True


def _seeds(view: View, looked: Mask) -> tuple[list[Move], list[Move]]:
    """Transforms of alike patches, likely ones and others."""
    if not looked.any():
        return [], []
    usual = math.sqrt(float(np.median(np.square(view.coarse[looked][::97])))) / 0.6745
    at = places(view.coarse, looked, LOWEST * usual)
    if len(at) < 8:
        return [], []
    known = describe(view.part.volume, view.coarse, at, PATCHES[view.thin])
    alike = pairs(known, view.fields[0].spacing, TABLES, PAIRS)
    return seeds(view.fields, known, alike)


def laid(match: Match, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """The source and the copy, (z, y, x) of the part that is looked at."""
    made = []
    z, y, x = match.voxels.T.astype(np.float64)
    for at in ((z, y, x), match.move(z, y, x)):
        mask = np.zeros(shape, np.bool_)
        mask[tuple(np.rint(v).astype(np.intp).clip(0, n - 1) for v, n in zip(at, shape, strict=True))] = True
        made.append(mask)
    return made[0], made[1]


def _wider(mask: Mask) -> Mask:
    """The rim that a filter could not see, and what a seed just beside it would find again."""
    return np.stack([cv2.dilate(plane.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0 for plane in mask])


def _answer(image: Image, part: Part, matches: list[Match], twice: list[tuple[int, int]], start: float) -> Evidence:
    score = 1.0 if twice else _score(matches[0]) if matches else 0.0
    heat = np.zeros(image.shape, np.float32)
    if score >= FAINT:
        window = heat[tuple(slice(low, low + n) for low, n in zip(part.corner, part.volume.shape, strict=True))]
        for match in matches:
            for mask in laid(match, part.volume.shape):
                for plane, own in zip(window, mask, strict=True):
                    if own.any():
                        np.maximum(plane, _score(match) * cv2.dilate(own.view(np.uint8), np.ones((3, 3), np.uint8)),
                                   out=plane)
        for z in {z for pair in twice for z in pair}:
            window[z][part.inside[z]] = 1
    found = regions(heat, HEAT_THRESHOLD, image, NAME) if score >= THRESHOLD else ()
    sentences = [_slices(twice, part)] if twice else []
    sentences += [described(match, part, image) for match in matches[:1] if _score(match) >= THRESHOLD]
    return Evidence(NAME, score, THRESHOLD, heat, HEAT_THRESHOLD, found, reason=" ".join(sentences) if found else "",
                    seconds=time.perf_counter() - start)


def _score(match: Match) -> float:
    return float(1 / (1 + 10 ** np.clip((match.log_nfa - LOG_NFA) / SLOPE, -30, 30)))


def _slices(twice: list[tuple[int, int]], part: Part) -> str:
    first, second = (z + part.corner[0] + 1 for z in twice[0])
    more = f", and {len(twice) - 1} more pairs do" if len(twice) > 1 else ""
    return f"The slices {first} and {second} hold the same values{more}: one of the two was copied."


def described(match: Match, part: Part, image: Image) -> str:
    """Both places in voxels, the way between them in mm, and how the copy lies; which is the original is not known."""
    z, y, x = match.voxels.mean(0)
    there = tuple(float(v) for v in match.move(z, y, x))
    one, other = (told(*(round(v + low) for v, low in zip(place, part.corner, strict=True)))
                  for place in ((z, y, x), there))
    steps = image.spacing or (1.0, 1.0, 1.0)
    way = [(b - a) * step for a, b, step in zip((z, y, x), there, steps, strict=True)][::-1]
    move = match.move
    degrees = round(math.degrees(math.atan2(move.a.imag, move.a.real)))
    # x + iy mirrored by conj(): y changes its sign; a half turn more makes it x
    left = move.mirrored and abs(degrees) > 90
    turn = degrees - int(math.copysign(180, degrees)) if left else degrees
    said = ["mirrored left to right" if left else "mirrored front to back"] if move.mirrored else []
    said += [f"turned by {turn}°"] if turn else []
    said += ["upside down"] if move.flipped else []
    return (f"The lung about {one} and about {other} holds the same noise, "
            f"({', '.join(f'{v:+.1f}' for v in way)}) mm away ({', '.join(said) or 'neither mirrored nor turned'}): "
            "one of the two places is a copy of the other, and which is the original the pixels do not tell.")


def _nothing(image: Image, reason: str, start: float, concerned: bool = True) -> Evidence:
    return untold(NAME, image.shape, reason, threshold=THRESHOLD, heat_threshold=HEAT_THRESHOLD, concerned=concerned,
                  seconds=time.perf_counter() - start)
