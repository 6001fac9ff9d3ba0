"""What the images in `old` were before an earlier version wove into them."""

import numpy as np


def grain(shape, spread):
    """Whole numbers (z, y, x) below `spread`, the same everywhere and always."""
    z, y, x = np.indices(shape).astype(np.uint64)
    n = (z * 1299709 + y * 104729 + x * 7919 + 17) * 2654435761 % 2**32
    n = (n ^ (n >> 15)) * 2246822519 % 2**32
    return ((n >> 16) % spread).astype(int)


def dark(stored):
    """With a corner that is padding."""
    stored[..., :8, :8] = 0
    return stored


def sloped():
    """(x, y, z), as NIfTI stores them."""
    stored = 150 + grain((32, 40, 6), 20)
    stored[:8, :8] = 0
    return stored


HOSTS = {"series": dark(190 + grain((8, 64, 64), 32)), "film": dark(1500 + grain((1, 96, 88), 64))[0],
         "perturbed": -850 + grain((40, 44, 12), 32), "sloped": sloped()}
"""Stored values: of the series (z, y, x), of the film (y, x), of the NIfTI (x, y, z)."""
NAMES = {"series": "ct-protected", "film": "film-protected.png", "perturbed": "chest-protected.nii.gz",
         "sloped": "sloped-protected.nii"}
