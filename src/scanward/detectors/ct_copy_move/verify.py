"""From a pair of alike patches to two regions that hold the same noise: the transform, its reach, its false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.detectors.ct_copy_move.describe import Described, Mask, Volume
from scanward.detectors.ct_copy_move.pairs import Pairs

Points = npt.NDArray[np.float64]

BLOCK = 16
"""Pixels a side of the blocks that noise is measured in."""
QUIETER = 0.5
"""Share of the noise measured in a block that may really be there: anatomy is counted with it."""
BALL_PX, BALL_MM = 3, 2.5
"""Reach of the first look at a pair, within the slice and across slices."""
QUARTER = math.radians(20)
"""Turns nearer than this to one by quarters are taken for it, to begin with."""
SURE = -1.0
"""Decimal logarithm of the chance of what is hardly chance."""
SNAP = 0.2
"""Voxels that the parabolas of two peaks may be off by."""
GROW_MM = 16.0
"""Reach of a region about the place that it was found at."""
FURTHEST = 40
"""The same in voxels, whatever the header says that these measure."""
FINE, COARSE = ((3, 0.12), (5, 0.35)), ((3, 0.1), (3, 0.18))
"""Pixels a side of the windows that grain is compared in, and what may be left of the noise in them. Coarse grain is
anatomy's too, and along an edge that much more may be left of it."""
WIDE = 7
"""Pixels a side of the windows that say how much grain there is."""
LEAST = 0.01
"""Square HU of noise, for there to be any."""
FAINT = 0.1
"""Of the scan's usual noise: where less is, nothing is compared."""
QUARTILE = 0.3186
"""Of a normal distribution's magnitudes, in its deviations."""
ROUNDED = 2e-3
"""Of the noise: what rounding alone leaves."""


@dataclass(frozen=True)
class Field:
    """The part of a scan that is compared, through one filter."""

    grain: Volume
    inside: Mask
    noise: Volume
    """Variance of the grain's noise, HU², of each block of each slice."""
    spacing: tuple[float, float, float]
    least: float
    """Mean square of grain, HU², below which there is none to compare: air that was cut off at a value, padding."""
    share: float
    """Independent values a voxel of grain."""
    tests: float
    """Decimal logarithm of the pairs of places and of transforms."""
    levels: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Move:
    """Where a place comes to lie: in the slice, as x + iy, q + a (w - p), or of conj(w - p) where it is mirrored."""

    source: tuple[float, float, float]
    target: tuple[float, float, float]
    a: complex
    mirrored: bool
    flipped: bool
    """Upside down."""

    def __call__(self, z: Points, y: Points, x: Points) -> tuple[Points, Points, Points]:
        """The mapped voxels."""
        away = (x - self.source[2]) + 1j * (y - self.source[1])
        moved = self.a * (away.conj() if self.mirrored else away)
        high = (self.source[0] - z) if self.flipped else (z - self.source[0])
        return high + self.target[0], moved.imag + self.target[1], moved.real + self.target[2]

    @property
    def inverse(self) -> Move:
        """The way back."""
        a = 1 / self.a
        return Move(self.target, self.source, a.conjugate() if self.mirrored else a, self.mirrored, self.flipped)

    @property
    def exact(self) -> bool:
        """Whether voxels come to lie on voxels."""
        return abs(self.a - _quarter(self.a)) < 1e-9 and all(v == round(v) for v in self.target)


@dataclass(frozen=True)
class Match:
    """Two regions that hold the same noise."""

    move: Move
    voxels: npt.NDArray[np.intp]
    """(n, 3) of the source, (z, y, x) of the part that is looked at."""
    left: float
    """Share of the noise that is left where one is taken off the other: 0 for an exact copy, 1 for any two."""
    log_nfa: float
    """Decimal logarithm of the number of such regions that an authentic scan may be expected to show."""


def field_of(grain: Volume, inside: Mask, spacing: tuple[float, float, float],
             levels: tuple[tuple[int, float], ...], doubt: float = 0.0) -> Field | None:
    """What grain is compared with; None where there is hardly any. `doubt`: decades added to the false alarms."""
    noise = _noise(grain)
    count = int(inside.sum())
    level = float(np.median(noise[_blocks(inside)])) if count else 0.0
    # a block of soft tissue, or one that a vessel fills, is louder than the lung beside it
    noise = ndimage.minimum_filter(noise, (1, 3, 3), mode="nearest")
    if level < LEAST:
        return None
    least, tests = FAINT * level, 2 * math.log10(count) + math.log10(16) + doubt
    return Field(grain, inside, np.maximum(noise, least), spacing, least, _share(grain, 3 * math.sqrt(level)), tests,
                 levels)


def _noise(grain: Volume) -> Volume:
    """Variance of each block by the lower quartile of every second pixel's magnitude, which anatomy changes little."""
    depth, height, width = grain.shape
    padded = np.pad(grain, [(0, 0), (0, -height % BLOCK), (0, -width % BLOCK)], mode="reflect")[:, ::2, ::2]
    side = BLOCK // 2
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    cut = np.abs(padded).reshape(depth, rows, side, columns, side).swapaxes(2, 3).reshape(depth, rows, columns, -1)
    quarter = cut.shape[-1] // 4
    return np.asarray(np.square(np.partition(cut, quarter, axis=-1)[..., quarter] / QUARTILE), np.float32)


def _blocks(inside: Mask) -> Mask:
    """Blocks in whose middle the mask is."""
    shape = [-(-n // BLOCK) for n in inside.shape[1:]]
    y, x = (np.minimum(np.arange(n) * BLOCK + BLOCK // 2, side - 1)
            for n, side in zip(shape, inside.shape[1:], strict=True))
    return inside[:, y[:, None], x]


def _share(grain: Volume, most: float) -> float:
    """1 / Σ ρ² over the lags within the slice and across slices: white noise has as many values as voxels."""
    some = np.clip(grain[::max(1, len(grain) // 8)], -most, most)
    power, within, across = float(np.square(some).mean()), 0.0, 1.0
    for dy in range(-3, 4):
        for dx in range(4):
            one = some[:, max(0, dy):some.shape[1] + min(0, dy), dx:]
            other = some[:, max(0, -dy):some.shape[1] + min(0, -dy), :some.shape[2] - dx]
            within += (1 if dx == 0 else 2) * (float((one * other).mean()) / power) ** 2
    for dz in range(1, min(4, len(grain))):
        starts = np.arange(0, len(grain) - dz, max(1, len(grain) // 8))
        one, other = (np.clip(grain[starts + step], -most, most) for step in (0, dz))
        across += 2 * (float((one * other).mean()) / power) ** 2
    return 1 / (within * across)


def seeds(fields: tuple[Field, ...], known: Described, found: Pairs) -> tuple[list[Move], list[Move]]:
    """The transforms of the pairs whose surroundings agree as chance hardly would in one of the fields, surest first,
    and those of the others, nearest first."""
    if not len(found.first):
        return [], []
    one, other = known.at[found.first], known.at[found.second]
    mirrored = known.mirrored[found.first] ^ known.mirrored[found.second]
    angle = known.angle[found.first]
    turn = np.where(mirrored, -angle, angle) - known.angle[found.second]
    quarter = np.round(turn / (np.pi / 2)) * (np.pi / 2)
    a = np.exp(1j * np.where(np.abs(turn - quarter) < QUARTER, quarter, turn))
    ball = _ball(fields[0].spacing)
    scores = np.stack([np.min([_agreement(field, one, other, a, mirrored, flip, ball) for field in fields], axis=0)
                       for flip in (False, True)])
    flipped = scores[1] < scores[0]
    score = scores.min(0)
    order = np.lexsort((found.unlike, np.where(score < SURE, score, 0.0)))
    tops = [np.insert(known.beside[ends], 0, 0, axis=1) for ends in (found.first, found.second)]
    moves = [_settled(Move(_point(one[n] + tops[0][n]), _point(other[n] + tops[1][n]), _snapped(complex(a[n])),
                           bool(mirrored[n]), bool(flipped[n]))) for n in order]
    sure = int((score < SURE).sum())
    return moves[:sure], moves[sure:]


def _settled(move: Move) -> Move:
    """The same from a whole voxel, and to one where it hardly misses that."""
    z, y, x = (float(round(v)) for v in move.source)
    there = [float(v) for v in move(np.array(z), np.array(y), np.array(x))]
    whole = [float(round(v)) for v in there]
    nearest = whole if max(abs(a - b) for a, b in zip(there, whole, strict=True)) < SNAP else there
    return replace(move, source=(z, y, x), target=(nearest[0], nearest[1], nearest[2]))


def _point(at: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    return float(at[0]), float(at[1]), float(at[2])


def _quarter(a: complex) -> complex:
    return min((1, 1j, -1, -1j), key=lambda unit: abs(a - unit))


def _snapped(a: complex) -> complex:
    return _quarter(a) if abs(a - _quarter(a)) < 1e-6 else a


def _ball(spacing: tuple[float, float, float]) -> Points:
    """(n, 3) offsets (z, y, x) of the first look."""
    high = min(3, int(BALL_MM / spacing[0]))
    offsets = np.mgrid[-high:high + 1, -BALL_PX:BALL_PX + 1, -BALL_PX:BALL_PX + 1].reshape(3, -1).T
    radius = np.sqrt((offsets[:, 0] / (high + 0.5)) ** 2 + (offsets[:, 1:] ** 2).sum(1) / (BALL_PX + 0.3) ** 2)
    return np.asarray(offsets[radius <= 1], np.float64)


def _agreement(field: Field, one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], a: npt.NDArray[np.complex128],
               mirrored: Mask, flip: bool, ball: Points) -> npt.NDArray[np.float64]:
    """(N,) logarithm of the chance that balls agree as well as those about each pair, on the nearest voxels."""
    away = ball[:, 2] + 1j * ball[:, 1]
    moved = a[:, None] * np.where(mirrored[:, None], away.conj(), away)
    theirs = np.stack([np.broadcast_to(-ball[:, 0] if flip else ball[:, 0], moved.shape), np.rint(moved.imag),
                       np.rint(moved.real)], -1)
    shape = np.array(field.grain.shape)
    here = (one[:, None] + ball).astype(np.intp)
    there = (other[:, None] + theirs).astype(np.intp)
    valid = ((here >= 0) & (here < shape) & (there >= 0) & (there < shape)).all(-1)
    here, there = here.clip(0, shape - 1), there.clip(0, shape - 1)
    values, noises = zip(*(_at(field, np.moveaxis(at, -1, 0)) for at in (here, there)), strict=True)
    # noise is not believed to be more than what is there: within a block it differs between lung and soft tissue
    power = [np.square(v).mean(-1) for v in values]
    whole = sum(np.minimum(p, n.mean(-1)) for p, n in zip(power, noises, strict=True))
    squared = np.square(values[0] - values[1])
    found = chance(field, squared, np.broadcast_to(whole[:, None], squared.shape), valid)[1]
    return np.where(np.minimum(*power) < field.least, 0, found)


def _at(field: Field, at: npt.NDArray[np.intp]) -> tuple[Volume, Volume]:
    """Grain and noise at voxels (3, ...)."""
    return field.grain[tuple(at)], field.noise[at[0], at[1] // BLOCK, at[2] // BLOCK]


def chance(field: Field, squared: npt.NDArray[np.floating], noise: npt.NDArray[np.floating],
           valid: Mask) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Over the last axis, what is left of the noise of two places where one is taken off the other, and log10 P of two
    independent ones leaving as little: at most (f e^(1 - f))^(n / 2), by Chernoff's bound for χ² of n values."""
    left = np.where(valid, squared, 0).sum(-1, dtype=np.float64) / np.maximum(
        np.where(valid, noise, 0).sum(-1, dtype=np.float64), 1e-9)
    f = np.clip(left / QUIETER, ROUNDED / QUIETER, 1)
    return left, 0.5 * field.share * valid.sum(-1) * (np.log10(f) + (1 - f) / math.log(10))


def refined(field: Field, move: Move) -> Move:
    """The transform near this one under which the ball about its place agrees best: copies may be moved by parts of a
    voxel, turned by a few degrees, resampled."""
    ball = 1.6 * _ball(field.spacing) * (1 / 1.6, 1, 1)

    def worth(some: Move) -> float:
        z, y, x = (ball[:, n] + some.source[n] for n in range(3))
        one, other = (ndimage.map_coordinates(field.grain, at, order=1, mode="nearest")
                      for at in ((z, y, x), some(z, y, x)))
        squared = np.square(one - other)[None]
        return float(chance(field, squared, np.full_like(squared, noise), np.ones_like(squared, np.bool_))[1][0])

    places = np.rint([move.source, move.target]).astype(np.intp).T
    places = places.clip(0, np.array(field.grain.shape)[:, None] - 1)
    noise = float(_at(field, places)[1].sum())
    best, least = move, worth(move)
    for step in (1.0, 0.5, 0.25):
        z, y, x = best.target
        tries = [replace(best, target=(z, y + dy * step, x + dx * step))
                 for dy in (-0.5, 0, 0.5) for dx in (-0.5, 0, 0.5) if dy or dx]
        tries += [replace(best, target=(z + dz * step, y, x)) for dz in (-0.5, 0.5)]
        for one in tries:
            value = worth(one)
            best, least = (one, value) if value < least else (best, least)
        for change in (*(np.exp(1j * math.radians(d * step)) for d in (-5, 5)), 1 + 0.04 * step, 1 - 0.04 * step):
            one = replace(best, a=complex(best.a * change))
            value = worth(one)
            best, least = (one, value) if value < least else (best, least)
    return best


def grown(field: Field, move: Move) -> Match | None:
    """The region about a transform's place in which grain goes on to agree; None where there is none."""
    low, high = [], []
    for place, step, length in zip(move.source, field.spacing, field.grain.shape, strict=True):
        if not 0 <= round(place) < length:
            return None
        reach = max(2, min(FURTHEST, math.ceil(GROW_MM / step)))
        low.append(max(0, round(place) - reach))
        high.append(min(length, round(place) + reach + 1))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    here = field.grain[box]
    at = move(*np.meshgrid(*(np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)),
                           indexing="ij"))
    there = ndimage.map_coordinates(field.grain, at, order=0 if move.exact else 1, mode="constant", cval=1e6)
    whole = np.rint(np.stack(at)).astype(np.intp)
    whole = whole.clip(0, np.reshape(field.grain.shape, (3, 1, 1, 1)) - 1)
    valid = field.inside[box] & field.inside[tuple(whole)]
    own = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    sides = (3 if field.spacing[0] <= 2.5 else 1, WIDE, WIDE)
    power = [ndimage.uniform_filter(np.square(np.clip(values, -1e3, 1e3)), sides) for values in (here, there)]
    noise = sum(np.minimum(_at(field, voxels)[1], one) for voxels, one in zip((np.stack(own), whole), power,
                                                                              strict=True))
    valid &= np.minimum(*power) >= field.least
    squared = np.square(here - there)
    at_z, at_y, at_x = (round(place) - a for place, a in zip(move.source, low, strict=True))
    best: Match | None = None
    for side, level in field.levels:
        region = _region(squared / np.maximum(noise, 1e-6), valid, (at_z, at_y, at_x), (sides[0], side, side), level)
        if region is None:
            continue
        left, log_chance = chance(field, squared[region][None], noise[region][None],
                                  np.ones((1, int(region.sum())), np.bool_))
        if best is None or log_chance[0] + field.tests < best.log_nfa:
            best = Match(move, np.argwhere(region) + low, float(left[0]), float(log_chance[0]) + field.tests)
    return best


def _region(left: npt.NDArray[np.floating], valid: Mask, seed: tuple[int, int, int], sides: tuple[int, int, int],
            level: float) -> Mask | None:
    """The voxels about a place in whose windows little is left, in one piece, and what of their windows' voxels is as
    alike."""
    mean = ndimage.uniform_filter(np.minimum(left, 1), sides, mode="constant", cval=1.0)
    labels, _ = ndimage.label((mean < level) & valid)
    number = labels[seed]
    if number == 0:
        return None
    core = labels == number
    return np.asarray(core | (ndimage.binary_dilation(core, np.ones(sides)) & (left < level) & valid))
