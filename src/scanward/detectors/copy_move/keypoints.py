"""Places worth comparing, and descriptors of their grain that survive rotation, mirror, gain and offset."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

RADII = (2.0, 4.0, 6.0, 8.0, 10.0)
"""Rings sampled around a keypoint, pixels of the working grid."""
ANGLES = 32
ORDERS = 7
"""Highest angular frequency kept on a ring."""
MOST = 4500
EDGE = 8.0
"""Largest ratio of the two curvatures of a keypoint."""
MARGIN = 3


def band(plane: Plane, floor: float, inner: float = 0.7, outer: float = 2.5) -> Plane:
    """The grain of a (y, x) plane with its local contrast divided out, about zero mean and unit spread, within ±3.

    A difference of Gaussians (`inner`, `outer` pixels) over its own local standard deviation (8 px), so that an
    edge counts no more than grain does. `floor` is the spread, in the plane's own unit, below which rounding is all
    there is.
    """
    detail = cv2.GaussianBlur(plane, (0, 0), inner) - cv2.GaussianBlur(plane, (0, 0), outer)
    power = cv2.GaussianBlur(detail * detail, (0, 0), 8.0)
    return np.asarray(np.clip(detail / np.sqrt(power + floor * floor), -3, 3), np.float32)


@dataclass(frozen=True)
class Keypoints:
    """N keypoints of one grain plane."""

    at: npt.NDArray[np.complex64]
    """(N,), x + iy in pixels of the working grid."""
    angle: npt.NDArray[np.float32]
    """(N,), the direction that descriptors are turned to, radians."""
    rings: npt.NDArray[np.complex64]
    """(N, rings, orders + 1), angular Fourier coefficients on each ring."""


def find(grain: Plane, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.complex64]:
    """Extrema of the smoothed grain inside the mask, the `MOST` strongest, as x + iy to a fraction of a pixel."""
    strength = np.abs(cv2.GaussianBlur(grain, (0, 0), 1.0))
    peak = (strength == cv2.dilate(strength, np.ones((5, 5), np.uint8))) & inside & (strength > 0.2)
    peak[:MARGIN] = peak[-MARGIN:] = False
    peak[:, :MARGIN] = peak[:, -MARGIN:] = False
    y, x = _cornered(strength, *np.nonzero(peak))
    if len(y) > MOST:
        keep = np.argpartition(-strength[y, x], MOST)[:MOST]
        y, x = y[keep], x[keep]
    shifts = []
    for before, after in ((strength[y, x - 1], strength[y, x + 1]), (strength[y - 1, x], strength[y + 1, x])):
        bend = np.minimum(before + after - 2 * strength[y, x], -1e-6)
        shifts.append(np.clip((before - after) / (2 * bend), -0.5, 0.5))
    return ((x + shifts[0]) + 1j * (y + shifts[1])).astype(np.complex64)


def _cornered(strength: Plane, y: npt.NDArray[np.intp],
              x: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Without the peaks that lie along an edge, which match anywhere else along it (Lowe 2004, section 4.1)."""
    here = 2 * strength[y, x]
    xx = strength[y, x - 1] + strength[y, x + 1] - here
    yy = strength[y - 1, x] + strength[y + 1, x] - here
    xy = (strength[y + 1, x + 1] + strength[y - 1, x - 1] - strength[y - 1, x + 1] - strength[y + 1, x - 1]) / 4
    keep = (xx + yy) ** 2 * EDGE < (EDGE + 1) ** 2 * (xx * yy - xy * xy)
    return y[keep], x[keep]


def describe(grain: Plane, at: npt.NDArray[np.complex64], scale: float = 1.0) -> Keypoints:
    """Sample rings around each position, `scale` times as wide, and take their angular Fourier coefficients.

    The first order summed over the rings gives the direction: it turns with the grain, and mirrors with it.
    """
    turn = np.exp(2j * np.pi * np.arange(ANGLES) / ANGLES)
    reach = (scale * np.outer(RADII, turn)).ravel().astype(np.complex64)
    spots = at[:, None] + reach[None]
    samples = cv2.remap(grain, np.ascontiguousarray(spots.real), np.ascontiguousarray(spots.imag), cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_REFLECT)
    # A product with so few orders is twice as fast as an FFT.
    waves = np.exp(-2j * np.pi * np.outer(np.arange(ANGLES), np.arange(ORDERS + 1)) / ANGLES)
    flat = samples.reshape(-1, ANGLES) @ np.concatenate([waves.real, waves.imag], axis=1).astype(np.float32)
    rings = (flat[:, :ORDERS + 1] + 1j * flat[:, ORDERS + 1:]).reshape(len(at), len(RADII), ORDERS + 1)
    rings *= np.sqrt(np.asarray(RADII, np.float32))[None, :, None]
    return Keypoints(at, -np.angle(rings[:, :, 1].sum(axis=1)).astype(np.float32), rings)


def vectors(keypoints: Keypoints, mirrored: bool = False) -> npt.NDArray[np.float32]:
    """(N, 75) unit vectors whose inner product is the correlation of two discs of grain, turned to their directions.

    With `mirrored`, the vector that the grain's mirror image would have.
    """
    turn = np.exp(1j * keypoints.angle[:, None] * np.arange(ORDERS + 1)).astype(np.complex64)
    rings = keypoints.rings * turn[:, None, :]
    if mirrored:
        rings = rings.conj()
    n = len(rings)
    parts = (rings[:, :, 0].real, np.sqrt(2) * rings[:, :, 1:].real.reshape(n, -1),
             np.sqrt(2) * rings[:, :, 1:].imag.reshape(n, -1))
    out = np.concatenate(parts, axis=1).astype(np.float32)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
