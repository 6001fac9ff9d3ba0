"""The contract with mercure: two folders, a task, an exit code."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from scanward.gateway import mercure


@pytest.fixture
def series(tmp_path, dicom, bright):
    """Two films, one of which `Bright` calls tampered, as mercure lays them down."""
    folder = tmp_path / "in"
    for name, value in (("1.2.3#1", 4095), ("1.2.3#2", 1000)):
        path = dicom.file(folder / f"{name}.dcm")
        data = pydicom.dcmread(path)
        pixels = np.zeros((64, 48), np.uint16)
        pixels[10:18, 20:28] = value
        data.BitsStored, data.HighBit, data.PixelData = 16, 15, (pixels * 16).astype(np.uint16).tobytes()
        data.save_as(path)
        (folder / f"{name}.tags").write_text("{}")
    task(folder)
    return folder


def task(folder, **settings):
    (folder / "task.json").write_text(json.dumps({"id": "x", "process": {"module_name": "scanward",
                                                                         "settings": settings}}))


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_an_alarm_is_a_success_that_asks_for_a_notification(series, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert mercure.run_in_environment({"MERCURE_IN_DIR": str(series), "MERCURE_OUT_DIR": str(out)}) == 0
    found = result(out)
    assert found["label"] == "tampered" and found["counts"]["tampered"] == 1 and len(found["images"]) == 2
    assert found["__mercure_notification"] == {
        "text": "Scanward: tampered (1 tampered, 1 authentic).", "requested": True}
    objects = [name for image in found["images"] for name in image["objects"]]
    assert {path.name for path in out.iterdir()} == {"result.json", *objects}
    modalities = sorted(pydicom.dcmread(out / name).Modality for name in objects)
    assert modalities == ["OT", "OT", "SEG", "SR", "SR"]
    assert found["images"][0]["findings"][0]["box"] == [20, 10, 28, 18]
    text = (out / "result.json").read_text()
    assert str(tmp_path) not in text and "Doe" not in text and "PID" not in text


def test_settings_say_what_is_made_and_when_somebody_is_told(series, tmp_path):
    task(series, objects=["sr"], notify="never", method="self-reference")
    assert mercure.run(series, tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert [len(image["objects"]) for image in found["images"]] == [1, 1]
    assert found["images"][0]["method"] == "self-reference" and not found["__mercure_notification"]["requested"]
    (series / "task.json").write_text(json.dumps({"process": [
        {"module_name": "other", "settings": {"sigma": 7}}, {"module_name": "Scanward", "settings": {"objects": []}}]}))
    assert mercure.run(series, tmp_path / "out2") == 0
    assert [path.name for path in (tmp_path / "out2").iterdir()] == ["result.json"]


@pytest.mark.parametrize(("settings", "words"), [
    ({"method": "magic"}, "magic"), ({"objects": ["png"]}, "objects"), ({"objects": "sr"}, "objects"),
    ({"notify": True}, "notify"), ({"sigma": 7}, "sigma"), ({"marked": 1}, "true or false"),
    ({"marked": True}, "in the setting key")])
def test_a_wrong_setting_is_a_failure_in_one_sentence_and_nothing_is_written(series, tmp_path, settings, words, capsys):
    task(series, **settings)
    (tmp_path / "out").mkdir()
    assert mercure.run(series, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1 and not list((tmp_path / "out").iterdir())


def test_one_broken_file_does_not_cost_the_others_their_answer(series, tmp_path):
    (series / "broken.dcm").write_bytes((series / "1.2.3#1.dcm").read_bytes()[:900])
    assert mercure.run(series, tmp_path / "out") == 0
    found = result(tmp_path / "out")
    broken = [image for image in found["images"] if image["label"] == "inconclusive"]
    assert len(broken) == 1 and broken[0]["file"] == "broken.dcm" and str(tmp_path) not in broken[0]["error"]
    assert found["label"] == "tampered"


def test_a_study_is_not_called_authentic_where_one_file_cannot_be_read(series, tmp_path):
    (series / "1.2.3#1.dcm").write_bytes((series / "1.2.3#1.dcm").read_bytes()[:900])
    assert mercure.run(series, tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert found["label"] == "inconclusive"
    assert found["__mercure_notification"] == {
        "text": "Scanward: inconclusive (1 inconclusive, 1 authentic).", "requested": False}


@pytest.mark.parametrize("content", [None, b"junk"])
def test_nothing_to_scan_is_a_failure(tmp_path, content, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    if content is not None:
        (folder / "a.dcm").write_bytes(content)
    assert mercure.run(folder, tmp_path / "out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_ct_series_is_a_failure_while_there_is_no_detector_for_it(tmp_path, dicom, capsys):
    dicom.ct(tmp_path / "in", 4)
    assert mercure.run(tmp_path / "in", tmp_path / "out") == 2
    assert "CT" in capsys.readouterr().err


def test_a_damaged_task_and_missing_variables(series, tmp_path, capsys):
    (series / "task.json").write_text("{")
    assert mercure.run(series, tmp_path / "out") == 2
    assert mercure.run_in_environment({"MERCURE_IN_DIR": str(series)}) == 2
    assert "MERCURE_OUT_DIR" in capsys.readouterr().err


def test_without_a_task_the_defaults_stand(series, tmp_path):
    (series / "task.json").unlink()
    assert mercure.run(series, tmp_path / "out") == 0
    # What lies there already is never overwritten.
    assert mercure.run(series, tmp_path / "out") == 2


@pytest.mark.parametrize(("environment", "arguments", "expected"), [
    ({"MERCURE_IN_DIR": "/in", "MERCURE_OUT_DIR": "/out"}, [], "mercure"),
    ({}, ["--config", "/data/a b.toml"], "serve --config /data/a b.toml"), ({"MERCURE_IN_DIR": ""}, [], "serve")])
def test_the_containers_entry_is_a_module_for_mercure_and_the_gateway_for_others(tmp_path, environment, arguments,
                                                                                 expected):
    (tmp_path / "scanward").write_text('#!/bin/sh\nprintf "%s" "$*"\n')
    (tmp_path / "scanward").chmod(0o755)
    entry = Path(__file__).parents[2] / "container" / "entry.sh"
    done = subprocess.run([str(entry), *arguments], env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
                          check=True, capture_output=True, text=True)
    assert done.stdout == expected
