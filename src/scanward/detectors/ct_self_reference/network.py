"""The dense network of the CT self-reference detector: three stabilised slices and gains in, forgery logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.detectors.ct_self_reference.reference import BLOCK, CHANNELS, MIXTURE, PER_SCALE, SCALES
from scanward.detectors.self_reference.reference import CLIP
from scanward.nets.blocks import ConvBlock


class CtSelfReferenceNet(nn.Module):
    """Residuals at two scales, in the slice and across slices, their log energies, and a small dilated U-Net.

    Input: planes (n, 3, y, x), a slice between its neighbours as `Reference.stabilise` gives them, sides multiples of
    16, and gains (n, 16, y / 8, x / 8) from `Reference.gains_at`; a gain of 0 leaves a residual out.
    Output: logits (n, 1, y / 2, x / 2), positive where forged.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.mixture: Tensor
        self.register_buffer("mixture", torch.from_numpy(MIXTURE).clone(), persistent=False)
        self.stage1 = nn.Conv2d(PER_SCALE, a, 3, padding=1)
        self.down2 = ConvBlock(a, b, stride=2)
        self.stage2 = ConvBlock(b + PER_SCALE, b)
        self.down4 = ConvBlock(b, c, stride=2)
        self.stage4 = ConvBlock(c + CHANNELS, c)
        self.down8 = ConvBlock(c, d, stride=2)
        self.context = nn.ModuleList([ConvBlock(d, d, dilation=n) for n in (1, 2, 4)])
        self.up4 = ConvBlock(d, c, size=1)
        self.merge4 = ConvBlock(c, 32)
        self.up2 = ConvBlock(32, 24, size=1)
        self.skip2 = ConvBlock(b, 24, size=1)
        self.merge2 = ConvBlock(24, 24)
        self.head = nn.Conv2d(24, 1, 1)

    def residuals(self, planes: Tensor, gains: Tensor) -> list[Tensor]:
        """Clipped residuals [(n, 8, y / s, x / s) for s in SCALES], of unit spread in authentic lung."""
        found = []
        for i, scale in enumerate(SCALES):
            small = functional.avg_pool2d(planes, scale) if scale > 1 else planes
            raw = functional.conv2d(functional.pad(small, (2, 2, 2, 2), "replicate"), self.mixture)
            gain = gains[:, i * PER_SCALE:(i + 1) * PER_SCALE]
            gain = functional.interpolate(gain, scale_factor=BLOCK / scale, mode="bilinear", align_corners=False)
            found.append((raw * gain).clamp(-CLIP, CLIP))
        return found

    def forward(self, planes: Tensor, gains: Tensor) -> Tensor:
        """(n, 3, y, x) and (n, 16, y / 8, x / 8) to logits (n, 1, y / 2, x / 2)."""
        with torch.autocast(planes.device.type, enabled=False):
            r1, r2 = self.residuals(planes.float(), gains.float())
            energy = torch.cat([functional.avg_pool2d(r1.square(), 4), functional.avg_pool2d(r2.square(), 2)], 1)
            energy = torch.log(energy + 0.05)
        s2 = self.stage2(torch.cat([self.down2(functional.relu(self.stage1(r1))), r2], 1))
        s4 = self.stage4(torch.cat([self.down4(s2), energy], 1))
        s8 = self.down8(s4)
        for layer in self.context:
            s8 = s8 + layer(s8)
        s4 = self.merge4(s4 + _double(self.up4(s8)))
        s2 = self.merge2(self.skip2(s2) + _double(self.up2(s4)))
        return self.head(s2).float()


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
