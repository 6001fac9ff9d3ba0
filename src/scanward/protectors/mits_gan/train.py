"""Losses of MITS-GAN as published (Pasqualino et al. 2024, section 3.3), and repaired; the loop and the data are in
`training`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MANIPULATION = 0.1
"""Weight of `L_m`."""
FIDELITY = 0.1
"""Weight of the change's mean square, in parts of the bound, where it is repaired."""


def discriminator_loss(real: Tensor, protected: Tensor) -> Tensor:
    """Binary cross entropy of logits, any shape, against real 1 and protected 0."""
    return functional.binary_cross_entropy_with_logits(real, torch.ones_like(real)) \
        + functional.binary_cross_entropy_with_logits(protected, torch.zeros_like(protected))


def generator_loss(judged: Tensor, protected: Tensor, tampered: Tensor, share: float = 1.0) -> Tensor:
    """`L_d` + `L_m`: what is protected passes for real, and differs from what the attacker makes of it.

    `L_m` is a mean over whole slices, of which an attack leaves most as they are: of crops with the attacked cuboid in
    them, which are a `share` of a slice, it takes as much less. The released code passes the attacker's answer through
    NumPy, so that no gradient goes through the attacker; nor does it here.
    """
    domain = functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
    return domain - MANIPULATION * share * functional.mse_loss(protected, tampered.detach())


def repaired_loss(judged: Tensor, change: Tensor, more: Tensor) -> Tensor:
    """`L_d` + `L_m` with its gradient through the attacker, and a fidelity term.

    `change` is that of the slices, in parts of the bound; `more` (n,) how many times as much the attacks change in the
    protected scans as in the plain ones, by their mean square. `L_m` is the logarithm of it: over whole slices, as
    published, an attack of a few millimetres weighs nothing.
    """
    domain = functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
    return domain - more.log().mean() + FIDELITY * (change**2).mean()
