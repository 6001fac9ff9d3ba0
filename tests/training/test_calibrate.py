"""Settings from validation rows."""

import numpy as np
import pytest

from scanward.bench.measure import BINS, Row, heat_at
from scanward.bench.protocol import Item
from scanward.training.calibrate import heat_settings, image_settings


def row(attack, features, inside=(), outside=()):
    counts = [np.bincount(np.array(bins, int), minlength=BINS).tolist() for bins in (inside, outside)]
    return Row(Item("f", "p", attack), 0.5, True, counts[0], counts[1], False, 0.0, features)


def score(settings, features):
    return 1 / (1 + np.exp(-(np.dot(settings["slopes"], features) + settings["offset"])))


def test_the_threshold_lets_two_in_a_hundred_authentic_images_pass():
    rng = np.random.default_rng(0)
    calm = [row("", (float(v), float(rng.normal()))) for v in rng.normal(-2, 1, 100)]
    forged = [row("splice", (float(v), float(rng.normal()))) for v in rng.normal(2, 1, 100)]
    settings = image_settings(calm + forged)
    alarms = sum(score(settings, r.features) >= settings["threshold"] for r in calm)
    found = sum(score(settings, r.features) >= settings["threshold"] for r in forged)
    assert alarms == 2
    assert found > 80
    assert settings["slopes"][0] > 5 * settings["slopes"][1], "the useless feature is all but ignored"


def test_heat_of_one_half_is_where_the_overlap_is_best():
    """Ten pixels of truth: eight hot ones at bin 200, two cold; of the rest five at bin 150."""
    settings = heat_settings([row("splice", (0.0,), [200] * 8 + [10] * 2, [150] * 5 + [5] * 100)])
    level = heat_at(settings_bin := round((8 - settings["heat_offset"]) / 16 * BINS))
    assert 150 < settings_bin <= 200
    logit = np.log(level / (1 - level))
    assert 1 / (1 + np.exp(-(logit + settings["heat_offset"]))) == pytest.approx(0.5)
