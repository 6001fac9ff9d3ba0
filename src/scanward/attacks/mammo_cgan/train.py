"""Samples and losses of Mammo-CGAN (Bar-on 2020, section 2.2); the loop and the data are in `training`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.attacks.base import Lesion
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import SIDE, resized, square_side, symmetric
from scanward.attacks.mammo_cgan.network import (
    Cascade,
    Discriminator,
    PublishedDiscriminator,
    centre,
    surroundings,
)
from scanward.nets.fill import fill
from scanward.nets.losses import feature_matching, least_squares

SEEN = 52
"""Side of the crop that a light discriminator sees: the centre and a seam around it. Of the rest it could only learn
which squares once held a mass."""


def augmented(plane: Plane, place: Lesion, levels: tuple[float, float], rng: np.random.Generator,
              antialias: bool) -> Plane:
    """(64, 64) of a place under a random symmetry, size and shift, and where it is shrunk, turn and stretch too.

    Values between the film's black (0) and white (1), their contrast varied. The grain of squares that are not
    shrunk is left alone, since every interpolation would smooth it.
    """
    side = square_side(place.diameter * float(np.exp(rng.uniform(-0.18, 0.18))))
    reach = 4 * side / SIDE
    y, x = place.y + rng.uniform(-reach, reach), place.x + rng.uniform(-reach, reach)
    matrix = np.eye(2)
    if side >= 1.5 * SIDE:
        angle, stretch, shear = rng.uniform(-np.pi, np.pi), np.exp(rng.normal(0, 0.08)), rng.normal(0, 0.08)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[stretch, shear], [0, 1 / stretch]])
    else:
        y, x = round(y - side / 2) + side / 2 - 0.5, round(x - side / 2) + side / 2 - 0.5
    middle = np.array([(side - 1) / 2, (side - 1) / 2])
    warp = np.column_stack([matrix, np.array([x, y]) - matrix @ middle])
    cut = cv2.warpAffine(plane, warp, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                         borderMode=cv2.BORDER_REFLECT_101)
    black, white = levels
    square = (resized(np.asarray(cut, np.float32), SIDE, antialias) - black) / (white - black)
    mean = square.mean()
    square = (square - mean) * np.float32(np.exp(rng.uniform(-0.2, 0.2))) + mean
    return symmetric(square, int(rng.integers(8)))


def overlaid(tissue: Tensor, masses: Tensor) -> Tensor:
    """Squares of healthy tissue with the masses of others laid over it, all (n, 1, 64, 64).

    What a mass adds to a smooth continuation of its surroundings is added to the tissue, as X-rays add up what lies one
    over the other: so the few masses are known in thousands of surroundings.
    """
    mask = centre(masses)
    return tissue + masses - fill(masses * (1 - mask), mask)


@dataclass(frozen=True)
class Weights:
    """Of the generators' losses; the published pair is (adversarial, L1) = (50, 1) for the first generator and
    (4, 160) for the second, as we read the order in which the report names them."""

    adversarial: tuple[float, float] = (1.0, 1.0)
    difference: tuple[float, float] = (10.0, 2.0)
    features: float = 2.0
    """Feature matching (Salimans et al. 2016, section 3.1)."""
    pause: float = 0.12
    """A discriminator rests while its loss is below this: it is too far ahead."""


OURS = Weights()
PUBLISHED = Weights((50.0, 4.0), (1.0, 160.0), 0.0)


class Adversaries(nn.Module):
    """The discriminator of each of the two generators."""

    def __init__(self, published: bool = False) -> None:
        super().__init__()
        self.published = published
        self.judges = nn.ModuleList(PublishedDiscriminator() if published else Discriminator() for _ in range(2))

    def forward(self, number: int, squares: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The scores and features of generator `number`'s judge on squares (n, 1, 64, 64)."""
        if self.published:
            return self.judges[number](torch.cat([squares, squares * (1 - centre(squares))], 1))
        return self.judges[number](seen(squares))


def seen(squares: Tensor) -> Tensor:
    """What a light discriminator sees, (n, 2, 52, 52): a shifted crop in units of its surroundings' contrast, under
    random brightness and contrast, real and made alike (differentiable augmentation; Zhao et al. 2020); and its fine
    texture alone, magnified, without which blurry lesions pass."""
    level, contrast = surroundings(squares)
    top, left = (int(v) for v in torch.randint(2, SIDE - SEEN - 1, (2,)))
    units = (squares - level) / contrast
    fine = units - functional.avg_pool2d(functional.pad(units, (2, 2, 2, 2), mode="replicate"), 5, 1)
    both = torch.cat([0.5 * units, 2 * fine], 1)[:, :, top:top + SEEN, left:left + SEEN]
    count = len(squares)
    gain = torch.empty(count, 1, 1, 1, device=squares.device).uniform_(0.7, 1.4)
    bright = torch.empty(count, 1, 1, 1, device=squares.device).uniform_(-0.3, 0.3)
    return both * gain + bright * both.new_tensor([1.0, 0.0])[:, None, None]


def judges_loss(adversaries: nn.Module, real: Tensor, made: Sequence[Tensor], pause: float) -> tuple[Tensor, float]:
    """Least squares (Mao et al. 2017, eq. 9), without the judges that are too far ahead; and the mean loss of all."""
    total, values = real.new_zeros(()), []
    for number, squares in enumerate(made):
        on_real, _ = adversaries(number, real)
        on_made, _ = adversaries(number, squares.detach())
        loss = 0.5 * (least_squares(on_real, 1.0) + least_squares(on_made, 0.0))
        values.append(float(loss.detach()))
        if values[-1] >= pause:
            total = total + loss
    return total, float(np.mean(values))


def generators_loss(adversaries: nn.Module, real: Tensor, made: Sequence[Tensor], weights: Weights) -> Tensor:
    """Adversarial, feature and L1 losses of what each generator made of the squares `real` (n, 1, 64, 64)."""
    total = real.new_zeros(())
    inside = centre(real)
    for number, squares in enumerate(made):
        scores, features = adversaries(number, squares)
        total = total + weights.adversarial[number] * least_squares(scores, 1.0)
        difference = ((squares - real).abs() * inside).sum() / inside.sum()
        total = total + weights.difference[number] * difference
        if weights.features and features:
            with torch.no_grad():
                _, wanted = adversaries(number, real)
            total = total + weights.features * feature_matching(features, wanted)
    return total


def run(cascade: Cascade, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Both generators on squares whose centres are zeroed here, with fresh noise."""
    noise = torch.randn(len(squares), 3, SIDE, SIDE, device=squares.device)
    return cascade(squares * (1 - centre(squares)), noise)
