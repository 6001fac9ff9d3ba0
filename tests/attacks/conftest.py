"""A small synthetic film: a half-round breast with texture and grain on a black background."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from scanward.attacks.base import Donor, Lesion
from scanward.image import Image


def film(seed: int, bits: int, height: int = 200, width: int = 160, integer: bool = True) -> Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inside = np.hypot((y - height / 2) / (0.46 * height), x / (0.85 * width))
    tissue = 110 - 40 * inside + 12 * ndimage.gaussian_filter(rng.standard_normal((height, width)), 6) * 20
    values = np.where(inside < 1, tissue + rng.normal(0, 2.5, (height, width)), 0)
    values = np.clip(values, 0, 250) * (2**bits - 1) / 255
    if integer:
        values = np.rint(values)
    return Image(values.astype(np.float32)[None], "MG", (1.0, 0.1, 0.1), bits, integer)


@pytest.fixture(scope="session")
def make_film() -> Callable[..., Image]:
    return film


@pytest.fixture(scope="session", params=[8, 16], ids=["8 bit", "16 bit"])
def host(request: pytest.FixtureRequest) -> Image:
    return film(1, request.param)


@pytest.fixture(scope="session")
def donor() -> Donor:
    """An 8-bit film with a bright disc of 24 pixels at (90, 60)."""
    image = film(2, 8)
    y, x = np.mgrid[:200, :160]
    lesion = 60 * np.clip(1 - (np.hypot(y - 90, x - 60) / 12) ** 4, 0, 1)
    return Donor(image.with_plane(image.plane + lesion), Lesion((0, 90, 60), 24))


@pytest.fixture(scope="session")
def place() -> Lesion:
    return Lesion((0, 100.0, 60.0), 30.0)
