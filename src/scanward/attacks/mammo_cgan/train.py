"""Samples and losses of Mammo-CGAN (Bar-on 2020, section 2.2); the loop and the data are in `training`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.attacks.base import Place
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import SIDE, resized, square_side
from scanward.attacks.mammo_cgan.network import (
    Cascade,
    Discriminator,
    PublishedDiscriminator,
    centre,
    fill,
    surroundings,
)

SEEN = 52
"""Side of the crop that a light discriminator sees: the centre and a seam around it. Of the rest it could only learn
which squares once held a mass."""


def augmented(plane: Plane, place: Place, levels: tuple[float, float], rng: np.random.Generator,
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


def symmetric(square: Plane, turn: int) -> Plane:
    """One of the square's eight symmetries."""
    turned = square.T if turn & 4 else square
    return np.ascontiguousarray(turned[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1], np.float32)


@dataclass(frozen=True)
class Weights:
    """Of the generators' losses; the published pair is (adversarial, L1) = (50, 1) for the first generator and
    (4, 160) for the second, as we read the order in which the report names them."""

    adversarial: tuple[float, float] = (1.0, 1.0)
    difference: tuple[float, float] = (10.0, 2.0)
    features: float = 2.0
    """Feature matching (Salimans et al. 2016, section 3.1)."""
    lesion: float = 0.5
    """Of a judge of what is a lesion and what is healthy tissue, for injectors (after Odena et al. 2017, section 2)."""
    variety: float = 2.0
    """Of two draws for one place being too alike (after Mao et al. 2019, eq. 2)."""
    seam: float = 4.0
    """By how much more the L1 difference counts on the centre's edge than inside it."""
    pause: float = 0.12
    """A discriminator rests while its loss is below this: it is too far ahead."""


OURS = Weights()
PUBLISHED = Weights((50.0, 4.0), (1.0, 160.0), features=0.0, lesion=0.0, variety=0.0, seam=0.0)


LESION = 2
"""Number of the judge of lesions."""


class Adversaries(nn.Module):
    """The discriminator of each of the two generators, and a judge that tells lesions from healthy tissue."""

    def __init__(self, published: bool = False) -> None:
        super().__init__()
        self.published = published
        self.judges = nn.ModuleList([PublishedDiscriminator(), PublishedDiscriminator()] if published else
                                    [Discriminator() for _ in range(3)])

    def forward(self, number: int, squares: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The scores and features of judge `number` on squares (n, 1, 64, 64)."""
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
        loss = 0.5 * (_to(on_real, 1.0) + _to(on_made, 0.0))
        values.append(float(loss.detach()))
        if values[-1] >= pause:
            total = total + loss
    return total, float(np.mean(values))


def generators_loss(adversaries: nn.Module, real: Tensor, made: Sequence[Tensor], weights: Weights) -> Tensor:
    """Adversarial, feature and L1 losses of what each generator made of the squares `real` (n, 1, 64, 64)."""
    total = real.new_zeros(())
    counts = _counts(real, weights.seam)
    for number, squares in enumerate(made):
        scores, features = adversaries(number, squares)
        total = total + weights.adversarial[number] * _to(scores, 1.0)
        difference = ((squares - real).abs() * counts).sum() / counts.sum()
        total = total + weights.difference[number] * difference
        if weights.features and features:
            with torch.no_grad():
                _, wanted = adversaries(number, real)
            total = total + weights.features * torch.stack(
                [functional.l1_loss(a.mean(0), b.mean(0)) for a, b in zip(features, wanted, strict=True)]).mean()
    return total


def lesion_loss(adversaries: nn.Module, masses: Tensor, tissue: Tensor) -> Tensor:
    """Least squares of the judge of lesions on real masses and on healthy tissue."""
    return 0.5 * (_to(adversaries(LESION, masses)[0], 1.0) + _to(adversaries(LESION, tissue)[0], 0.0))


def unlike_loss(adversaries: nn.Module, made: Tensor) -> Tensor:
    """How far made squares (n, 1, 64, 64) are from being taken for lesions."""
    return _to(adversaries(LESION, made)[0], 1.0)


def alike_loss(made: Tensor, again: Tensor, real: Tensor) -> Tensor:
    """How much nearer two draws for the same squares (n, 1, 64, 64) are to each other than the first is to the real
    ones, in units of their surroundings' contrast and without their fine texture."""
    inside, (_, contrast) = centre(real), surroundings(real)

    def between(a: Tensor, b: Tensor) -> Tensor:
        return functional.avg_pool2d((a - b) * inside / contrast, 4).abs().mean((1, 2, 3))

    return functional.relu(between(made, real).detach() - between(made, again)).mean()


def _counts(real: Tensor, seam: float) -> Tensor:
    """(n, 1, 64, 64): 1 on the centre, 1 + `seam` on its edge, falling by e every 2 pixels."""
    inside = centre(real)
    depth = torch.zeros_like(inside)
    shrunk = inside
    for _ in range(8):
        depth = depth + shrunk
        shrunk = -functional.max_pool2d(-shrunk, 3, 1, 1)
    return inside * (1 + seam * torch.exp(-(depth - 1) / 2))


def _to(scores: list[Tensor], aim: float) -> Tensor:
    return torch.stack([((score.float() - aim) ** 2).mean() for score in scores]).mean()


def run(cascade: Cascade, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Both generators on squares whose centres are zeroed here, with fresh noise."""
    noise = torch.randn(len(squares), 3, SIDE, SIDE)
    return cascade(squares * (1 - centre(squares)), noise)
