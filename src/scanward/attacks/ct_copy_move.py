"""Copies within a chest CT: lung over a nodule, or something dense to a second place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import check_strength
from scanward.attacks.ct_gan.attack import check_lesion
from scanward.box import Box
from scanward.image import Image

Point = tuple[float, float, float]
Volume = npt.NDArray[np.float64]

PLACES = 120
"""Of the lungs that are looked at for a source."""
BEST = 5
"""Of them, one of so many is taken."""
RIM = (0.0, 0.4)
"""Of the radius, over which a copy is blended into its place."""
TILT = 8.0
"""Degrees that a copy is turned by where it is not turned by quarters."""


class CtCopyMove:
    """Something dense of the lungs, a nodule or vessels, pasted elsewhere in the same scan: plain, mirrored, turned by
    quarters or tilted, sharp or blended at its rim."""

    name = family = "ct-copy-move"
    needs_donor = False
    dense = True

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Place, source, transform, rim and offset; JSON values only. Raises as `check_lesion`."""
        check_lesion(host, lesion)
        check_strength(strength)
        spacing = host.spacing or (1.0, 1.0, 1.0)
        lungs = anatomy if isinstance(anatomy, Lungs) else lungs_of(host)
        centre = [round(float(c)) for c in lesion.centre]
        source = _source(host, lungs, lesion, rng, self.dense)
        way = rng.random()
        turn = float(90 * rng.integers(4)) if way < 0.4 else float(rng.uniform(-TILT, TILT)) if way > 0.85 else 0.0
        params = {"centre": [float(c) for c in lesion.centre], "spacing": list(spacing),
                  "diameter_mm": float(lesion.diameter), "source": source,
                  "flips": [bool(rng.random() < 0.25) for _ in range(3)], "turn": turn,
                  "rim_mm": float(rng.uniform(*RIM)) * lesion.diameter / 2, "strength": float(strength)}
        box, away = _ball(host, centre, lesion.diameter * 1.2)
        shell = away >= 0.4 * lesion.diameter
        level = np.median(host.pixels[box.slices][shell]) - np.median(_fetched(host, params, box)[shell])
        return {**params, "offset_hu": float(np.rint(level)) if rng.random() < 0.5 else 0.0}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """What changes, as the host's file stores it, and its truth: where it was pasted, not where it came from."""
        centre = [round(c) for c in params["centre"]]
        box, away = _ball(host, centre, params["diameter_mm"])
        depth = params["diameter_mm"] / 2 - away
        share = np.clip(depth / params["rim_mm"], 0, 1) if params["rim_mm"] > 0 else np.asarray(depth >= 0, np.float64)
        weight = share * share * (3 - 2 * share)
        before = host.pixels[box.slices]
        change = _fetched(host, params, box) + params["offset_hu"] - before
        values = host.storable((before + params["strength"] * weight * change).astype(np.float32), before)
        return Patch(box, values, weight >= 0.5)


class CtCopyMoveRemove(CtCopyMove):
    """Calm lung of the same scan pasted over what is there."""

    name = family = "ct-copy-move-remove"
    dense = False


def _ball(host: Image, centre: list[int], diameter: float) -> tuple[Box, Volume]:
    """The box of a ball in the host, and each of its voxels' distance in mm from the centre."""
    low, high, offsets = [], [], []
    for middle, step, length in zip(centre, host.spacing or (1.0, 1.0, 1.0), host.shape, strict=True):
        half = math.ceil(diameter / 2 / step)
        low.append(max(0, middle - half))
        high.append(min(length, middle + half + 1))
        offsets.append((np.arange(low[-1], high[-1]) - middle) * step)
    z, y, x = np.meshgrid(*offsets, indexing="ij")
    return Box(*low, *high), np.sqrt(z**2 + y**2 + x**2)


def _fetched(host: Image, params: dict[str, Any], box: Box) -> Volume:
    """The HU that come to lie in a box: stored values where the turn is by quarters, else interpolated in the slice."""
    angle = math.radians(params["turn"])
    cos, sin = math.cos(angle), math.sin(angle)
    exact = params["turn"] % 90 == 0
    if exact:
        cos, sin = round(cos), round(sin)
    ranges = (np.arange(low, high) - round(middle) for low, high, middle in
              zip(box[:3], box[3:], params["centre"], strict=True))
    z, y, x = (-v if flip else v for v, flip in
               zip(np.meshgrid(*ranges, indexing="ij"), params["flips"], strict=True))
    at = [part + middle for part, middle in zip((z, cos * y - sin * x, sin * y + cos * x), params["source"],
                                                strict=True)]
    at = [np.clip(part, 0, length - 1) for part, length in zip(at, host.shape, strict=True)]
    low = [max(0, math.floor(part.min()) - 6) for part in at]
    cut = host.pixels[tuple(slice(start, math.ceil(part.max()) + 7) for start, part in zip(low, at, strict=True))]
    return np.asarray(ndimage.map_coordinates(cut.astype(np.float64), [p - start for p, start in
                                                                     zip(at, low, strict=True)],
                                              order=0 if exact else 3, mode="nearest"))


def _source(host: Image, lungs: Lungs, lesion: Lesion, rng: np.random.Generator, dense: bool) -> list[int]:
    """A voxel (z, y, x) of the lungs to copy from, a lesion away where there is room: what stands out most from its
    surroundings, or least; the lesion's own place where there are no lungs."""
    spacing = np.array(host.spacing or (1.0, 1.0, 1.0))
    room = lungs.mask & (lungs.depth > min(0.5 * lesion.diameter + 1, 0.9 * float(lungs.depth.max())))
    places = np.rint((np.argwhere(room) + 0.5) * lungs.step - 0.5).astype(int)
    ends = 0.5 * lesion.diameter / spacing[0]
    high = places[(places[:, 0] >= ends) & (places[:, 0] <= host.shape[0] - 1 - ends)]
    places = high if len(high) else places
    away = np.linalg.norm((places - np.array(lesion.centre)) * spacing, axis=1)
    far = places[away > 2 * lesion.diameter]
    places = far if len(far) else places
    if not len(places):
        return [round(float(c)) for c in lesion.centre]
    drawn = places[rng.choice(len(places), min(PLACES, len(places)), replace=False)]
    contrast = np.array([_contrast(host, [int(v) for v in place], lesion.diameter) for place in drawn])
    ranked = drawn[np.argsort(-contrast if dense else contrast, kind="stable")]
    return [int(v) for v in ranked[int(rng.integers(min(BEST, len(ranked))))]]


def _contrast(host: Image, centre: list[int], diameter: float) -> float:
    """Mean HU of the inner half of a ball over that of the rest."""
    box, away = _ball(host, centre, diameter)
    hu, inner = host.pixels[box.slices], away <= diameter / 4
    shell = ~inner & (away <= diameter / 2)
    return float(hu[inner].mean() - hu[shell].mean()) if shell.any() else 0.0
