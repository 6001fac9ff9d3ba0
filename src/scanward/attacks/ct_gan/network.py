"""The networks of CT-GAN (Mirsky et al. 2019, section 4): a 3-D U-Net that completes a cube, and a patch discriminator.

They know tensors only: cubes (n, 1, 32, 32, 32) in equalised units, [-0.5, 0.5], whose central 20³ is unknown. `Widths`
of the preset `paper` are the published ones; `light` and `narrow` train on two cores, `plain` and `plain-narrow` are of
the published kind at such widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from scanward.attacks.ct_gan.cube import HOLE
from scanward.nets.blocks import Conv3d
from scanward.nets.cube import SIDE
from scanward.nets.fill import fill

LEAK = 0.2
CONDITION = 2
"""Channels that say what is wanted: a soft shape, and the same times the density."""


@dataclass(frozen=True)
class Widths:
    """Filters of each level, from 16³ down, and how the generator speaks."""

    levels: tuple[int, ...]
    published: bool = False
    """Plain tanh output, batch norm, dropout of one half and no condition; otherwise a change of a smooth fill, group
    norm, a noise channel and the wanted shape and density."""


PRESETS = {
    "paper": Widths((100, 200, 400, 800, 800), published=True),
    "light": Widths((24, 48, 96, 128)),
    "narrow": Widths((16, 32, 64, 96, 96)),
    "plain": Widths((24, 48, 96, 128), published=True),
    "plain-narrow": Widths((16, 32, 64, 96, 96), published=True),
}


class Generator(nn.Module):
    """Stride-2 4³ convolutions down, upsampling and convolution up, concatenated skips."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.published = widths.published
        levels = widths.levels
        inputs = 1 if self.published else 3 + CONDITION
        self.down = nn.ModuleList(self._down(inputs if i == 0 else levels[i - 1], width, i > 0)
                                  for i, width in enumerate(levels))
        self.up = nn.ModuleList()
        for i in range(len(levels) - 1, 0, -1):
            deep = levels[i] if i == len(levels) - 1 else 2 * levels[i]
            self.up.append(self._up(deep, levels[i - 1]))
        self.top = nn.Upsample(scale_factor=2, mode="nearest")
        last = 2 * levels[0] if len(levels) > 1 else levels[0]
        extra = 0 if self.published else inputs
        middle = levels[0] if self.published else levels[0] // 2
        self.refine = nn.Sequential(Conv3d(last + extra, middle, 3, 1, 1), nn.LeakyReLU(LEAK))
        self.tail = Conv3d(middle, 1, 3, 1, 1)

    def _norm(self, width: int) -> nn.Module:
        return nn.BatchNorm3d(width) if self.published else nn.GroupNorm(8, width)

    def _down(self, inputs: int, outputs: int, norm: bool) -> nn.Sequential:
        layers: list[nn.Module] = [Conv3d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(LEAK)]
        if norm:
            layers.insert(1, self._norm(outputs))
        return nn.Sequential(*layers)

    def _up(self, inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), Conv3d(inputs, outputs, 3, 1, 1),
                             self._norm(outputs), nn.Dropout(0.5 if self.published else 0), nn.LeakyReLU(LEAK))

    def forward(self, x: Tensor, wanted: Tensor, noise: Tensor) -> Tensor:
        """Cubes with their centres zeroed, the condition (n, 2, 32, 32, 32) and white noise (n, 1, 32, 32, 32) to whole
        cubes; only the centre is generated."""
        mask = hole(x)
        if self.published:
            made = 0.5 * torch.tanh(self._unet(x, None))
            return torch.where(mask > 0, made.to(x.dtype), x)
        base = fill(x, mask, rounds=2)
        seen = torch.cat([base, mask, noise * mask, wanted], 1)
        made = base + torch.tanh(self._unet(seen, seen).to(x.dtype))
        return torch.where(mask > 0, made.clamp(-0.5, 0.5), x)

    def _unet(self, x: Tensor, beside: Tensor | None) -> Tensor:
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        y = skips[-1]
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            y = torch.cat([layer(y), skip], 1)
        y = self.top(y)
        return self.tail(self.refine(y if beside is None else torch.cat([y, beside.to(y.dtype)], 1)))


class Discriminator(nn.Module):
    """Judges patches of a cube beside its condition; the light kind at two scales, under spectral norm."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96), *, published: bool = False) -> None:
        super().__init__()
        self.published = published
        sizes = (2 if published else 2 + CONDITION, *widths)
        made = (lambda layer: layer) if published else spectral_norm
        self.scales = nn.ModuleList(
            nn.ModuleList([*(nn.Sequential(made(Conv3d(a, b, 4, 2, 1)), nn.LeakyReLU(LEAK))
                             for a, b in pairwise(sizes)), Conv3d(sizes[-1], 1, 3, 1, 1)])
            for _ in range(1 if published else 2))

    def forward(self, x: Tensor, known: Tensor, wanted: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Patch scores and the features under them, scale by scale, of cubes `x` whose `known` part was given."""
        seen = torch.cat([x, known] if self.published else [x, known, wanted], 1)
        scores, features = [], []
        for scale, layers in enumerate(self.scales):
            y = functional.avg_pool3d(seen, 2) if scale else seen
            for layer in layers[:-1]:  # type: ignore[index]
                y = layer(y)
                features.append(y)
            scores.append(layers[-1](y))  # type: ignore[index]
        return scores, features


def hole(x: Tensor) -> Tensor:
    """(n, 1, 32, 32, 32), 1 on the central 20³."""
    edge = (SIDE - HOLE) // 2
    mask = torch.zeros_like(x[:, :1])
    mask[:, :, edge:-edge, edge:-edge, edge:-edge] = 1
    return mask


def wanted(shape: Tensor, density: Tensor) -> Tensor:
    """The condition (n, 2, 32, 32, 32) for shapes (n, 1, 32, 32, 32) in [0, 1], empty for healthy tissue, and densities
    (n,), -1 for -800 HU and 1 for 200."""
    return torch.cat([shape, shape * density[:, None, None, None, None]], 1)
