"""Yardsticks for forged CT that need no training: local second moments of a residual, against those of the scan's own
lungs.

Each takes a residual, its mean products over cubes of `SIDE_MM` of lung, and, as Splicebuster does (Cozzolino et al.
2015, section III), the Mahalanobis distance of each place to the rest of the scan.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from scanward import weights
from scanward.attacks.ct_diffusion.network import SCALE, Denoiser
from scanward.attacks.ct_gan.cube import AIR, METAL, Equaliser
from scanward.attacks.ct_gan.network import hole, wanted
from scanward.attacks.ct_gan.tamper import equaliser_of
from scanward.bench.ct_changes import CELL, Box
from scanward.detectors.ct_self_reference.detect import odd_sides
from scanward.detectors.ct_self_reference.reference import means
from scanward.detectors.self_reference.reference import KERNELS
from scanward.nets.blocks import filled
from scanward.nets.cube import SIDE, Cuboid, cut
from scanward.nets.diffusion import levels_at
from scanward.tiles import widened

SIDE_MM = 10.0
"""Of the cubes over which products are averaged."""
TRUNCATE = 2.0
"""Residuals are cut at ± this many of their own robust deviations, as Splicebuster cuts them, so that vessels do not
outshout noise."""
OFTEN = 0.9
"""Share of the lungs that their own statistics are fitted to; the rest may be forged."""
REACH = 3
"""Voxels that a residual, or a product of two, looks beyond its own."""
Volume = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]


class Moments(Protocol):
    """A residual's products in cells of `CELL` pixels a side, and what is told by their means."""

    def begin(self, pixels: Volume, lung: npt.NDArray[np.bool_], spacing: Spacing) -> Volume:
        """Of a scan (z, y, x) in HU, of whole cells, and its lungs (z, y / 4, x / 4): the products (k, z, y / 4,
        x / 4)."""
        ...

    def again(self, pixels: Volume, box: Box) -> tuple[Volume, Box]:
        """The same after the voxels in `box` changed, and the part of it (z, y / 4, x / 4) that differs."""
        ...

    def told(self, means: Volume) -> Volume:
        """Features (f, ...) of mean products (k, ...)."""
        ...


class _Local:
    """Products that depend on nothing but the voxels around."""

    limit: float
    products: Volume

    def begin(self, pixels: Volume, lung: npt.NDArray[np.bool_], spacing: Spacing) -> Volume:
        """As `Moments.begin`."""
        del spacing
        some = slice(None, None, max(1, len(pixels) // 40))
        sizes = np.abs(self.residual(pixels[some]))
        known = sizes[..., lung[some].repeat(side := sizes.shape[-1] // lung.shape[-1], 1).repeat(side, 2)]
        self.limit = TRUNCATE * float(np.median(known)) / 0.6745
        self.products = self.moments(pixels)
        return self.products

    def again(self, pixels: Volume, box: Box) -> tuple[Volume, Box]:
        """As `Moments.again`; where residuals are cut stays: a forgery hardly moves a median of millions."""
        z, y, x = (widened(part, REACH, side) for part, side in zip(box, pixels.shape, strict=True))
        inner = z, _whole(y), _whole(x)
        outer = widened(z, REACH, len(pixels)), *(
            widened(part, CELL, side) for part, side in zip(inner[1:], pixels.shape[1:], strict=True))
        found = self.moments(pixels[outer])
        here = [_cells(slice(a.start - b.start, a.stop - b.start)) for a, b in zip(inner[1:], outer[1:], strict=True)]
        layers = slice(z.start - outer[0].start, z.stop - outer[0].start)
        changed, part = self.products.copy(), (z, _cells(inner[1]), _cells(inner[2]))
        changed[(slice(None), *part)] = found[(slice(None), layers, *here)]
        return changed, part

    def residual(self, pixels: Volume) -> Volume:
        """(n, z, y, x) or (n, z, y / 2, x / 2) of a scan (z, y, x)."""
        raise NotImplementedError

    def moments(self, pixels: Volume) -> Volume:
        """(k, z, y / 4, x / 4) of a scan (z, y, x)."""
        raise NotImplementedError


class Npr(_Local):
    """Neighbouring-pixel relations (Tan et al. 2024, eq. 3): what a slice differs by from its every second pixel,
    brought back to size by repeating; the second moments of the three differences in each 2×2. The published method
    trains a network on them."""

    PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))

    def residual(self, pixels: Volume) -> Volume:
        """(3, z, y / 2, x / 2)."""
        first = pixels[:, ::2, ::2]
        return np.stack([pixels[:, ::2, 1::2] - first, pixels[:, 1::2, ::2] - first, pixels[:, 1::2, 1::2] - first])

    def moments(self, pixels: Volume) -> Volume:
        """(6, z, y / 4, x / 4)."""
        cut_off = np.clip(self.residual(pixels), -self.limit, self.limit)
        return np.stack([means(cut_off[i] * cut_off[j], CELL // 2) for i, j in self.PAIRS])

    def told(self, means: Volume) -> Volume:
        """Log energies and correlations, (6, ...)."""
        energies = np.maximum(means[:3], 1e-3)
        return np.concatenate([np.log(energies), np.stack([
            means[n] / np.sqrt(energies[i] * energies[j]) for n, (i, j) in enumerate(self.PAIRS[3:], 3)])])


class Covariance(_Local):
    """The noise residual's local covariance, after Splicebuster and Noiseprint (Cozzolino & Verdoliva 2020, section
    V): a high-pass of each slice, its products with itself at `LAGS`. Splicebuster counts co-occurrences of four
    pixels; Noiseprint's residual is a network's, trained on photographs of 125 cameras."""

    LAGS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1), (0, 0, 2), (0, 2, 0), (1, 0, 0))
    """(z, y, x) voxels."""

    def residual(self, pixels: Volume) -> Volume:
        """(1, z, y, x)."""
        planes = [cv2.filter2D(np.ascontiguousarray(plane), -1, KERNELS[0], borderType=cv2.BORDER_REPLICATE)
                  for plane in pixels]
        return np.asarray(planes, np.float32)[None]

    def moments(self, pixels: Volume) -> Volume:
        """(8, z, y / 4, x / 4)."""
        own = np.clip(self.residual(pixels)[0], -self.limit, self.limit)
        wide = np.pad(own, ((0, 1), (0, 2), (2, 2)))
        depth, high, across = own.shape
        return np.stack([means(own * wide[dz:dz + depth, dy:dy + high, 2 + dx:2 + dx + across], CELL)
                         for dz, dy, dx in self.LAGS])

    def told(self, means: Volume) -> Volume:
        """The log energy and the correlations at the lags, (8, ...)."""
        energy = np.maximum(means[:1], 1e-3)
        return np.concatenate([np.log(energy), means[1:] / energy])


class OneStep:
    """What one reverse step of diffusion, without noise added, takes off, after Back-in-Time Diffusion (Grabovski et
    al. 2024).

    Theirs: a 2-D model trained for 700,000 steps on authentic crops, which is shown crops centred on the place that is
    asked about. Here: the attacker `ct-diffusion`'s own model, which completes the middle 20³ of cubes of 1 mm voxels
    and was trained on that alone, shown that middle as if it were its noisy state at `TIME`, cube beside cube over the
    whole lungs.
    """

    TIME = 0.1
    """Of [0, 1]; noise then has a sixth of the signal's amplitude."""
    STEP = 20
    """Millimetres between cubes, and voxels of their middles."""
    BATCH = 16

    def begin(self, pixels: Volume, lung: npt.NDArray[np.bool_], spacing: Spacing) -> Volume:
        """As `Moments.begin`."""
        self.spacing, shape = spacing, pixels.shape
        counts = [int(np.ceil(n * step / self.STEP)) for n, step in zip(shape, spacing, strict=True)]
        self.places = [np.clip(np.rint((np.arange(n) * pace + (pace - 1) / 2) * step).astype(int), 0,
                               count * self.STEP - 1)
                       for n, pace, step, count in zip(lung.shape, (1, CELL, CELL), spacing, counts, strict=True)]
        where = np.argwhere(lung) if lung.any() else np.zeros((0, 3), int)
        used = np.stack([self.places[axis][where[:, axis]] // self.STEP for axis in range(3)], 1)
        self.cubes = np.unique(used, axis=0)
        self.energy = np.zeros([count * self.STEP for count in counts], np.float32)
        self._fill(self.energy, pixels, self.cubes)
        return self.energy[np.ix_(*self.places)][None]

    def again(self, pixels: Volume, box: Box) -> tuple[Volume, Box]:
        """As `Moments.again`: cubes that hold a changed voxel are looked at anew."""
        low = np.array([part.start * step for part, step in zip(box, self.spacing, strict=True)])
        high = np.array([part.stop * step for part, step in zip(box, self.spacing, strict=True)])
        middles, half = (self.cubes + 0.5) * self.STEP, SIDE / 2 + max(self.spacing)
        near = self.cubes[((middles + half > low) & (middles - half < high)).all(1)]
        energy = self.energy.copy()
        self._fill(energy, pixels, near)
        parts = []
        for axis, places in enumerate(self.places):
            first, last = ((near[:, axis].min(), near[:, axis].max() + 1) if len(near) else (0, 0))
            inside = np.flatnonzero((places >= first * self.STEP) & (places < last * self.STEP))
            parts.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
        return energy[np.ix_(*self.places)][None], (parts[0], parts[1], parts[2])

    def told(self, means: Volume) -> Volume:
        """The log energy, (1, ...)."""
        return np.log(np.maximum(means, np.float32(1e-6)))

    def _fill(self, energy: Volume, pixels: Volume, cubes: npt.NDArray[np.intp]) -> None:
        scan, edge = torch.from_numpy(pixels), (SIDE - self.STEP) // 2
        for start in range(0, len(cubes), self.BATCH):
            batch = cubes[start:start + self.BATCH]
            seen = torch.cat([cut(scan, self._cuboid(one)) for one in batch])
            taken = self._taken(seen)[:, 0, edge:-edge, edge:-edge, edge:-edge] ** 2
            for one, values in zip(batch * self.STEP, taken.numpy(), strict=True):
                energy[tuple(slice(at, at + self.STEP) for at in one)] = values

    def _cuboid(self, cube: npt.NDArray[np.intp]) -> Cuboid:
        z, y, x = ((n + 0.5) * self.STEP - 0.5 for n in cube)
        return Cuboid((z / self.spacing[0], y / self.spacing[1], x / self.spacing[2]), self.spacing)

    def _taken(self, cubes: torch.Tensor) -> torch.Tensor:
        """The noise that the model finds in cubes (n, 1, 32, 32, 32) of HU, in units of its own."""
        net, equaliser = self._model
        x = SCALE * equaliser.forward(cubes.clamp(AIR, METAL))
        time = torch.full((len(x),), self.TIME)
        with torch.inference_mode():
            velocity = net(x, x, 1 - hole(x), time, wanted(torch.zeros_like(x), torch.zeros(len(x))))
        signal, level = levels_at(time, x)
        return level * x + signal * velocity

    @cached_property
    def _model(self) -> tuple[Denoiser, Equaliser]:
        arrays, found = weights.load("ct-diffusion")
        return filled(Denoiser(), arrays), equaliser_of(found.settings)


class Scale:
    """A statistic of one scan: its moments, pooled, told and held against those of like lung of the same scan, as heat.

    What is expected of a place follows from its mean and spread of HU: without that, vessels and the pleura are all
    that shows. The published methods do not do it; it favours them.
    """

    def __init__(self, moments: Moments, pixels: Volume, lung: npt.NDArray[np.bool_], spacing: Spacing) -> None:
        self.moments, self.lung = moments, lung
        self.sides = odd_sides((spacing[0], CELL * spacing[1], CELL * spacing[2]), SIDE_MM)
        self.share = np.asarray(ndimage.uniform_filter(lung.astype(np.float32), self.sides, mode="constant"))
        self.known = lung & (self.share >= 0.5)
        self.density = _density(pixels)
        whole = slice(0, lung.shape[0]), slice(0, lung.shape[1]), slice(0, lung.shape[2])
        self.features = self._features(moments.begin(pixels, lung, spacing), self.density, whole)

    def heat(self) -> Volume:
        """Of the scan as it is, (z, y / 4, x / 4); 0 outside the lungs."""
        return self._held(self.features)

    def heat_after(self, pixels: Volume, box: Box) -> Volume:
        """The same after the voxels in `box` changed; what lies too far to be touched is not worked out again."""
        if any(part.stop <= part.start for part in box):
            return self.heat()
        products, part = self.moments.again(pixels, box)
        z, y, x = box[0], _whole(box[1]), _whole(box[2])
        own = z, _cells(y), _cells(x)
        density = self.density.copy()
        density[(slice(None), *own)] = _density(pixels[z, y, x])
        touched = [one if two.stop <= two.start else slice(min(one.start, two.start), max(one.stop, two.stop))
                   for one, two in zip(own, part, strict=True)]
        near = [widened(one, side // 2, length)
                for one, side, length in zip(touched, self.sides, self.lung.shape, strict=True)]
        features = self.features.copy()
        features[(slice(None), *near)] = self._features(products, density, (near[0], near[1], near[2]))
        return self._held(features)

    def _features(self, products: Volume, density: Volume, part: Box) -> Volume:
        """What is told in a part of the scan, (f, ...), and under it mean and log deviation of HU there."""
        wide = tuple(widened(one, side // 2, length)
                     for one, side, length in zip(part, self.sides, self.lung.shape, strict=True))
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, wide, strict=True))
        lung, share = self.lung[wide], np.maximum(self.share[part], 1e-6)
        means = [np.stack([ndimage.uniform_filter(one[wide] * lung, self.sides, mode="constant")[inner] / share
                           for one in volumes]) for volumes in (products, density)]
        mean, square = means[1]
        spread = np.log(np.maximum(square - mean**2, 1e-6)) / 2
        return np.concatenate([self.moments.told(means[0]), mean[None], spread[None]]).astype(np.float32)

    def _held(self, features: Volume) -> Volume:
        heat = np.zeros(self.lung.shape, np.float32)
        if self.known.any():
            samples = features[:, self.known].T
            heat[self.known] = distances(samples[:, :-2], samples[:, -2:])
        return heat


def _density(pixels: Volume) -> Volume:
    """(2, z, y / 4, x / 4) of a scan (z, y, x) in HU: means of thousands of HU, and of the squares of 2×2 pixels'."""
    some = means(np.clip(pixels, -1000, 200) / np.float32(1000), 2)
    return np.stack([means(some, CELL // 2), means(some**2, CELL // 2)])


def distances(samples: npt.NDArray[np.floating], beside: npt.NDArray[np.floating], rounds: int = 3) -> Volume:
    """Mahalanobis distances (n,) of samples (n, k), over the root of k, to what their bulk has beside the same
    covariates (n, c): cubics in each, and mean and covariance, of the `OFTEN` nearest, found in a few rounds."""
    every = slice(None, None, max(1, len(samples) // 100_000))
    middle, size = beside[every].mean(0), beside[every].std(0) + 1e-9
    place = np.clip((beside - middle) / size, -3, 3)
    columns = np.concatenate([np.ones((len(place), 1)), place, place**2, place**3], 1).astype(np.float32)
    some, few, count = samples[every].astype(np.float64), columns[every].astype(np.float64), samples.shape[1]
    kept = np.ones(len(some), np.bool_)
    for _ in range(rounds):
        fit = np.linalg.lstsq(few[kept], some[kept], rcond=None)[0]
        rest = some - few @ fit
        cov = np.cov(rest[kept], rowvar=False).reshape(count, count) + 1e-9 * np.eye(count)
        whiten = np.linalg.inv(np.linalg.cholesky(cov)).T
        far = np.square(rest @ whiten).sum(1)
        kept = far <= np.quantile(far, OFTEN)
    white = (samples - columns @ fit.astype(np.float32)) @ whiten.astype(np.float32)
    return np.sqrt(np.square(white).sum(1) / count).astype(np.float32)


def _whole(part: slice) -> slice:
    return slice(part.start // CELL * CELL, -(-part.stop // CELL) * CELL)


def _cells(part: slice) -> slice:
    return slice(part.start // CELL, part.stop // CELL)
