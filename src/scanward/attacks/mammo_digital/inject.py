"""A mass in a digital mammogram: the third stage of Mammo-CGAN's cascade, at the host's own pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from scanward.anatomy.breast import breast_small
from scanward.attacks.base import Anatomy, Donor, Lesion
from scanward.attacks.blend import Plane, membrane
from scanward.attacks.grain import resynthesised, smooth
from scanward.attacks.mammo_cgan.inject import MammoCgan, Stages, window
from scanward.attacks.mammo_cgan.merge import TRUTH, centre_mask, levels_of, resized
from scanward.attacks.mammo_digital.form import MARGINS, body_of, spicules_of
from scanward.attacks.mammo_digital.texture import denoised, gain, grain_curve, own_grain, mixed, ridges, fractal
from scanward.attacks.pieces import piece_at
from scanward.errors import ArgumentError
from scanward.image import Image

NOMINAL_MM = 0.1
"""Millimetres a pixel where an image says none."""
KNEE = 0.88


class MammoDigital(MammoCgan):
    name = "mammo-digital"
    family = "mammo-digital"
    weights_name = "mammo-cgan"

    def __init__(self, arrays=None, settings=None, *, margin: str | None = None, grain: str = "resynthesised") -> None:
        super().__init__(arrays, settings, grain=grain)
        self._margin = margin

    def draw(self, host, lesion, rng, *, strength=1.0, donor=None, anatomy=None):
        params = super().draw(host, lesion, rng, strength=strength)
        mm = float(host.spacing[1]) if host.spacing else NOMINAL_MM
        margin = self._margin or str(rng.choice(list(MARGINS), p=[0.3, 0.35, 0.35]))
        how = params["intensities"]
        y, x = round(lesion.y), round(lesion.x)
        r = max(2, round(lesion.diameter / 2))
        about = host.plane[max(0, y - r):y + r + 1, max(0, x - r):x + r + 1]
        base, room = float(about.mean()), how["white"] - how["black"]
        size = float(np.clip((lesion.diameter * mm / 15) ** 0.35, 0.6, 1))
        peak = max(float(rng.uniform(0.3, 0.75)) * (how["white"] - base) * size, 0.08 * room)
        return params | {"mm": mm, "margin": margin, "peak": peak, "angle": float(rng.uniform(0, np.pi)),
                         "aspect": float(rng.uniform(0.7, 1))}

    def stages(self, host: Image, params: dict[str, Any]) -> Stages:
        original, small, zeroed, painted, completed = self.generated(host, params)
        side, mm = original.shape[0], params["mm"]
        white, black = params["intensities"]["white"], params["intensities"]["black"]
        more = np.maximum(smooth(completed - membrane(small, centre_mask()), 1.2), 0)
        coarse = resized(more / max(float(more.max()), 1e-6), side, True)
        coarse = smooth(coarse, side / 64)
        clean = denoised(original, own_grain(original))
        ridge = ridges(clean, mm)
        body = body_of(coarse, ridge, params)
        thick = np.maximum(body, 0) + spicules_of(body, ridge, params) * np.clip(1 - body, 0, 1)
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        rim = np.clip((1 - np.hypot(y, x) / (0.5 * side)) / 0.1, 0, 1).astype(np.float32)
        thick = thick * rim
        thick[thick < 0.01] = 0
        inner = np.clip(thick / 0.5, 0, 1)
        # strands: kept, part of them drawn anew inside
        soft = smooth(clean, 1.0 / mm)
        strands = clean - soft
        strands = mixed(strands, resynthesised(strands, params["seed"] + 2), 0.45 * inner)
        base = soft + np.float32(params["peak"]) * thick + strands
        knee = black + KNEE * (white - black)
        base = np.where(base > knee, np.maximum(knee + (white - knee) * np.tanh((base - knee) / (white - knee)), np.minimum(clean, base)), base)
        own = original - clean
        if params["grain"] == "resynthesised":
            own = mixed(own, resynthesised(own, params["seed"] + 1), inner)
        breast = breast_small(host.plane).at_full_size(host.plane.shape)
        curve = grain_curve(host.plane, breast)
        noisy = base + own * gain(curve, smooth(clean, 8), smooth(base, 8))
        merged = np.where(thick > 0, noisy, original).astype(np.float32)
        share = np.clip(thick / 0.25, 0, 1) * TRUTH
        truth = piece_at((share >= TRUTH)[None], (0, side / 2, side / 2), (1, 1, 1))[0]
        share = np.where(truth, np.maximum(share, TRUTH), np.minimum(share, TRUTH * 0.5)).astype(np.float32)
        return Stages(original, small, zeroed, painted, completed, coarse * (white - black) + black, noisy, merged, share)
