"""Diffusion for inpainting, in two dimensions or three: how noise comes in, what is learned, how it is taken out again.

Of known parts (`mask` 1) a network is told the values themselves; only the rest is drawn (Saharia et al. 2022, Palette,
section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.nets.blocks import Conv3d

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The noisy image, the clean one (read only where known), the mask and times (n,) in [0, 1] to the velocity v (Salimans
& Ho 2022, section 4)."""


TIMES = 64
"""Length of a moment's embedding."""


class _Block(nn.Module):
    """Two convolutions with group norm, shifted and scaled by the moment, around a shortcut."""

    def __init__(self, conv: type[nn.Module], inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = conv(inputs, outputs, 3, 1, 1), conv(outputs, outputs, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])
        self.moment = nn.Linear(TIMES, 2 * outputs)
        self.short = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        told = self.moment(moment)
        scale, shift = told.reshape(*told.shape, *(1,) * (x.ndim - 2)).chunk(2, 1)
        y = functional.silu(self.norms[0](self.first(x)) * (1 + scale) + shift)
        return self.short(x) + functional.silu(self.norms[1](self.second(y)))


class UNet(nn.Module):
    """A U-Net of a few levels, halved by averages, that is told the moment; of squares, or `solid`, of cubes."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], *, solid: bool = False) -> None:
        super().__init__()
        conv: type[nn.Module] = Conv3d if solid else nn.Conv2d
        self.pool = functional.avg_pool3d if solid else functional.avg_pool2d
        self.embed = nn.Sequential(nn.Linear(TIMES, TIMES), nn.SiLU(), nn.Linear(TIMES, TIMES))
        self.enter = conv(inputs, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(_Block(conv, a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        self.up = nn.ModuleList(_Block(conv, a + b, b) for b, a in reversed(list(pairwise(widths))))
        self.leave = conv(widths[0], outputs, 3, 1, 1)

    def told(self, x: Tensor, time: Tensor) -> Tensor:
        """`x` (n, inputs, ...) at times (n,) in [0, 1] to (n, outputs, ...)."""
        moment = self.embed(embedding(time, TIMES))
        y, levels = self.enter(x), []
        for number, block in enumerate(self.down):
            y = block(self.pool(y, 2) if number else y, moment)
            levels.append(y)
        levels.pop()
        for block in self.up:
            y = block(torch.cat([functional.interpolate(y, scale_factor=2.0), levels.pop()], 1), moment)
        return self.leave(y)


def embedding(time: Tensor, size: int) -> Tensor:
    """Times (n,) in [0, 1] as (n, size) sines and cosines."""
    phase = time[:, None] * torch.exp(torch.linspace(0, math.log(1000), size // 2, device=time.device))
    return torch.cat([phase.sin(), phase.cos()], 1)


def levels_at(time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """How much signal and how much noise there is at times (n,), shaped to scale `like` (n, ...): the cosine schedule
    (Nichol & Dhariwal 2021, eq. 17, without its offset)."""
    angle = time.reshape(-1, *(1,) * (like.ndim - 1)) * math.pi / 2
    return angle.cos(), angle.sin()


def loss(net: Velocity, x: Tensor, mask: Tensor, chance: torch.Generator) -> Tensor:
    """Mean squared error of the velocity on what is unknown of `x`, each at a random time."""
    time = torch.rand(len(x), generator=chance).to(x.device)
    noise = torch.randn(x.shape, generator=chance).to(x.device)
    signal, level = levels_at(time, x)
    made = net(signal * x + level * noise, x, mask, time)
    unknown = 1 - mask
    return ((made - (signal * noise - level * x)) ** 2 * unknown).sum() / unknown.sum()


def sample(net: Velocity, x: Tensor, mask: Tensor, noise: Tensor, steps: int, limit: float) -> Tensor:
    """`x` with its unknown part drawn from `noise` in `steps` deterministic steps (Song et al. 2021, eq. 12); no value
    goes beyond `limit` on the way."""
    now = noise
    times = torch.linspace(0.98, 0, steps + 1).to(x.device)
    for start, end in pairwise(times):
        time = start.expand(len(x))
        signal, level = levels_at(time, x)
        v = net(now, x, mask, time)
        clean, rest = signal * now - level * v, level * now + signal * v
        signal, level = levels_at(end.expand(len(x)), x)
        now = signal * clean.clamp(-limit, limit) + level * rest
    return torch.where(mask > 0, x, now)
