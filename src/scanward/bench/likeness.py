"""How alike two CT are: the measures of MITS-GAN's tables, and what a protection does to a scan's statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from scanward.anatomy.lung import lungs_of
from scanward.bench.perceptual import distance
from scanward.image import Image

Volume = npt.NDArray[np.float32]
RANGE = 4096.0
"""HU that PSNR and SSIM take for the whole range. Of the published PSNR only the first agrees with its RMSE on it; the
ranges of the others are not stated."""
SIDE = 32
"""Pixels of a square that the noise power is measured in."""


@dataclass(frozen=True)
class Likeness:
    """Of one pair."""

    rmse: float
    """HU."""
    psnr: float
    """dB, on a range of 4096 HU; infinite for equal images."""
    perceptual: float
    """Of `perceptual.distance`."""
    ssim: float
    largest: float
    """HU."""

    @staticmethod
    def mean(many: list[Likeness]) -> Likeness:
        """Of each figure but the largest change, of which it is the largest."""
        made = Likeness(*(float(np.mean(column)) for column in zip(*map(astuple, many), strict=True)))
        return replace(made, largest=max(one.largest for one in many))


def likeness(before: Volume, after: Volume, slices: list[int]) -> Likeness:
    """Of two scans (z, y, x) in HU; SSIM and the perceptual distance are means over these slices."""
    rmse, psnr, ssim = closeness(before, after, slices)
    perceptual = float(np.mean([distance(before[z], after[z]) for z in slices]))
    return Likeness(rmse, psnr, perceptual, ssim, float(np.abs(after - before).max()))


def closeness(before: Volume, after: Volume, slices: Sequence[int]) -> tuple[float, float, float]:
    """RMSE in HU, PSNR in dB and SSIM of two scans (z, y, x) in HU; SSIM is the mean over these slices."""
    rmse = float(np.sqrt(((after - before).astype(np.float64)**2).mean()))
    psnr = float(20 * np.log10(RANGE / rmse)) if rmse else float("inf")
    return rmse, psnr, float(np.mean([structural_similarity(before[z], after[z], data_range=RANGE) for z in slices]))


@dataclass(frozen=True)
class Harm:
    """What became of a scan's lungs."""

    mean: float
    """Change of the mean HU in the lungs."""
    deviation: float
    """Of the deviation there, after over before."""
    noise: float
    """Power of the noise in calm squares of lung, after over before."""
    fine: float
    """The same of the upper half of its frequencies."""
    overlap: float
    """Dice of the lungs' masks."""


def harm(before: Image, after: Image) -> Harm:
    """Of two versions of one CT."""
    first, second = lungs_of(before), lungs_of(after)
    rows = np.array([np.round(first.voxel(tuple(index))).astype(int) for index in np.argwhere(first.mask)])
    a, b = (image.pixels[tuple(rows.T)].astype(np.float64) for image in (before, after))
    low, high = _power(before.pixels, rows), _power(after.pixels, rows)
    both = 2 * (first.mask & second.mask).sum() / max(1, first.mask.sum() + second.mask.sum())
    return Harm(float(b.mean() - a.mean()), float(b.std() / a.std()), float(high[0] / low[0]), float(high[1] / low[1]),
                float(both))


def _power(pixels: Volume, voxels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean power of calm squares about some of the voxels (n, 3), and of its upper half of frequencies."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    taper, found = np.hanning(SIDE)[:, None] * np.hanning(SIDE), []
    for z, y, x in voxels[np.random.default_rng(0).permutation(len(voxels))[:4000]]:
        square = pixels[z, max(0, y - SIDE // 2):y + SIDE // 2, max(0, x - SIDE // 2):x + SIDE // 2]
        if square.shape == (SIDE, SIDE):
            found.append((float(square.std()), np.abs(np.fft.fft2((square - square.mean()) * taper)) ** 2))
    calm = np.mean([power for _, power in sorted(found, key=lambda one: one[0])[:max(1, len(found) // 10)]], axis=0)
    return float(calm.mean()), float(calm[frequency > 0.25].mean())
