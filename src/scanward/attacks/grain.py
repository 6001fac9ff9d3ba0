"""Grain and background of a crop: the measures that forgeries are matched with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def grain(crop: Plane, weight: Plane | None = None) -> float:
    """Standard deviation of the white part of the noise (Immerkær 1996, with a median in place of the mean).

    Where more than half of the pixels are flat (an 8-bit film's background), the mean is used instead.
    """
    if min(crop.shape) < 3:
        return float(crop.std())
    residual = np.abs(cv2.filter2D(crop, -1, _IMMERKAER, borderType=cv2.BORDER_REFLECT_101))
    if weight is not None and (weight > 0.5).sum() >= 9:
        residual = residual[weight > 0.5]
    median = float(np.median(residual)) * 1.4826
    return median if median > 0 else float(residual.mean()) * 1.2533


def smooth(crop: Plane, sigma: float) -> Plane:
    """Low frequencies; a large `sigma` (pixels) is done at reduced size, where it costs nothing."""
    step = int(sigma // 4)
    if step < 2 or min(crop.shape) < 4 * step:
        blurred = cv2.GaussianBlur(crop, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(blurred, np.float32)
    height, width = crop.shape
    size = (max(2, round(width / step)), max(2, round(height / step)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def white(shape: tuple[int, ...], seed: int, correlation: float = 0.0) -> Plane:
    """Gaussian noise (y, x) of standard deviation 1, correlated over `correlation` pixels."""
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if correlation <= 0:
        return noise
    noise = smooth(noise, correlation)
    return noise / max(float(noise.std()), 1e-6)


def resynthesised(texture: Plane, seed: int) -> Plane:
    """New grain (y, x) of a texture's own power spectrum and local strength, and none of its details.

    Random-phase noise (Galerne et al. 2011, section II) of the texture divided by its local deviation, multiplied by it
    again.
    """
    reach = max(3, min(texture.shape) // 8) | 1
    local = np.sqrt(np.maximum(cv2.blur(texture * texture, (reach, reach), borderType=cv2.BORDER_REFLECT_101), 1e-12))
    amplitude = np.abs(np.fft.rfft2(texture / local))
    phase = np.fft.rfft2(white(texture.shape, seed))
    drawn = np.fft.irfft2(amplitude * phase / np.maximum(np.abs(phase), 1e-12), texture.shape)
    return np.asarray(drawn * local, np.float32)


def ring(weight: Plane) -> npt.NDArray[np.bool_]:
    """The crop's pixels around the region: untouched, and what the forgery must agree with."""
    outside = weight <= 0
    return outside if outside.any() else weight < 0.5 if (weight < 0.5).any() else np.ones(weight.shape, np.bool_)


def moments(crop: Plane, where: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Mean and standard deviation of the chosen pixels; of all where none is chosen."""
    values = crop[where] if where.any() else crop
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def span(plane: Plane) -> float:
    """The image's contrast: from its 1st to its 99.5th percentile, on every eighth pixel; at least 1e-6."""
    step = 8 if min(plane.shape) >= 64 else 1
    low, high = np.percentile(plane[::step, ::step], (1, 99.5))
    return max(float(high - low), 1e-6)


def headroom(host_largest: float, integer: bool, level: float, contrast: float) -> float:
    """How much may be added at `level` before the file's depth clips it: four fifths of what is left."""
    return max(0.8 * (host_largest - level), 0.02 * contrast) if integer else contrast
