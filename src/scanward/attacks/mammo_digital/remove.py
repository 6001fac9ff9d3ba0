"""A lesion taken out of a digital mammogram: tissue of the same breast in its place, under the strands that crossed it.

What replaces the square is

    M = B + (R − B_R) + F' + N',

with B and B_R the smoothest surfaces through the surroundings of the lesion and of the place that the tissue is taken
from (R, its brightness), F' the strands of both, and N' grain drawn anew from the other place's.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from scanward.anatomy.breast import Breast, breast_small
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, check_lesion, check_strength, membrane, patch_of
from scanward.attacks.grain import resynthesised, smooth
from scanward.attacks.mammo_cgan.inject import cut, window
from scanward.attacks.mammo_cgan.merge import square_side, symmetric
from scanward.attacks.mammo_digital.form import REACH, piece_of
from scanward.attacks.mammo_digital.texture import (
    FINE_MM,
    NOMINAL_MM,
    denoised,
    fractal,
    gain,
    grain_curve,
    level_of,
    matched,
    mixed,
)
from scanward.attacks.places import draw_places
from scanward.image import Image

CANDIDATES = 48
"""Places that tissue may be taken from."""
STRAND_MM = 2.6
"""What is wider than half of this is no strand."""
ANEW = 0.35
"""Least share of the other place's strands."""
AROUND = 0.97
"""Quantile of the strength of strands around a lesion that one across it may have."""


class MammoDigitalRemove:
    """Healthy tissue of the same breast under the lesion's own strands; nothing is trained."""

    name = "mammo-digital-remove"
    family = "mammo-digital-remove"
    needs_donor = False

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """The square, and the place and symmetry of the tissue that fits best into its surroundings.

        `ArgumentError` for what cannot be used."""
        check_lesion(host.plane.shape, lesion, host.name)
        check_strength(strength)
        params: dict[str, Any] = {
            "y": float(lesion.y), "x": float(lesion.x), "diameter": float(lesion.diameter),
            "side": square_side(lesion.diameter), "strength": float(strength), "seed": int(rng.integers(2**31)),
            "mm": float(host.spacing[1]) if host.spacing else NOMINAL_MM}
        breast = anatomy if isinstance(anatomy, Breast) else breast_small(host.plane)
        own, share = cut(host.plane, params), share_of(params)
        best, found = np.inf, (float(lesion.y), float(lesion.x), 0)
        widest = min(1.5 * lesion.diameter, *host.plane.shape)
        for place in draw_places(host, rng, CANDIDATES, widest, breast):
            turn = int(rng.integers(8))
            if np.hypot(place.y - lesion.y, place.x - lesion.x) < 1.3 * lesion.diameter:
                continue
            cost = mismatch(own, _taken(host, params, (place.y, place.x), turn), share)
            if cost < best:
                best, found = cost, (place.y, place.x, turn)
        return params | {"source": [found[0], found[1]], "turn": found[2]}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The square and its truth: where half of it or more is new."""
        mm, own, share = params["mm"], cut(host.plane, params), share_of(params)
        box, inner = window(host.plane.shape, params)
        breast = breast_small(host.plane).at_full_size(host.plane.shape)
        tissue = cut(breast.astype(np.float32), params)
        share = share * np.clip(2 * smooth(tissue, max(0.5, FINE_MM / mm)) - 1, 0, 1).astype(np.float32)
        if not share[inner].any():
            share = share_of(params)  # no tissue here; what was asked for is done all the same
        other = _taken(host, params, params["source"], params["turn"])
        clean, fresh = (denoised(square, level_of(other)) for square in (own, other))
        soft, bright = (smooth(square, max(0.5, FINE_MM / mm)) for square in (clean, fresh))
        unknown = (share > 0) | (tissue < 0.5)
        level = membrane(soft, unknown) + bright - membrane(bright, unknown)
        grain = resynthesised(other - fresh, params["seed"] + 1)
        fine = matched(_under(strands(clean, mm), fresh - bright, share, mm) + grain, other - bright, share, least=1)
        made = level + fine + grain * (gain(grain_curve(host.plane, breast), fresh, level) - np.float32(1))
        change = np.float32(params["strength"]) * share * (made - own)
        truth = piece_of(share[inner] >= min(0.5, 0.9 * float(share[inner].max())))
        return patch_of(box, np.asarray(host.plane[box] + change[inner], np.float32), truth)


def share_of(params: dict[str, Any]) -> Plane:
    """How much of a square (a, a) is replaced: 1 over the lesion and a tenth of a radius around, 0 from about 1.5 radii
    on, along no circle."""
    side, radius = params["side"], params["diameter"] / 2
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / radius
    away = np.hypot(y, x)
    uneven = away - 0.07 * fractal(side, params["seed"], 3, 2 * radius, max(2.0, 0.4 * radius))
    share = np.clip((1.5 - uneven) / 0.4, 0, 1) * np.clip((REACH - away) / 0.1, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def mismatch(own: Plane, other: Plane, share: Plane) -> float:
    """How badly tissue fits: its surroundings against the lesion's, and its middle against its surroundings."""
    size = (min(48, len(own)),) * 2
    a, b, inside = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (own, other, share))
    ring = inside < 0.5
    if ring.all() or not ring.any():
        return float(np.abs(a - b).mean())
    step = abs(float(b[~ring].mean() - b[ring].mean()))
    return float(np.abs(a - b)[ring].mean()) + step + 0.5 * abs(float(a[ring].std() - b[~ring].std()))


def strands(clean: Plane, mm: float) -> Plane:
    """What is narrower than half of `STRAND_MM`, (a, a): a median keeps a mass's edge and drops what crosses it."""
    size = max(8, round(len(clean) * min(1.0, mm / 0.26)))
    thin = cv2.resize(clean, (size, size), interpolation=cv2.INTER_AREA)
    wide = max(3, round(STRAND_MM / mm * size / len(clean))) | 1
    middle = ndimage.median_filter(thin, wide, mode="nearest")
    return np.asarray(clean - cv2.resize(middle, clean.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _under(kept: Plane, fine: Plane, share: Plane, mm: float) -> Plane:
    """The strands that crossed the lesion, no stronger than those around it or at the other place, `fine`, as the rest
    of a mass's edge would be; where the lesion hid them, those of the other place."""
    wanted = float(np.sqrt((fine * fine).mean())) + 1e-6
    here = np.sqrt(np.maximum(smooth(kept * kept, max(0.5, 1 / mm)), 0)) + 1e-6
    lack = np.sqrt(np.clip(1 - (here / wanted) ** 2, ANEW, 1)).astype(np.float32)
    around = here[share <= 0]
    most = max(1.3 * wanted, float(np.quantile(around, AROUND)) if around.size else 0.0)
    return mixed(kept * np.minimum(1, most / here).astype(np.float32), fine, lack)


def _taken(host: Image, params: dict[str, Any], place: tuple[float, float] | list[float], turn: int) -> Plane:
    return symmetric(cut(host.plane, params | {"y": place[0], "x": place[1]}), turn)
