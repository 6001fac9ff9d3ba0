"""A smooth guess at what is unknown of a square or a cube."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def fill(x: Tensor, mask: Tensor, rounds: int = 4) -> Tensor:
    """`x` (n, 1, y, x) or (n, 1, z, y, x) with its masked part filled smoothly from around it: averages of what is
    known, coarse to fine, each smoothed so many times."""
    space = tuple(range(2, x.ndim))
    pool, mode = (functional.avg_pool2d, "bilinear") if x.ndim == 4 else (functional.avg_pool3d, "trilinear")
    known = 1 - mask
    if x.shape[-1] > 4:
        share = pool(known, 2)
        mean = pool(x * known, 2) / share.clamp_min(1e-6)
        coarse = fill(mean, (share == 0).to(x.dtype), rounds)
        guess = functional.interpolate(coarse, scale_factor=2, mode=mode)
    else:
        guess = ((x * known).sum(space, keepdim=True) / known.sum(space, keepdim=True).clamp_min(1)).expand_as(x)
    y = x * known + guess * mask
    for _ in range(rounds):
        y = x * known + pool(functional.pad(y, (1, 1) * len(space), mode="replicate"), 3, 1) * mask
    return y
