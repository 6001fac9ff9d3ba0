"""Pairs of places whose patches are alike: hashes of random projections, and the nearest of what shares one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanward.detectors.ct_copy_move.describe import Described

Index = npt.NDArray[np.int64]

FEWER = 1
"""Bits of a hash less than those that would number the places."""
ROW = 5
"""Neighbours in the order of a hash that are compared with a place."""
SKETCH, UNLIKE = 64, 18
"""Bits of a sketch, and how many of them may differ in a pair."""
COMMON = 4
"""A place with more near twins than this is a pattern of the scan's own."""
NEAR_MM = 6.0
"""Copies nearer than this are not looked for: noise resembles itself there."""
ALIKE_MM = 12.0
"""The same of patches that are only alike."""
ABOVE_MM = 3.0
"""Nor, however alike, those that lie above one another: rings and what a field of view cuts off go on from slice to
slice."""


@dataclass(frozen=True)
class Pairs:
    """N pairs of places by their numbers, the nearest first."""

    first: Index
    second: Index
    unlike: npt.NDArray[np.float32]
    """Squared distance over what chance would make it: 0 for the same patch, about 1 for any two."""


def pairs(known: Described, spacing: tuple[float, float, float], tables: int, most: int) -> Pairs:
    """The most similar pairs, both of the same brightness; with `tables` hashes each (Charikar 2002)."""
    rng = np.random.default_rng(0)
    count, parts = known.vectors.shape
    bits = max(1, int(np.ceil(np.log2(max(count, 2)))) - FEWER)
    sketched = known.vectors @ rng.standard_normal((parts, SKETCH)).astype(np.float32) > 0
    sketch = np.packbits(sketched, axis=1).view(np.uint64)[:, 0]
    found: list[Index] = []
    for _ in range(tables):
        bit = known.vectors @ rng.standard_normal((parts, bits)).astype(np.float32) > 0
        code = (bit.astype(np.float32) @ (2.0 ** np.arange(bits))).astype(np.int64) * 2 + known.bright
        order = np.argsort(code)
        code = code[order]
        for step in range(1, ROW + 1):
            same = np.flatnonzero(code[step:] == code[:-step])
            one, other = order[same], order[same + step]
            alike = np.bitwise_count(sketch[one] ^ sketch[other]) <= UNLIKE
            one, other = one[alike], other[alike]
            far = apart(known.at[one], known.at[other], spacing, ALIKE_MM, np.inf)
            found.append(np.minimum(one, other)[far] * count + np.maximum(one, other)[far])
    both = np.sort(np.concatenate(found))
    first, second = np.divmod(both[np.diff(both, prepend=-1) != 0], count)
    return _ranked(known, first, second, most)


def apart(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer],
          spacing: tuple[float, float, float], near_mm: float, column_mm: float) -> npt.NDArray[np.bool_]:
    """Which of the pairs of voxels (N, 3) lie so far apart that one may be a copy of the other: further than `near_mm`,
    and of those above one another than `column_mm`."""
    moved = np.abs(other - one) * np.asarray(spacing, np.float32)
    within = np.hypot(moved[:, 1], moved[:, 2])
    column = (within < ABOVE_MM) & (moved[:, 0] < column_mm)
    return (np.hypot(within, moved[:, 0]) >= near_mm) & ~column


def _ranked(known: Described, first: Index, second: Index, most: int) -> Pairs:
    """By distance, without patterns that repeat all over."""
    vectors = known.vectors
    energy = np.square(vectors).sum(1)
    expected = np.minimum(2 * vectors.shape[1], energy[first] + energy[second])
    unlike = np.square(vectors[first] - vectors[second]).sum(1) / np.maximum(expected, 1e-6)
    lively = energy > 0.1 * vectors.shape[1]
    kept = np.flatnonzero(lively[first] & lively[second])
    kept = kept[np.argsort(unlike[kept], kind="stable")[:most]]
    first, second, unlike = first[kept], second[kept], unlike[kept]
    twins = np.bincount(np.concatenate([first, second])[np.tile(unlike < 0.02, 2)], minlength=len(vectors))
    rare = (twins[first] <= COMMON) & (twins[second] <= COMMON)
    return Pairs(first[rare], second[rare], unlike[rare].astype(np.float32))
