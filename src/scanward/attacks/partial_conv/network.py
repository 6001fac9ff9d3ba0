"""A U-Net of partial convolutions (Liu et al. 2018, section 3).

It knows tensors only: squares (n, 1, side, side) and masks of the same shape, 1 where the square is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS, KERNELS = (32, 64, 96, 128, 128), (7, 5, 3, 3, 3)


class PartialConv2d(nn.Module):
    """A convolution over known pixels only, scaled up for those that are missing (equations 1 and 2).

    Takes feature maps with a mask (n, 1, y, x) each, which are concatenated, and returns one map and its mask.
    """

    def __init__(self, inputs: Sequence[int], outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.kernel, self.stride = tuple(inputs), kernel, stride
        self.conv = nn.Conv2d(sum(inputs), outputs, kernel, stride, kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, *parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The map is zero, and its mask too, where the window holds no known pixel."""
        made = self.conv(torch.cat([x * mask.to(x.dtype) for x, mask in parts], 1))
        # padding counts as known nowhere, so that the border is scaled up like any other gap
        share = torch.stack([count * functional.avg_pool2d(mask, self.kernel, self.stride, self.kernel // 2)
                             for count, (_, mask) in zip(self.inputs, parts, strict=True)]).sum(0) / sum(self.inputs)
        known = (share > 0).to(share.dtype)
        scale = known / share.clamp_min(1e-6)
        return (made * scale.to(made.dtype) + self.bias[:, None, None].to(made.dtype)) * known.to(made.dtype), known


class _Layer(nn.Module):
    def __init__(self, inputs: Sequence[int], outputs: int, kernel: int, stride: int, leak: float, norm: bool) -> None:
        super().__init__()
        self.conv = PartialConv2d(inputs, outputs, kernel, stride)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.leak = leak

    def forward(self, *parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        made, mask = self.conv(*parts)
        return functional.leaky_relu(self.norm(made), self.leak), mask


class PartialConvNet(nn.Module):
    """Encoder with ReLU, decoder with LeakyReLU(.2), nearest upsampling, skips of maps and masks; narrower and with
    fewer levels than the published one, whose squares are 512 pixels wide."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, *WIDTHS)
        self.down = nn.ModuleList(_Layer((sizes[i],), sizes[i + 1], KERNELS[i], 2, 0.0, i > 0)
                                  for i in range(len(WIDTHS)))
        self.up = nn.ModuleList(_Layer((sizes[i + 1], sizes[i]), sizes[i], 3, 1, 0.2, True)
                                for i in range(len(WIDTHS) - 1, 0, -1))
        self.last = PartialConv2d((WIDTHS[0], 1), 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(n, 1, y, x), whose sides are multiples of 32: what it would have everywhere, also where `x` is known."""
        levels = [(x, mask)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        now = levels.pop()
        for layer in (*self.up, self.last):
            now = layer(tuple(functional.interpolate(part, scale_factor=2.0) for part in now), levels.pop())
        return now[0].float()


class Texture(nn.Module):
    """Three levels of fixed random filters in place of VGG-16, whose weights do not ship: Gram matrices of random
    filters describe texture nearly as well (Ustyuzhaninov et al. 2016)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        sizes = (1, width, width, width)
        for i in range(3):
            weight = torch.randn(sizes[i + 1], sizes[i], 5, 5, generator=chance) / (5 * sizes[i] ** 0.5)
            if i == 0:
                weight = weight - weight.mean((2, 3), keepdim=True)
            self.register_buffer(f"weight{i}", weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of squares (n, 1, y, x) at full, half and quarter size."""
        found = []
        for i in range(3):
            x = functional.relu(functional.conv2d(x, getattr(self, f"weight{i}"), padding=2))
            found.append(x)
            x = functional.avg_pool2d(x, 2)
        return found
