"""`SelfReferenceNet` in evaluation mode as an OpenVINO graph; a test holds it to the torch network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scanward.detectors.self_reference.reference import CLIP, KERNELS, SCALES
from scanward.nets.graph import Arrays, block, compile_graph, constant, conv, double, enlarged, mean_pool
from scanward.nets.openvino import ops


def build(arrays: Arrays, precision: str = "f32") -> Callable[..., list[np.ndarray]]:
    """plane (1, 1, y, x) and gains (1, 15, y / 16, x / 16) to [logits (1, 1, y / 2, x / 2)]."""
    plane = ops.parameter([1, 1, -1, -1], np.float32, "plane")
    gains = ops.parameter([1, len(SCALES) * len(KERNELS), -1, -1], np.float32, "gains")
    r1, r2, r4 = _residuals(plane, gains)
    energy = ops.concat([mean_pool(ops.multiply(r1, r1), 4), mean_pool(ops.multiply(r2, r2), 2),
                         ops.multiply(r4, r4)], 1)
    energy = ops.log(ops.add(energy, constant(0.05)))
    s1 = ops.relu(conv(r1, arrays["stage1.weight"], arrays["stage1.bias"]))
    s2 = block(ops.concat([block(s1, arrays, "down2", stride=2), r2], 1), arrays, "stage2")
    s4 = block(ops.concat([block(s2, arrays, "down4", stride=2), r4, energy], 1), arrays, "stage4")
    s8 = block(s4, arrays, "down8", stride=2)
    for i, dilation in enumerate((1, 2)):
        s8 = block(s8, arrays, f"stage8.{i}", dilation=dilation)
    s16 = block(s8, arrays, "down16", stride=2)
    for i, dilation in enumerate((1, 2, 4)):
        s16 = ops.add(s16, block(s16, arrays, f"context.{i}", dilation=dilation))
    s8 = block(ops.add(s8, double(block(s16, arrays, "up8"))), arrays, "merge8")
    s4 = block(ops.add(s4, double(block(s8, arrays, "up4"))), arrays, "merge4")
    s2 = block(ops.add(block(s2, arrays, "skip2"), double(block(s4, arrays, "up2"))), arrays, "merge2")
    return compile_graph([conv(s2, arrays["head.weight"], arrays["head.bias"])], [plane, gains], precision=precision)


def _residuals(plane: Any, gains: Any) -> list[Any]:
    found = []
    gains = ops.split(gains, ops.constant(np.int64(1)), len(SCALES))
    for i, scale in enumerate(SCALES):
        small = mean_pool(plane, scale) if scale > 1 else plane
        edges = ops.constant(np.array([0, 0, 2, 2], np.int64))
        raw = ops.convolution(ops.pad(small, edges, edges, "edge"), constant(KERNELS[:, None]), [1, 1], [0, 0],
                              [0, 0], [1, 1])
        found.append(ops.clamp(ops.multiply(raw, enlarged(gains.output(i), 16 // scale)), -CLIP, CLIP))
    return found
