"""A mass in a digital mammogram: a third stage after Mammo-CGAN's two, at the host's own pixel.

The generators' 64×64 pixels say only where the mass lies thick. What is added to the host is

    M = S + P · T + F' + g · N',   S the host's brightness over `FINE_MM`, F its strands, N its grain,

with T the thickness of the mass (`form.py`), P its peak, F' and N' the host's own strands and grain, in part drawn anew
with the same spectrum where T is, and g what the host's own curve says of grain at the new brightness. X-rays add up
what lies one over the other, so the host's vessels and strands cross the mass, and spicules run into them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from scanward.anatomy.breast import breast_small
from scanward.arguments import check_word
from scanward.attacks.base import Anatomy, Donor, Lesion, View
from scanward.attacks.blend import Plane, membrane
from scanward.attacks.grain import resynthesised, smooth
from scanward.attacks.mammo_cgan.inject import MammoCgan, Stages, cut, window
from scanward.attacks.mammo_cgan.merge import SIDE, TRUTH, centre_mask, resized
from scanward.attacks.mammo_digital.form import MARGINS, SHARES, body_of, cone, fading, piece_of, spicules_of
from scanward.attacks.mammo_digital.solid import chords, inner_of, solid_of
from scanward.attacks.mammo_digital.texture import (
    FINE_MM,
    NOMINAL_MM,
    denoised,
    gain,
    grain_curve,
    level_of,
    lines,
    matched,
    mixed,
)
from scanward.image import Image

GRAINS = ("resynthesised", "host")
PEAKS = (0.4, 0.8)
"""Of the room between a place's brightness and the breast's white."""
LEAST = 0.12
"""Of the range from black to white: the peak in tissue that is nearly white already."""
LARGE_MM = 15.0
"""Smaller masses are thinner, and so fainter."""
KNEE = 0.88
"""Of that range: from here on the film saturates."""
ANEW = 0.35
"""Share of the strands that is drawn anew inside."""
EDGE = 0.25
"""Thickness from which on the mass is in the truth."""


class MammoDigital(MammoCgan):
    """The form from `mammo-cgan`'s generators, everything finer from the host.

    `margin` is one of `MARGINS`, drawn where it is None. `grain` is the `host`'s own, or `resynthesised` from it. With
    a `view` the form is what that view sees of a solid, and the generators are not asked.
    """

    name = "mammo-digital"
    family = "mammo-digital"

    def __init__(self, arrays: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, *,
                 margin: str | None = None, grain: str = GRAINS[0], view: View | None = None) -> None:
        check_word("margin", margin or next(iter(MARGINS)), MARGINS)
        check_word("grain", grain, GRAINS)
        super().__init__(arrays, settings, grain=grain)
        self._margin, self._view = margin, view

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """As `MammoCgan`; and the margin, the ellipse and the peak, or what the view sees of them."""
        params = super().draw(host, lesion, rng, strength=strength)
        mm = float(host.spacing[1]) if host.spacing else NOMINAL_MM
        drawn = str(rng.choice([*MARGINS], p=SHARES))
        margin = self._margin or drawn
        white, black = params["intensities"]["white"], params["intensities"]["black"]
        params |= {"mm": mm, "margin": margin}
        if self._view is not None:
            most = float(chords(self._view, margin).max())
            return params | {"view": asdict(self._view), "spicules": solid_of(self._view.solid, margin).spicules,
                             "peak": self._view.contrast * most * (white - black)}
        peak = peak_of(host, lesion, rng.uniform(*PEAKS), (black, white), mm)
        return params | {"angle": float(rng.uniform(0, np.pi)), "aspect": float(rng.uniform(0.7, 1)), "peak": peak}

    def stages(self, host: Image, params: dict[str, Any]) -> Stages:
        """As `MammoCgan`: the sixth is the form at the host's size, the seventh what this one makes of the square."""
        original = cut(host.plane, params)
        side, mm = original.shape[0], params["mm"]
        if "view" in params:
            share = chords(View(**params["view"]), params["margin"])
            small = zeroed = painted = completed = share
            inner = inner_of(resized(share, side, True), params["diameter"] / 2)
        else:
            original, small, zeroed, painted, completed = self.generated(host, params)
            share = np.maximum(smooth(completed - membrane(small, centre_mask()), 1.2), np.float32(0))
            inner = cone(side, params)
        share = np.asarray(share / np.float32(max(float(share.max()), 1e-6)), np.float32)
        coarse = smooth(resized(share, side, True), max(0.5, side / SIDE))
        clean = denoised(original, level_of(original))
        line = lines(clean, mm)
        body = body_of(coarse, inner, line, params)
        thick = (body + spicules_of(body, line, params) * np.clip(1 - body, 0, 1)) * fading(side, params["diameter"])
        thick[thick < 0.01] = 0
        made = self._made(host, original, clean, thick, params)
        within = window(host.plane.shape, params)[1]
        seen, truth = thick[within], np.zeros(thick.shape, np.bool_)
        truth[within] = piece_of((seen > 0) & (seen >= min(EDGE, 0.9 * float(seen.max()))))
        weight = np.where(truth, np.float32(1), np.float32(0.5 * TRUTH) * (thick > 0)).astype(np.float32)
        large = original + np.float32(params["peak"]) * thick
        return Stages(original, small, zeroed, painted, completed, large, made,
                      np.where(thick > 0, made, original), weight)

    @staticmethod
    def _made(host: Image, original: Plane, clean: Plane, thick: Plane, params: dict[str, Any]) -> Plane:
        """The square (a, a) with a mass of thickness `thick`."""
        inner, how = np.clip(2 * thick, 0, 1), params["intensities"]
        soft = smooth(clean, max(0.5, FINE_MM / params["mm"]))
        strands, own = clean - soft, original - clean
        fine = mixed(strands, resynthesised(strands, params["seed"] + 2), np.float32(ANEW) * inner)
        grain = mixed(own, resynthesised(own, params["seed"] + 1), inner) if params["grain"] != "host" else own
        fine = matched(fine + grain, strands + own, inner)
        # a mass takes the place of the fat between strands, and little of what is bright
        even = smooth(soft, max(1.0, 0.2 * params["diameter"])) - soft
        soft = soft + np.clip(thick, 0, 1) * np.where(even > 0, 0.7, 0.25).astype(np.float32) * even
        level = soft + np.float32(params["peak"]) * thick
        made = saturated(level + fine, clean, how["black"], how["white"])
        breast = breast_small(host.plane).at_full_size(host.plane.shape)
        stronger = gain(grain_curve(host.plane, breast), clean, level) - 1
        return np.asarray(made + grain * stronger, np.float32)


def peak_of(host: Image, lesion: Lesion, share: float, levels: tuple[float, float], mm: float) -> float:
    """What a mass adds where it is thickest: `share` of the room between its place's brightness and the breast's white,
    less for a small one; `levels` are black and white."""
    (black, white), radius = levels, max(1, round(lesion.diameter / 2))
    y, x = (max(0, round(v) - radius) for v in (lesion.y, lesion.x))
    about = float(host.plane[y:y + 2 * radius, x:x + 2 * radius].mean())
    size = float(np.clip((lesion.diameter * mm / LARGE_MM) ** 0.35, 0.6, 1))
    return max(float(share) * (white - about) * size, LEAST * (white - black))


def saturated(level: Plane, clean: Plane, black: float, white: float) -> Plane:
    """`level` (y, x) bent towards `white` from `KNEE` on, as the maker's curve bends it, but not below what was there,
    `clean`."""
    knee = black + KNEE * (white - black)
    bent = knee + (white - knee) * np.tanh((level - knee) / (white - knee))
    return np.asarray(np.where(level > knee, np.maximum(bent, np.minimum(clean, level)), level), np.float32)
