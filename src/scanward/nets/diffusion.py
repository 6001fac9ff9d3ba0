"""Diffusion for inpainting, in two dimensions or three: how noise comes in, what is learned, how it is taken out again.

Of known parts (`mask` 1) a network is told the values themselves; only the rest is drawn (Saharia et al. 2022, Palette,
section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The noisy image, the clean one (read only where known), the mask and times (n,) in [0, 1] to the velocity v (Salimans
& Ho 2022, section 4)."""


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
    time = torch.rand(len(x), generator=chance)
    noise = torch.randn(x.shape, generator=chance)
    signal, level = levels_at(time, x)
    made = net(signal * x + level * noise, x, mask, time)
    unknown = 1 - mask
    return ((made - (signal * noise - level * x)) ** 2 * unknown).sum() / unknown.sum()


def sample(net: Velocity, x: Tensor, mask: Tensor, noise: Tensor, steps: int, limit: float) -> Tensor:
    """`x` with its unknown part drawn from `noise` in `steps` deterministic steps (Song et al. 2021, eq. 12); no value
    goes beyond `limit` on the way."""
    now = noise
    times = torch.linspace(0.98, 0, steps + 1)
    for start, end in pairwise(times):
        time = start.expand(len(x))
        signal, level = levels_at(time, x)
        v = net(now, x, mask, time)
        clean, rest = signal * now - level * v, level * now + signal * v
        signal, level = levels_at(end.expand(len(x)), x)
        now = signal * clean.clamp(-limit, limit) + level * rest
    return torch.where(mask > 0, x, now)
