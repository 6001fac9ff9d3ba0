"""The diffusion attacker on CT: what it leaves alone."""

import torch

from scanward.attacks.ct_diffusion.network import Denoiser
from scanward.attacks.ct_gan.network import hole


def test_known_voxels_stay_noise_decides_and_gradients_go_through():
    torch.manual_seed(0)
    net = Denoiser().eval().requires_grad_(False)
    cube = (torch.rand(1, 1, 32, 32, 32) - 0.5).requires_grad_()
    empty, noise = torch.zeros(1, 2, 32, 32, 32), torch.randn(2, 1, 32, 32, 32)
    made, other = (net.complete(cube * (1 - hole(cube)), empty, n[None]) for n in noise)
    known = hole(cube) == 0
    assert torch.allclose(made[known], cube[known], atol=1e-6)
    assert made.abs().max() <= 0.5 + 1e-6
    assert (made - other)[~known].abs().mean() > 0.01
    made[~known].sum().backward()
    assert torch.count_nonzero(cube.grad[known]) > 1000
