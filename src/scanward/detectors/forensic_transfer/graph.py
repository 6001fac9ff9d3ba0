"""The encoder of `ForensicTransferNet` in evaluation mode as an OpenVINO graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from openvino import opset13 as ops

from scanward.nets.graph import Arrays, compile_graph, constant, conv


def build(arrays: Arrays) -> Callable[..., list[np.ndarray]]:
    """(1, c, y, x) to [(1, 2, y / 16, x / 16)]: Σ|h0| and Σ|h1| of each latent cell."""
    x = plane = ops.parameter([1, arrays["encoder.0.0.weight"].shape[1], -1, -1], np.float32, "plane")
    layers = sum(name.startswith("encoder.") and name.endswith(".0.weight") for name in arrays)
    for i in range(layers):
        x = ops.relu(conv(x, arrays[f"encoder.{i}.0.weight"], arrays[f"encoder.{i}.0.bias"], stride=1 if i == 0 else 2))
        x = _norm(x, arrays, f"encoder.{i}.2")
    half = arrays[f"encoder.{layers - 1}.0.weight"].shape[0] // 2
    sums = np.zeros((2, 2 * half, 1, 1), np.float32)
    sums[0, :half] = sums[1, half:] = 1
    return compile_graph([conv(ops.absolute(x), sums)], [plane])


def _norm(x: object, arrays: Arrays, name: str, eps: float = 1e-5) -> object:
    """Batch norm; it follows the ReLU here, so it cannot fold into the convolution before it."""
    scale = arrays[f"{name}.weight"] / np.sqrt(arrays[f"{name}.running_var"] + eps)
    shift = arrays[f"{name}.bias"] - arrays[f"{name}.running_mean"] * scale
    return ops.add(ops.multiply(x, constant(scale.reshape(1, -1, 1, 1))), constant(shift.reshape(1, -1, 1, 1)))
