"""A lesion removed by diffusion: its region is drawn anew, from noise, given what is around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, compose, region_of, start
from scanward.attacks.partial_conv.remove import paint
from scanward.image import Image
from scanward.weights import Trained

STEPS = 24
LIMIT = 8.0
"""Deviations of the square beyond which no pixel goes."""


class Diffusion(Trained):
    """Palette-like inpainting (Saharia et al. 2022) by a small network, trained on the tissue of training films."""

    name = "diffusion"
    family = "diffusion"
    weights_name = "diffusion"
    needs_donor = False

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """A region with a narrow seam, and the seed of what is drawn into it. Raises as `start`."""
        drawn = start(host, lesion, rng, strength, feather=float(rng.uniform(0, 2)))
        return drawn | {"seed": int(rng.integers(2**31))}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth."""
        region = region_of(params["shape"], host.plane.shape, around=0.6)
        painted = paint(region.cut(host.plane), region.weight > 0, params["shape"]["diameter"],
                        partial(self._draw, seed=params["seed"]))
        return compose(host.plane, region, painted, params["strength"])

    @cached_property
    def _draw(self) -> Callable[..., Plane]:
        import torch

        from scanward.attacks.diffusion.network import Denoiser
        from scanward.nets.blocks import filled
        from scanward.nets.diffusion import sample

        net = filled(Denoiser(), self._weights[0])

        @torch.inference_mode()
        def run(square: Plane, unknown: npt.NDArray[np.bool_], seed: int) -> Plane:
            mask = torch.from_numpy((~unknown).astype(np.float32))[None, None]
            x = torch.from_numpy(np.ascontiguousarray(square))[None, None]
            noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
            return np.asarray(sample(net, x, mask, torch.from_numpy(noise), STEPS, LIMIT)[0, 0].numpy())

        return run
