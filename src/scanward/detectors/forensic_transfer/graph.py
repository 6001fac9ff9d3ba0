"""The encoder of `ForensicTransferNet` in evaluation mode as an OpenVINO graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scanward.nets.graph import Arrays, compile_graph, constant, conv
from scanward.nets.openvino import ops


def build(arrays: Arrays, precision: str = "f32") -> Callable[..., list[np.ndarray]]:
    """(1, c, y, x) to [(1, 2, y / 16, x / 16)]: Σ|h0| and Σ|h1| of each latent cell.

    Batch norms follow the ReLU, so each is folded into the convolution after it. That is wrong where a convolution
    reads its zero padding, whose reach is the outer ring of cells, which no score looks at.
    """
    channels = arrays["encoder.0.0.weight"].shape[1]
    x = plane = ops.parameter([1, channels, -1, -1], np.float32, "plane")
    layers = sum(name.startswith("encoder.") and name.endswith(".0.weight") for name in arrays)
    scale, shift = np.ones(channels), np.zeros(channels)
    for i in range(layers):
        weight, bias = arrays[f"encoder.{i}.0.weight"], arrays[f"encoder.{i}.0.bias"]
        bias = bias + weight.sum((2, 3)) @ shift
        x = ops.relu(conv(x, weight * scale[:, None, None], bias, stride=1 if i == 0 else 2))
        scale, shift = _norm(arrays, f"encoder.{i}.2")
    x = ops.add(ops.multiply(x, constant(scale.reshape(1, -1, 1, 1))), constant(shift.reshape(1, -1, 1, 1)))
    half = len(scale) // 2
    sums = np.zeros((2, 2 * half, 1, 1), np.float32)
    sums[0, :half] = sums[1, half:] = 1
    return compile_graph([conv(ops.absolute(x), sums)], [plane], precision=precision)


def _norm(arrays: Arrays, name: str, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a batch norm."""
    scale = arrays[f"{name}.weight"] / np.sqrt(arrays[f"{name}.running_var"] + eps)
    return scale, arrays[f"{name}.bias"] - arrays[f"{name}.running_mean"] * scale
