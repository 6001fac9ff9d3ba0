"""`--at auto`: where a lesion would be believed."""


import numpy as np
import pytest
from outside import DATA

from scanward import formats
from scanward.attacks.places import auto_place
from scanward.errors import ArgumentError


def test_auto_places_lie_in_the_breast_and_off_the_muscle(muscular):
    image, inside, muscle = muscular
    y, x = np.mgrid[:500, :400]
    rng = np.random.default_rng(0)
    for _ in range(60):
        place = auto_place(image, rng, 40)
        disc = np.hypot(y - place.y, x - place.x) <= 20
        assert inside[disc].all()
        assert not muscle[disc].any()


@pytest.mark.data("mias/images")
def test_auto_places_lie_on_tissue_where_the_mask_takes_in_bare_film():
    for name in ("mdb263", "mdb268"):
        image = formats.read(DATA / "mias" / "images" / f"{name}.png", modality="MG", spacing=(0.2, 0.2))
        for seed in range(12):
            place = auto_place(image, np.random.default_rng(seed), 60)
            y, x, r = int(place.y), int(place.x), 30
            assert np.median(image.plane[y - r:y + r, x - r:x + r]) > 24


def test_no_room_is_one_sentence(png):
    with pytest.raises(ArgumentError, match="no room for a lesion of 58 mm"):
        auto_place(formats.read(png, modality="MG", spacing=(0.2, 0.2)), np.random.default_rng(0), 290)
