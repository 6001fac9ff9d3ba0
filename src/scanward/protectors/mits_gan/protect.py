"""MITS-GAN at work: ours around known places, and the published generator over whole scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.weights import Trained

if TYPE_CHECKING:
    import torch

    from scanward.nets.cube import Cuboid
    from scanward.protectors.mits_gan.network import Generator, Guard

Volume = npt.NDArray[np.float32]
EPSILON = 16.0
"""HU by which a voxel is changed at most where nothing else is asked for."""
BOUNDS = (1.0, 64.0)
LARGEST_MM = 30.0
LARGEST_HU = 1e5
Values = TypeVar("Values", Volume, "torch.Tensor")


@dataclass(frozen=True)
class Levels:
    """Between which HU the published networks see an image: -1 is `low`, 1 is `high`."""

    low: float
    high: float

    def of(self, hu: Values) -> Values:
        """Any shape."""
        return (hu - self.low) * (2 / max(self.high - self.low, 1e-6)) - 1

    def back(self, level: Values) -> Values:
        """And back."""
        return (level + 1) * ((self.high - self.low) / 2) + self.low


EVERY_SCAN = Levels(-1024.0, 3071.0)
"""Where a network is to see every scan alike."""


@dataclass(frozen=True)
class Around:
    """A place that is to be protected: its voxel (z, y, x), and the diameter in mm of what is there."""

    z: float
    y: float
    x: float
    diameter_mm: float


class MitsGan(Trained):
    """Ours: a change of at most `epsilon` HU within 16 mm of known places, trained through the attack itself."""

    name = "mits-gan"
    weights_name = "mits-gan"

    def __init__(self, arrays: dict[str, np.ndarray] | None = None, settings: dict[str, float] | None = None, *,
                 epsilon: float = EPSILON) -> None:
        super().__init__(arrays, settings)
        self.epsilon = checked_bound(epsilon)

    def protect(self, image: Image, around: Sequence[Around]) -> Image:
        """The image with the neighbourhoods of these places protected, as its file stores it.

        `UnsupportedError` for what is no CT of known spacing, `ArgumentError` without a place or for one outside.
        """
        import dataclasses

        import torch

        from scanward.nets.cube import cuboid_of, cut

        check(image, around)
        if not around:
            raise ArgumentError("mits-gan protects known places; name them with --around X,Y,Z:MM. Nothing that can be "
                                "read through stops forgeries everywhere; with --key they show.")
        spacing = image.spacing or (1.0, 1.0, 1.0)
        cuboids = [cuboid_of((a.z, a.y, a.x), spacing, a.diameter_mm) for a in around]
        scan, change = torch.from_numpy(image.pixels), np.zeros(image.shape, np.float32)
        with torch.inference_mode():
            for cuboid in cuboids:
                box, part = laid(self.epsilon * self.net(cut(scan, cuboid)), cuboid, image.shape)
                change[box] += part.numpy()
        values = image.pixels + np.clip(change, -self.epsilon, self.epsilon)
        return dataclasses.replace(image, pixels=bounded(image, values, self.epsilon))

    @cached_property
    def net(self) -> Guard:
        """The trained network."""
        from scanward.nets.blocks import filled
        from scanward.protectors.mits_gan.network import Guard

        return filled(Guard(), self._weights[0]).requires_grad_(False)


class MitsGanPublished(Trained):
    """The published generator over every slice of a scan; without a bound."""

    name = "mits-gan-published"
    weights_name = "mits-gan-published"

    def protect(self, image: Image, around: Sequence[Around] = ()) -> Image:
        """The whole image protected, places or not, as its file stores it. Raises `UnsupportedError`."""
        import dataclasses

        check(image, around)
        levels = levels_of(image)
        made = levels.back(_answers(self.net, levels.of(image.pixels)))
        return dataclasses.replace(image, pixels=image.storable(made, image.pixels))

    @cached_property
    def net(self) -> Generator:
        """The trained generator."""
        return _generator(self._weights[0])


class MitsGanRepaired(Trained):
    """The published generator, answering with a change of at most `epsilon` HU of every voxel of a scan, trained
    through the attack itself."""

    name = "mits-gan-repaired"
    weights_name = "mits-gan-repaired"

    def __init__(self, arrays: dict[str, np.ndarray] | None = None, settings: dict[str, float] | None = None, *,
                 epsilon: float = EPSILON) -> None:
        super().__init__(arrays, settings)
        self.epsilon = checked_bound(epsilon)

    def protect(self, image: Image, around: Sequence[Around] = ()) -> Image:
        """The whole image protected, places or not, as its file stores it. Raises `UnsupportedError`."""
        import dataclasses

        check(image, around)
        change = self.epsilon * _answers(self.net, EVERY_SCAN.of(image.pixels))
        return dataclasses.replace(image, pixels=bounded(image, image.pixels + change, self.epsilon))

    @cached_property
    def net(self) -> Generator:
        """The trained generator."""
        return _generator(self._weights[0])


def levels_of(image: Image) -> Levels:
    """The extremes of a whole image, as published."""
    return Levels(float(image.pixels.min()), float(image.pixels.max()))


def _generator(arrays: dict[str, np.ndarray]) -> Generator:
    from scanward.nets.blocks import filled
    from scanward.protectors.mits_gan.network import Generator

    return filled(Generator(), arrays).requires_grad_(False)


def _answers(net: Generator, slices: Volume) -> Volume:
    """What the generator makes of each slice (z, y, x), in [-1, 1]; its noise is the same at each call."""
    import torch

    from scanward.protectors.mits_gan.network import rimmed

    chance = torch.Generator().manual_seed(0)
    made = np.empty(slices.shape, np.float32)
    with torch.inference_mode():
        for number, plane in enumerate(slices):
            made[number] = rimmed(net, torch.from_numpy(plane)[None, None], chance)[0, 0].numpy()
    return made


def laid(change: torch.Tensor, cuboid: Cuboid,
         shape: tuple[int, ...]) -> tuple[tuple[slice, slice, slice], torch.Tensor]:
    """A cube's change (1, 1, 32, 32, 32) at a scan's own voxels: the box, and the change there (z, y, x).

    Differentiable.
    """
    from scanward.nets.cube import SIDE, spread

    box = cuboid.box(shape, SIDE / 2 - 0.5)
    return box, spread(change, cuboid, box)


def bounded(image: Image, values: Volume, epsilon: float) -> Volume:
    """The values as the image's file stores them, none further than `epsilon` from what it was."""
    made = image.storable(values, image.pixels)
    return np.where(np.abs(made - image.pixels) <= epsilon, made, image.pixels).astype(np.float32)


def check(image: Image, around: Sequence[Around]) -> None:
    """`UnsupportedError` for what is no CT volume in HU of known spacing, `ArgumentError` for a place outside."""
    if image.modality != "CT" or image.spacing is None:
        raise UnsupportedError(f"{image.name} is no CT volume with a known voxel size, and only those take a "
                               "perturbation; `scanward seal` takes every image.")
    if float(np.abs(image.pixels).max()) > LARGEST_HU:
        raise UnsupportedError(f"{image.name} holds values beyond {LARGEST_HU:g} HU, which no CT has; correct its "
                               "rescale slope and intercept.")
    for place in around:
        depth, height, width = image.shape
        if not (0 <= place.z <= depth - 1 and 0 <= place.y <= height - 1 and 0 <= place.x <= width - 1):
            raise ArgumentError(f"The place (x, y, z) = ({place.x:g}, {place.y:g}, {place.z:g}) lies outside "
                                f"{image.name} of {width} x {height} x {depth} voxels; choose one inside.")
        if not 0 < place.diameter_mm <= LARGEST_MM:
            raise ArgumentError(f"A diameter of {place.diameter_mm:g} mm cannot be protected; choose up to "
                                f"{LARGEST_MM:g} mm.")


def checked_bound(epsilon: float) -> float:
    """A bound in HU; `ArgumentError` for one out of range."""
    if not BOUNDS[0] <= float(epsilon) <= BOUNDS[1]:
        raise ArgumentError(f"--epsilon {epsilon:g} is out of range; give {BOUNDS[0]:g} to {BOUNDS[1]:g} HU.")
    return float(epsilon)
