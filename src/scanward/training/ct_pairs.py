"""Forgeries made of real scans only, for training: what a forger's tools do to noise, without any forger's network.

Every recipe takes a box of a scan (z, y, x) in HU with a margin around the region, and gives the same box as the tool
would leave it. Where only the noise tells, a network that is trained on them does not learn what nodules look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.image import Image

Cube = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]

MARGIN_MM = 6.0
"""Around a region's box: what filters may read."""
AIR = -1000.0


@dataclass(frozen=True)
class Region:
    """Where a scan is altered."""

    box: tuple[slice, slice, slice]
    weight: Cube
    """(z, y, x) of the box in [0, 1]: 1 inside, 0 outside, falling over its rim."""


@dataclass(frozen=True)
class Scene:
    """What a recipe has at hand."""

    cube: Cube
    spacing: Spacing
    weight: Cube
    noise_from: Cube
    """The same box elsewhere in this scan's lungs."""
    donor: Cube
    """A box of another scan's lungs, resampled to this spacing."""
    rng: np.random.Generator


def region(image: Image, centre: tuple[float, float, float], diameter: float, rng: np.random.Generator) -> Region:
    """A bumpy ball of `diameter` mm about a voxel (z, y, x) of a CT, within whose box the margin lies too."""
    spacing = image.spacing or (1.0, 1.0, 1.0)
    parts = []
    for middle, step, length in zip(centre, spacing, image.shape, strict=True):
        half = (0.65 * diameter + MARGIN_MM) / step
        parts.append(slice(max(0, int(middle - half)), min(length, int(middle + half) + 2)))
    box = parts[0], parts[1], parts[2]
    offsets = [(np.arange(p.start, p.stop) - c) * s for p, c, s in zip(box, centre, spacing, strict=True)]
    z, y, x = np.meshgrid(*offsets, indexing="ij")
    stretch = rng.uniform(0.8, 1.25, 3)
    rough = ndimage.gaussian_filter(rng.standard_normal(z.shape).astype(np.float32),
                                    [0.3 * diameter / s for s in spacing])
    rough *= rng.uniform(0, 0.2) * diameter / 2 / max(float(rough.std()), 1e-6)
    distance = np.sqrt((z * stretch[0]) ** 2 + (y * stretch[1]) ** 2 + (x * stretch[2]) ** 2) + rough
    soft = rng.uniform(0.3, 2.5)
    weight = np.clip(0.5 - (distance - diameter / 2) / soft, 0, 1).astype(np.float32)
    return Region(box, weight)


def forged(name: str, scene: Scene) -> Cube:
    """The box (z, y, x) as a recipe leaves it, blended into the scan."""
    made = RECIPES[name](scene)
    return np.asarray(scene.cube + scene.weight * (made - scene.cube), np.float32)


def _resampled(scene: Scene) -> Cube:
    """Through another grid and back, as CT-GAN's way through millimetres."""
    rng = scene.rng
    if rng.random() < 0.6:
        steps = [float(rng.uniform(0.8, 1.3))] * 3
    else:
        steps = [s * float(rng.uniform(1.0, 2.2)) for s in scene.spacing]
    order = int(rng.choice([1, 1, 3]))
    return _noisy(_there_and_back(scene.cube, scene.spacing, steps, order, rng), scene)


def _there_and_back(cube: Cube, spacing: Spacing, steps: list[float], order: int, rng: np.random.Generator) -> Cube:
    shift = rng.uniform(0, 1, 3)
    ratio = [t / s for t, s in zip(steps, spacing, strict=True)]
    size = [int(np.ceil(n / r)) + 3 for n, r in zip(cube.shape, ratio, strict=True)]
    starts = [-(1 + a) * r for a, r in zip(shift, ratio, strict=True)]
    there = ndimage.affine_transform(cube, ratio, starts, tuple(size), order=order, mode="nearest")
    return np.asarray(ndimage.affine_transform(there, [1 / r for r in ratio], 1 + shift, cube.shape, order=order,
                                               mode="nearest"), np.float32)


def _decoded(scene: Scene) -> Cube:
    """Halved, and doubled by a random transposed convolution, as networks decode."""
    rng = scene.rng
    flat = bool(rng.random() < 0.4)
    factors = (1 if flat or scene.spacing[0] > 2 or len(scene.cube) < 4 else 2, 2, 2)
    low = ndimage.zoom(ndimage.uniform_filter(scene.cube, factors), [1 / f for f in factors], order=1)
    kernel = np.maximum(rng.normal(1, 0.25, [2 * f if f > 1 else 1 for f in factors]), 0.1)
    spread = np.zeros([n * f for n, f in zip(low.shape, factors, strict=True)], np.float32)
    spread[tuple(slice(None, None, f) for f in factors)] = low
    ones = np.zeros_like(spread)
    ones[tuple(slice(None, None, f) for f in factors)] = 1
    uneven = float(rng.uniform(0.9, 1.0))
    norm = ndimage.convolve(ones, kernel, mode="nearest")
    made = ndimage.convolve(spread, kernel, mode="nearest") / (uneven * norm + (1 - uneven) * norm.mean())
    lacks = [(0, max(0, n - m)) for n, m in zip(scene.cube.shape, made.shape, strict=True)]
    made = np.pad(made, lacks, mode="edge")[tuple(slice(0, n) for n in scene.cube.shape)]
    return _noisy(made.astype(np.float32), scene)


def _denoised(scene: Scene) -> Cube:
    """Smoothed by a linear, rank or edge-keeping filter."""
    return _noisy(_calm(scene), scene)


def _calm(scene: Scene) -> Cube:
    rng, cube = scene.rng, scene.cube
    kind = int(rng.integers(4))
    if kind == 0:
        width = float(rng.uniform(0.5, 1.6))
        widths = (width * float(rng.choice([0, 0.5])), width, width)
        return np.asarray(ndimage.gaussian_filter(cube, widths), np.float32)
    if kind == 1:
        return np.asarray(ndimage.median_filter(cube, (int(rng.choice([1, 3])), 3, 3)), np.float32)
    if kind == 2:
        sigma = float(rng.uniform(30, 150))
        return np.stack([cv2.bilateralFilter(np.ascontiguousarray(p), 5, sigma, 2.0) for p in cube])
    return np.asarray(ndimage.uniform_filter(cube, (int(rng.choice([1, 3])), 3, 3)), np.float32)


def _foreign(scene: Scene) -> Cube:
    """Another scan's tissue, at this place's density."""
    inside = scene.weight > 0.5
    if not inside.any():
        return scene.cube
    level = float(np.median(scene.cube[inside]) - np.median(scene.donor[inside]))
    return np.maximum(scene.donor + level * float(scene.rng.uniform(0, 1)), AIR).astype(np.float32)


def _moved(scene: Scene) -> Cube:
    """Lung of elsewhere in this scan, resampled."""
    steps = [s * float(scene.rng.uniform(0.75, 1.3)) for s in scene.spacing]
    return _there_and_back(scene.noise_from, scene.spacing, steps, int(scene.rng.choice([1, 3])), scene.rng)


def _filled(scene: Scene) -> Cube:
    """The rim's values spread inwards until they are smooth, and noise put on them."""
    inside = scene.weight > 0.02
    made = scene.cube.copy()
    outside = made[~inside]
    made[inside] = float(np.median(outside)) if outside.size else AIR
    width = [1.2 / s for s in scene.spacing]
    for _ in range(20):
        calm = ndimage.gaussian_filter(made, width)
        made[inside] = calm[inside]
    return _noisy(made, scene, least=0.3)


def _painted(scene: Scene) -> Cube:
    """A smooth nodule, whose grain is what is left of the host's, or drawn."""
    rng, inside = scene.rng, scene.weight
    level = float(rng.uniform(-500, 150))
    calm = ndimage.gaussian_filter(scene.cube, [1.0 / s for s in scene.spacing])
    grain = float(rng.uniform(0, 1)) * (scene.cube - calm)
    rim = ndimage.gaussian_filter(inside, [float(rng.uniform(0.3, 1.2)) / s for s in scene.spacing])
    body = np.maximum(calm, level + 40 * ndimage.gaussian_filter(rng.standard_normal(calm.shape), 2))
    made = (calm + rim * (body - calm) + grain).astype(np.float32)
    return _noisy(made, scene) if rng.random() < 0.5 else made


def _grainy(scene: Scene) -> Cube:
    """Noise added, or what is there made louder."""
    if scene.rng.random() < 0.5:
        return np.asarray(scene.cube + _drawn(scene) * float(scene.rng.uniform(0.4, 1.2)), np.float32)
    calm = ndimage.gaussian_filter(scene.cube, (0, 1, 1))
    return np.asarray(scene.cube + float(scene.rng.uniform(0.3, 1.0)) * (scene.cube - calm), np.float32)


RECIPES: dict[str, Callable[[Scene], Cube]] = {
    "resampled": _resampled, "decoded": _decoded, "denoised": _denoised, "foreign": _foreign, "moved": _moved,
    "filled": _filled, "painted": _painted, "grainy": _grainy}
SHARES = {"resampled": 0.2, "decoded": 0.12, "denoised": 0.15, "foreign": 0.16, "moved": 0.07, "filled": 0.12,
          "painted": 0.13, "grainy": 0.05}
"""How often each is drawn."""


def _noisy(made: Cube, scene: Scene, least: float = 0.0) -> Cube:
    """With noise put back as forgers do: none, drawn, or copied from elsewhere in the scan; not always all of it."""
    rng = scene.rng
    kind = int(rng.choice(4, p=[0.25 if least == 0 else 0.1, 0.3, 0.25, 0.2 if least == 0 else 0.35]))
    if kind == 0:
        return made
    share = float(rng.uniform(max(least, 0.3), 1.2))
    if kind == 3:
        source = scene.noise_from
        calm = ndimage.uniform_filter(source, (1, 3, 3))
        return np.asarray(made + share * np.where(source > -800, 0, source - calm), np.float32)
    return np.asarray(made + share * _drawn(scene, white=kind == 1), np.float32)


def _drawn(scene: Scene, white: bool | None = None) -> Cube:
    """Gaussian noise of about the lung's own deviation, white or as correlated as another kernel leaves it."""
    rng = scene.rng
    drawn = rng.standard_normal(scene.cube.shape)
    if white is None:
        white = bool(rng.random() < 0.5)
    if not white:
        width = float(rng.uniform(0.4, 1.2))
        drawn = ndimage.gaussian_filter(drawn, (width * float(rng.choice([0, 0.7])), width, width))
        if rng.random() < 0.4:
            drawn = drawn - ndimage.gaussian_filter(drawn, (0, 2, 2))
    rest = scene.noise_from - ndimage.uniform_filter(scene.noise_from, (1, 3, 3))
    lung = scene.noise_from < -600
    size = 1.4826 * float(np.median(np.abs(rest[lung]))) if int(lung.sum()) > 20 else float(rest.std())
    return np.asarray(drawn / max(float(drawn.std()), 1e-6) * size * 1.1, np.float32)


def pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One name, as often as its share."""
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
