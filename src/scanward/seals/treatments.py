"""What may happen to a whole image between two hospitals, one slice (y, x) at a time; no forgery is among it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Treatment = Callable[[Plane], Plane]
DEEPEST = 65535
SEED = 7
RATIO = 20.0
"""To one: more than the 15 of the strongest JPEG 2000 that is allowed, since encoders differ."""


def halved(plane: Plane, down: int, up: int) -> Plane:
    """To half the size and back, by OpenCV's interpolations."""
    height, width = plane.shape
    small = cv2.resize(plane, (max(1, width // 2), max(1, height // 2)), interpolation=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=up), np.float32)


def blurred(plane: Plane, sigma: float) -> Plane:
    """By a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def noisy(plane: Plane, sigma: float, rng: np.random.Generator) -> Plane:
    """With white noise, rounded as a file would hold it."""
    return np.asarray(np.rint(plane + rng.standard_normal(plane.shape, np.float32) * np.float32(sigma)), np.float32)


def jpeg2000(plane: Plane, ratio: float) -> Plane:
    """Through irreversible JPEG 2000 at `ratio` to one, in 16 bits; what is no whole number or spans more is scaled to
    them."""
    low, high = float(plane.min()), float(plane.max())
    scale = 1.0 if high - low <= DEEPEST and bool((plane == np.rint(plane)).all()) else DEEPEST / max(high - low, 1e-30)
    levels = np.rint((plane - low) * scale).astype(np.uint16)
    _, data = cv2.imencode(".jp2", levels, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, int(1000 / ratio)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32) / np.float32(scale) + np.float32(low)


def modes() -> tuple[Treatment, ...]:
    """Those whose effect an image's own copy foretells: how far they went is one number for all of it."""
    return (lambda plane: halved(plane, cv2.INTER_LINEAR, cv2.INTER_LINEAR),
            lambda plane: halved(plane, cv2.INTER_CUBIC, cv2.INTER_CUBIC),
            lambda plane: blurred(plane, 0.6))


def trials(noise: float, number: int) -> tuple[Treatment, ...]:
    """Those whose remains set the tolerance of slice `number`: `noise` is the σ that is allowed. Every other slice goes
    through the codec turned about, where it meets it in another phase."""
    turn = slice(None, None, -1 if number % 2 else 1)
    return (lambda plane: noisy(plane, noise, np.random.default_rng((SEED, number))),
            lambda plane: jpeg2000(plane[turn, turn], RATIO)[turn, turn],
            lambda plane: halved(plane, cv2.INTER_AREA, cv2.INTER_CUBIC),
            lambda plane: halved(plane, cv2.INTER_AREA, cv2.INTER_LANCZOS4))


MODES = len(modes())
