"""A small 3-D denoiser on 2×2×2 voxels as channels, which completes the cubes of CT-GAN by diffusion.

It knows tensors only: cubes (n, 1, 32, 32, 32) in equalised units, [-0.5, 0.5], whose central 20³ is unknown.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.attacks.ct_gan.network import CONDITION, hole
from scanward.nets.diffusion import embedding, sample

WIDTHS = (48, 96, 128)
TIMES = 64
"""Length of a moment's embedding."""
SCALE = 3.0
"""By which equalised units, about uniform, get a deviation near that of the noise."""
STEPS = 12


class _Block(nn.Module):
    """Two convolutions with group norm, shifted and scaled by the moment, around a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(inputs, outputs, 3, 1, 1), nn.Conv3d(outputs, outputs, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])
        self.moment = nn.Linear(TIMES, 2 * outputs)
        self.short = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        scale, shift = self.moment(moment)[:, :, None, None, None].chunk(2, 1)
        y = functional.silu(self.norms[0](self.first(x)) * (1 + scale) + shift)
        return self.short(x) + functional.silu(self.norms[1](self.second(y)))


class Denoiser(nn.Module):
    """A U-Net that answers with the velocity at a moment; `complete` runs it from noise to a cube."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(TIMES, TIMES), nn.SiLU(), nn.Linear(TIMES, TIMES))
        self.enter = nn.Conv3d(8 * (3 + CONDITION), WIDTHS[0], 3, 1, 1)
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False))
        self.up = nn.ModuleList(_Block(WIDTHS[i] + WIDTHS[i - 1], WIDTHS[i - 1]) for i in range(len(WIDTHS) - 1, 0, -1))
        self.leave = nn.Conv3d(WIDTHS[0], 8, 3, 1, 1)

    def forward(self, noisy: Tensor, x: Tensor, mask: Tensor, time: Tensor, wanted: Tensor) -> Tensor:
        """`noisy` and `x` times `SCALE`, at times (n,) in [0, 1]; `mask` is 1 where `x` is known, `wanted` as
        `ct_gan.network.wanted` makes it."""
        moment = self.embed(embedding(time, TIMES))
        y = self.enter(_folded(torch.cat([torch.where(mask > 0, x, noisy), x * mask, mask, wanted], 1)))
        levels = []
        for number, block in enumerate(self.down):
            y = block(functional.avg_pool3d(y, 2) if number else y, moment)
            levels.append(y)
        levels.pop()
        for block in self.up:
            y = block(torch.cat([functional.interpolate(y, scale_factor=2.0), levels.pop()], 1), moment)
        return _unfolded(self.leave(y)).float()

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
