"""The networks of MITS-GAN (Pasqualino et al. 2024, section 3) as published, and the light one of ours.

They know tensors only. The published generator answers with a whole slice, without a bound on what it changes; ours
answers with a change of a cube, bounded by its caller.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.nets.blocks import folded, unfolded
from scanward.nets.diffusion import UNet

FILTERS = 64
NOISE = (1, 2, 4, 4, 2, 1)
RIM = 7
"""Pixels from which the generator sees its answer at one: its seven convolutions of 3 × 3 see 15 × 15."""
JUDGE = (1, 2, 4, 8)
"""Filters of the discriminator's halvings; the published one goes on, 8 wide, until one number is left of 512 × 512."""
LEAK = 0.2
WIDTHS = (32, 64, 96)
LOW, HIGH = -1000.0, 400.0
"""HU that our network sees."""
COARSE = 5
"""Voxels a side of the cubes over whose mean our network answers: left to itself it settles for a shift of the level,
which stops nobody."""
MOMENT = 0.25
"""What the U-Net of diffusion models is told: there are no moments here."""


class _Residual(nn.Module):
    """Two convolutions with batch norm around a shortcut; nothing rectified after the sum."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Generator(nn.Module):
    """Slices (n, 1, y, x) in [-1, 1] and uniform noise of their shape to protected slices in [-1, 1]."""

    def __init__(self, filters: int = FILTERS) -> None:
        super().__init__()
        self.noise = nn.Sequential(*(layer for a, b in pairwise(NOISE) for layer in
                                     (nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())))
        self.main = nn.Sequential(nn.Conv2d(2, filters, 3, 1, 1), nn.ReLU(), *(_Residual(filters) for _ in range(3)),
                                  nn.Conv2d(filters, 1, 1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.tanh(self.main(torch.cat([self.noise(noise), x], 1)).to(x.dtype))


def rimmed(net: nn.Module, slices: Tensor, chance: torch.Generator | None = None) -> Tensor:
    """A generator's answer to whole slices (n, 1, y, x), which repeat their outermost pixels over a rim, so that at
    their edges too it sees an image and not the zeros that convolutions add."""
    wider = functional.pad(slices, (RIM,) * 4, mode="replicate")
    made: Tensor = net(wider, torch.rand(wider.shape, device=wider.device, generator=chance))
    return made[..., RIM:-RIM, RIM:-RIM]


class Discriminator(nn.Module):
    """Slices (n, 1, y, x), at least 64 × 64, to logits (n, rows, columns), above 0 for real ones: DCGAN's, as narrow as
    published, in patch form (Isola et al. 2017), each logit of a square of 94 pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(pairwise((1, *JUDGE))):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), *([nn.BatchNorm2d(b)] if number else []),
                       nn.LeakyReLU(LEAK)]
        self.main = nn.Sequential(*layers, nn.Conv2d(JUDGE[-1], 1, 4, 1, 0, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)[:, 0]


def published_weights(net: nn.Module) -> None:
    """The published start: convolutions from N(0, .02), batch norms about 1."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class Guard(UNet):
    """Ours: a small 3-D U-Net on 2×2×2 voxels as channels."""

    def __init__(self) -> None:
        super().__init__(8, 8, WIDTHS, solid=True)

    def forward(self, hu: Tensor) -> Tensor:
        """Cubes (n, 1, 32, 32, 32) of HU to the change of each voxel, as a part of the bound, in [-1, 1]."""
        x = (hu.clamp(LOW, HIGH) - LOW) * (2 / (HIGH - LOW)) - 1
        made = unfolded(self.told(folded(x), torch.full((len(x),), MOMENT, device=x.device))).float()
        around = functional.avg_pool3d(made, COARSE, 1, COARSE // 2, count_include_pad=False)
        return torch.tanh(made - around)
