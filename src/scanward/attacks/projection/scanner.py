"""What a CT says of the scanner that made it: its noise, kernel and slice sensitivity, by its calmest parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.attacks.projection.beam import Kernel
from scanward.image import AIR, Image

Patches = npt.NDArray[np.float64]

SIDE = 24
"""Pixels a side of a patch, where the slices have them."""
ABOUT_MM = 30.0
"""Above and below the lesion, what is looked at."""
SLICES = 12
CALMEST = 0.15
"""Share of the patches, those of the smallest deviation: the rest shows vessels and edges, too."""
FEWEST = 8
BODY = (-980.0, 300.0)
"""Mean HU of a patch that is neither air nor bone."""
LUNG = -500.0
COARSE = 0.25
"""Of the highest frequency: below it anatomy weighs more than noise."""
CUTOFFS = np.geomspace(0.2, 2.0, 24)
"""Cycles per mm."""
BOOSTS = (0.0, 0.5, 1.0, 2.0, 4.0)
ALIKE = (0.02, 0.86)
"""Correlations of neighbouring slices that are believed: at most those of slices three times as thick as they are
apart."""
FWHM = 2 * math.sqrt(2 * math.log(2))
"""Of a Gaussian, in its deviations."""
WATER = 0.02
"""Attenuation of water per mm, at about 65 keV."""


@dataclass(frozen=True)
class Scanner:
    """How a scan was made, about a place."""

    noise: float
    """Deviation of the lung's noise in HU."""
    kernel: Kernel
    thickness: float
    """Width in mm of the slice sensitivity profile, at half its height."""

    def to_json(self) -> dict[str, float]:
        """JSON values, rounded to what is known of them."""
        return {"noise": round(self.noise, 1), "cutoff": self.kernel.cutoff, "boost": self.kernel.boost,
                "thickness": round(self.thickness, 2)}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Scanner:
        """From what `to_json` gave."""
        return cls(kept["noise"], Kernel(kept["cutoff"], kept["boost"]), kept["thickness"])


def scanner_of(host: Image, centre: tuple[float, float, float]) -> Scanner:
    """The scanner about a place (z, y, x) of a CT of known spacing. Where nothing is calm, a soft kernel without noise.

    Quantum noise is white in the projections, so its power after filtered back projection is f·A(f)² (Riederer et al.
    1978): the kernel A is read out of the noise's spectrum. Neighbouring slices share the noise of what both see.
    """
    high, step = (host.spacing or (1.0,) * 3)[0], math.sqrt(math.prod((host.spacing or (1.0,) * 3)[1:]))
    depth, height, width = host.shape
    reach = max(1, math.ceil(ABOUT_MM / high))
    first, last = max(0, round(centre[0]) - reach), min(depth, round(centre[0]) + reach + 1)
    chosen = np.unique(np.linspace(first, max(first, last - 2), SLICES).astype(int))
    side = min(SIDE, max(8, min(height, width) // 8))
    if min(height, width) < side:
        return Scanner(0.0, Kernel(0.5), high)
    here = _patches(host.pixels[chosen], side)
    above = _patches(host.pixels[np.minimum(chosen + 1, depth - 1)], side)
    inside = (here.mean((1, 2)) > BODY[0]) & (here.mean((1, 2)) < BODY[1]) & (here.min((1, 2)) > AIR)
    here, above = here[inside], above[inside]
    if len(here) < FEWEST:
        return Scanner(0.0, Kernel(0.5), high)
    level, rest, next_rest = here.mean((1, 2)), _flattened(here), _flattened(above)
    spread = rest.std((1, 2))
    calm = np.zeros(len(rest), bool)
    for kind in (level < LUNG, level >= LUNG):
        if kind.sum() >= FEWEST:
            calm |= kind & (spread <= np.quantile(spread[kind], max(CALMEST, FEWEST / kind.sum())))
    if not calm.any() or not spread[calm].max() > 0:
        return Scanner(0.0, Kernel(0.5), high)
    in_lung = calm & (level < LUNG)
    noise = float(np.median(spread[in_lung if in_lung.any() else calm]))
    return Scanner(noise, _kernel_of(rest[calm], step), _thickness_of(rest[calm], next_rest[calm], high))


def _patches(planes: npt.NDArray[np.float32], side: int) -> Patches:
    """(n, side, side) of planes (slices, y, x), side by side."""
    rows, columns = planes.shape[1] // side, planes.shape[2] // side
    cut = planes[:, :rows * side, :columns * side].reshape(len(planes), rows, side, columns, side)
    return cut.swapaxes(2, 3).reshape(-1, side, side).astype(np.float64)


def _flattened(patches: Patches) -> Patches:
    """Without their slow trend, a quadratic in (y, x)."""
    side = patches.shape[1]
    y, x = np.mgrid[:side, :side] / side - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]).reshape(6, -1)
    basis, _ = np.linalg.qr(terms.T)
    flat = patches.reshape(len(patches), -1)
    # not by matrix products: sums of several threads differ in the last bit, and a forgery must replay
    trend = np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", flat, basis), basis)
    return np.asarray(flat - trend).reshape(patches.shape)


def _kernel_of(patches: Patches, step: float) -> Kernel:
    """The kernel whose noise has the patches' spectrum, `step` mm a pixel."""
    side = patches.shape[1]
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    power = np.square(np.abs(np.fft.fft2(patches * window))).mean(0).ravel()
    axis = np.fft.fftfreq(side, step)
    frequency = np.hypot(axis[:, None], axis).ravel()
    top = 0.5 / step
    bins = ((frequency / top) * (side / 2)).astype(int)
    found = []
    for number in range(math.ceil(COARSE * side / 2), side // 2):
        ring = bins == number
        found.append((frequency[ring].mean(), power[ring].mean()))
    f, measured = np.array(found).T
    wanted = np.log(np.maximum(measured, 1e-3 * measured.max())) - np.log(f)
    best, least = Kernel(0.5), math.inf
    for cutoff in CUTOFFS:
        for boost in BOOSTS:
            kernel = Kernel(float(cutoff), boost)
            missed = float((wanted - 2 * np.log(np.maximum(kernel(f), 1e-6))).std())
            if missed < least:
                best, least = kernel, missed
    return best


def _thickness_of(patches: Patches, above: Patches, high: float) -> float:
    """Of slices `high` mm apart, by what the patches' fine noise has in common with that of the slice above: Gaussian
    profiles of deviation σ that lie s apart share exp(-s² / 4σ²) of it."""
    fine, other = (part - ndimage.uniform_filter(part, (0, 3, 3)) for part in (patches, above))
    both = np.sqrt((fine**2).sum((1, 2)) * (other**2).sum((1, 2)))
    common = float(np.median((fine * other).sum((1, 2)) / np.maximum(both, 1e-9)))
    return FWHM * high / (2 * math.sqrt(-math.log(min(max(common, ALIKE[0]), ALIKE[1]))))


def paths(host: Image, centre: tuple[float, float, float], angles: npt.NDArray[np.float64]) -> Patches:
    """How the noise of the rays through a place differs with their angle: relative variances (angles,), 1 on average.

    A ray's variance goes with the attenuation on its way; scanners modulate their current by the root of it, which
    leaves the root (Kalender et al. 1999).
    """
    z, y, x = centre
    _, sy, sx = host.spacing or (1.0, 1.0, 1.0)
    plane = host.pixels[min(max(round(z), 0), host.shape[0] - 1)]
    reach = math.hypot(plane.shape[0] * sy, plane.shape[1] * sx)
    along = np.linspace(-reach, reach, 400)
    rows, columns = (np.rint(place + np.outer(way, along) / step).astype(int) for place, way, step in (
        (y, np.cos(angles), sy), (x, -np.sin(angles), sx)))
    inside = (rows >= 0) & (rows < plane.shape[0]) & (columns >= 0) & (columns < plane.shape[1])
    hu = np.where(inside, plane[rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1)], -1000.0)
    attenuation = WATER * np.clip(1 + hu / 1000, 0, 3).sum(1) * (along[1] - along[0])
    variance = np.exp((attenuation - attenuation.max()) / 2)
    return np.asarray(variance / variance.mean(), np.float64)
