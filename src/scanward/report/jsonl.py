"""Answers as JSON, one object a line."""

from __future__ import annotations

import json
from typing import Any


def json_line(value: dict[str, Any]) -> str:
    """An object, such as `Verdict.to_json()`, on one line, with its line end, in ASCII."""
    return json.dumps(value, allow_nan=False, default=plain) + "\n"


def plain(value: Any) -> Any:
    """What JSON has no form for: NumPy's numbers as numbers, all else in words."""
    return value.item() if hasattr(value, "item") else str(value)
