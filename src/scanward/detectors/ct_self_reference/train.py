"""Samples of the CT self-reference detector; its loss is that of films, the loop and the bank are in `training`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scanward.detectors.ct_self_reference.reference import ACROSS, BLOCK, CHANNELS, PER_SCALE
from scanward.detectors.self_reference.train import target_of

_SWAPPED = np.arange(CHANNELS).reshape(-1, PER_SCALE)[:, [0, 1, 3, 2, 4, 5, 6, 7]].ravel()
"""Gains of a transposed slice: its horizontal residual is the vertical one of the original."""
_REVERSED = np.arange(CHANNELS).reshape(-1, PER_SCALE)[:, [0, 1, 2, 3, 4, 6, 5, 7]].ravel()
"""Gains where the slice above and the one below change places."""

Planes = npt.NDArray[np.float32]


def sample(planes: Planes, gains: Planes, mask: npt.NDArray[np.bool_], corner: tuple[int, int], size: int, turn: int,
           flat: bool) -> tuple[Planes, Planes, Planes]:
    """One crop of a window: planes (3, size, size), gains (16, size / 8, size / 8), target (size / 2, size / 2).

    `planes` (3, y, x) are stabilised. `corner` and `size` are multiples of 8; `turn` in 0..15 picks one of the
    symmetries of a stack of slices. `flat` leaves out what compares slices. Targets are as those of films.
    """
    y, x = corner
    part = planes[:, y:y + size, x:x + size]
    blocks = gains[:, y // BLOCK:(y + size) // BLOCK, x // BLOCK:(x + size) // BLOCK]
    target = target_of(mask[y:y + size, x:x + size])
    if turn & 8:
        part, blocks = part[::-1], blocks[_REVERSED]
    if turn & 4:
        part, blocks, target = part.transpose(0, 2, 1), blocks[_SWAPPED].transpose(0, 2, 1), target.T
    if turn & 1:
        part, blocks, target = part[:, ::-1], blocks[:, ::-1], target[::-1]
    if turn & 2:
        part, blocks, target = part[:, :, ::-1], blocks[:, :, ::-1], target[:, ::-1]
    blocks = np.array(blocks, np.float32)
    if flat:
        blocks[list(ACROSS)] = 0
    return np.ascontiguousarray(part), blocks, np.ascontiguousarray(target)
