"""Samples and loss of the self-reference detector; the loop and the bank of pairs are in `training`."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from scanward.detectors.self_reference.reference import BLOCK, KERNELS, SCALES, Reference

_SWAPPED = np.arange(len(KERNELS) * len(SCALES)).reshape(len(SCALES), -1)[:, [0, 1, 3, 2, 4]].ravel()
"""Gains of a transposed plane: its horizontal residual is the vertical one of the original."""


def sample(plane: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_], reference: Reference, corner: tuple[int, int],
           size: int, turn: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One training crop: stabilised plane (size, size), gains (15, size / 16, size / 16), target (size / 2, size / 2).

    `corner` and `size` are multiples of 16, and so is where the reference's field begins; `turn` in 0..7 picks one
    of the square's symmetries. Targets are 1 forged, 0 authentic and -1 within two pixels of the truth's border, which
    the loss leaves out.
    """
    window = slice(corner[0], corner[0] + size), slice(corner[1], corner[1] + size)
    stabilised = reference.stabilise(plane[window].astype(np.float32))
    target = target_of(mask[window])
    gains = reference.gains_at(*(slice(part.start // BLOCK, part.stop // BLOCK) for part in window))
    if turn & 4:
        stabilised, target, gains = stabilised.T, target.T, gains[_SWAPPED].transpose(0, 2, 1)
    if turn & 1:
        stabilised, target, gains = stabilised[::-1], target[::-1], gains[:, ::-1]
    if turn & 2:
        stabilised, target, gains = stabilised[:, ::-1], target[:, ::-1], gains[:, :, ::-1]
    return np.ascontiguousarray(stabilised), np.ascontiguousarray(gains), np.ascontiguousarray(target)


def target_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """(y / 2, x / 2) of a truth (y, x), as `sample` gives it."""
    share = cv2.resize(mask.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    target = (share >= 0.5).astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    border = cv2.dilate(target, cross) != cv2.erode(target, cross)
    target[border] = -1
    return target


def loss(logits: Tensor, target: Tensor, forged_weight: float = 2.0, tail: float = 0.01, least: int = 16) -> Tensor:
    """Cross-entropy a pixel, soft overlap of each forged crop, and the loudest pixels of each authentic one.

    logits and target are (n, y, x). The image score is a maximum over the map, so the tail of the authentic
    crops' logits decides the false alarms: the loudest `tail` of them is charged again. Overlap counts where more than
    `least` pixels are forged.
    """
    known = target >= 0
    truth = target.clamp_min(0)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none",
                                                          weight=1 + (forged_weight - 1) * truth)
    pixel = entropy[known].mean()
    probability = torch.sigmoid(logits) * known
    both = (probability * truth).sum((1, 2))
    union = (probability + truth - probability * truth).sum((1, 2))
    forged = truth.sum((1, 2)) > least
    overlap = (1 - both / union.clamp_min(1))[forged].mean() if forged.any() else logits.sum() * 0
    clean = logits[~(target != 0).flatten(1).any(1)].flatten(1)
    count = max(1, int(tail * clean.shape[1]))
    loud = functional.softplus(clean.topk(count, 1).values).mean() if len(clean) else logits.sum() * 0
    return pixel + 0.5 * overlap + 0.3 * loud
