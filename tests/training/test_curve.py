"""A training's curve: a line a checkpoint, and none of a step that a later run takes again."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from scanward.training import adversarial, loop
from scanward.training.curve import Curve
from scanward.training.loop import Schedule

SCHEDULE = Schedule(60, 1e-2, falls=False, every=20, precision="32-true")


def bias(net):
    assert not net.training
    found = float(net.bias)
    net.bias.data.zero_()  # it is given a copy
    return {"bias": found}


def alone(curve, calls, net, rng):
    curve.saw(100)
    calls.append(1)
    if len(calls) == 55:
        raise KeyboardInterrupt
    return ((net(torch.ones(4, 1)) - 3) ** 2).mean()


def against(curve, calls, net, judges, rng):
    loss = alone(curve, calls, net, rng)
    return (lambda: ((judges(torch.ones(4, 1)) ** 2).mean(), 0.5)), lambda: loss


def trained(path, kind, calls, steps=60):
    torch.manual_seed(0)
    curve = Curve(path.with_suffix(".jsonl"), bias)
    schedule = Schedule(steps, 1e-2, falls=False, every=20, precision="32-true")
    if kind == "alone":
        loop.fit(nn.Linear(1, 1), partial(alone, curve, calls), schedule, path, curve=curve)
    else:
        adversarial.fit(nn.Linear(1, 1), nn.Linear(1, 1), partial(against, curve, calls), schedule, path, average=0.0,
                        descent=adversarial.PLAIN, curve=curve)
    return curve.lines()


@pytest.mark.parametrize("kind", ["alone", "against"])
def test_a_run_that_was_stopped_leaves_the_same_steps_and_pixels_as_a_whole_one(kind, tmp_path):
    whole = trained(tmp_path / "whole.ckpt", kind, [0] * 100)
    calls = []
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut.ckpt", kind, calls)
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write(json.dumps({"step": 999, "pixels": 1}) + "\n" + '{"step": 60')  # beyond the checkpoint; cut short
    cut = trained(tmp_path / "cut.ckpt", kind, [0] * 100)
    assert [(line["step"], line["pixels"]) for line in cut] == [(20, 2000), (40, 4000), (60, 6000)]
    assert [line["bias"] for line in cut] == [line["bias"] for line in whole]
    assert len({line["bias"] for line in cut}) == 3 and np.isfinite([line["bias"] for line in cut]).all()


def test_a_longer_run_goes_on_and_a_new_one_begins_anew(tmp_path):
    trained(tmp_path / "a.ckpt", "alone", [0] * 100, 40)
    assert [line["step"] for line in trained(tmp_path / "a.ckpt", "alone", [0] * 100, 80)] == [20, 40, 60, 80]
    curve = Curve(tmp_path / "a.jsonl", bias)
    loop.fit(nn.Linear(1, 1), partial(alone, curve, [0] * 100), SCHEDULE, tmp_path / "a.ckpt", resume=False,
             curve=curve)
    assert [(line["step"], line["pixels"]) for line in curve.lines()] == [(20, 2000), (40, 4000), (60, 6000)]


def test_a_rate_that_does_not_fall_stays():
    assert {loop.rate_at(step, SCHEDULE) for step in range(60)} == {1e-2}


def test_the_generator_with_the_least_of_a_figure_is_the_one_that_is_returned(tmp_path):
    made = {20: 3.0, 40: 1.0, 60: 1.0}
    biases = {}

    def figure(net):
        biases[len(biases) + 1] = float(net.bias)
        return {"rmse": made[20 * len(biases)]}

    torch.manual_seed(0)
    curve = Curve(tmp_path / "a.jsonl", figure)
    net = adversarial.fit(nn.Linear(1, 1), nn.Linear(1, 1), partial(against, curve, [0] * 100), SCHEDULE,
                          tmp_path / "a.ckpt", average=0.0, descent=adversarial.PLAIN, curve=curve, least="rmse")
    assert curve.least("rmse")["step"] == 40
    assert net.bias.item() == biases[2] != biases[3]
