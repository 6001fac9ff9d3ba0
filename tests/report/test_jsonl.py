"""A verdict is one line."""

import json
from pathlib import Path

import numpy as np

from scanward.box import Box
from scanward.report.jsonl import json_line
from scanward.verdict import Finding, Verdict


def verdict(score: float) -> Verdict:
    found = (Finding(Box(0, 2, 1, 1, 4, 3), score, (0.0, 0.2, 0.1, 1.0, 0.4, 0.3), method="a"),)
    return Verdict(score, 0.5, "tampered", np.zeros((1, 9, 9), np.float32), found, (), "default", "MG")


def test_every_line_is_an_object():
    text = json_line(verdict(0.6).to_json()) + json_line(verdict(0.7).to_json())
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["score"] for line in lines] == [0.6, 0.7]
    assert lines[0]["findings"] == [{"box": [1, 2, 3, 4], "centre": [2, 3], "corner": [1, 2],
                                     "box_mm": [0.1, 0.2, 0.3, 0.4], "score": 0.6, "method": "a"}]


def test_numbers_of_numpy_stay_numbers_and_paths_become_words():
    line = json_line({"score": np.float32(0.5), "count": np.int64(3), "path": Path("a")})
    assert json.loads(line) == {"score": 0.5, "count": 3, "path": "a"}
