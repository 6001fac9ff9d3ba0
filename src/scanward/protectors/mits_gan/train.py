"""Losses of MITS-GAN as published (Pasqualino et al. 2024, section 3.3); the loop and the data are in `training`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MANIPULATION = 0.1
"""Weight of `L_m`."""


def discriminator_loss(real: Tensor, protected: Tensor) -> Tensor:
    """Binary cross entropy of logits, any shape, against real 1 and protected 0."""
    return functional.binary_cross_entropy_with_logits(real, torch.ones_like(real)) \
        + functional.binary_cross_entropy_with_logits(protected, torch.zeros_like(protected))


def generator_loss(judged: Tensor, protected: Tensor, tampered: Tensor) -> Tensor:
    """`L_d` + `L_m`: what is protected passes for real, and differs from what the attacker makes of it.

    The released code passes the attacker's answer through NumPy, so that no gradient goes through the attacker; nor
    does it here.
    """
    domain = functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
    return domain - MANIPULATION * functional.mse_loss(protected, tampered.detach())
