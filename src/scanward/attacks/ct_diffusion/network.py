"""A small 3-D denoiser on 2×2×2 voxels as channels, which completes the cubes of CT-GAN by diffusion.

It knows tensors only: cubes (n, 1, 32, 32, 32) in equalised units, [-0.5, 0.5], whose central 20³ is unknown.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from scanward.attacks.ct_gan.network import CONDITION, hole
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
        return _unfolded(self.told(_folded(seen), time)).float()

    def complete(self, x: Tensor, wanted: Tensor, noise: Tensor) -> Tensor:
        """As `ct_gan.network.Generator`: cubes with a zeroed centre, condition and white noise, to whole cubes.
        Differentiable."""
        net = partial(self, wanted=wanted)
        return sample(net, SCALE * x, 1 - hole(x), noise, STEPS, SCALE / 2) / SCALE


def _folded(x: Tensor) -> Tensor:
    """(n, c, 2a, 2b, 2c) to (n, 8c, a, b, c)."""
    n, c, *space = x.shape
    z, y, w = (side // 2 for side in space)
    return x.reshape(n, c, z, 2, y, 2, w, 2).permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, z, y, w)


def _unfolded(x: Tensor) -> Tensor:
    n, c, z, y, w = x.shape
    apart = x.reshape(n, c // 8, 2, 2, 2, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return apart.reshape(n, c // 8, 2 * z, 2 * y, 2 * w)
