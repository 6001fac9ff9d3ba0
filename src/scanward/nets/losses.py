"""Losses of a generator and its discriminators that more than one attacker trains with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def least_squares(scores: Sequence[Tensor], aim: float) -> Tensor:
    """Mean squared distance of patch scores from `aim`, every scale alike (Mao et al. 2017, eq. 2)."""
    return torch.stack([((score.float() - aim) ** 2).mean() for score in scores]).mean()


def feature_matching(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How far the mean features of what was made lie from those of what is real (Salimans et al. 2016, section 3.1)."""
    return torch.stack([functional.l1_loss(a.mean(0), b.mean(0)) for a, b in zip(features, wanted, strict=True)]).mean()
