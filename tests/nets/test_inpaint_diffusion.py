"""Diffusion: its schedule by hand, what its sampler may change, and what its loss sees."""

import numpy as np
import pytest
import torch

from scanward.nets.diffusion import embedding, levels_at, loss, sample


def knows(clean):
    """A denoiser that knows the clean image: v = (signal · noisy - clean) / level."""
    def velocity(noisy, x, mask, time):
        signal, level = levels_at(time, noisy)
        return (signal * noisy - clean) / level.clamp_min(1e-6)
    return velocity


def test_signal_and_noise_share_the_power():
    signal, level = levels_at(torch.tensor([0.0, 1 / 3, 0.5, 1.0]), torch.zeros(4, 1, 5, 6, 7))
    assert signal.shape == (4, 1, 1, 1, 1)
    assert signal.flatten().tolist() == pytest.approx([1, np.sqrt(3) / 2, np.sqrt(0.5), 0], abs=1e-6)
    assert torch.allclose(signal**2 + level**2, torch.ones(4, 1, 1, 1, 1))


def test_moments_that_differ_are_told_apart():
    made = embedding(torch.tensor([0.0, 0.01, 1.0]), 8)
    assert made.shape == (3, 8)
    assert made[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (made[1] - made[0]).abs().max() > 0.3


@pytest.mark.parametrize("space", [(16, 16), (8, 8, 8)], ids=len)
@pytest.mark.parametrize("steps", [1, 5, 24])
def test_a_perfect_denoiser_gives_the_clean_image_in_any_number_of_steps(steps, space):
    torch.manual_seed(0)
    clean, mask = torch.randn(2, 1, *space), torch.ones(2, 1, *space)
    mask[..., 2:6, 2:6] = 0
    made = sample(knows(clean), clean * mask, mask, torch.randn_like(clean), steps, 8.0)
    assert torch.allclose(made, clean, atol=1e-4)


def test_nothing_drawn_goes_beyond_the_limit():
    clean = torch.full((1, 1, 8, 8), 5.0)
    made = sample(knows(clean), torch.zeros_like(clean), torch.zeros_like(clean), torch.zeros_like(clean), 6, 2.0)
    assert made.max() == pytest.approx(2.0, abs=1e-5)


def test_a_perfect_denoiser_has_no_loss_and_only_the_unknown_part_counts():
    clean = torch.zeros(1, 1, 16, 16)
    clean[..., :4, :] = 3
    mask = torch.ones_like(clean)
    mask[..., 8:, :] = 0
    assert loss(knows(clean), clean, mask, torch.Generator().manual_seed(1)).item() == pytest.approx(0, abs=1e-6)
    wrong = clean.clone()
    wrong[..., :4, :] = 9  # where it is known anyway
    assert loss(knows(wrong), clean, mask, torch.Generator().manual_seed(1)).item() == pytest.approx(0, abs=1e-6)
    assert loss(knows(clean + 1), clean, mask, torch.Generator().manual_seed(1)).item() > 0.1
