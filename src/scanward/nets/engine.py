"""Which engine evaluates networks: OpenVINO where it is installed, plain torch otherwise or on request."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Literal

Engine = Literal["openvino", "torch"]


def engine() -> Engine:
    """`SCANWARD_ENGINE` (openvino or torch) if set and possible, else the fastest one installed."""
    wanted = os.environ.get("SCANWARD_ENGINE", "").lower()
    return "torch" if wanted == "torch" or find_spec("openvino") is None else "openvino"
