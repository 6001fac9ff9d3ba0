"""Architectural distortion in a mammogram: tissue drawn towards a point, and strands that radiate from it; no mass.

What replaces the square is

    M = S + F' + g · N' + c · (T − b · T̄),

with S the brightness of the host's tissue over `FINE_MM` after it was drawn in (`pull.py`); F' its strands, weaker
towards the middle, where those that do not radiate give way; N' the host's grain drawn anew, and g how strong it was in
the tissue that came; T the depth of the strands that radiate (`strands.py`), and c their opacity, that of the host's
own strands round about. T̄ is T over `BETWEEN_MM`: between strands lies fat, so that the middle is no brighter than it
was. The numbers were chosen by eye.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from scanward.anatomy.breast import breast_small
from scanward.arguments import check_word
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch, View
from scanward.attacks.blend import Plane, check_lesion, check_strength, patch_of
from scanward.attacks.grain import resynthesised, smooth
from scanward.attacks.mammo_cgan.inject import cut, window
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_digital.inject import GRAINS, saturated
from scanward.attacks.mammo_digital.texture import (
    FINE_MM,
    GAINS,
    NOMINAL_MM,
    denoised,
    level_of,
    lines,
    matched,
    mixed,
)
from scanward.attacks.mammo_distortion.pull import Sources, favoured, sources
from scanward.attacks.mammo_distortion.strands import depth_of, strands_of
from scanward.errors import UnsupportedError
from scanward.image import Image

COARSEST_MM = 0.25
"""Strands are 0.2 to 0.6 mm wide."""
REACH = 1.4
"""Radii from the centre within which everything ends."""
RIM = 0.35
"""Share of that over which what is new fades in."""
SKIN_MM = 2.0
"""The same, from the skin."""
PULLS = (0.35, 0.95)
"""How hard tissue is drawn in, as `sources` takes it."""
FADED = 0.6
"""By how much strands that do not radiate are weaker in the middle."""
QUANTILE = 0.9
"""Of the host's strands round about: so opaque are those that radiate, times `OPACITY`."""
OPACITY = 2.6
LEAST = 0.02
"""Of the range from black to white: that quantile where the host has hardly any strands."""
BETWEEN_MM = 1.2
"""Standard deviation."""
BETWEEN = 0.6
"""b."""


class MammoDistortion:
    """Architectural distortion at the host's own pixel; nothing is trained. `grain` is the `host`'s own, or
    `resynthesised` from it. With a `view` tissue is drawn in as hard as in the other; strands are the view's own."""

    name = "mammo-distortion"
    family = "mammo-distortion"
    needs_donor = False

    def __init__(self, *, grain: str = GRAINS[0], view: View | None = None) -> None:
        check_word("grain", grain, GRAINS)
        self._grain, self._view = grain, view

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """The square, the host's levels, how hard tissue is pulled, and the seed of strands and grain.

        `UnsupportedError` for pixels that are too coarse, `ArgumentError` for what cannot be used."""
        check_lesion(host.plane.shape, lesion, host.name)
        check_strength(strength)
        mm = float(host.spacing[1]) if host.spacing else NOMINAL_MM
        if mm > COARSEST_MM:
            raise UnsupportedError(f"{host.name} has pixels of {mm:g} mm, too coarse for strands of 0.2 mm; give a "
                                   f"mammogram whose pixels are of {COARSEST_MM:g} mm or less.")
        black, white = levels_of(host.plane)
        seed = int(rng.integers(2**31))
        shared = rng if self._view is None else np.random.default_rng((self._view.solid, 13))
        return {"y": float(lesion.y), "x": float(lesion.x), "diameter": float(lesion.diameter),
                "side": 2 * math.ceil(REACH * lesion.diameter / 2) + 5, "strength": float(strength),
                "seed": seed, "mm": mm, "black": black, "white": white, "grain": self._grain,
                "pull": float(shared.uniform(*PULLS))}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The square and its truth: all that lies within the reach and in the breast. Nothing else changes."""
        box, inner = window(host.plane.shape, params)
        middle = tuple(params[name] - part.start + own.start
                       for name, part, own in zip("yx", box, inner, strict=True))
        own, room = cut(host.plane, params), _room(host, params, middle)
        away = np.hypot(*np.meshgrid(*(np.arange(len(own)) - at for at in middle), indexing="ij"))
        inside = np.clip(1 - away / (REACH * params["diameter"] / 2), 0, 1).astype(np.float32)
        share = np.clip(inside / RIM, 0, 1) * np.clip(room * (params["mm"] / SKIN_MM), 0, 1)
        share = np.asarray(share * share * (3 - 2 * share), np.float32)
        made = _made(own, middle, room, inside, share, params)
        truth = share > 0
        change = np.where(truth, np.float32(params["strength"]) * (made - own), 0).astype(np.float32)
        return patch_of(box, host.plane[box] + change[inner], truth[inner])


def _room(host: Image, params: dict[str, Any], middle: tuple[float, ...]) -> Plane:
    """How far each pixel of the square (a, a) is from the skin, in pixels; from nothing where no breast is at the
    middle."""
    breast = breast_small(host.plane).at_full_size(host.plane.shape)
    tissue = cut(breast.astype(np.float32), params) > 0.5
    if tissue.all() or not tissue[round(middle[0]), round(middle[1])]:
        return np.full(tissue.shape, 2 * len(tissue), np.float32)
    return np.asarray(cv2.distanceTransform(tissue.view(np.uint8), cv2.DIST_L2, 5), np.float32)


def _made(own: Plane, middle: tuple[float, ...], room: Plane, inside: Plane, share: Plane,
          params: dict[str, Any]) -> Plane:
    """The square (a, a) with a distortion about `middle` (y, x); `inside` (a, a) is 1 there and 0 from the reach on,
    and `share` (a, a) how much is new."""
    mm, radius, rng = params["mm"], params["diameter"] / 2, np.random.default_rng(params["seed"])
    clean, fine = denoised(own, level_of(own)), max(0.5, FINE_MM / mm)
    strands, grain = clean - smooth(clean, fine), own - clean
    favour = favoured(lines(clean, mm), middle, REACH * radius)
    came = sources(len(own), middle, REACH * radius, params["pull"], favour, room)
    moved = came.taken(clean)
    soft = smooth(moved, fine)
    depth = depth_of(strands_of(lines(moved, mm), middle, radius, REACH * radius, mm, favour, rng), len(own), middle)
    depth -= np.float32(BETWEEN) * smooth(depth, max(0.5, BETWEEN_MM / mm))
    about = (inside > 0) & (inside < 0.7) & (room > 0)
    opaque = max(float(np.quantile(strands[about], QUANTILE)) if about.any() else 0.0,
                 LEAST * (params["white"] - params["black"]))
    kept = (moved - soft) * (1 - np.float32(FADED) * share * inside * inside)
    texture = matched(kept + _grain(grain, came, share, params), strands + grain, share)
    level = soft + np.float32(OPACITY * opaque) * share * depth
    return saturated(level + texture, own, params["black"], params["white"])


def _grain(grain: Plane, came: Sources, share: Plane, params: dict[str, Any]) -> Plane:
    """The square's grain (a, a), drawn anew where `share` is, and as strong as in the tissue that came there."""
    new = grain
    if params["grain"] != "host":
        new = mixed(grain, resynthesised(grain, params["seed"] + 1), share)
    here = np.sqrt(np.maximum(smooth(grain * grain, max(0.5, FINE_MM / params["mm"])), 1e-12))
    return np.asarray(new * np.clip(came.taken(here) / here, *GAINS), np.float32)
