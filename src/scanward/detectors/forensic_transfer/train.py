"""Samples of Mammo-ForensicTransfer; the loop and the bank of pairs are in `training`, the loss in `network.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scanward.detectors.forensic_transfer.detect import network_input

LEAST_SHARE = 0.05
"""A tile counts as forged from this share of forged pixels on; tiles with less, but some, are left out."""


def sample(plane: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_], white: float, highpass: bool,
           turn: int) -> tuple[npt.NDArray[np.float32], float] | None:
    """Network input (c, 256, 256) of one tile and its label (1 forged, 0 authentic), or None for a tile left out.

    `turn` in 0..7 picks one of the square's symmetries.
    """
    share = float(mask.mean())
    if 0 < share < LEAST_SHARE:
        return None
    values = plane.astype(np.float32) / np.float32(max(white, 1.0))
    if turn & 4:
        values = values.T
    values = np.ascontiguousarray(values[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1])
    height, width = values.shape
    return network_input(values, (0, height, 0, width), highpass), float(share > 0)
