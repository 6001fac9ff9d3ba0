"""Inpainting removes what was there and can put grain back."""

import numpy as np
import pytest
from forging import applied

from scanward.attacks.base import Lesion
from scanward.attacks.grain import grain
from scanward.attacks.inpaint import NavierStokes, Telea
from scanward.image import Image


@pytest.fixture(params=[Telea, NavierStokes])
def attack(request):
    return request.param()


def test_a_lesion_on_a_ramp_is_gone(attack) -> None:
    y, x = np.mgrid[:160, :160].astype(np.float32)
    ramp = 20000 + 50 * x
    lesion = np.where(np.hypot(y - 80, x - 80) < 14, 9000, 0)
    host = Image((ramp + lesion).astype(np.float32)[None], "MG")
    params = attack.draw(host, Lesion((0, 80, 80), 40), np.random.default_rng(0))
    params |= {"noise": 0.0}
    params["shape"] |= {"kind": "ellipse", "aspect": 1.0, "feather": 0.0}
    forged, mask = applied(attack, host, params)
    assert np.abs(forged - ramp)[mask].mean() < 500
    assert np.abs(host.plane - ramp)[mask].mean() > 3000


def test_noise_brings_the_grain_back(attack, make_film) -> None:
    host, place = make_film(7, 16), Lesion((0, 100, 60), 50)
    params = attack.draw(host, place, np.random.default_rng(0))
    inside = slice(90, 111), slice(50, 71)
    own = grain(host.plane[inside])
    smooth, full = (grain(applied(attack, host, params | {"noise": n})[0][inside]) for n in (0.0, 1.0))
    assert smooth < 0.3 * own
    assert full == pytest.approx(own, rel=0.3)


def test_most_draws_have_no_noise(attack, host: Image, place: Lesion) -> None:
    noise = [attack.draw(host, place, np.random.default_rng(s))["noise"] for s in range(100)]
    assert 45 <= sum(n == 0 for n in noise) <= 75
    assert all(0 <= n <= 1 for n in noise)


def test_large_regions_are_filled_at_reduced_size(attack) -> None:
    y, x = np.mgrid[:900, :900].astype(np.float32)
    host = Image((10000 + 10 * y + 5 * x)[None], "MG")
    params = attack.draw(host, Lesion((0, 450, 450), 700), np.random.default_rng(1))
    assert params["reduce"] == 3
    params["shape"] |= {"kind": "ellipse", "feather": 0.0}
    forged, mask = applied(attack, host, params | {"noise": 0.0})
    assert np.abs(forged - host.plane)[mask].mean() < 1500
    assert mask.sum() == pytest.approx(np.pi * 350**2, rel=0.02)
