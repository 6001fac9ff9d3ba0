"""What happens to whole images on their way, forged or not: re-encoding, resampling, noise.

Authentic controls go through the same steps as forgeries, so that no detector can learn the step instead.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.errors import ArgumentError
from scanward.image import Image

STEPS = ("none", "jpeg", "jpeg2000", "resample", "noise", "gamma")


def reencode(image: Image, step: str, amount: float = 0.0, seed: int = 0) -> Image:
    """The image after one whole-image step.

    `jpeg`: 8 bit at quality `amount`, range mapped to 0..255 and back. `jpeg2000`: the file's depth at `amount`
    (OpenCV's thousandths of the lossless size). `resample`: by the factor `amount`, area means down and
    Lanczos up, spacing corrected.
    `noise`: white, σ = `amount` × 2**bits / 256. `gamma`: brightness curve with exponent `amount`.
    """
    plane, top = image.plane, image.largest
    if step == "none":
        return image
    if step == "jpeg":
        return image.with_plane(_jpeg(plane, amount))
    if step == "jpeg2000":
        kind = np.uint8 if image.bits <= 8 else np.uint16
        _, data = cv2.imencode(".jp2", plane.astype(kind), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, int(amount)])
        return image.with_plane(np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32))
    if step == "resample":
        spacing = image.spacing and (image.spacing[0], image.spacing[1] / amount, image.spacing[2] / amount)
        return dataclasses.replace(image, spacing=spacing).with_plane(_resize(plane, amount))
    if step == "noise":
        grain = np.random.default_rng(seed).standard_normal(plane.shape, np.float32)
        return image.with_plane(plane + grain * np.float32(amount * (top + 1) / 256))
    if step == "gamma":
        return image.with_plane(top * (plane / top) ** amount)
    raise ArgumentError(f"No re-encoding step is called {step!r}; choose one of: {', '.join(STEPS)}.")


def reencode_mask(mask: npt.NDArray[np.bool_], step: str, amount: float = 0.0) -> npt.NDArray[np.bool_]:
    """A (y, x) truth mask on the grid of the re-encoded image."""
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


def _jpeg(plane: npt.NDArray[np.float32], quality: float) -> npt.NDArray[np.float32]:
    low, high = float(plane.min()), float(plane.max())
    scale = 255 / max(high - low, 1e-6)
    if high <= 255 and low >= 0:
        low, scale = 0.0, 1.0
    _, data = cv2.imencode(".jpg", np.rint((plane - low) * scale).astype(np.uint8),
                           [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32)
    return decoded / np.float32(scale) + np.float32(low)


def _resize(plane: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    size = tuple(max(1, round(n * factor)) for n in plane.shape[::-1])
    kind = cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(plane, size, interpolation=kind), np.float32)
