"""Removal: a region filled in from its surroundings by classical inpainting."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, compose, region_of, start
from scanward.attacks.grain import grain, ring, white
from scanward.image import Image

LARGEST_RADIUS = 160.0
"""Regions of a larger radius (pixels) are filled at reduced size: the fill is smooth, and its cost cubic."""


def fill(crop: Plane, unknown: npt.NDArray[np.bool_], method: int, reduce: int = 1) -> Plane:
    """`crop` (y, x) with the unknown pixels inpainted from a band of 5 pixels (2 for Navier-Stokes)."""
    if not unknown.any() or unknown.all():
        return crop
    reach = 3.0 if method == cv2.INPAINT_TELEA else 2.0
    if reduce <= 1:
        return np.asarray(cv2.inpaint(crop, unknown.astype(np.uint8), reach, method), np.float32)
    size = (math.ceil(crop.shape[1] / reduce), math.ceil(crop.shape[0] / reduce))
    hole = cv2.resize(unknown.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    small = cv2.inpaint(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), hole.astype(np.uint8), reach, method)
    large = cv2.resize(small, crop.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.where(unknown, large, crop)


class _Inpaint:
    family = "inpaint"
    needs_donor = False
    _method = cv2.INPAINT_TELEA

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Two fifths get back a share (`noise`) of the surroundings' grain, as white noise. Raises as `start`."""
        feather = float(rng.choice([0.0, rng.uniform(1, 4), rng.uniform(0.03, 0.15) * lesion.diameter]))
        params = start(host, lesion, rng, strength, feather=feather)
        params["reduce"] = max(1, math.ceil(lesion.diameter / 2 / LARGEST_RADIUS))
        params["noise"] = 0.0 if rng.random() < 0.6 else float(rng.uniform(0.2, 1.0))
        params["seed"] = int(rng.integers(2**31))
        return params

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth."""
        plane = host.plane
        region = region_of(params["shape"], plane.shape, around=0.1)
        crop = region.cut(plane)
        filled = fill(crop, region.weight > 0, self._method, params["reduce"])
        if params["noise"]:
            level = grain(crop, ring(region.weight).astype(np.float32))
            filled = filled + np.float32(params["noise"] * level) * white(crop.shape, params["seed"])
        return compose(plane, region, filled, params["strength"])


class Telea(_Inpaint):
    """Fast marching from the edge inwards (Telea 2004)."""

    name = "inpaint-telea"
    _method = cv2.INPAINT_TELEA


class NavierStokes(_Inpaint):
    """Isophotes continued as stream lines of a fluid (Bertalmio, Bertozzi, Sapiro 2001)."""

    name = "inpaint-ns"
    _method = cv2.INPAINT_NS
