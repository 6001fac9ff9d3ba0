"""Samples and loss of the partial-convolution remover (Liu et al. 2018, section 3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from scanward.attacks.base import Lesion
from scanward.attacks.blend import region_of, shape_of
from scanward.attacks.partial_conv.network import PartialConvNet, Texture
from scanward.attacks.partial_conv.remove import SIDE


def hole(rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(128, 128), True on a random region about the middle, as the attack's regions are."""
    diameter = float(np.exp(rng.uniform(np.log(20), np.log(84))))
    y, x = (SIDE - 1) / 2 + rng.uniform(-8, 8, 2)
    region = region_of(shape_of(Lesion((0, float(y), float(x)), diameter), rng, 0.0), (SIDE, SIDE))
    found = np.zeros((SIDE, SIDE), np.bool_)
    found[region.box] = region.weight > 0
    return found


def batch(squares: npt.NDArray[np.float32], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """`count` of the squares (n, 128, 128) under a random symmetry, standardised by what is known of them, and their
    masks (count, 1, 128, 128), 1 where known."""
    x, masks = [], []
    for index in rng.choice(len(squares), count, replace=False):
        square, unknown = squares[index], hole(rng)
        turned = np.rot90(square[:, ::-1] if rng.random() < 0.5 else square, int(rng.integers(4)))
        known = turned[~unknown]
        x.append(((turned - known.mean()) / max(known.std(), np.float32(1e-3))).astype(np.float32))
        masks.append(~unknown)
    return torch.from_numpy(np.stack(x))[:, None], torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]


def loss(net: PartialConvNet, texture: Texture, x: Tensor, mask: Tensor) -> Tensor:
    """`L_valid + 6 L_hole + .05 L_perceptual + 120 L_style + .1 L_tv` (equation 7), on `Texture` instead of VGG-16."""
    made = net(x * mask, mask)
    unknown = 1 - mask
    joined = mask * x + unknown * made
    valid, missing = (mask * (made - x)).abs().mean(), (unknown * (made - x)).abs().mean()
    real, out, comp = texture(x), texture(made), texture(joined)
    pairs = [(a, r) for made_by in (out, comp) for a, r in zip(made_by, real, strict=True)]
    perceptual = torch.stack([functional.l1_loss(a, r) for a, r in pairs]).sum()
    style = torch.stack([functional.l1_loss(_gram(a), _gram(r)) for a, r in pairs]).sum()
    return valid + 6 * missing + 0.05 * perceptual + 120 * style + 0.1 * _variation(joined, unknown)


def _variation(joined: Tensor, unknown: Tensor) -> Tensor:
    """L1 of neighbours' differences in the hole and the pixel around it (equation 6)."""
    near = functional.max_pool2d(unknown, 3, 1, 1)
    down = (joined[..., 1:, :] - joined[..., :-1, :]).abs() * near[..., 1:, :] * near[..., :-1, :]
    right = (joined[..., 1:] - joined[..., :-1]).abs() * near[..., 1:] * near[..., :-1]
    return down.mean() + right.mean()


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])
