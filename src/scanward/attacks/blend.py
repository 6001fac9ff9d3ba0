"""Shapes of a forged region, and the ways its pixels are joined to the host's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from scanward.attacks.base import Lesion, Patch
from scanward.box import Box
from scanward.errors import ArgumentError
from scanward.image import Image

Plane = npt.NDArray[np.float32]

LEAST = 3.0
"""The smallest diameter of a region, in pixels."""


@dataclass(frozen=True)
class Region:
    """A crop of the host and the weight of the forgery in it."""

    box: tuple[slice, slice]
    """(y, x) slices into the plane; they hold everything that may change and some surroundings."""
    weight: Plane
    """(y, x) of the crop, [0, 1]; zero where nothing may change."""

    @property
    def origin(self) -> tuple[int, int]:
        """The crop's (y, x) in the plane."""
        return int(self.box[0].start), int(self.box[1].start)

    def cut(self, plane: Plane) -> Plane:
        """A copy of the crop, (y, x)."""
        return plane[self.box].astype(np.float32, copy=True)


def length_of(pixels: float, mm: float | None) -> str:
    """A length for a message: in millimetres where it is known how many a pixel has."""
    return f"{pixels:.4g} pixels" if mm is None else f"{pixels * mm:.3g} mm"


def check_lesion(shape: tuple[int, ...], lesion: Lesion, name: str = "image", mm: float | None = None) -> None:
    """`ArgumentError` unless the lesion is finite, inside a film (y, x), and of a size that fits it, which is said in
    millimetres where `mm` a pixel are named."""
    height, width = shape[-2:]
    z, y, x = lesion.centre
    where = f"x {x:g}, y {y:g}"
    if not (math.isfinite(y) and math.isfinite(x) and math.isfinite(lesion.diameter)):
        raise ArgumentError(f"The place {where} with diameter {lesion.diameter:g} is not finite; give numbers.")
    if z != 0:
        raise ArgumentError(f"The slice {z:g} lies outside {name}, which has one; choose 0.")
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        raise ArgumentError(f"The place {where} lies outside {name} of {width} x {height} pixels; "
                            "choose one inside.")
    if not LEAST <= lesion.diameter <= min(height, width):
        fits = f"from {length_of(LEAST, mm)}" if lesion.diameter < LEAST else f"up to {length_of(min(shape[-2:]), mm)}"
        raise ArgumentError(f"A diameter of {length_of(lesion.diameter, mm)} does not suit {name} of {width} x "
                            f"{height} pixels; choose one {fits}, or give the spacing where the file's is wrong.")


def check_strength(strength: float) -> None:
    """`ArgumentError` unless it is above 0 and at most 1."""
    if not 0 < strength <= 1:
        raise ArgumentError(f"A strength of {strength:g} is out of range; choose one above 0 and up to 1.")


def start(host: Image, lesion: Lesion, rng: np.random.Generator, strength: float,
          feather: float | None = None) -> dict[str, Any]:
    """The parameters that every attack shares: a random shape of the lesion's area, and the strength.

    `feather` is the width in pixels over which the weight falls from 1 to 0; drawn from sharp to a third of the
    diameter if None. `ArgumentError` for a place or strength that cannot be used.
    """
    check_lesion(host.plane.shape, lesion, host.name)
    check_strength(strength)
    return {"shape": shape_of(lesion, rng, feather), "strength": float(strength)}


def shape_of(lesion: Lesion, rng: np.random.Generator, feather: float | None = None) -> dict[str, Any]:
    """A random shape as `region_of` takes it; `feather` as for `start`."""
    if feather is None:
        feather = float(rng.choice([0.0, rng.uniform(1, 3), rng.uniform(0.05, 0.33) * lesion.diameter],
                                   p=[0.15, 0.25, 0.6]))
    kind = str(rng.choice(["ellipse", "blob", "polygon"], p=[0.3, 0.5, 0.2]))
    return {"kind": kind, "y": float(lesion.y), "x": float(lesion.x), "diameter": float(lesion.diameter),
            "aspect": float(rng.uniform(0.7, 1.0)), "angle": float(rng.uniform(0, 180)),
            "seed": int(rng.integers(2**31)), "feather": min(feather, 0.5 * lesion.diameter)}


def region_of(shape: dict[str, Any], size: tuple[int, ...], around: float = 0.25) -> Region:
    """The region that `shape` (as drawn by `start`) describes in an image of `size` (y, x).

    The crop reaches `around` diameters beyond the region, as far as the image goes.
    """
    y, x, diameter, feather = shape["y"], shape["x"], shape["diameter"], float(shape["feather"])
    check_lesion(size, Lesion((0, y, x), diameter))
    outline = _outline(shape, diameter / 2)
    reach = float(outline.max()) + feather / 2 + 2 + around * diameter
    y0, x0 = max(0, math.floor(y - reach)), max(0, math.floor(x - reach))
    y1, x1 = min(size[-2], math.ceil(y + reach) + 1), min(size[-1], math.ceil(x + reach) + 1)
    region = Region((slice(y0, y1), slice(x0, x1)), np.zeros((y1 - y0, x1 - x0), np.float32))
    distance, edge = _polar(shape, region, outline)
    inside = edge - distance
    weight = np.clip(inside / max(feather, 1e-3) + 0.5, 0, 1).astype(np.float32)
    weight = weight * weight * (3 - 2 * weight)
    if not weight.any():  # a region of a few pixels can slip between them
        weight[min(round(y), size[-2] - 1) - y0, min(round(x), size[-1] - 1) - x0] = 1
    return Region(region.box, weight)


def depth(shape: dict[str, Any], region: Region) -> Plane:
    """How deep each pixel of the crop lies in the shape: 1 at its centre, 0 on its edge, negative outside."""
    distance, edge = _polar(shape, region, _outline(shape, shape["diameter"] / 2))
    return 1 - distance / edge


def _polar(shape: dict[str, Any], region: Region, outline: Plane) -> tuple[Plane, Plane]:
    """Each pixel's distance from the shape's centre, and that of the edge in its direction; (y, x), pixels."""
    (y0, x0), (height, width) = region.origin, region.weight.shape
    dy = (np.arange(y0, y0 + height, dtype=np.float32) - np.float32(shape["y"]))[:, None]
    dx = (np.arange(x0, x0 + width, dtype=np.float32) - np.float32(shape["x"]))[None, :]
    angle = np.arctan2(dy, dx) * np.float32(len(outline) / (2 * np.pi))
    return np.hypot(dy, dx), outline[np.rint(angle).astype(np.int32) % len(outline)]


def _outline(shape: dict[str, Any], radius: float, steps: int = 1440) -> Plane:
    """Distance of the edge from the centre in `steps` directions, scaled to the area of a disc of `radius`."""
    theta = np.arange(steps) * (2 * np.pi / steps)
    turned = theta - math.radians(shape["angle"])
    aspect = float(shape["aspect"])
    edge = aspect / np.hypot(aspect * np.cos(turned), np.sin(turned))
    rng = np.random.default_rng(shape["seed"])
    if shape["kind"] == "blob":
        orders = np.arange(2, 9)
        size = rng.normal(0, 0.16, len(orders)) / (orders - 1) ** 0.8
        phase = rng.uniform(0, 2 * np.pi, len(orders))
        edge = edge * np.exp((size[:, None] * np.cos(orders[:, None] * theta + phase[:, None])).sum(0))
    elif shape["kind"] == "polygon":
        count = int(rng.integers(5, 12))
        corner = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * (2 * np.pi / count)
        length = rng.uniform(0.75, 1.2, count)
        edge = edge * _polygon_edge(theta, corner, length)
    area = np.mean(edge**2)
    return (edge * (radius / math.sqrt(area))).astype(np.float32)


def _polygon_edge(theta: npt.NDArray[np.floating], corner: npt.NDArray[np.floating],
                  length: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Distance from the centre to the polygon with these corners (angle, length), in directions `theta`."""
    x, y = length * np.cos(corner), length * np.sin(corner)
    index = np.searchsorted(np.sort(corner), theta - 2 * np.pi * (theta > corner.max())) - 1
    i, j = index % len(corner), (index + 1) % len(corner)
    cross = x[i] * y[j] - x[j] * y[i]
    return cross / (np.cos(theta) * (y[j] - y[i]) - np.sin(theta) * (x[j] - x[i]))


def compose(plane: Plane, region: Region, altered: Plane, alpha: float) -> Patch:
    """The region of `plane` with `altered` (the crop) blended in, and its truth.

    The blend's weight is `alpha` times the region's; the mask is True where it is at least half its maximum.
    """
    crop = plane[region.box]
    blended = crop + np.float32(alpha) * region.weight * (altered - crop)
    mask = region.weight >= 0.5 * region.weight.max()
    return patch_of(region.box, np.where(region.weight > 0, blended, crop), mask)


def patch_of(box: tuple[slice, slice], values: Plane, mask: npt.NDArray[np.bool_]) -> Patch:
    """The patch of a film from slices, values and truth (y, x)."""
    return Patch(Box.of((slice(0, 1), *box)), np.asarray(values, np.float32)[None], mask[None])


def membrane(values: Plane, unknown: npt.NDArray[np.bool_], sweeps: int = 24) -> Plane:
    """`values` with the unknown pixels replaced by the smoothest surface through the known ones (Laplace).

    Coarse to fine: each level starts from the level below and is relaxed `sweeps` times. Beyond the array's
    border the surface is flat (zero gradient). An array that is unknown everywhere gives its mean.
    """
    if not unknown.any():
        return values.astype(np.float32, copy=True)
    if unknown.all():
        return np.full_like(values, values.mean())
    known = (~unknown).astype(np.float32)
    if min(values.shape) > 4:
        size = ((values.shape[1] + 1) // 2, (values.shape[0] + 1) // 2)
        share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(np.where(unknown, 0, values).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        filled = np.asarray(mean / np.maximum(share, 1e-6), np.float32)
        coarse = membrane(filled, share < 1e-3, sweeps)
        guess = cv2.resize(coarse, values.shape[::-1], interpolation=cv2.INTER_LINEAR)
    else:
        guess = np.full_like(values, (values * known).sum() / known.sum())
    kernel = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
    current = np.where(unknown, guess, values).astype(np.float32)
    for _ in range(sweeps):
        current = np.where(unknown, cv2.filter2D(current, -1, kernel, borderType=cv2.BORDER_REPLICATE), current)
    return current


def poisson(host: Plane, source: Plane, inside: npt.NDArray[np.bool_], mixed: bool = False) -> Plane:
    """Gradient-domain blend of `source` into `host` where `inside` (Pérez, Gangnet, Blake 2003, eq. 7 and 12).

    All are crops (y, x). `mixed` keeps whichever gradient is stronger. The host is returned outside.
    """
    if mixed:
        source = _integrated(host, source, inside)
    difference = np.where(inside, 0, host - source).astype(np.float32)
    return np.where(inside, source + membrane(difference, inside), host).astype(np.float32)


def _integrated(host: Plane, source: Plane, inside: npt.NDArray[np.bool_]) -> Plane:
    """A crop whose Laplacian is the divergence of the stronger of both gradients; zero beyond its border."""
    divergence = np.zeros(host.shape, np.float32)
    for axis in (0, 1):
        a, b = np.diff(host, axis=axis), np.diff(source, axis=axis)
        strong = np.where(np.abs(a) > np.abs(b), a, b)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 1)
        divergence += np.diff(np.pad(strong, pad), axis=axis)
    divergence = np.where(inside, divergence, 0)
    height, width = host.shape
    eigen = (2 * np.cos(np.pi * np.arange(1, height + 1) / (height + 1))[:, None]
             + 2 * np.cos(np.pi * np.arange(1, width + 1) / (width + 1))[None] - 4)
    return fft.idstn(fft.dstn(divergence.astype(np.float64), type=1) / eigen, type=1).astype(np.float32)
