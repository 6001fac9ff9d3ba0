"""The loop for a generator against its judges, on networks of a few weights."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward.attacks.base import Lesion
from scanward.attacks.mammo_cgan.network import PRESETS, Cascade, Widths, centre
from scanward.attacks.mammo_cgan.train import (
    OURS,
    PUBLISHED,
    Adversaries,
    Weights,
    augmented,
    generators_loss,
    judges_loss,
    overlaid,
    run,
    seen,
    square_side,
)
from scanward.training.adversarial import fit
from scanward.training.loop import Schedule


def step(net, judges, rng):
    """The generator is to learn the mean 2 that the judge tells from 0."""
    real = torch.from_numpy(rng.normal(2, 0.1, (16, 1)).astype(np.float32))
    made = net(torch.from_numpy(rng.normal(0, 1, (16, 1)).astype(np.float32)))

    def of_judges():
        loss = ((judges(real) - 1) ** 2).mean() + (judges(made.detach()) ** 2).mean()
        return loss, float(loss.detach())

    def of_net():
        return ((judges(made) - 1) ** 2).mean()

    return of_judges, of_net


def trained(path, steps, step=step):
    torch.manual_seed(0)
    net, judge = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    schedule = Schedule(steps, 1e-2, warmup=5, every=20, precision="32-true")
    return fit(net, judge, step, schedule, path).state_dict()


def test_the_generator_moves_towards_what_is_real(tmp_path):
    state = trained(tmp_path / "a.ckpt", 300)
    assert 1 < float(state["bias"]) < 3


def test_an_interrupted_run_ends_where_a_whole_one_does(tmp_path):
    calls = []

    def breaks(net, judges, rng):
        calls.append(1)
        if len(calls) == 45:
            raise KeyboardInterrupt
        return step(net, judges, rng)

    whole = trained(tmp_path / "whole.ckpt", 60)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut.ckpt", 60, breaks)
    again = trained(tmp_path / "cut.ckpt", 60)
    assert len(calls) == 45
    for name, values in whole.items():
        assert torch.equal(values, again[name])


class Fixed(nn.Module):
    """A judge that answers the mean of what it sees, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, number, squares):
        return [self.weight * squares.mean((1, 2, 3))], [self.weight * squares]


def test_a_judge_that_is_too_far_ahead_rests():
    ones, zeros = torch.ones(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    loss, told = judges_loss(Fixed(), ones, (zeros, zeros), pause=0.1)  # right about everything
    assert told == 0
    assert not loss.requires_grad
    loss, told = judges_loss(Fixed(), zeros, (ones, ones), pause=0.1)  # wrong about everything
    assert told == pytest.approx(1)
    assert loss.requires_grad


def test_the_difference_counts_in_the_centre_only():
    real = torch.zeros(1, 1, 64, 64)
    inside, outside = real.clone(), torch.ones_like(real)
    inside[..., 10:54, 10:54], outside[..., 10:54, 10:54] = 1, 0
    weights = Weights(adversarial=(0, 0), difference=(10, 2), features=0)
    assert generators_loss(Fixed(), real, (outside, outside), weights).item() == 0
    assert generators_loss(Fixed(), real, (inside, inside), weights).item() == pytest.approx(12)


def test_a_mass_is_laid_over_tissue_without_its_own_surroundings():
    mass, tissue = torch.full((1, 1, 64, 64), 0.3), torch.rand(1, 1, 64, 64)
    mass[..., 24:40, 24:40] = 0.8
    over = overlaid(tissue, mass)
    added = over - tissue
    assert torch.allclose(added[..., 24:40, 24:40], torch.full((16, 16), 0.5), atol=1e-4)
    added[..., 24:40, 24:40] = 0
    assert torch.allclose(added, torch.zeros_like(added), atol=1e-4)


def test_judges_see_the_centre_and_a_seam_in_units_of_the_surroundings():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 64, 64)
    x[:, :, 10:54, 10:54] += 40
    for _ in range(20):
        first = torch.random.get_rng_state()
        view = seen(x)
        assert view.shape == (3, 2, 52, 52)
        assert ((view[:, :1] > 10).sum((2, 3)) == 44 * 44).all()
        torch.random.set_rng_state(first)
        assert torch.allclose(seen(7 * x + 3), view, atol=1e-3)  # another film's depth changes nothing


def test_a_lesion_takes_36_of_64_pixels():
    assert square_side(72) == 128
    plane = np.zeros((400, 400), np.float32)
    y, x = np.mgrid[:400, :400]
    plane[np.hypot(y - 180, x - 220) <= 36] = 100
    rng = np.random.default_rng(0)
    for _ in range(20):
        square = augmented(plane, Lesion((0, 180, 220), 72), (0, 100), rng, True)
        assert square.shape == (64, 64)
        bright = square > square.min() + 0.5 * np.ptp(square)
        assert 36 * 0.75 < 2 * np.sqrt(bright.sum() / np.pi) < 36 * 1.3
        ys, xs = np.nonzero(bright)
        assert np.hypot(ys.mean() - 31.5, xs.mean() - 31.5) < 8


@pytest.mark.parametrize("published", [True, False])
def test_both_kinds_of_cascade_can_be_trained(published):
    torch.manual_seed(0)
    widths = Widths((8,) * 6, (8,) * 6, published=True) if published else PRESETS["narrow"]
    cascade, judges = Cascade(widths), Adversaries(published)
    weights = PUBLISHED if published else OURS
    real = torch.rand(2, 1, 64, 64)
    made = run(cascade, real)
    loss, _ = judges_loss(judges, real, made, pause=0.0)
    (loss + generators_loss(judges, real, made, weights)).backward()
    for module in (cascade, judges):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    inside = centre(real).bool()
    for squares in made:
        assert torch.allclose(squares[~inside], real[~inside], atol=1e-5)  # only the centre is generated


def test_the_published_widths_are_the_codes():
    paper = PRESETS["paper"]
    assert paper.published
    assert paper.first == (100, 200, 400, 800, 1600, 1600)
    assert all(b >= a for a, b in zip(paper.first, paper.second, strict=True))
