"""The networks of Mammo-CGAN (Bar-on 2020, section 2.2): two U-Nets in a row and their discriminators.

They know tensors only: squares (n, 1, 64, 64) of values between a film's black (0) and white (1), whose central 44×44
is unknown. `Widths` of the preset `paper` are the published ones; `light` and `narrow` train on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from scanward.attacks.mammo_cgan.merge import CENTRE, SIDE
from scanward.nets.fill import fill

LEAK = 0.2
DROPOUT = 0.2
"""Of the published generators; neither report nor code says how much."""
REACH = 5.0
"""Contrasts of its surroundings by which a light generator can change a pixel."""


@dataclass(frozen=True)
class Widths:
    """Filters of each level, from 32×32 down, and how the generator speaks."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    published: bool = False
    """Plain tanh output, nearest upsampling and batch norm; otherwise a residual on a smooth fill, and group norm."""
    refine: int = 3
    """Refining convolutions at the end of the second generator."""


PRESETS = {
    "paper": Widths((100, 200, 400, 800, 1600, 1600), (200, 400, 800, 1600, 1600, 1600), published=True),
    "light": Widths((24, 48, 96, 160), (32, 64, 96, 160)),
    "narrow": Widths((16, 32, 64, 128, 128), (24, 48, 64, 96)),
}


class Generator(nn.Module):
    """A U-Net: stride-2 4×4 convolutions down, upsampling and convolution up, concatenated skips.

    `encoders` parallel ways down meet at every skip (the published second generator has two).
    """

    def __init__(self, widths: Sequence[int], *, published: bool = False, encoders: int = 1, refine: int = 0,
                 fill: bool = True) -> None:
        super().__init__()
        self.published, self.fill = published, fill
        inputs = 1 if published else 3
        self.down = nn.ModuleList(
            nn.ModuleList(self._down(inputs if i == 0 else widths[i - 1], width, i > 0)
                          for i, width in enumerate(widths)) for _ in range(encoders))
        self.up = nn.ModuleList()
        for i in range(len(widths) - 1, 0, -1):
            deep = widths[i] * encoders if i == len(widths) - 1 else widths[i] * (1 + encoders)
            self.up.append(self._up(deep, widths[i - 1]))
        last = widths[0] * (1 + encoders) if len(widths) > 1 else widths[0] * encoders
        self.top = nn.Upsample(scale_factor=2, mode="nearest" if published else "bilinear")
        tail: list[nn.Module] = []
        for _ in range(refine):
            tail += [nn.Conv2d(last, widths[0], 3, 1, 1), nn.LeakyReLU(LEAK)]
            last = widths[0]
        self.tail = nn.Sequential(*tail, nn.Conv2d(last, 1, 3, 1, 1))

    def _norm(self, width: int) -> nn.Module:
        return nn.BatchNorm2d(width) if self.published else nn.GroupNorm(8, width)

    def _down(self, inputs: int, outputs: int, norm: bool) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(LEAK)]
        if norm:
            layers.insert(1, self._norm(outputs))
        return nn.Sequential(*layers)

    def _up(self, inputs: int, outputs: int) -> nn.Sequential:
        way = "nearest" if self.published else "bilinear"
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=way), nn.Conv2d(inputs, outputs, 3, 1, 1),
                             self._norm(outputs), nn.Dropout(DROPOUT if self.published else 0), nn.LeakyReLU(LEAK))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Squares (n, 1, 64, 64) and white noise of the same shape to squares; only the centre is generated.

        The published kind sees no noise channel and answers with a tanh; the other answers with what to add to the
        smooth fill of its centre (the first of the two) or to its input (the second).
        """
        mask = centre(x)
        if self.published:
            made = torch.tanh(self._unet(x))
            return torch.where(mask > 0, made.to(x.dtype), x)
        base = fill(x, mask) if self.fill else x
        level, contrast = surroundings(x)
        made = self._unet(torch.cat([(base - level) / contrast, mask, noise * mask], 1)).float()
        return x + mask * (base + REACH * contrast * torch.tanh(made / REACH) - x)

    def _unet(self, x: Tensor) -> Tensor:
        levels = []
        for way in self.down:
            y, seen = x, []
            for layer in way:  # type: ignore[attr-defined]
                y = layer(y)
                seen.append(y)
            levels.append(seen)
        skips = [torch.cat(parts, 1) for parts in zip(*levels, strict=True)]
        y = skips[-1]
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            y = torch.cat([layer(y), skip], 1)
        return self.tail(self.top(y))


class Cascade(nn.Module):
    """CGAN1 and CGAN2: the first paints, the second completes what it painted, with a little noise in between."""

    between = 0.003
    """Standard deviation of that noise, in units of white (the published code)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.first = Generator(widths.first, published=widths.published)
        self.second = Generator(widths.second, published=widths.published, encoders=2, refine=widths.refine, fill=False)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Squares (n, 1, 64, 64), their centres zeroed, and noise (n, 3, 64, 64): what each generator made of them."""
        painted = self.first(x, noise[:, :1])
        return painted, self.second(painted + self.between * noise[:, 1:2] * centre(x), noise[:, 2:])


class Discriminator(nn.Module):
    """Judges patches of the square at two scales; spectral norm keeps its features from running ahead of 26 masses."""

    def __init__(self, width: int = 32, inputs: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(self._judge(inputs, width) for _ in range(2))

    @staticmethod
    def _judge(inputs: int, width: int) -> nn.ModuleList:
        sizes = (inputs, width, 2 * width, 4 * width)
        layers = [nn.Sequential(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(LEAK))
                  for a, b in pairwise(sizes)]
        return nn.ModuleList([*layers, nn.Conv2d(sizes[-1], 1, 3, 1, 1)])

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Patch scores and the features under them, scale by scale."""
        scores, features = [], []
        for scale, layers in enumerate(self.scales):
            y = functional.avg_pool2d(x, 2) if scale else x
            for layer in layers:  # type: ignore[attr-defined]
                y = layer(y)
                features.append(y)
            scores.append(features.pop())
        return scores, features


class PublishedDiscriminator(nn.Module):
    """Few strided convolutions on square and condition, one tanh unit (the published code's 4, 8, 10 filters)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (2, 4, 8, 10)
        self.layers = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(LEAK))
                                    for a, b in pairwise(sizes))
        self.unit = nn.Linear(sizes[-1] * (SIDE // 8) ** 2, 1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """One score in [−1, 1] and no features."""
        for layer in self.layers:
            x = layer(x)
        return [torch.tanh(self.unit(x.flatten(1)))], []


def centre(x: Tensor) -> Tensor:
    """(n, 1, 64, 64), 1 on the central 44×44."""
    edge = (SIDE - CENTRE) // 2
    mask = torch.zeros_like(x[:, :1])
    mask[:, :, edge:-edge, edge:-edge] = 1
    return mask


def surroundings(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and contrast (n, 1, 1, 1) of what is known around the centre: the units in which generators and judges see a
    square, so that the fine texture of tissue is as large for them as its slopes."""
    known = 1 - centre(x)
    count = known.sum((2, 3), keepdim=True)
    level = (x * known).sum((2, 3), keepdim=True) / count
    spread = ((x - level) ** 2 * known).sum((2, 3), keepdim=True) / count
    return level, spread.sqrt().clamp_min(0.03)
