"""The dense network of the self-reference detector: stabilised plane and gains in, forgery logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.detectors.self_reference.reference import CLIP, KERNELS, SCALES
from scanward.nets.blocks import ConvBlock


class SelfReferenceNet(nn.Module):
    """Residuals at three scales, their log energies, and a small U-Net with dilated context.

    Input: plane (n, 1, y, x) from `Reference.stabilise`, sides multiples of 16, and gains (n, 15, y / 16, x / 16) from
    `Reference.gains_at`.
    Output: logits (n, 1, y / 2, x / 2), positive where forged.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 24, 48, 64, 96)) -> None:
        super().__init__()
        a, b, c, d, e = widths
        k = len(KERNELS)
        self.kernels: Tensor
        self.register_buffer("kernels", torch.from_numpy(KERNELS)[:, None].clone(), persistent=False)
        self.stage1 = nn.Conv2d(k, a, 3, padding=1)
        self.down2 = ConvBlock(a, b, stride=2)
        self.stage2 = ConvBlock(b + k, b)
        self.down4 = ConvBlock(b, c, stride=2)
        self.stage4 = ConvBlock(c + k + 3 * k, c)
        self.down8 = ConvBlock(c, d, stride=2)
        self.stage8 = nn.ModuleList([ConvBlock(d, d), ConvBlock(d, d, dilation=2)])
        self.down16 = ConvBlock(d, e, stride=2)
        self.context = nn.ModuleList([ConvBlock(e, e, dilation=n) for n in (1, 2, 4)])
        self.up8 = ConvBlock(e, d, size=1)
        self.merge8 = ConvBlock(d, d)
        self.up4 = ConvBlock(d, c, size=1)
        self.merge4 = ConvBlock(c, 32)
        self.up2 = ConvBlock(32, 16, size=1)
        self.skip2 = ConvBlock(b, 16, size=1)
        self.merge2 = ConvBlock(16, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def residuals(self, plane: Tensor, gains: Tensor) -> list[Tensor]:
        """Clipped residuals [(n, 5, y / s, x / s) for s in SCALES], of unit spread in authentic tissue."""
        found = []
        for i, scale in enumerate(SCALES):
            small = functional.avg_pool2d(plane, scale) if scale > 1 else plane
            raw = functional.conv2d(functional.pad(small, (2, 2, 2, 2), "replicate"), self.kernels)
            gain = gains[:, i * len(KERNELS):(i + 1) * len(KERNELS)]
            gain = functional.interpolate(gain, raw.shape[2:], mode="bilinear", align_corners=False)
            found.append((raw * gain).clamp(-CLIP, CLIP))
        return found

    def forward(self, plane: Tensor, gains: Tensor) -> Tensor:
        """(n, 1, y, x) and (n, 15, y / 16, x / 16) to logits (n, 1, y / 2, x / 2)."""
        with torch.autocast(plane.device.type, enabled=False):
            r1, r2, r4 = self.residuals(plane.float(), gains.float())
            energy = torch.cat([functional.avg_pool2d(r1.square(), 4), functional.avg_pool2d(r2.square(), 2),
                                r4.square()], 1)
            energy = torch.log(energy + 0.05)
        s2 = self.stage2(torch.cat([self.down2(functional.relu(self.stage1(r1))), r2], 1))
        s4 = self.stage4(torch.cat([self.down4(s2), r4, energy], 1))
        s8 = self.down8(s4)
        for layer in self.stage8:
            s8 = layer(s8)
        s16 = self.down16(s8)
        for layer in self.context:
            s16 = s16 + layer(s16)
        s8 = self.merge8(s8 + _double(self.up8(s16)))
        s4 = self.merge4(s4 + _double(self.up4(s8)))
        s2 = self.merge2(self.skip2(s2) + _double(self.up2(s4)))
        return self.head(s2).float()


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
