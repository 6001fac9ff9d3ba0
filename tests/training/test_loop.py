"""The loop: an interrupted training ends where an uninterrupted one does."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward.training.loop import Schedule, fit, rate_at


def line(net, rng):
    x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
    return (net(x) - (3 * x + 1)).square().mean()


def test_it_learns(tmp_path):
    net = fit(nn.Linear(1, 1), line, Schedule(300, 0.1, warmup=5, precision="32-true"), tmp_path / "a.ckpt")
    assert abs(net.weight.item() - 3) < 0.05
    assert abs(net.bias.item() - 1) < 0.05


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path):
    schedule = Schedule(40, 0.05, warmup=5, every=10, precision="32-true")

    class BrokenError(Exception):
        pass

    calls = []

    def breaks(net, rng):
        calls.append(1)
        if len(calls) == 26:
            raise BrokenError
        return line(net, rng)

    whole = fit(nn.Linear(1, 1), line, schedule, tmp_path / "whole.ckpt")
    with pytest.raises(BrokenError):
        fit(nn.Linear(1, 1), breaks, schedule, tmp_path / "broken.ckpt")
    resumed = fit(nn.Linear(1, 1), line, schedule, tmp_path / "broken.ckpt")
    assert len(calls) == 26
    assert resumed.weight.item() == whole.weight.item()


def test_the_rate_warms_up_and_falls():
    schedule = Schedule(100, 1.0, warmup=10)
    rates = [rate_at(step, schedule) for step in range(100)]
    assert max(rates) == 1.0
    assert rates[0] == 0.1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02
