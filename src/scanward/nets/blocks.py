"""Plain torch blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scanward.nets.engine import device

Net = TypeVar("Net", bound=nn.Module)


def filled(net: Net, arrays: Mapping[str, npt.NDArray[Any]]) -> Net:
    """`net` with these parameters, in f32 whatever they are kept in, and in evaluation mode.

    Batch norm's counters may be missing: inference has no use for them.
    """
    net.load_state_dict({name: torch.from_numpy(np.asarray(values, np.float32) if values.dtype.kind == "f" else values)
                         for name, values in arrays.items()})
    return placed(net.eval())


def placed(net: Net) -> Net:
    """`net` on the device that was asked for; what it is called with goes there, and its answer comes back."""
    wanted = device()
    if not wanted:
        return net
    torch.backends.cudnn.allow_tf32 = False  # which keeps ten bits of a product
    net.to(wanted)
    net.register_forward_pre_hook(
        lambda _, given, named: (_moved(given, wanted), {name: _moved(one, wanted) for name, one in named.items()}),
        with_kwargs=True)
    net.register_forward_hook(lambda *call: _moved(call[2], "cpu"))
    return net


def _moved(value: Any, where: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(one, where) for one in value)
    return value.to(where) if isinstance(value, Tensor) else value


class Conv3d(nn.Conv3d):
    """A 3-D convolution that learns from small maps in f32 on a CPU, autocast or not.

    Where a map is narrower than the kernel, oneDNN's bf16 gradient of the weights (3.12, in torch 2.13) takes part of
    its sum from memory that nobody has written: what is left of other tensors, not always finite, and never the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not x.is_cpu or min(x.shape[2:]) >= max(self.kernel_size):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Dropout(nn.Module):
    """`nn.Dropout` with the share in 256ths and a byte of chance a value: torch's own takes longer than the layers
    around it on CPUs."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.least = round(256 * share)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, dense in memory; the identity in evaluation."""
        if not self.training or self.least == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-2**63, None)
        kept = words.view(torch.uint8)[:x.numel()].as_strided(x.shape, x.stride()) >= self.least
        return x * (kept.to(x.dtype) * (256 / (256 - self.least)))


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


def folded(x: Tensor) -> Tensor:
    """(n, c, 2a, 2b, 2c) to (n, 8c, a, b, c)."""
    n, c, *space = x.shape
    z, y, w = (side // 2 for side in space)
    return x.reshape(n, c, z, 2, y, 2, w, 2).permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, z, y, w)


def unfolded(x: Tensor) -> Tensor:
    """And back."""
    n, c, z, y, w = x.shape
    apart = x.reshape(n, c // 8, 2, 2, 2, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return apart.reshape(n, c // 8, 2 * z, 2 * y, 2 * w)
