"""A cluster of microcalcifications, or one coarse benign calcification, in a digital mammogram.

What is added to the host is

    M = O + (W − B) · Σ k_i (h ∗ t_i) + (g − 1) · N,

with O, N the host and its grain, B and W its black and white, t_i the depth of each calcification in mm
(`thickness.py`), k_i what a mm adds (`kinds.py`), h the detector's blur, and g what the host's own curve says of grain
at the new brightness. X-rays add up what lies one over the other. What comes near white saturates as the host does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scanward.anatomy.breast import Breast, breast_small
from scanward.anatomy.nipple import nipple_of
from scanward.arguments import check_word
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch, View
from scanward.attacks.blend import check_lesion, check_strength, patch_of
from scanward.attacks.mammo_calcifications.kinds import (
    BENIGN,
    FEWEST,
    GROUPED,
    GROUPS,
    LINEAR,
    MORPHOLOGIES,
    SEGMENTAL,
    SINGLE,
)
from scanward.attacks.mammo_calcifications.layout import Points, Speck, cluster_of
from scanward.attacks.mammo_calcifications.solid import cluster_seen
from scanward.attacks.mammo_calcifications.thickness import coarse_in, specks_in
from scanward.attacks.mammo_cgan.inject import cut, window
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_digital.inject import saturated
from scanward.attacks.mammo_digital.texture import NOMINAL_MM, Mask, denoised, gain, grain_curve, level_of
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image

COARSEST_MM = 0.11
"""Pixels of digital mammography are 0.05 to 0.1 mm; the finest calcifications are 0.1."""
AROUND = 8
"""Pixels of the square beyond the cluster."""
SMALL_MM = 3.0
"""The smallest group that is asked for (`forgery.make`); in a smaller one lie as many as fit."""
DENSE = {"popcorn": (0.35, 0.60), "rim": (0.25, 0.50)}
"""What a millimetre of a coarse calcification adds, of the range from black to white."""
BRIGHTEST = 99.99
"""Percentile of the breast that counts as white: what is calcified is brighter than tissue."""


class MammoCalcifications:
    """Calcifications at the host's own pixel; nothing is trained. `morphology` is one of `MORPHOLOGIES`; one of the
    suspicious ones is drawn where it is None. With a `view` they are what that view sees of a cluster in three
    dimensions."""

    name = "mammo-calcifications"
    family = "mammo-calcifications"
    needs_donor = False

    def __init__(self, *, morphology: str | None = None, view: View | None = None) -> None:
        if morphology is not None:
            check_word("morphology", morphology, MORPHOLOGIES)
        self._morphology, self._view = morphology, view
        self._aside = int(view is not None and view.name == "MLO")
        """Added to the seed of outlines: they differ from another side."""

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """The square, the host's levels, and every calcification, in mm from the centre.

        `UnsupportedError` for pixels that are too coarse, `ArgumentError` where no group fits, and for what cannot be
        used."""
        check_lesion(host.plane.shape, lesion, host.name)
        check_strength(strength)
        mm = float(host.spacing[1]) if host.spacing else NOMINAL_MM
        if mm > COARSEST_MM:
            raise UnsupportedError(f"{host.name} has pixels of {mm:g} mm, too coarse for calcifications of 0.1 mm; "
                                   "give a digital mammogram, whose pixels are of 0.1 mm or less.")
        breast = anatomy if isinstance(anatomy, Breast) else breast_small(host.plane)
        if self._view is not None:  # both views are to draw the same
            rng = np.random.default_rng((self._view.solid, 11))
        black, _ = levels_of(host.plane)
        white = float(np.percentile(host.plane[breast.at_full_size(host.plane.shape)], BRIGHTEST))
        drawn = str(rng.choice([*GROUPS], p=[kind.share for kind in GROUPS.values()]))
        morphology = self._morphology or drawn
        params = {"y": float(lesion.y), "x": float(lesion.x), "diameter": float(lesion.diameter),
                  "side": math.ceil(lesion.diameter) + 2 * AROUND, "strength": float(strength),
                  "seed": int(rng.integers(2**31)) + self._aside, "mm": mm, "black": black,
                  "white": max(white, black + 1e-6), "morphology": morphology, "benign": morphology in BENIGN}
        if morphology in BENIGN:
            return params | {"distribution": SINGLE, "count": 1, "dense": float(rng.uniform(*DENSE[morphology]))}
        distribution, specks = self._cluster(host, lesion, breast, mm, morphology, rng)
        if len(specks) < (FEWEST if lesion.diameter * mm >= SMALL_MM else 1):
            raise ArgumentError(f"Only {len(specks)} calcifications fit into {lesion.diameter * mm:.3g} mm of "
                                f"{host.name}, and a group has {FEWEST} or more; choose a larger --size or another "
                                "place.")
        return params | {"distribution": distribution, "count": len(specks), "specks": specks}

    def _cluster(self, host: Image, lesion: Lesion, breast: Breast, mm: float, morphology: str,
                 rng: np.random.Generator) -> tuple[str, list[Speck]]:
        """How a cluster lies, and its calcifications."""
        distribution = str(rng.choice([GROUPED, LINEAR, SEGMENTAL], p=GROUPS[morphology].spread))
        radius, tissue = lesion.diameter * mm / 2, _tissue(host, lesion, breast, mm)
        if self._view is None:
            toward = _toward(host, lesion, breast, rng)
            layout: Callable[..., list[Speck]] = partial(cluster_of, toward=toward, mm=mm, free=tissue)
        else:  # rounded, for what both views draw must not hang on the last bit of a pixel's size
            layout, radius = partial(cluster_seen, self._view), round(radius, 4)
        specks = layout(morphology, distribution, radius, rng=rng)
        if len(specks) < FEWEST:  # a line of a few millimetres holds fewer than an ellipse
            distribution = GROUPED
            specks = layout(morphology, distribution, radius, rng=rng)
        if self._view is not None:
            specks = [speck for speck in specks if all(tissue(np.asarray(line)).all() for line in speck["lines"])]
        return distribution, specks

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The square and its truth: the calcifications' own pixels, and one around each, as far as blur goes. Nothing
        else changes."""
        box, inner = window(host.plane.shape, params)
        corner = [part.start - own.start for part, own in zip(box, inner, strict=True)]
        middle = params["y"] - corner[0], params["x"] - corner[1]
        added, truth = (coarse_in if params["benign"] else specks_in)(params["side"], middle, params)
        own, black, white = cut(host.plane, params), params["black"], params["white"]
        level = own + added * np.float32(white - black)
        made = saturated(level, own, black, white)
        clean = denoised(own, level_of(own))
        breast = breast_small(host.plane).at_full_size(host.plane.shape)
        stronger = gain(grain_curve(host.plane, breast), clean, clean + made - own) - np.float32(1)
        made = np.clip(made + (own - clean) * stronger, float(own.min()), np.maximum(own, np.float32(white)))
        change = np.where(truth, np.float32(params["strength"]) * (made - own), 0).astype(np.float32)
        return patch_of(box, host.plane[box] + change[inner], truth[inner])


def _toward(host: Image, lesion: Lesion, breast: Breast, rng: np.random.Generator) -> float:
    """The angle, from x to y, in which a duct runs: about towards the nipple; any where none is seen."""
    aside, anywhere = float(rng.normal(0, 0.25)), float(rng.uniform(0, 2 * math.pi))
    nipple = nipple_of(host.plane, breast, oblique=False)
    if nipple is None:
        return anywhere
    return math.atan2(nipple.y - lesion.y, nipple.x - lesion.x) + aside


def _tissue(host: Image, lesion: Lesion, breast: Breast, mm: float) -> Callable[[Points], Mask]:
    """Whether points (n, 2), mm from the lesion's centre, lie in the breast; in the film, where that does not."""
    shape, (small, ratio) = np.array(host.plane.shape), breast

    def framed(points: Points) -> Mask:
        place = points / mm + [lesion.y, lesion.x]
        return np.asarray(((place >= 0) & (place <= shape - 1)).all(1))

    def inside(points: Points) -> Mask:
        place = ((points / mm + [lesion.y, lesion.x] + 0.5) * ratio).astype(int)
        rows, columns = np.clip(place, 0, np.array(small.shape) - 1).T
        return np.asarray(framed(points) & small[rows, columns])

    return inside if inside(np.zeros((1, 2))).all() else framed
