"""Loss of the diffusion remover; its samples are those of `partial_conv`."""

from __future__ import annotations

import torch
from torch import Tensor

from scanward.attacks.diffusion.network import Denoiser, levels_at


def loss(net: Denoiser, x: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity on what is unknown of squares (n, 1, side, side), each at a random time."""
    time = torch.rand(len(x), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    signal, level = levels_at(time)
    made = net(signal * x + level * noise, x, mask, time)
    unknown = 1 - mask
    return ((made - (signal * noise - level * x)) ** 2 * unknown).sum() / unknown.sum()
