"""Losses of CT-GAN (Mirsky et al. 2019, section 4.2); the loop and the data are in `training`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scanward.attacks.ct_gan.network import hole
from scanward.nets.losses import feature_matching, least_squares


@dataclass(frozen=True)
class Weights:
    """Of the generator's losses beside the adversarial one; the published weight of L1 is 100."""

    difference: float = 12.0
    features: float = 2.0
    """Feature matching (Salimans et al. 2016, section 3.1)."""
    pause: float = 0.1
    """The discriminator rests while its loss is below this: it is too far ahead."""


OURS = Weights()
PUBLISHED = Weights(100.0, 0.0, 0.0)


def judge_loss(judge: nn.Module, real: Tensor, made: Tensor, wanted: Tensor, pause: float) -> tuple[Tensor, float]:
    """Least squares against the targets 1 and 0; (loss, its value), the loss without gradient where the judge rests."""
    known = real * (1 - hole(real))
    good, _ = judge(real, known, wanted)
    bad, _ = judge(made.detach(), known, wanted)
    value = 0.5 * (least_squares(good, 1.0) + least_squares(bad, 0.0))
    told = float(value.detach())
    return (value if told > pause else value.detach()), told


def generator_loss(judge: nn.Module, real: Tensor, made: Tensor, wanted: Tensor, weights: Weights) -> Tensor:
    """Adversarial loss, L1 in the hole, and the judge's features on average."""
    mask = hole(real)
    known = real * (1 - mask)
    scores, features = judge(made, known, wanted)
    difference = ((made - real).abs() * mask).sum() / mask.sum()
    total = least_squares(scores, 1.0) + weights.difference * difference
    if weights.features:
        with torch.no_grad():
            _, aims = judge(real, known, wanted)
        total = total + weights.features * feature_matching(features, aims)
    return total
