"""The only door to OpenVINO.

Its package imports `openvino_telemetry`, which without asking counts uses, writes a client id into the home folder, and
forks, in whatever threads run by then, a child that posts to an analytics server. It has a stub for where that module
is missing, so it is kept out before OpenVINO is imported.
"""

from __future__ import annotations

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov
from openvino import opset13 as ops

__all__ = ["ops", "ov"]
