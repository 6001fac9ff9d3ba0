"""A small denoiser for inpainting by diffusion, at a quarter of the pixels; see `nets.diffusion`.

It knows tensors only: squares (n, 1, side, side) of mean 0 and deviation 1, masks of the same shape, 1 where known.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scanward.nets.diffusion import UNet

WIDTHS = (64, 96, 128, 128)


class Denoiser(UNet):
    """A U-Net on 2×2 pixels as channels; answers with the velocity v (Salimans & Ho 2022, section 4)."""

    def __init__(self) -> None:
        super().__init__(12, 4, WIDTHS)

    def forward(self, noisy: Tensor, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        """`noisy` at times (n,) in [0, 1]; `x` where `mask` is 1, and nothing of it elsewhere."""
        seen = torch.cat([torch.where(mask > 0, x, noisy), x * mask, mask], 1)
        return functional.pixel_shuffle(self.told(functional.pixel_unshuffle(seen, 2), time), 2).float()
