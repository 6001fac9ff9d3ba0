"""verdicts.jsonl stays valid however the program ends."""

import json

import numpy as np
import pytest

from scanward.box import Box
from scanward.errors import ArgumentError
from scanward.report.jsonl import append_jsonl, write_jsonl
from scanward.verdict import Finding, Verdict


def verdict(score: float) -> Verdict:
    found = (Finding(Box(0, 2, 1, 1, 4, 3), score, (0.0, 0.2, 0.1, 1.0, 0.4, 0.3), method="a"),)
    return Verdict(score, 0.5, "tampered", np.zeros((1, 9, 9), np.float32), found, (), "default", "MG")


def test_every_line_is_an_object(tmp_path):
    path = tmp_path / "new" / "verdicts.jsonl"
    for score in (0.6, 0.7):
        append_jsonl(path, verdict(score))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["score"] for line in lines] == [0.6, 0.7]
    assert lines[0]["findings"] == [{"box": [1, 2, 3, 4], "box_mm": [0.1, 0.2, 0.3, 0.4], "score": 0.6, "method": "a"}]


def test_interrupted_writing_leaves_the_old_file(tmp_path):
    path = write_jsonl(tmp_path / "v.jsonl", [verdict(0.6)])

    def stopping():
        yield verdict(0.7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, stopping())
    assert [json.loads(line)["score"] for line in path.read_text().splitlines()] == [0.6]
    assert [p.name for p in tmp_path.iterdir()] == ["v.jsonl"]


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be written"):
        append_jsonl(tmp_path, verdict(0.6))
