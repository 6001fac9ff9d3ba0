"""TAFIM's network (Aneja et al. 2022, section 3.2), on CT slices. It knows tensors only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.nets.diffusion import UNet

SIDE = 512
"""Pixels a side of the global perturbation."""
WIDTHS = (16, 32, 64, 96)
MULTIPLE = 8
"""Of which a slice's sides are padded, for three halvings."""


class Perturber(UNet):
    """Slices and a learned perturbation common to all of them, to the perturbation of each slice."""

    def __init__(self) -> None:
        super().__init__(2, 1, WIDTHS)
        self.everywhere = nn.Parameter(0.01 * torch.randn(1, 1, SIDE, SIDE))

    def forward(self, x: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
        """Slices (n, 1, y, x) in [-1, 1], whose first pixel is `corner` (y, x) of the whole slice, to the change of
        each, in [-1, 1]."""
        n, _, height, width = x.shape
        rows = torch.arange(corner[0], corner[0] + height) % SIDE
        columns = torch.arange(corner[1], corner[1] + width) % SIDE
        common = self.everywhere[:, :, rows][..., columns].expand(n, -1, -1, -1)
        room = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        seen = functional.pad(torch.cat([x, common], 1), room, mode="replicate")
        made = self.told(seen, torch.zeros(n, device=x.device))[..., :height, :width]
        return torch.tanh(made.to(x.dtype))
