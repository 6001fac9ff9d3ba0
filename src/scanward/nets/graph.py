"""Networks as OpenVINO graphs, built from plain arrays: no torch, no converter, no cached model file to trust."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from scanward.nets.openvino import ops, ov

Arrays = Mapping[str, np.ndarray]


def fold(arrays: Arrays, conv: str, norm: str, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution with the batch norm that follows it folded in."""
    scale = arrays[f"{norm}.weight"] / np.sqrt(arrays[f"{norm}.running_var"] + eps)
    bias = arrays.get(f"{conv}.bias", np.zeros(1, np.float32))
    return (arrays[f"{conv}.weight"] * scale[:, None, None, None],
            (bias - arrays[f"{norm}.running_mean"]) * scale + arrays[f"{norm}.bias"])


def constant(values: Any) -> Any:
    """A float32 constant node."""
    return ops.constant(np.ascontiguousarray(values, np.float32))


def conv(x: Any, weight: np.ndarray, bias: np.ndarray | None = None, *, stride: int = 1, dilation: int = 1) -> Any:
    """Convolution with zero padding that keeps the size at stride 1, as `nn.Conv2d(padding=dilation * (k // 2))`."""
    pads = [dilation * (n // 2) for n in weight.shape[2:]]
    y = ops.convolution(x, constant(weight), [stride] * 2, pads, pads, [dilation] * 2)
    return y if bias is None else ops.add(y, constant(bias.reshape(1, -1, 1, 1)))


def block(x: Any, arrays: Arrays, name: str, *, stride: int = 1, dilation: int = 1) -> Any:
    """`ConvBlock` in evaluation mode."""
    weight, bias = fold(arrays, f"{name}.conv", f"{name}.bn")
    return ops.relu(conv(x, weight, bias, stride=stride, dilation=dilation))


def mean_pool(x: Any, size: int) -> Any:
    """Average pooling with window and stride `size`; no padding."""
    return ops.avg_pool(x, [size] * 2, [0, 0], [0, 0], [size] * 2, exclude_pad=True)


def double(x: Any) -> Any:
    """Nearest upsampling by two."""
    return ops.interpolate(x, ops.constant(np.array([2.0, 2.0], np.float32)), "nearest", "scales",
                           coordinate_transformation_mode="asymmetric", nearest_mode="floor",
                           axes=ops.constant(np.array([2, 3], np.int64)))


def enlarged(x: Any, times: int) -> Any:
    """Bilinear upsampling, as `interpolate(mode="bilinear", align_corners=False)`."""
    return ops.interpolate(x, ops.constant(np.array([times, times], np.float32)), "linear_onnx", "scales",
                           coordinate_transformation_mode="half_pixel", axes=ops.constant(np.array([2, 3], np.int64)))


def compile_graph(outputs: list[Any], inputs: list[Any], precision: str = "f32",
                  streams: int = 1) -> Callable[..., list[np.ndarray]]:
    """Compile for this CPU; the result maps input arrays, in order, to output arrays.

    The cores share one input among them or, where there are `streams`, take as many side by side, which threads give
    them: without waiting for each other after every layer.
    """
    hint = {"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(ov.Model(outputs, inputs, "scanward"), "CPU",
                                       {"INFERENCE_PRECISION_HINT": precision, **hint, **_share()})
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        idle.put(compiled.create_infer_request())

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        request = idle.get()
        try:
            request.infer(dict(enumerate(arrays)))
            return [np.array(request.get_output_tensor(i).data) for i in range(len(outputs))]
        finally:
            idle.put(request)

    return run


def _share() -> dict[str, Any]:
    """Of a process that shares the cores with others (`SCANWARD_THREADS`): so many threads, and none bound to a core
    that the others think theirs, too."""
    threads = os.environ.get("SCANWARD_THREADS", "")
    return {"INFERENCE_NUM_THREADS": int(threads), "ENABLE_CPU_PINNING": False} if threads.isdecimal() else {}
