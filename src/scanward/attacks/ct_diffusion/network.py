"""A small 3-D denoiser on 2×2×2 voxels as channels, which completes the cubes of CT-GAN by diffusion.

It knows tensors only: cubes (n, 1, 32, 32, 32) in equalised units, [-0.5, 0.5], whose central 20³ is unknown.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from scanward.attacks.ct_gan.network import CONDITION, hole
from scanward.nets.blocks import folded, unfolded
from scanward.nets.diffusion import UNet, sample

WIDTHS = (48, 96, 128)
SCALE = 3.0
"""By which equalised units, about uniform, get a deviation near that of the noise."""
STEPS = 12


class Denoiser(UNet):
    """A U-Net that answers with the velocity at a moment; `complete` runs it from noise to a cube."""

    def __init__(self) -> None:
        super().__init__(8 * (3 + CONDITION), 8, WIDTHS, solid=True)

    def forward(self, noisy: Tensor, x: Tensor, mask: Tensor, time: Tensor, wanted: Tensor) -> Tensor:
        """`noisy` and `x` times `SCALE`, at times (n,) in [0, 1]; `mask` is 1 where `x` is known, `wanted` as
        `ct_gan.network.wanted` makes it."""
        seen = torch.cat([torch.where(mask > 0, x, noisy), x * mask, mask, wanted], 1)
        return unfolded(self.told(folded(seen), time)).float()

    def complete(self, x: Tensor, wanted: Tensor, noise: Tensor) -> Tensor:
        """As `ct_gan.network.Generator`: cubes with a zeroed centre, condition and white noise, to whole cubes.
        Differentiable."""
        net = partial(self, wanted=wanted)
        return sample(net, SCALE * x, 1 - hole(x), noise, STEPS, SCALE / 2) / SCALE
