"""A small denoiser for inpainting by diffusion, at a quarter of the pixels; see `nets.diffusion`.

It knows tensors only: squares (n, 1, side, side) of mean 0 and deviation 1, masks of the same shape, 1 where known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.nets.diffusion import embedding

WIDTHS = (64, 96, 128, 128)
TIMES = 64
"""Length of a moment's embedding."""


class _Block(nn.Module):
    """Two convolutions with group norm, shifted and scaled by the moment, around a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])
        self.moment = nn.Linear(TIMES, 2 * outputs)
        self.short = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        scale, shift = self.moment(moment)[:, :, None, None].chunk(2, 1)
        y = functional.silu(self.norms[0](self.first(x)) * (1 + scale) + shift)
        return self.short(x) + functional.silu(self.norms[1](self.second(y)))


class Denoiser(nn.Module):
    """A U-Net on 2×2 pixels as channels; answers with the velocity v (Salimans & Ho 2022, section 4)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (WIDTHS[0], *WIDTHS)
        self.embed = nn.Sequential(nn.Linear(TIMES, TIMES), nn.SiLU(), nn.Linear(TIMES, TIMES))
        self.enter = nn.Conv2d(12, WIDTHS[0], 3, 1, 1)
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip(sizes, WIDTHS, strict=False))
        self.up = nn.ModuleList(_Block(WIDTHS[i] + WIDTHS[i - 1], WIDTHS[i - 1]) for i in range(len(WIDTHS) - 1, 0, -1))
        self.leave = nn.Conv2d(WIDTHS[0], 4, 3, 1, 1)

    def forward(self, noisy: Tensor, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        """`noisy` at times (n,) in [0, 1]; `x` where `mask` is 1, and nothing of it elsewhere."""
        moment = self.embed(embedding(time, TIMES))
        seen = torch.cat([torch.where(mask > 0, x, noisy), x * mask, mask], 1)
        y = self.enter(functional.pixel_unshuffle(seen, 2))
        levels = []
        for number, block in enumerate(self.down):
            y = block(functional.avg_pool2d(y, 2) if number else y, moment)
            levels.append(y)
        levels.pop()
        for block in self.up:
            y = block(torch.cat([functional.interpolate(y, scale_factor=2.0), levels.pop()], 1), moment)
        return functional.pixel_shuffle(self.leave(y), 2).float()
