"""The diffusion remover: its schedule by hand, what its sampler may change, and what its loss sees."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward.attacks.base import Place, forge
from scanward.attacks.diffusion.network import Denoiser, levels_at, sample
from scanward.attacks.diffusion.train import loss
from scanward.image import Image
from scanward.methods import build


class Knows(nn.Module):
    """A denoiser that knows the clean square: v = (signal · noisy − clean) / level."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean

    def forward(self, noisy, x, mask, time):
        signal, level = levels_at(time)
        return (signal * noisy - self.clean) / level.clamp_min(1e-6)


def test_signal_and_noise_share_the_power():
    signal, level = levels_at(torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    assert signal.flatten().tolist() == pytest.approx([1, np.sqrt(3) / 2, np.sqrt(0.5), 0], abs=1e-6)
    assert torch.allclose(signal**2 + level**2, torch.ones(4, 1, 1, 1))


@pytest.mark.parametrize("steps", [1, 5, 24])
def test_a_perfect_denoiser_gives_the_clean_square_in_any_number_of_steps(steps):
    torch.manual_seed(0)
    clean, mask = torch.randn(2, 1, 16, 16), torch.ones(2, 1, 16, 16)
    mask[..., 4:12, 4:12] = 0
    made = sample(Knows(clean), clean * mask, mask, torch.randn_like(clean), steps)
    assert torch.allclose(made, clean, atol=1e-4)


def test_a_perfect_denoiser_has_no_loss_and_only_the_unknown_part_counts():
    clean = torch.zeros(1, 1, 16, 16)
    clean[..., :4, :] = 3
    mask = torch.ones_like(clean)
    mask[..., 8:, :] = 0
    assert loss(Knows(clean), clean, mask, torch.Generator().manual_seed(1)).item() == pytest.approx(0, abs=1e-6)
    wrong = clean.clone()
    wrong[..., :4, :] = 9  # where it is known anyway
    assert loss(Knows(wrong), clean, mask, torch.Generator().manual_seed(1)).item() == pytest.approx(0, abs=1e-6)


def test_known_pixels_stay():
    torch.manual_seed(0)
    x, mask = torch.randn(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 0
    made = sample(Denoiser().eval(), x * mask, mask, torch.randn_like(x), 3)
    assert torch.equal(made[mask > 0], x[mask > 0])
    assert torch.isfinite(made).all()


def test_other_seeds_draw_other_tissue():
    y, x = np.mgrid[:300, :240]
    rng = np.random.default_rng(0)
    plane = np.where(np.hypot(y - 150, x) < 200, 120 + 20 * np.sin(y / 15) + rng.normal(0, 3, y.shape), 2)
    host = Image(np.rint(plane).clip(0, 255).astype(np.float32)[None], "MG", (1.0, 0.2, 0.2), bits=8)
    attack = build("diffusion", "attack")
    one, two = (forge(attack, host, Place(150, 80, 40), seed) for seed in (0, 1))
    both = one.mask[0] & two.mask[0]
    assert both.sum() > 300
    changed = np.abs(one.image.plane - two.image.plane)[both]
    assert 1 < changed.mean() < 40
