"""A lesion removed by partial convolutions: the region is forgotten and painted anew from its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, compose, region_of, start
from scanward.box import Box
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.weights import Trained

Fill = Callable[[Plane, npt.NDArray[np.bool_]], Plane]
"""A square (128, 128) of mean 0 and deviation 1 with its unknown pixels True in a mask, to the square it would be."""

SIDE = 128
"""Pixels a side of the squares that the network is trained on."""
LEAST_THROUGH, MOST_THROUGH = 64, 4096
LARGEST = 0.66
"""Of the network's square that the region may fill; larger ones are painted at reduced size."""


class PartialConv(Trained):
    """Liu et al. 2018. `through` pixels (512 as published; 0, the default, for none) of the shorter side is what the
    whole film is resampled to and back before it is painted: the published target domain was made so. Its crop to a
    square is left out, since a forged film keeps its host's frame."""

    name = "partial-conv"
    family = "partial-conv"
    weights_name = "partial-conv"
    needs_donor = False

    def __init__(self, arrays: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, *,
                 through: int | None = None) -> None:
        super().__init__(arrays, settings)
        if through and not LEAST_THROUGH <= through <= MOST_THROUGH:
            raise ArgumentError(f"--through {through} cannot be used; give {LEAST_THROUGH} to {MOST_THROUGH} pixels, "
                                "or 0 for none.")
        self._through = int(through or 0)

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """A region with a narrow seam. Raises as `start`."""
        return start(host, lesion, rng, strength, feather=float(rng.uniform(0, 2))) | {"through": self._through}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region, or the whole film that was resampled; its truth tells what was painted and not that."""
        plane = resampled(host.plane, params["through"]) if params["through"] else host.plane
        region = region_of(params["shape"], plane.shape, around=0.6)
        painted = paint(region.cut(plane), region.weight > 0, params["shape"]["diameter"], self._fill)
        patch = compose(plane, region, painted, params["strength"])
        return whole(patch, plane) if params["through"] else patch

    @cached_property
    def _fill(self) -> Fill:
        import torch

        from scanward.attacks.partial_conv.network import PartialConvNet
        from scanward.nets.blocks import filled

        net = filled(PartialConvNet(), self._weights[0])

        @torch.inference_mode()
        def run(square: Plane, unknown: npt.NDArray[np.bool_]) -> Plane:
            mask = torch.from_numpy((~unknown).astype(np.float32))[None, None]
            x = torch.from_numpy(np.ascontiguousarray(square))[None, None]
            return np.asarray(net(x * mask, mask)[0, 0].numpy())

        return run


def paint(crop: Plane, unknown: npt.NDArray[np.bool_], diameter: float, fill: Fill) -> Plane:
    """`crop` (y, x) with its `unknown` pixels filled, at reduced size where a region of `diameter` pixels is too large
    for the square that `fill` takes."""
    ratio = min(1.0, LARGEST * SIDE / diameter, *((SIDE - 1) / n for n in crop.shape))
    size = (max(1, round(crop.shape[1] * ratio)), max(1, round(crop.shape[0] * ratio)))
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.float32)
    missing = cv2.resize(unknown.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    pads = [((SIDE - n) // 2, SIDE - n - (SIDE - n) // 2) for n in small.shape]
    square, gone = np.pad(small, pads, mode="symmetric"), np.pad(missing, pads, mode="symmetric")
    known = square[~gone] if not gone.all() else square
    mean, deviation = known.mean(), max(known.std(), np.float32(1e-3))
    made = fill((square - mean) / deviation, gone)
    inner = tuple(slice(a, SIDE - b) for a, b in pads)
    filled = np.where(missing, made[inner] * deviation + mean, small)
    if ratio < 1:
        filled = cv2.resize(filled, crop.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(unknown, filled, crop).astype(np.float32)


def whole(patch: Patch, plane: Plane) -> Patch:
    """The patch with the rest of its film (y, x) around it."""
    values, mask = plane[None].copy(), np.zeros((1, *plane.shape), np.bool_)
    values[patch.box.slices], mask[patch.box.slices] = patch.values, patch.mask
    return Patch(Box(0, 0, 0, 1, *plane.shape), values, mask)


def resampled(plane: Plane, shorter: int) -> Plane:
    """A film (y, x) resized bilinearly so that its shorter side has `shorter` pixels, and back."""
    ratio = shorter / min(plane.shape)
    size = (max(1, round(plane.shape[1] * ratio)), max(1, round(plane.shape[0] * ratio)))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
