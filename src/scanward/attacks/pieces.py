"""Connected pieces of what an attack changes: a lesion is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def piece_at(mask: Mask, centre: Sequence[float], spacing: Sequence[float]) -> Mask:
    """The largest of the pieces of a mask (z, y, x), voxels joined by their faces, or of two equally large ones that
    nearer to `centre`, in voxels of the mask; empty where the mask is."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    numbers = np.flatnonzero(sizes == sizes.max()) + 1
    away = [min(np.linalg.norm((np.argwhere(labels == n) - centre) * spacing, axis=1)) for n in numbers]
    return np.asarray(labels == numbers[int(np.argmin(away))])
