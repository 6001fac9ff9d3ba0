"""What a scanner makes of tissue: the kernel's blur, slices, and the noise of photons after filtered back projection.

No slice is projected and reconstructed whole, which would take minutes. Its noise is what that would leave, to first
order: white in each projection, it has the power f·A(f)² after filtering (Riederer et al. 1978), and from each
direction the variance of the rays that pass a place; so directions are drawn apart, each with its own map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from scanward.attacks.projection.beam import Kernel
from scanward.attacks.projection.scanner import FWHM, WATER

Plane = npt.NDArray[np.float32]
Volume = npt.NDArray[np.float32]
Axes = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]

STORED = (-1024, 3071)
"""HU that scanners store."""
SOFT = Kernel(0.30)
DIRECTIONS = 12
"""Over a half turn."""
FELT = 0.5
"""Share of a ray's attenuation that its noise feels: the tube's current follows the rest (Kalender et al. 1999)."""


@dataclass(frozen=True)
class Protocol:
    """How the phantom is scanned. Lengths in mm, frequencies in cycles per mm."""

    shape: tuple[int, int, int] = (72, 288, 288)
    spacing: tuple[float, float, float] = (2.5, 1.1, 1.1)
    kernel: Kernel = SOFT
    thickness: float = 3.0
    """Of the slice sensitivity profile, at half its height."""
    noise: float = 24.0
    """Mean deviation in HU in the scan's middle."""
    finer: int = 2
    """Heights a slice at which tissue is drawn."""

    @property
    def axes(self) -> Axes:
        """Middles (z, y, x) of what is drawn, from the scan's middle."""
        counts = self.shape[0] * self.finer, *self.shape[1:]
        steps = self.spacing[0] / self.finer, *self.spacing[1:]
        z, y, x = (np.asarray((np.arange(n) - (n - 1) / 2) * step, np.float64)
                   for n, step in zip(counts, steps, strict=True))
        return z, y, x


def scanned(tissue: Volume, protocol: Protocol, rng: np.random.Generator) -> Volume:
    """HU (z, y, x), whole numbers, of a scan of tissue in HU, which stands at the protocol's `axes`."""
    sharp = _sliced(tissue, protocol)
    white = _sliced(rng.standard_normal(tissue.shape, np.float32), protocol)
    white /= white.std()
    high, wide = protocol.shape[1:]
    fy, fx = fft.fftfreq(high, protocol.spacing[1])[:, None], fft.rfftfreq(wide, protocol.spacing[2])
    frequency = np.hypot(fy, fx)
    blur = protocol.kernel(frequency)
    power = np.sqrt(frequency) * blur
    size = np.sqrt(np.square(np.abs(fft.irfft2(power, (high, wide)))).sum())
    rays = [_Rays.of(protocol, number) for number in range(DIRECTIONS)]
    filters = [(power / size * _sector(np.arctan2(fy, fx), number)).astype(np.float32) for number in range(DIRECTIONS)]
    made = np.empty(sharp.shape, np.float32)
    for z, plane in enumerate(sharp):
        grain = fft.rfft2(white[z])
        deviation = [one.deviation(plane) for one in rays]
        middle = np.mean([np.square(one[high // 4:-high // 4, wide // 4:-wide // 4]).mean() for one in deviation])
        noise = sum(np.asarray(fft.irfft2(grain * part, plane.shape)) * one
                    for part, one in zip(filters, deviation, strict=True))
        made[z] = fft.irfft2(fft.rfft2(plane) * blur, plane.shape) + noise * (protocol.noise / np.sqrt(middle))
    return np.asarray(np.rint(made).clip(*STORED) + np.float32(0), np.float32)  # no -0.0, which files do not keep


def _sliced(fine: Volume, protocol: Protocol) -> Volume:
    """Means over the slice sensitivity profile, a Gaussian."""
    sigma = protocol.thickness / FWHM / protocol.spacing[0] * protocol.finer
    calm = ndimage.gaussian_filter1d(fine, sigma, axis=0, mode="nearest")
    return np.ascontiguousarray(calm.reshape(-1, protocol.finer, *fine.shape[1:]).mean(1))


def _sector(turn: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.float64]:
    """How much frequencies of an angle belong to a direction; 1 over all of them."""
    away = np.abs((turn / np.pi * DIRECTIONS - number + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2)
    return np.asarray((1 - away).clip(0), np.float64)


@dataclass(frozen=True)
class _Rays:
    """Those of one direction."""

    bins: npt.NDArray[np.intp]
    """(y, x): the detector's cell that each pixel falls on."""
    step: float
    """Millimetres a pixel that lies on a ray, and between rays."""

    @classmethod
    def of(cls, protocol: Protocol, number: int) -> _Rays:
        y, x = np.meshgrid(*protocol.axes[1:], indexing="ij")
        turn, step = np.pi * number / DIRECTIONS, protocol.spacing[1]
        at = (np.cos(turn) * x + np.sin(turn) * y) / step
        return cls(np.rint(at - at.min()).astype(np.intp), step)

    def deviation(self, plane: Plane) -> Plane:
        """Of the noise that these rays leave at each pixel (y, x) of a slice in HU, 1 where nothing absorbs."""
        water = (1 + plane / 1000).clip(0, 3)
        sums = np.bincount(self.bins.ravel(), water.ravel()) * (WATER * self.step)
        return np.exp(0.5 * FELT * ndimage.gaussian_filter1d(sums, 1.0)).astype(np.float32)[self.bins]
