"""What may happen to a whole image between two hospitals, one slice (y, x) at a time; no forgery is among it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import jpeg_ls
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Treatment = Callable[[Plane], Plane]
DEEPEST = 65535
SEED, NEAR = 7, 2
RATIO = 20.0
"""To one: more than the 15 of the strongest JPEG 2000 that is allowed, since encoders differ."""


def whole(plane: Plane) -> bool:
    """Whether every value is a whole number."""
    return bool((plane == np.rint(plane)).all())


def halved(plane: Plane, down: int, up: int) -> Plane:
    """To half the size and back, by OpenCV's interpolations."""
    height, width = plane.shape
    small = cv2.resize(plane, (max(1, width // 2), max(1, height // 2)), interpolation=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=up), np.float32)


def blurred(plane: Plane, sigma: float) -> Plane:
    """By a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def noisy(plane: Plane, sigma: float, rng: np.random.Generator) -> Plane:
    """With white noise; of whole numbers, whole numbers, as a file would hold them."""
    made = plane + rng.standard_normal(plane.shape, np.float32) * np.float32(sigma)
    return np.rint(made) if whole(plane) else made


def jpeg2000(plane: Plane, ratio: float) -> Plane:
    """Through irreversible JPEG 2000 at `ratio` to one, in as many bytes as its whole numbers need; what is none, or
    spans more, is scaled to 16 bits."""
    low, high = float(plane.min()), float(plane.max())
    if low == high:
        return plane
    scale = 1.0 if high - low <= DEEPEST and whole(plane) else DEEPEST / (high - low)
    levels = np.rint((plane - low) * scale).astype(np.uint8 if (high - low) * scale <= 255 else np.uint16)
    _, data = cv2.imencode(".jp2", levels, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, int(1000 / ratio)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32) / np.float32(scale) + np.float32(low)


def near_lossless(plane: Plane, near: int) -> Plane:
    """Through JPEG-LS, off by at most `near`; what is no whole number, needs more than 16 bits or has hardly more
    values than that stays."""
    low, high = float(plane.min()), float(plane.max())
    if not whole(plane) or not 4 * near <= high - low <= DEEPEST:
        return plane
    levels = (plane - low).astype(np.uint8 if high - low <= 255 else np.uint16)
    decoded, _ = jpeg_ls.decode_buffer(jpeg_ls.encode_array(levels, lossy_error=near))
    return np.frombuffer(decoded, levels.dtype).reshape(plane.shape).astype(np.float32) + np.float32(low)


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
            lambda plane: near_lossless(plane, NEAR),
            lambda plane: halved(plane, cv2.INTER_AREA, cv2.INTER_CUBIC),
            lambda plane: halved(plane, cv2.INTER_AREA, cv2.INTER_LANCZOS4))


MODES, TRIALS = len(modes()), len(trials(1.0, 0))
