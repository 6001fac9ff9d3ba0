"""`CtSelfReferenceNet` in evaluation mode as an OpenVINO graph; a test holds it to the torch network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scanward.detectors.ct_self_reference.reference import BLOCK, CHANNELS, MIXTURE, SCALES
from scanward.detectors.self_reference.reference import CLIP
from scanward.nets.graph import Arrays, block, compile_graph, constant, conv, double, enlarged, mean_pool
from scanward.nets.openvino import ops


def build(arrays: Arrays, precision: str = "f32", streams: int = 1) -> Callable[..., list[np.ndarray]]:
    """planes (1, 3, y, x) and gains (1, 16, y / 8, x / 8) to [logits (1, 1, y / 2, x / 2)]."""
    planes = ops.parameter([1, 3, -1, -1], np.float32, "planes")
    gains = ops.parameter([1, CHANNELS, -1, -1], np.float32, "gains")
    r1, r2 = _residuals(planes, gains)
    energy = ops.concat([mean_pool(ops.multiply(r1, r1), 4), mean_pool(ops.multiply(r2, r2), 2)], 1)
    energy = ops.log(ops.add(energy, constant(0.05)))
    s1 = ops.relu(conv(r1, arrays["stage1.weight"], arrays["stage1.bias"]))
    s2 = block(ops.concat([block(s1, arrays, "down2", stride=2), r2], 1), arrays, "stage2")
    s4 = block(ops.concat([block(s2, arrays, "down4", stride=2), energy], 1), arrays, "stage4")
    s8 = block(s4, arrays, "down8", stride=2)
    for i, dilation in enumerate((1, 2, 4)):
        s8 = ops.add(s8, block(s8, arrays, f"context.{i}", dilation=dilation))
    s4 = block(ops.add(s4, double(block(s8, arrays, "up4"))), arrays, "merge4")
    s2 = block(ops.add(block(s2, arrays, "skip2"), double(block(s4, arrays, "up2"))), arrays, "merge2")
    return compile_graph([conv(s2, arrays["head.weight"], arrays["head.bias"])], [planes, gains], precision, streams)


def _residuals(planes: Any, gains: Any) -> list[Any]:
    found = []
    gains = ops.split(gains, ops.constant(np.int64(1)), len(SCALES))
    for i, scale in enumerate(SCALES):
        small = mean_pool(planes, scale) if scale > 1 else planes
        edges = ops.constant(np.array([0, 0, 2, 2], np.int64))
        raw = ops.convolution(ops.pad(small, edges, edges, "edge"), constant(MIXTURE), [1, 1], [0, 0], [0, 0],
                              [1, 1])
        found.append(ops.clamp(ops.multiply(raw, enlarged(gains.output(i), BLOCK // scale)), -CLIP, CLIP))
    return found
