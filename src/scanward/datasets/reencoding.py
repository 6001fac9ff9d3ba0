"""What happens to whole images on their way, forged or not: re-encoding, resampling, noise.

Authentic controls go through the same steps as forgeries, so that no detector can learn the step instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.partial_conv.remove import resampled
from scanward.datasets.processing import processed
from scanward.errors import ArgumentError
from scanward.image import Image

Plane = npt.NDArray[np.float32]

STEPS = ("none", "jpeg", "jpeg2000", "resample", "noise", "gamma")
"""Those that every training draws after a forgery."""
PASTS = ("jpeg", "smooth", "rescan", "through")
"""Those that may have happened to a film before anybody forged it."""
TESTED = ("sharpen", "processed")
"""Only ever tested, and calibrated, on."""
KNOWN = tuple(dict.fromkeys(STEPS + PASTS + TESTED))


def reencode(image: Image, step: str, amount: float = 0.0, seed: int = 0) -> Image:
    """The image after one whole-image step.

    `jpeg`: 8 bit at quality `amount`, range mapped to 0..255 and back. `jpeg2000`: the file's depth at `amount`
    (OpenCV's thousandths of the lossless size). `resample`: by the factor `amount`, area means down and
    Lanczos up, spacing corrected.
    `noise`: white, σ = `amount` × 2**bits / 256. `gamma`: brightness curve with exponent `amount`.
    `sharpen`: unsharp masking over 1.5 pixels by `amount`. `smooth`: a Gaussian of σ = `amount` pixels. `rescan`: a
    film digitised again, a little turned, with the blur and noise of another scanner, all times `amount`. `through`:
    bilinearly to `amount` pixels of the shorter side, and back. `processed`: as maker number `amount` shows it
    (`processing.processed`).
    """
    if step == "none":
        return image
    if step == "resample":
        spacing = image.spacing and (image.spacing[0], image.spacing[1] / amount, image.spacing[2] / amount)
        return dataclasses.replace(image, spacing=spacing).with_plane(_resize(image.plane, amount))
    if step == "processed":
        return processed(image, int(amount))
    if step not in _PLANES:
        raise ArgumentError(f"No re-encoding step is called {step!r}; choose one of: {', '.join(KNOWN)}.")
    return image.with_plane(_PLANES[step](image, amount, seed))


def reencode_mask(mask: npt.NDArray[np.bool_], step: str, amount: float = 0.0) -> npt.NDArray[np.bool_]:
    """A (y, x) truth mask on the grid of the re-encoded image."""
    if step == "rescan":
        return _turned(mask.astype(np.float32), amount) >= 0.5
    if step != "resample":
        return mask
    return _resize(mask.astype(np.float32), amount) >= 0.5


def draw(rng: np.random.Generator, share: float = 0.5) -> dict[str, Any]:
    """Arguments of `reencode`: `none` with probability 1 - `share`, else any other step."""
    if rng.random() >= share:
        return {"step": "none", "amount": 0.0, "seed": 0}
    step = str(rng.choice(STEPS[1:]))
    low, high = {"jpeg": (90, 99), "jpeg2000": (80, 220), "resample": (0.8, 1.25), "noise": (0.1, 0.5),
                 "gamma": (0.8, 1.25)}[step]
    return {"step": step, "amount": float(rng.uniform(low, high)), "seed": int(rng.integers(2**31))}


def past(image: Image, rng: np.random.Generator) -> dict[str, Any]:
    """Arguments of `reencode` for what a film may have been through before: any of `PASTS`."""
    step = str(rng.choice(PASTS))
    low, high = {"jpeg": (60, 98), "smooth": (0.4, 1.1), "rescan": (0.4, 1.6),
                 "through": (0.35 * min(image.plane.shape), 0.95 * min(image.plane.shape))}[step]
    return {"step": step, "amount": float(rng.uniform(low, high)), "seed": int(rng.integers(2**31))}


def _noise(image: Image, amount: float, seed: int) -> Plane:
    grain = np.random.default_rng(seed).standard_normal(image.plane.shape, np.float32)
    return image.plane + grain * np.float32(amount * (image.largest + 1) / 256)


def _gamma(image: Image, amount: float, _: int) -> Plane:
    return np.asarray(image.largest * (image.plane / image.largest) ** amount, np.float32)


def _jpeg2000(image: Image, amount: float, _: int) -> Plane:
    kind = np.uint8 if image.bits <= 8 else np.uint16
    _, data = cv2.imencode(".jp2", image.plane.astype(kind), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, int(amount)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32)


def _sharpen(image: Image, amount: float, _: int) -> Plane:
    return image.plane + np.float32(amount) * (image.plane - cv2.GaussianBlur(image.plane, (0, 0), 1.5))


def _smooth(image: Image, amount: float, _: int) -> Plane:
    return np.asarray(cv2.GaussianBlur(image.plane, (0, 0), amount), np.float32)


def _rescan(image: Image, amount: float, seed: int) -> Plane:
    blurred = cv2.GaussianBlur(_turned(image.plane, amount), (0, 0), 0.6 * amount)
    grain = np.random.default_rng(seed).standard_normal(blurred.shape, np.float32)
    return np.asarray(blurred + grain * np.float32(0.3 * amount * (image.largest + 1) / 256), np.float32)


def _through(image: Image, amount: float, _: int) -> Plane:
    return resampled(image.plane, int(amount))


def _jpeg(image: Image, quality: float, _: int) -> Plane:
    plane = image.plane
    low, high = float(plane.min()), float(plane.max())
    scale = 255 / max(high - low, 1e-6)
    if high <= 255 and low >= 0:
        low, scale = 0.0, 1.0
    _, data = cv2.imencode(".jpg", np.rint((plane - low) * scale).astype(np.uint8),
                           [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32)
    return decoded / np.float32(scale) + np.float32(low)


def _turned(plane: Plane, amount: float) -> Plane:
    height, width = plane.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0.4 * amount, 1.0)
    return np.asarray(cv2.warpAffine(plane, turn, (width, height), flags=cv2.INTER_LINEAR), np.float32)


def _resize(plane: Plane, factor: float) -> Plane:
    size = tuple(max(1, round(n * factor)) for n in plane.shape[::-1])
    kind = cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(plane, size, interpolation=kind), np.float32)


_PLANES: dict[str, Callable[[Image, float, int], Plane]] = {
    "jpeg": _jpeg, "jpeg2000": _jpeg2000, "noise": _noise, "gamma": _gamma, "sharpen": _sharpen, "smooth": _smooth,
    "rescan": _rescan, "through": _through}
