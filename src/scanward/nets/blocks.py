"""Plain torch blocks."""

from __future__ import annotations

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU; the size stays (n, c, y / stride, x / stride)."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.conv = nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, y, x) to (n, outputs, y / stride, x / stride)."""
        return self.act(self.bn(self.conv(x)))
