"""Adapting the shipped weights to a few forgeries of a new kind."""

import dataclasses
import tomllib

import cv2
import numpy as np
import pytest

from scanward import cli, weights
from scanward.training import adapt as module
from scanward.training.finish import abroad


def film(path, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:900, :700]
    breast = np.hypot((y - 450) / 0.9, x) < 560
    plane = np.where(breast, 28000 + 9000 * np.sin(y / 60) * np.cos(x / 45) + rng.normal(0, 300, y.shape),
                     500 + rng.normal(0, 20, y.shape))
    assert cv2.imwrite(str(path), np.rint(plane).clip(0, 65535).astype(np.uint16))


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    """Six films with a composed mass each."""
    folder = tmp_path_factory.mktemp("new kind")
    (folder / "hosts").mkdir()
    for seed in range(3):
        film(folder / "hosts" / f"{seed}.png", seed)
    assert cli.run(["inject", str(folder / "hosts"), "-o", str(folder / "set"), "--size", "10", "--count", "6",
                    "--spacing", "0.2", "--modality", "MG", "--method", "composed-mass"]) == 0
    return folder / "set"


def test_pairs_hold_a_forged_crop_and_one_from_off_it(forged, tmp_path):
    records = module._records(forged)
    pool = module._pool(records, tmp_path / "bank", varies=False)
    assert len(pool) >= 4 * module.EACH
    for bank, i in pool:
        assert bank.masks[i].any()
        assert not np.array_equal(bank.planes[i, 0], bank.planes[i, 1])
        assert bank.about[i]["attack"] == "composed-mass"
    assert len(pool) == len(module._pool(records, tmp_path / "bank", varies=False))  # made anew, not added to


def test_adapted_weights_are_written_with_where_they_come_from(forged, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SCHEDULE", dataclasses.replace(module.SCHEDULE, steps=2, warmup=1))
    monkeypatch.setattr(module, "calibrated", lambda *_, **__: {"threshold": 0.5})
    monkeypatch.setattr(module, "digital", lambda *_: [])
    assert cli.run(["train", "self-reference", "--adapt", str(forged), "--output", str(tmp_path)]) == 0
    entry = tomllib.loads((tmp_path / "adapt" / "manifest.toml").read_text())["self-reference-film"]
    assert "--adapt" in entry["command"] and "adapted to 6 forgeries: composed-mass" in entry["trained_on"]
    assert entry["sha256"] != weights.entry("self-reference-film").sha256
    assert entry["licence"] == weights.entry("self-reference-film").licence
    # Other forgeries are another training, in the same folder too.
    one = next(forged.glob("*/record.json")).parent
    monkeypatch.setattr(module, "LEAST", 1)
    assert cli.run(["train", "self-reference", "--adapt", str(one), "--output", str(tmp_path)]) == 0
    other = tomllib.loads((tmp_path / "adapt" / "manifest.toml").read_text())["self-reference-film"]
    assert other["sha256"] != entry["sha256"] and "adapted to 1 forgeries" in other["trained_on"]


def test_the_network_of_film_learns_from_film_alone(forged, monkeypatch):
    records = module._records(forged)
    assert module._of_film(records)
    monkeypatch.setattr(module, "like_film", lambda *_: False)
    assert not module._of_film(records)


def test_digital_films_are_asked_for_before_anything_is_trained(forged, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "like_film", lambda *_: False)
    (tmp_path / "mias").mkdir()
    (tmp_path / "mias" / "annotations.csv").write_text("film\n")
    assert cli.run(["train", "self-reference", "--adapt", str(forged), "--data", str(tmp_path), "--output",
                    str(tmp_path / "out")]) == 2
    assert "digital mammograms" in capsys.readouterr().err and not any((tmp_path / "out").glob("**/*.*"))


def test_what_cannot_be_adapted_to(forged, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.run(["train", "self-reference", "--adapt", str(tmp_path / "empty"), "--output", str(tmp_path)]) == 2
    assert "5 or more" in capsys.readouterr().err
    assert cli.run(["train", "partial-conv", "--adapt", str(forged), "--output", str(tmp_path)]) == 2
    assert "cannot be adapted" in capsys.readouterr().err
    assert cli.run(["train", "self-reference", "--adapt", str(forged), "--preset", "full", "--output",
                    str(tmp_path)]) == 2
    assert "--preset" in capsys.readouterr().err


def test_the_threshold_for_makers_never_trained_on_by_hand():
    """Half a logit above even odds, and above odds of 3 to 1."""
    less = np.exp(-0.5)
    assert abroad({"threshold": 0.5, "offset": 2.0}) == {"threshold": pytest.approx(1 / (1 + less)), "offset": 2.0}
    assert abroad({"threshold": 0.75})["threshold"] == pytest.approx(1 / (1 + less / 3))
