"""Gradients that are not finite: a training in bf16 goes on in f32, and one that diverges says so."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward.training import adversarial, loop
from scanward.training.loop import DivergedError, Schedule

BF16 = Schedule(12, 1e-2, warmup=2, every=4, precision="bf16-mixed")


class Coarse(nn.Module):
    """Gives no numbers from its call `last` on while it computes in bf16, or in whatever; remembers which it was."""

    def __init__(self, last, always=False):
        super().__init__()
        self.last, self.always, self.calls = last, always, []

    def forward(self, x):
        self.calls.append(torch.is_autocast_enabled("cpu"))
        return x * (float("nan") if (self.calls[-1] or self.always) and sum(self.calls) >= self.last else 1.0)


def net_of(last=99, always=False):
    torch.manual_seed(0)
    return nn.Sequential(Coarse(last, always), nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def drawn(rng):
    return torch.from_numpy(rng.normal(size=(8, 1)).astype(np.float32))


@pytest.mark.parametrize("last", [1, 7])
def test_it_goes_on_in_f32_from_the_last_checkpoint(tmp_path, capsys, last):
    net = loop.fit(net_of(last), lambda net, rng: net(drawn(rng)).square().mean(), BF16, tmp_path / "a.ckpt",
                   title="a net")
    assert all(torch.isfinite(value).all() for value in net.state_dict().values()), "of batch norm's memory, too"
    # As far as bf16 went; then from the checkpoint of step 4 or of the start to the end.
    assert net[0].calls == [True] * last + [False] * (12 - (last - 1) // 4 * 4)
    assert f"a net step {last} has gradients that are not finite in bf16" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["judges", "net"])
def test_a_generator_against_its_judges_does_so_too(tmp_path, part):
    def step(net, judges, rng):
        made = net(drawn(rng))

        def of_judges():
            value = (judges(made.detach()) - 1).square().mean()
            return value, float(value.detach())

        return of_judges, lambda: judges(made).square().mean()

    net, judges = net_of(6 if part == "net" else 99), net_of(12 if part == "judges" else 99)
    mean = adversarial.fit(net, judges, step, BF16, tmp_path / "a.ckpt")
    for values in (*mean.state_dict().values(), *judges.state_dict().values()):
        assert torch.isfinite(values).all()
    assert net[0].calls == [True] * 6 + [False] * 8


def test_what_diverges_in_f32_says_so_in_a_sentence(tmp_path):
    with pytest.raises(DivergedError, match=r"^a net diverged at step 1: its gradients are not finite; start anew"):
        loop.fit(net_of(0, always=True), lambda net, rng: net(drawn(rng)).mean(), BF16, tmp_path / "a.ckpt",
                 title="a net")


def test_a_new_run_that_was_stopped_at_once_does_not_go_on_with_an_old_one(tmp_path):
    def loss(net, rng):
        return (net(torch.ones(4, 1)) - 1).square().mean()

    def stopped(net, rng):
        raise KeyboardInterrupt

    schedule = Schedule(3, 0.1, warmup=1, precision="32-true")
    once = loop.fit(nn.Linear(1, 1), loss, schedule, tmp_path / "a.ckpt").weight.item()
    torch.manual_seed(9)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(nn.Linear(1, 1), stopped, schedule, tmp_path / "a.ckpt", resume=False)
    torch.manual_seed(9)
    assert loop.fit(nn.Linear(1, 1), loss, schedule, tmp_path / "a.ckpt").weight.item() != once
