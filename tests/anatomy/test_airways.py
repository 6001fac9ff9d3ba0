"""Where the airways are: a phantom whose answer is known, and real chests."""

import numpy as np
import pytest

from scanward.anatomy.airways import airways_of, lungs_alone, pockets_of
from scanward.anatomy.lung import lungs_of
from scanward.datasets.chests import SHARP, scan_of
from scanward.image import Image


def chest(trachea=True):
    _, y, x = np.mgrid[:30, :160, :180]
    plane = np.where(np.hypot((y - 80) / 70, (x - 90) / 85) < 1, 40.0, -1000.0)
    for side in (50, 130):
        plane = np.where(np.hypot((y - 80) / 45, (x - side) / 25) < 1, -850.0, plane)
    if trachea:
        plane = np.where(np.hypot(y - 60, x - 90) < 5, -1000.0, plane)
        plane[:12] = np.where((np.abs(y - 60) < 3) & (np.abs(x - 90) < 45), -1000.0, plane)[:12]
    return Image(plane.astype(np.float32), "CT", (2.5, 2.0, 2.0))


def test_the_trachea_and_the_bronchi_that_hang_on_it():
    image = chest()
    lungs = lungs_of(image)
    found = airways_of(image, lungs)
    assert found[lungs.at((20, 60, 90))]
    assert found[lungs.at((5, 60, 60))]
    assert not found[lungs.at((20, 60, 60))]
    assert not found[lungs.at((5, 100, 50))]


def test_no_trachea_no_airways():
    image = chest(trachea=False)
    assert not airways_of(image, lungs_of(image)).any()


def test_the_gas_of_a_stomach_that_touches_the_lung_is_no_lung():
    image = chest()
    _, y, x = np.mgrid[:30, :160, :180]
    gas = np.hypot(y - 95, x - 50) < 12
    pixels = np.where(gas, -1000, image.pixels).astype(np.float32)
    made = Image(pixels, "CT", image.spacing)
    lungs = lungs_alone(made)
    assert not lungs.mask[lungs.at((15, 95, 50))] and lungs.mask[lungs.at((15, 60, 50))]
    assert lungs.mask[lungs.at((15, 95, 130))]
    assert not pockets_of(image, lungs_of(image))[lungs.at((15, 95, 50))]


def test_thin_or_scattered_air_in_a_lung_stays_lung():
    image = chest()
    pixels = image.pixels.copy()
    _, y, x = np.mgrid[:30, :160, :180]
    pixels[np.hypot(y - 95, x - 50) < 2.2] = -1000
    lungs = lungs_alone(Image(pixels, "CT", image.spacing))
    assert lungs.mask[lungs.at((15, 95, 50))]


@pytest.mark.data("ct", "mias")
def test_a_real_chest_has_airways_of_a_usual_size():
    image = scan_of(SHARP)
    lungs = lungs_of(image)
    found = airways_of(image, lungs)
    assert 20 < found.sum() * np.prod(lungs.spacing) / 1000 < 110
    assert found.any((1, 2)).sum() * lungs.spacing[0] > 80
