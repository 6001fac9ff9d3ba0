"""A watermark woven into a CT."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import Lungs, inside
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.protectors.mits_gan.protect import EPSILON, Around, bounded, check, checked_bound
from scanward.protectors.watermark.measure import (
    MARGIN_MM,
    Expected,
    Plane,
    Planes,
    Prediction,
    Volume,
    floor_of,
    halved,
    level_of,
    normalised,
    prediction_of,
    slices_of,
    sums,
    turned,
    window_of,
)
from scanward.protectors.watermark.planes import key_for, planes_at, start_of
from scanward.protectors.watermark.read import read, start_in

SHARE = 0.5
"""Root mean square of the pattern, as a share of the bound."""
WITH_NOISE = (0.6, 1.6)
"""How much stronger than on average it may be where the scan is more restless, or calmer."""
ROUNDS = 2
"""How often its strength is set right by what came of it: where the scan's own noise happens to agree with the pattern
less of it is woven, where it disagrees more, so that every place agrees alike (Malvar and Florêncio 2003)."""
STRENGTHS = (0.25, 2.0)
"""Between which shares of itself the strength may be set."""
ABOUT_MM = 1.8
"""σ of what counts as a place there."""


class Watermark:
    """A white pattern of at most `epsilon` HU by a secret key, which turns with the local level of the scan.

    `key` is the site's, of 32 bytes; it is needed to protect.
    """

    name = "watermark"
    weights_sha256 = None

    def __init__(self, *, epsilon: float = EPSILON, key: bytes | None = None) -> None:
        self.epsilon, self.key = checked_bound(epsilon), key

    def protect(self, image: Image, around: Sequence[Around] = ()) -> Image:
        """The lungs and what is about them marked, places or not, as the image's file stores it.

        `ArgumentError` without a key, `UnsupportedError` for what is no CT of known spacing, for lungs in which a
        watermark could not be read and for a scan that carries this key's already.
        """
        check(image, around)
        if self.key is None:
            raise ArgumentError("A watermark is woven under a site's key; name it with --key FILE (key= in Python).")
        lungs, spacing = lungs_alone(image), image.spacing or (1.0, 1.0, 1.0)
        how = prediction_of(image.pixels, lungs)
        if how is None:
            raise UnsupportedError(f"{image.name} shows too little lung to carry a watermark; seal it instead.")
        key = key_for(self.key)
        if start_in(image.pixels, lungs, spacing, how, key) is not None:
            raise UnsupportedError(f"{image.name} carries this site's watermark already; a second one would move its "
                                   "voxels further and show no more.")
        planes = partial(planes_at, key, start_of(key, image.pixels), (0.0, 0.0))
        change = _Weaving(image.pixels, lungs, spacing, planes, self.epsilon).change(how)
        made = dataclasses.replace(image, pixels=bounded(image, image.pixels + change, self.epsilon))
        found = read(made, lungs, self.key)
        if found is None or found.weak:
            raise UnsupportedError(f"A watermark of {self.epsilon:g} HU would be too weak in {image.name} to tell "
                                   "anything, as in thick slices and loud noise; seal it instead, or give a larger "
                                   "--epsilon.")
        return made


class _Weaving:
    """One scan while it is marked."""

    def __init__(self, pixels: Volume, lungs: Lungs, spacing: tuple[float, float, float], planes: Planes,
                 epsilon: float) -> None:
        self.pixels, self.lungs, self.spacing, self.planes, self.epsilon = pixels, lungs, spacing, planes, epsilon
        self.slices = slices_of(lungs)
        self.floor = floor_of(pixels)
        self.ceiling = float(pixels.max())
        self.window = window_of(lungs, pixels.shape, spacing)
        self.place = (slice(self.slices[0], self.slices[-1] + 1), *self.window)

    def change(self, how: Prediction) -> Volume:
        """HU to be added, (z, y, x), nothing beyond the bound."""
        spread = np.stack([halved(normalised(self.pixels[:, *self.window], z, how, self.spacing)[1])
                           for z in self.slices])
        lung = np.stack([halved(self._lung(z)) for z in self.slices])
        base = SHARE * self.epsilon * np.clip(spread / np.median(spread[lung > 0.5]), *WITH_NOISE)
        strength, made = base.copy(), self._made(base)
        for _ in range(ROUNDS):
            again = prediction_of(made, self.lungs) or how
            found = sums(made, self.lungs, self.spacing, self.planes, again, self.window, self.slices)
            expected = Expected(found)
            each = expected(found)
            near = self._smooth(found.count)
            lack = self._smooth(each * found.count - found.agreement) / np.maximum(near, 1e-3)
            lack[near < 0.2] = 0
            strength += lack / np.maximum(each, 0.3 * abs(expected.mean)) * base
            strength = np.clip(strength, STRENGTHS[0] * base, np.minimum(STRENGTHS[1] * base, self.epsilon))
            made = self._made(strength)
        return made - self.pixels

    def _made(self, strength: Volume) -> Volume:
        made = self.pixels.copy()
        for z, weak in zip(self.slices, strength, strict=True):
            own = self.pixels[z][self.window]
            pattern = turned(self.planes(z, self.window), level_of(own, self.spacing))
            large = cv2.resize(weak, own.shape[::-1], interpolation=cv2.INTER_LINEAR)
            change = np.clip(np.rint(large * pattern), -self.epsilon, self.epsilon)
            within = np.clip(own + change, self.floor, self.ceiling)
            made[z][self.window] = np.where((own > self.floor) & self._near(z), within, own)
        return made

    def _lung(self, z: int) -> Plane:
        return inside(self.lungs, z, self.pixels.shape[1:])[self.window].astype(np.float32)

    def _near(self, z: int) -> npt.NDArray[np.bool_]:
        """Lungs and what is about them, in the window of a slice."""
        away = cv2.distanceTransform((self._lung(z) == 0).astype(np.uint8), cv2.DIST_L2, 3)
        return np.asarray(away * min(self.spacing[1:]) <= MARGIN_MM)

    def _smooth(self, values: Volume) -> Volume:
        deep = ndimage.gaussian_filter1d(values, ABOUT_MM / self.spacing[0], axis=0, mode="nearest")
        return np.stack([np.asarray(cv2.GaussianBlur(one, (0, 0), ABOUT_MM / self.spacing[1] / 2)) for one in deep])
