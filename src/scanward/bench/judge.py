"""A judge of attacks on CT: whether the middle of a cube shows a nodule, by a classifier that saw neither the patients
nor the attackers that it judges.

A lesion that nobody would call one is no success, whatever its error in HU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.image import Image
from scanward.nets.blocks import filled
from scanward.nets.cube import Cuboid, cut
from scanward.weights import Trained

LOW, HIGH = -1000.0, 400.0
SEEN = 28
"""Voxels a side, 1 mm each, of what the judge looks at."""
WIDTHS = (16, 32, 64, 96)


class JudgeNet(nn.Module):
    """Four levels of 3-D convolutions, then the mean and the maximum over what is left."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, *WIDTHS)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 3, 1, 1), nn.GroupNorm(8, b), nn.LeakyReLU(0.1), nn.Conv3d(b, b, 3, 1, 1),
                          nn.GroupNorm(8, b), nn.LeakyReLU(0.1)) for a, b in pairwise(sizes))
        self.head = nn.Linear(2 * WIDTHS[-1], 1)

    def forward(self, hu: Tensor) -> Tensor:
        """Cubes (n, 1, 32, 32, 32) in HU to logits (n,), above 0 for a nodule."""
        edge = (hu.shape[-1] - SEEN) // 2
        x = hu[..., edge:edge + SEEN, edge:edge + SEEN, edge:edge + SEEN].clamp(LOW, HIGH)
        x = (x - LOW) * (2 / (HIGH - LOW)) - 1
        for number, level in enumerate(self.levels):
            x = level(functional.max_pool3d(x, 2) if number else x)
        return self.head(torch.cat([x.mean((2, 3, 4)), x.amax((2, 3, 4))], 1))[:, 0].float()


class NoduleJudge(Trained):
    """The judge of what `ct-gan` does to scans that neither has seen."""

    weights_name = "nodule-judge"

    @property
    def threshold(self) -> float:
        """The probability from which a cube is called a nodule, fixed on validation patients."""
        return float(self._weights[1]["threshold"])

    def of_cubes(self, hu: Tensor) -> npt.NDArray[np.float64]:
        """Probabilities (n,) that cubes (n, 1, 32, 32, 32) of HU at 1 mm show a nodule in their middle."""
        net = self.net
        with torch.inference_mode():
            parts = [torch.sigmoid(net(part)) for part in hu.split(32)]
        return np.asarray(torch.cat(parts).numpy(), np.float64)

    def at(self, image: Image, centres: Sequence[tuple[float, float, float]]) -> npt.NDArray[np.float64]:
        """The same of places (z, y, x) in the voxels of a CT."""
        scan, spacing = torch.from_numpy(image.pixels), image.spacing or (1.0, 1.0, 1.0)
        return self.of_cubes(torch.cat([cut(scan, Cuboid(centre, spacing)) for centre in centres]))

    @cached_property
    def net(self) -> JudgeNet:
        """The classifier itself."""
        return filled(JudgeNet(), self._weights[0])


class NoduleJudgeB(NoduleJudge):
    """The judge of what `ct-gan-b` does, likewise."""

    weights_name = "nodule-judge-b"
