"""Every trainer of the table, for a few steps on what is made here, through the command: stopped, and gone on with."""

import dataclasses
import json
import sys
import tomllib
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from scanward import weights
from scanward.anatomy.lung import lungs_of
from scanward.attacks.base import Lesion
from scanward.datasets.chests import Nodule
from scanward.datasets.films import Film
from scanward.datasets.thorax import Scan
from scanward.image import Image
from scanward.methods import METHODS
from scanward.training import adversarial, loop
from scanward.training.bank import Recipe
from scanward.training.loop import Schedule

TRAINED = {row.name: import_module(row.trainer.split(":")[0]) for row in METHODS if row.trainer}
SHORT = Schedule(4, 1e-3, warmup=1, every=2)
TINY = {"schedule": SHORT, "first": SHORT, "others": (SHORT,), "batch": 2, "lung": 4, "each": 2, "healthy": 3,
        "pairs": 4, "bank": Recipe(4), "films": 2, "visits": 1, "rounds": (SHORT, SHORT)}


def plane(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:600, :560]
    breast = np.hypot(y - 300, x) < 420
    values = np.where(breast, 110 + 40 * np.sin(y / 40) * np.cos(x / 31) + rng.normal(0, 2, y.shape), 2)
    return Image(np.rint(values).clip(0, 255).astype(np.float32)[None], "MG", spacing=(1.0, 0.2, 0.2), bits=8)


FILMS = [Film(f"f{i}", f"p{i}", "train", partial(plane, i), (Lesion((0, 300.0, 150.0), 60.0),)) for i in range(5)]


def chest(*_):
    _, y, x = np.mgrid[:26, :256, :256]
    lungs = (np.hypot((y - 128) / 88, (x - 72) / 48) < 1) | (np.hypot((y - 128) / 88, (x - 184) / 48) < 1)
    values = np.where(lungs, -850.0, np.where(np.hypot((y - 128) / 115, (x - 128) / 122) < 1, 30.0, -1000.0))
    values += np.random.default_rng(0).normal(0, 12, values.shape)
    return Image(values.astype(np.float32), "CT", (2.5, 1.25, 1.25), grid=(1.0, -1024.0, 3071.0))


def nodules(*_):
    """One of each range of diameters."""
    found = []
    for diameter in (4.0, 8.0, 12.0, 20.0):
        inside = (np.linalg.norm(np.mgrid[:32, :32, :32] - 15.5, axis=0) <= diameter / 2).astype(np.float32)
        values = np.where(inside, 30, -700) + np.random.default_rng(1).normal(0, 20, inside.shape)
        found.append(Nodule("ball", "p", values.astype(np.float32), inside, diameter, 1.0))
    return found


def scans(*_):
    return [Scan(name, chest(), lungs_of(chest())) for name in ("a", "b")]


def lung(*_):
    return torch.from_numpy(np.random.default_rng(0).normal(-850, 15, (3, 44, 44, 44)).astype(np.float32))


def unfollowed(*_):
    return lambda net: {"rmse": 1.0}


DATA = {"mias": lambda *_: FILMS, "cbis": lambda *_: [], "scan_of": chest, "nodules": nodules, "nodules_of": nodules,
        "patches": lung, "VALIDATION": 8, "calibrated": lambda *_, **__: {}, "_settings": lambda *_: {},
        "fit_classifier": lambda arrays, *_, **__: arrays, "scans": scans, "settings_of": lambda *_: {}, "VISIT": 5,
        "slices": lambda *_: {"a": chest()}, "Followed": unfollowed, "Attacked": unfollowed}
"""What stands in for the data, and for what is fitted on hundreds of films and cubes."""


def tiny(presets):
    return {name: tiny(one) if isinstance(one, dict) else dataclasses.replace(one, **{
        field.name: TINY[field.name] for field in dataclasses.fields(one) if field.name in TINY})
        for name, one in presets.items()}


@pytest.fixture
def steps(monkeypatch):
    """Which steps were taken, each with its losses; stops the first training that comes to its fourth."""
    taken, stopped = [], []

    def rate_at(step, schedule):
        if step == 3 and not stopped:
            stopped.append(step)
            taken.append(("stopped", [0.0]))
            raise KeyboardInterrupt
        if not taken or taken[-1][0] != step:
            taken.append((step, []))
        return rate(step, schedule)

    def descend(fabric, module, optimizer, loss, most):
        finite = down(fabric, module, optimizer, loss, most)
        if finite:
            taken[-1][1].append(float(loss.detach()))
        else:  # too coarse in bf16: it goes on in f32 from the checkpoint, at most a step back
            taken.pop()
        return finite

    rate, down = loop.rate_at, loop.descend
    for module in (loop, adversarial):
        monkeypatch.setattr(module, "rate_at", rate_at)
        monkeypatch.setattr(module, "descend", descend)
    return taken


@pytest.mark.parametrize("name", TRAINED)
def test_it_learns_is_stopped_and_goes_on(name, run, steps, tmp_path, monkeypatch):
    module = TRAINED[name]
    for part in (module, sys.modules["scanward.training.ct_gan"], sys.modules["scanward.training.ct_bank"]):
        for what, stand_in in DATA.items():
            if hasattr(part, what):
                monkeypatch.setattr(part, what, stand_in)
    monkeypatch.setattr(module, "PRESETS", tiny(module.PRESETS))
    code, _, error = run("train", name, "--preset", "quick", "-o", tmp_path)
    assert code == 130, error
    (checkpoint,) = tmp_path.glob("quick/*.ckpt")
    before = torch.load(checkpoint, weights_only=False)
    assert before["step"] == 2

    code, _, error = run("train", name, "--preset", "quick", "-o", tmp_path)
    assert code == 0, error
    assert [step for step, _ in steps][:6] == [0, 1, 2, "stopped", 2, 3]
    assert all(np.isfinite(losses).all() and losses for _, losses in steps)
    after = torch.load(checkpoint, weights_only=False)["net"]
    assert any(not torch.equal(after[key], value) for key, value in before["net"].items())
    (shipped,) = (path for path in tmp_path.glob("quick/*.safetensors") if (path.parent / "manifest.toml").is_file())
    assert all(np.isfinite(values).all() for values in load_file(shipped).values())


def test_masses_of_digital_mammograms_are_learnt_by_the_digital_network_on_digital_films(run, tmp_path, monkeypatch):
    module = TRAINED["self-reference"]
    for what, stand_in in {**DATA, "digital": lambda *_: FILMS[:1], "mias": lambda *_: FILMS[1:]}.items():
        if hasattr(module, what):
            monkeypatch.setattr(module, what, stand_in)
    preset = module.PRESETS["digital-masses"]
    short = dataclasses.replace(preset, first=SHORT, batch=2, further=(), averaged=1,
                                bank=dataclasses.replace(preset.bank, pairs=2))
    monkeypatch.setitem(module.PRESETS, "digital-masses", short)
    code, _, error = run("train", "self-reference", "--preset", "digital-masses", "-o", tmp_path)
    assert code == 0, error
    about = [json.loads(line) for line in (tmp_path / "bank-2" / "about.jsonl").read_text("utf-8").splitlines()]
    assert {row["film"] for row in about} == {"f0"}
    made = load_file(tmp_path / "digital-masses" / "self-reference.safetensors")
    known, _ = weights.load("self-reference")
    norms = [key for key in made if "running" in key]
    assert norms and all(np.array_equal(made[key], known[key]) for key in norms)
    assert any(not np.array_equal(made[key], known[key]) for key in made if key not in norms)
    manifest = tomllib.loads((tmp_path / "digital-masses" / "manifest.toml").read_text("utf-8"))["self-reference"]
    before = weights.entry("self-reference").command
    assert manifest["command"] == f"{before}; scanward train self-reference --preset digital-masses"
