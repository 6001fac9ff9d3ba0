"""Which engine evaluates networks, and on what: OpenVINO where it is installed, plain torch otherwise, on request, or
on a GPU."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal

Engine = Literal["openvino", "torch"]
Precision = Literal["bf16", "f32"]

MOST_AT_ONCE = 8
"""Each keeps the activations of a whole input."""


def device() -> str:
    """`SCANWARD_DEVICE`, which `--device` sets: `cuda`, or empty for the processor."""
    return os.environ.get("SCANWARD_DEVICE", "")


def named() -> str:
    """What evaluates networks, and in which arithmetic, for an answer."""
    return " ".join(filter(None, (engine(), precision(), device())))


def engine() -> Engine:
    """`SCANWARD_ENGINE` (openvino or torch) if set and possible, else the fastest one installed."""
    wanted = os.environ.get("SCANWARD_ENGINE", "").lower()
    return "torch" if device() or wanted == "torch" or find_spec("openvino") is None else "openvino"


def precision() -> Precision:
    """f32 in torch; in OpenVINO `SCANWARD_PRECISION` (bf16 or f32) if set, else bf16 where the CPU computes in it.

    For networks whose verdicts do not depend on it: docs/results.md has by how much their scores move.
    """
    if engine() == "torch":
        return "f32"
    wanted = os.environ.get("SCANWARD_PRECISION", "").lower()
    if wanted in ("bf16", "f32"):
        return "bf16" if wanted == "bf16" else "f32"
    return "bf16" if native_bf16() else "f32"


def cores() -> int:
    """How many threads are worth starting: one a core, up to `MOST_AT_ONCE`."""
    return min(os.cpu_count() or 1, MOST_AT_ONCE)


def at_once() -> int:
    """How many inputs networks take side by side: in OpenVINO one a core; torch shares one among all cores."""
    return cores() if engine() == "openvino" else 1


@cache
def native_bf16() -> bool:
    """Whether this CPU computes in bf16 itself; where it does not, bf16 is several times slower than f32."""
    from scanward.nets.openvino import ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
