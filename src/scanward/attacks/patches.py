"""Regions altered in place: resampled, noised, smoothed, or sent through JPEG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, Region, compose, region_of, start
from scanward.attacks.grain import grain, smooth, white
from scanward.image import Image

INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4,
                  "area": cv2.INTER_AREA}
_REFLECT = cv2.BORDER_REFLECT_101


def synthetic_grain(crop: Plane, weight: Plane, seed: int) -> Plane:
    """White noise (y, x) as strong as the region's own grain."""
    return np.float32(grain(crop, weight)) * white(crop.shape, seed)


def floor_of(host: Image) -> float:
    """The least standard deviation of noise that shows after rounding to the host's depth."""
    return 0.6 if host.integer else 1e-6


class _InPlace:
    """Draws one alteration of the crop and blends it in with a feathered shape."""

    needs_donor = False

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Shape, strength, and `how` the region is altered. Raises as `start`."""
        params = start(host, lesion, rng, strength)
        params["how"] = self._draw(host, region_of(params["shape"], host.plane.shape), rng)
        return params

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth."""
        region = region_of(params["shape"], host.plane.shape)
        altered = self._alter(region.cut(host.plane), region, params["how"])
        return compose(host.plane, region, altered, params["strength"])

    def _draw(self, host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
        raise NotImplementedError

    def _alter(self, crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
        raise NotImplementedError


def draw_resample(rng: np.random.Generator) -> dict[str, Any]:
    """Parameters of `resample`: only such as change what is stored.

    There and back with a long kernel undoes itself to within the rounding, and would be a forgery of nothing.
    """
    kind = str(rng.choice(["down-up", "up-down", "rotate", "warp"]))
    names = {"down-up": ["linear", "cubic", "lanczos", "area"], "up-down": ["linear"], "rotate": ["linear", "cubic"],
             "warp": ["linear", "cubic", "lanczos"]}[kind]
    how: dict[str, Any] = {"kind": kind, "interpolation": str(rng.choice(names))}
    if kind == "down-up":
        how["factor"] = float(rng.uniform(0.4, 0.85))
    elif kind == "up-down":
        how["factor"] = float(rng.uniform(1.1, 1.9))
    elif kind == "rotate":
        how["angle"] = float(rng.uniform(1, 20) * rng.choice([-1, 1]))
    else:
        how |= {"affine": [float(v) for v in rng.uniform(-0.06, 0.06, 4)],
                "shift": [float(v) for v in rng.uniform(-1.5, 1.5, 2)],
                "bend": float(rng.uniform(0, 2.5)), "seed": int(rng.integers(2**31))}
    return how


def resample(crop: Plane, how: dict[str, Any]) -> Plane:
    """`crop` (y, x) interpolated once (`warp`) or there and back (the others); same shape."""
    flags = INTERPOLATIONS[how["interpolation"]]
    height, width = crop.shape
    if how["kind"] in ("down-up", "up-down"):
        size = (max(2, round(width * how["factor"])), max(2, round(height * how["factor"])))
        there = cv2.resize(crop, size, interpolation=flags)
        up = cv2.INTER_LINEAR if how["interpolation"] == "area" else flags
        return np.asarray(cv2.resize(there, (width, height), interpolation=up), np.float32)
    if how["kind"] == "rotate":
        pad = int(0.35 * max(crop.shape)) + 2
        padded = cv2.copyMakeBorder(crop, pad, pad, pad, pad, _REFLECT)
        matrix = cv2.getRotationMatrix2D((padded.shape[1] / 2, padded.shape[0] / 2), how["angle"], 1.0)
        size = (padded.shape[1], padded.shape[0])
        turned = cv2.warpAffine(padded, matrix, size, flags=flags, borderMode=_REFLECT)
        back = cv2.warpAffine(turned, matrix, size, flags=flags | cv2.WARP_INVERSE_MAP, borderMode=_REFLECT)
        return np.ascontiguousarray(back[pad:-pad, pad:-pad])
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dy, dx = y - np.float32(height / 2), x - np.float32(width / 2)
    a, b, c, d = (np.float32(v) for v in how["affine"])
    sigma = max(2.0, min(crop.shape) / 8)
    bend = np.float32(how["bend"])
    map_x = x + a * dx + b * dy + np.float32(how["shift"][0]) + bend * white(crop.shape, how["seed"], sigma)
    map_y = y + c * dx + d * dy + np.float32(how["shift"][1]) + bend * white(crop.shape, how["seed"] + 1, sigma)
    return np.asarray(cv2.remap(crop, map_x, map_y, flags, borderMode=_REFLECT), np.float32)


class Resample(_InPlace):
    """The region interpolated in place: sized down and up, up and down, turned and back, or warped."""

    name = "resample"
    family = "resample"

    def _draw(self, host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
        return draw_resample(rng)

    def _alter(self, crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
        return resample(crop, how)


def draw_noise(host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
    """Parameters of `noised`; the strength is 0.7 to 3 times the region's own grain."""
    own = max(grain(region.cut(host.plane), region.weight), floor_of(host))
    kind = str(rng.choice(["gaussian", "speckle", "correlated"]))
    correlation = float(rng.uniform(0.5, 1.6)) if kind == "correlated" else 0.0
    return {"kind": kind, "sigma": float(rng.uniform(0.7, 3.0) * own), "correlation": correlation,
            "seed": int(rng.integers(2**31))}


def noised(crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
    """`crop` (y, x) with noise added; speckle grows with the pixel and is `sigma` at the region's mean."""
    noise = np.float32(how["sigma"]) * white(crop.shape, how["seed"], how["correlation"])
    if how["kind"] == "speckle":
        mean = float(crop[region.weight > 0.5].mean()) if (region.weight > 0.5).any() else 0.0
        noise = noise * np.clip(crop / np.float32(mean), 0, 3) if mean > 0 else noise
    return crop + noise


class Noise(_InPlace):
    """Grain added to the region."""

    name = "noise"
    family = "noise"

    def _draw(self, host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
        return draw_noise(host, region, rng)

    def _alter(self, crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
        return noised(crop, region, how)


def draw_blur(host: Image, region: Region, rng: np.random.Generator,
              kinds: tuple[str, ...] = ("gaussian", "median", "bilateral", "nlm")) -> dict[str, Any]:
    """Parameters of `blurred`: widths from millimetres where the spacing is known, levels from the own grain."""
    own = max(grain(region.cut(host.plane), region.weight), floor_of(host))
    kind = str(rng.choice(kinds))
    if kind == "gaussian":
        sigma = rng.uniform(0.14, 0.5) / host.spacing[2] if host.spacing else rng.uniform(0.7, 2.5)
        return {"kind": kind, "sigma": float(np.clip(sigma, 0.6, 12))}
    if kind == "median":
        return {"kind": kind, "size": int(rng.choice([3, 5])), "times": int(rng.integers(1, 3))}
    return {"kind": kind, "level": float(rng.uniform(1.5, 4.0) * own), "size": int(rng.choice([5, 7, 9]))}


def blurred(crop: Plane, how: dict[str, Any]) -> Plane:
    """`crop` (y, x) smoothed by a Gaussian, a median, a bilateral filter, or non-local means."""
    if how["kind"] == "gaussian":
        return smooth(crop, how["sigma"])
    if how["kind"] == "median":
        for _ in range(how["times"]):
            crop = np.asarray(cv2.medianBlur(crop, how["size"]), np.float32)
        return crop
    if how["kind"] == "bilateral":
        edges_kept = cv2.bilateralFilter(crop, how["size"], how["level"], how["size"] / 3, borderType=_REFLECT)
        return np.asarray(edges_kept, np.float32)
    low, high = float(crop.min()), float(crop.max())
    if high <= low:
        return crop
    unit = 65535 / (high - low)
    whole = np.rint((crop - low) * unit).astype(np.uint16)
    clean = cv2.fastNlMeansDenoising(whole, h=[float(how["level"] * unit)], templateWindowSize=3, searchWindowSize=11,
                                     normType=cv2.NORM_L1)
    return clean.astype(np.float32) / np.float32(unit) + np.float32(low)


class Blur(_InPlace):
    """The region smoothed or denoised."""

    name = "blur"
    family = "blur"

    def _draw(self, host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
        return draw_blur(host, region, rng)

    def _alter(self, crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
        return blurred(crop, how)


def draw_jpeg(host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
    """Parameters of `through_jpeg`: half of the 8 x 8 grids lie on the image's own, and 8-bit hosts keep levels."""
    crop = region.cut(host.plane)
    low, high = (0.0, 255.0) if host.integer and host.bits == 8 else (float(crop.min()), float(crop.max()))
    phase = [0, 0] if rng.random() < 0.5 else [int(v) for v in rng.integers(0, 8, 2)]
    return {"quality": int(rng.integers(30, 93)), "phase": phase, "low": low, "high": high}


def through_jpeg(crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
    """`crop` (y, x) scaled to 8 bits, coded as baseline JPEG, decoded, and scaled back."""
    if how["high"] <= how["low"]:
        return crop
    (y0, x0), (py, px) = region.origin, how["phase"]
    top, left = (y0 - py) % 8, (x0 - px) % 8
    padded = cv2.copyMakeBorder(crop, top, 0, left, 0, cv2.BORDER_REPLICATE)
    unit = np.float32(255 / (how["high"] - how["low"]))
    whole = np.clip(np.rint((padded - np.float32(how["low"])) * unit), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, how["quality"]])[1]
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32)[top:, left:]
    return decoded / unit + np.float32(how["low"])


class Jpeg(_InPlace):
    """The region through JPEG."""

    name = "jpeg"
    family = "jpeg"

    def _draw(self, host: Image, region: Region, rng: np.random.Generator) -> dict[str, Any]:
        return draw_jpeg(host, region, rng)

    def _alter(self, crop: Plane, region: Region, how: dict[str, Any]) -> Plane:
        return through_jpeg(crop, region, how)
