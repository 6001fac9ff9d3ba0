"""A yardstick after HexMIL (ACM MM 2026): a residual network on overlapping patches of a slice, gated attention over
the patches, and over the slices of a scan.

Patches are of 64 pixels at stride 32. From its published form it differs in this: a ResNet-18 of half width, from
scratch, stands for an ImageNet ResNet-50, and it runs once over a slice, whose patches are windows of its last map, so
a patch's rim sees what lies beside it. A slice is seen about the lungs only, where all forgeries are.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.nets.blocks import ConvBlock

STRIDE = 32
"""Pixels between patches; a patch is two of them wide."""
WIDTHS = (32, 64, 128, 256)
HIDDEN = 64
SLICES = 32
"""Of a scan that are judged together."""
LOWEST, HIGHEST = -1000.0, 400.0
"""HU that are black and white."""
Volume = npt.NDArray[np.float32]


class Basic(nn.Module):
    """Two convolutions around a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvBlock(inputs, outputs, stride=stride)
        self.second, self.norm = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.short = nn.Identity() if inputs == outputs and stride == 1 else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, y, x) to (n, outputs, y / stride, x / stride)."""
        return functional.relu(self.norm(self.second(self.first(x))) + self.short(x))


class Gated(nn.Module):
    """Gated attention (Ilse et al. 2018, eq. 9) over instances, and a logit of their weighted mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, HIDDEN), nn.Linear(width, HIDDEN)
        self.weigh, self.judge = nn.Linear(HIDDEN, 1), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Instances (n, k, width) to logits (n,), attention (n, k) that sums to one, and means (n, width)."""
        share = self.weigh(torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x)))[..., 0].softmax(1)
        mean = (share[..., None] * x).sum(1)
        return self.judge(mean)[:, 0], share, mean


class SliceNet(nn.Module):
    """From a slice to its logit."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvBlock(1, WIDTHS[0], 7, 2), nn.MaxPool2d(3, 2, 1)]
        before = WIDTHS[0]
        for number, width in enumerate(WIDTHS):
            layers += [Basic(before, width, 2 if number else 1), Basic(width, width, 1)]
            before = width
        self.body, self.pool = nn.Sequential(*layers), Gated(WIDTHS[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slices (n, 1, y, x), as `scaled` gives them, sides multiples of 32 and at least 64, to logits (n,), attention
        (n, y / 32 - 1, x / 32 - 1) and embeddings (n, 256)."""
        patches = functional.avg_pool2d(self.body(x), 2, 1)
        logits, share, mean = self.pool(patches.flatten(2).transpose(1, 2))
        return logits, share.unflatten(1, patches.shape[2:]), mean


def scaled(hu: npt.NDArray[np.floating]) -> Volume:
    """HU (..., y, x) to [-0.5, 0.5], sides filled up to multiples of 32 and to 64 with the border's own."""
    lacks = [(0, 0)] * (hu.ndim - 2) + [(0, max(-n % STRIDE, 2 * STRIDE - n)) for n in hu.shape[-2:]]
    made = (np.clip(hu, LOWEST, HIGHEST) - LOWEST) / (HIGHEST - LOWEST) - 0.5
    return np.pad(made, lacks, mode="edge").astype(np.float32)


def looked_at(net: SliceNet, pixels: Volume) -> tuple[Volume, Volume, Volume]:
    """What the slice network says of slices (z, y, x) in HU: logits (z,), embeddings (z, 256), and heat (z, y / 2,
    x / 2), a slice's probability times the attention of each place, as a share of the slice's largest."""
    logits, embeddings = np.zeros(len(pixels), np.float32), np.zeros((len(pixels), WIDTHS[-1]), np.float32)
    heat = np.zeros((len(pixels), *(-(-n // 2) for n in pixels.shape[1:])), np.float32)
    with torch.inference_mode():
        for z, plane in enumerate(pixels):
            logit, share, mean = net(torch.from_numpy(scaled(plane))[None, None])
            logits[z], embeddings[z] = float(logit), mean[0].numpy()
            heat[z] = _spread(share[0].numpy(), plane.shape) * (1 / (1 + np.exp(-logits[z])))
    return logits, embeddings, heat


def _spread(share: Volume, shape: tuple[int, ...]) -> Volume:
    """Attention of patches, of at most 1, on every second pixel of a slice (y, x)."""
    half, count = STRIDE // 2, share.shape
    large = cv2.resize(share / share.max(), (count[1] * half, count[0] * half), interpolation=cv2.INTER_LINEAR)
    wide = np.pad(large, half // 2, mode="edge")  # the first patch's middle lies a whole stride inside
    high, across = (-(-n // 2) for n in shape)
    return np.pad(wide, [(0, max(0, n - m)) for n, m in zip((high, across), wide.shape, strict=True)],
                  mode="edge")[:high, :across].astype(np.float32)


def scan_logit(judge: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], embeddings: Volume) -> float:
    """The scan's logit: the loudest of runs of 32 slices that overlap by half, by the attention over slices."""
    runs = bags(len(embeddings))
    with torch.inference_mode():
        return max(float(judge(torch.from_numpy(embeddings[run])[None])[0]) for run in runs)


def bags(depth: int) -> list[slice]:
    """Runs of 32 slices at stride 16 that cover so many slices; a lower scan is one shorter run."""
    last = max(0, depth - SLICES)
    return [slice(start, min(depth, start + SLICES)) for start in sorted({*range(0, last, SLICES // 2), last})]
