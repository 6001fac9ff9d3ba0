"""Verdicts as JSON, one object a line."""

from __future__ import annotations

import json

from scanward.verdict import Verdict


def json_line(verdict: Verdict) -> str:
    """`verdict.to_json()` on one line, with its line end, in ASCII."""
    return json.dumps(verdict.to_json(), allow_nan=False, default=str) + "\n"
