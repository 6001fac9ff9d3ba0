"""The diffusion remover: what it may change, and what it draws."""

import numpy as np
import torch

from scanward.attacks.base import Lesion, forge
from scanward.attacks.diffusion import remove
from scanward.attacks.diffusion.network import Denoiser
from scanward.image import Image
from scanward.methods import build
from scanward.nets.diffusion import sample


def test_known_pixels_stay():
    torch.manual_seed(0)
    x, mask = torch.randn(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 0
    made = sample(Denoiser().eval(), x * mask, mask, torch.randn_like(x), 3, 8.0)
    assert torch.equal(made[mask > 0], x[mask > 0])
    assert torch.isfinite(made).all()


def test_other_seeds_draw_other_tissue(monkeypatch):
    monkeypatch.setattr(remove, "STEPS", 6)  # of 24: coarser tissue, as much another for another seed
    y, x = np.mgrid[:300, :240]
    rng = np.random.default_rng(0)
    plane = np.where(np.hypot(y - 150, x) < 200, 120 + 20 * np.sin(y / 15) + rng.normal(0, 3, y.shape), 2)
    host = Image(np.rint(plane).clip(0, 255).astype(np.float32)[None], "MG", (1.0, 0.2, 0.2), bits=8)
    attack = build("diffusion", "attack")
    one, two = (forge(attack, host, Lesion((0, 150, 80), 40), seed) for seed in (0, 1))
    both = one.mask[0] & two.mask[0]
    assert both.sum() > 300
    changed = np.abs(one.image.plane - two.image.plane)[both]
    assert 1 < changed.mean() < 40
