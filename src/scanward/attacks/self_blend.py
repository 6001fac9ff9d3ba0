"""Self-blends: the host blended with an altered copy of itself, to train detectors without any forger's habits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, Region, compose, depth, region_of, start
from scanward.attacks.copy_move import far_place, fetch
from scanward.attacks.grain import grain, headroom, moments, smooth, span, white
from scanward.attacks.patches import blurred, draw_blur, draw_jpeg, draw_noise, floor_of, noised, resample, through_jpeg
from scanward.errors import ArgumentError
from scanward.image import Image


class SelfBlend:
    """One of `VARIANTS`, blended with a random shape, feather and weight."""

    name = "self-blend"
    family = "self-blend"
    needs_donor = False
    VARIANTS = ("shift", "affine", "gain", "sharpen", "blur", "noise", "requantise", "lowfreq", "jpeg", "denoise")

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None,
             variants: Sequence[str] | None = None) -> dict[str, Any]:
        """One variant of `variants` (all if None), its parameters, and a weight of 0.5 to 1 times `strength`.

        `ArgumentError` for an unknown variant, and as `start`.
        """
        chosen = tuple(self.VARIANTS if variants is None else variants)
        unknown = [name for name in chosen if name not in self.VARIANTS]
        if unknown or not chosen:
            raise ArgumentError(f"No self-blend variant is called {unknown[0] if unknown else ''!r}; "
                                f"choose from: {', '.join(self.VARIANTS)}.")
        params = start(host, lesion, rng, strength)
        variant = str(rng.choice(chosen))
        region = region_of(params["shape"], host.plane.shape)
        alpha = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.5, 1.0))
        return params | {"variant": variant, "alpha": alpha,
                         "how": _draw_variant(variant, host, lesion, region, rng, anatomy)}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth; of `lowfreq`, where the bump has a quarter of its peak."""
        plane = host.plane
        region = region_of(params["shape"], plane.shape)
        crop = region.cut(plane)
        altered = _alter(plane, crop, region, params)
        patch = compose(plane, region, altered, params["strength"] * params["alpha"])
        if params["variant"] == "lowfreq":
            bump = region.weight * _bump(region, params["shape"], params["how"])
            patch.mask[0] = bump >= 0.25 * bump.max()
        return patch


def _draw_variant(variant: str, host: Image, lesion: Lesion, region: Region, rng: np.random.Generator,
                  anatomy: Anatomy | None) -> dict[str, Any]:
    if variant == "noise":
        return draw_noise(host, region, rng)
    if variant == "jpeg":
        return draw_jpeg(host, region, rng)
    if variant in ("blur", "denoise"):
        kinds = ("gaussian", "median") if variant == "blur" else ("bilateral", "nlm")
        return draw_blur(host, region, rng, kinds)
    if variant == "lowfreq":
        return _draw_bump(host, region, rng)
    how: dict[str, Any] = {}
    if variant == "shift":
        source = far_place(host, lesion, rng, anatomy)
        how = {"source": [round(source.y), round(source.x)], "mirror": bool(rng.random() < 0.3),
               "sigma": float(lesion.diameter * rng.uniform(0.08, 0.3))}
    elif variant == "affine":
        how = {"kind": "warp", "interpolation": str(rng.choice(["linear", "cubic", "lanczos"])),
               "affine": [float(v) for v in rng.uniform(-0.12, 0.12, 4)], "bend": 0.0,
               "shift": [float(v) for v in rng.uniform(-3, 3, 2)], "seed": 0}
    elif variant == "gain":
        how = {"gain": float(rng.choice([rng.uniform(0.55, 0.85), rng.uniform(1.2, 1.7)])),
               "bias": float(rng.uniform(-0.04, 0.04) * span(host.plane)), "seed": int(rng.integers(2**31))}
    elif variant == "sharpen":
        how = {"amount": float(rng.uniform(0.4, 1.8)), "sigma": float(rng.uniform(0.6, 2.0))}
    elif variant == "requantise":
        own = max(grain(region.cut(host.plane), region.weight), floor_of(host))
        how = {"step": float(max(rng.uniform(1.5, 5.0) * own, 2.0 if host.integer else 0.0)),
               "phase": float(rng.uniform())}
    return how


def _draw_bump(host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
    level, contrast = moments(host.plane[region.box], region.weight > 0.5)[0], span(host.plane)
    peak = min(float(rng.uniform(0.06, 0.25)) * contrast, headroom(host.largest, host.integer, level, contrast))
    sign = -1.0 if level > peak and rng.random() < 0.35 else 1.0
    return {"peak": sign * peak, "steep": float(rng.uniform(1.0, 2.0)), "seed": int(rng.integers(2**31)),
            "texture": float(rng.uniform(0, 0.25))}


def _shifted(plane: Plane, crop: Plane, region: Region, params: dict[str, Any]) -> Plane:
    """Another place's grain and detail on the crop's own low frequencies."""
    shape, how = params["shape"], params["how"]
    y, x = how["source"]
    source = fetch(plane, region, (round(shape["y"]), round(shape["x"])), (y, x), mirror=how["mirror"])
    return source + smooth(crop, how["sigma"]) - smooth(source, how["sigma"])


def _regained(crop: Plane, shape: dict[str, Any], how: dict[str, Any]) -> Plane:
    """Detail and grain scaled by a slowly varying gain about the low frequencies, which get a bias."""
    low = smooth(crop, max(2.0, shape["diameter"] / 4))
    field = white(crop.shape, how["seed"], max(2.0, shape["diameter"] / 3))
    gain = np.float32(how["gain"]) * np.exp(np.float32(0.08) * field)
    return low + gain * (crop - low) + np.float32(how["bias"])


def _requantised(crop: Plane, how: dict[str, Any]) -> Plane:
    step, phase = np.float32(how["step"]), np.float32(how["phase"])
    return (np.rint(crop / step + phase) - phase) * step


def _alter(plane: Plane, crop: Plane, region: Region, params: dict[str, Any]) -> Plane:
    how, shape = params["how"], params["shape"]
    ways: dict[str, Callable[[], Plane]] = {
        "shift": lambda: _shifted(plane, crop, region, params),
        "affine": lambda: resample(crop, how),
        "gain": lambda: _regained(crop, shape, how),
        "sharpen": lambda: crop + np.float32(how["amount"]) * (crop - smooth(crop, how["sigma"])),
        "blur": lambda: blurred(crop, how),
        "noise": lambda: noised(crop, region, how),
        "requantise": lambda: _requantised(crop, how),
        "lowfreq": lambda: crop + np.float32(how["peak"]) * _bump(region, shape, how),
        "jpeg": lambda: through_jpeg(crop, region, how),
        "denoise": lambda: blurred(crop, how)}
    return ways[params["variant"]]()


def _bump(region: Region, shape: dict[str, Any], how: dict[str, Any]) -> Plane:
    """A smooth hill (y, x), [0, ~1], as wide as the region."""
    t = 1 - depth(shape, region)
    hill = np.clip(1 - t * t, 0, 1) ** np.float32(how["steep"])
    wave = white(region.weight.shape, how["seed"], max(2.0, shape["diameter"] / 8))
    return hill * (1 + np.float32(how["texture"]) * np.clip(wave, -2, 2))
