"""What a finding in a CT is said to be, on a phantom whose forgeries are known, and at the bounds."""

from dataclasses import replace

import numpy as np
import pytest

from scanward.anatomy.lung import lungs_of
from scanward.box import Box
from scanward.datasets.phantom import chest_phantom
from scanward.datasets.phantom.scanner import Protocol
from scanward.detectors.ct_self_reference.describe import described
from scanward.detectors.ct_self_reference.kind import Facts, facts_of, kind_of
from scanward.detectors.ct_self_reference.reference import measure
from scanward.verdict import Finding

REMOVED = Facts(fine=1.0, coarse=0.6, middle=-870.0, about=-850.0, solid=0.0, unrest=0.2)
PUT_IN = Facts(fine=1.0, coarse=0.7, middle=20.0, about=-850.0, solid=0.6, unrest=1.5)


def test_a_dense_body_was_put_in_and_calm_lung_of_foreign_noise_was_taken_away():
    assert kind_of(PUT_IN) == "put in"
    assert kind_of(REMOVED) == "taken away"


@pytest.mark.parametrize("change", [{"fine": 0.5}, {"coarse": 1.0}, {"coarse": 0.3}, {"unrest": 0.7},
                                    {"middle": -600.0}])
def test_lung_that_is_smoothed_or_has_its_vessels_yet_is_of_no_kind(change):
    assert kind_of(replace(REMOVED, **change)) == ""


@pytest.mark.parametrize("change", [{"middle": -600.0}, {"about": -300.0}, {"solid": 0.2}])
def test_what_is_hardly_denser_than_its_surroundings_is_of_no_kind(change):
    assert kind_of(replace(PUT_IN, **change)) == ""


@pytest.fixture(scope="module")
def chest():
    image = chest_phantom(3, Protocol(shape=(24, 224, 224), spacing=(4.0, 1.4, 1.4), thickness=4.0))
    return image, measure(image.pixels, lungs_of(image), image.spacing)


BOX = Box(15, 108, 56, 20, 126, 74)
"""In the right lung."""


def ball(image, change):
    """The lung's pixels changed within the ellipsoid in `BOX`."""
    z, y, x = (at - (part.start + part.stop - 1) / 2 for at, part in zip(np.ogrid[BOX.slices], BOX.slices, strict=True))
    inside = (z / 2.5) ** 2 + (y / 9) ** 2 + (x / 9) ** 2 < 0.9
    pixels = image.pixels.copy()
    pixels[BOX.slices] = np.where(inside, np.rint(change(pixels[BOX.slices])), pixels[BOX.slices])
    return replace(image, pixels=pixels.astype(np.float32))


def test_the_noise_of_a_place_is_told_beside_what_it_should_be(chest):
    image, reference = chest
    as_it_is = facts_of(image, reference, BOX)
    assert 0.7 < as_it_is.fine < 1.3 and as_it_is.about == pytest.approx(-850, abs=60)
    calm = ball(image, lambda cube: cube.mean((1, 2), keepdims=True) + 0.3 * (cube - cube.mean((1, 2), keepdims=True)))
    assert 0.25 < facts_of(calm, reference, BOX).fine / as_it_is.fine < 0.55  # its rim is an edge
    nodule = facts_of(ball(image, lambda cube: cube - cube.mean() + 30), reference, BOX)
    assert nodule.middle == pytest.approx(30, abs=60) and nodule.solid > 0.8


def test_the_sentence_names_the_place_the_noise_and_the_kind_where_it_can_be_told(chest):
    image, reference = chest
    finding = Finding(BOX, 0.9)
    nodule = described(ball(image, lambda cube: cube - cube.mean() + 30), reference, finding)
    assert nodule.startswith("About x 65, y 117 in slice 18 there is ")
    assert nodule.endswith("; it looks as if something was put in.")
    assert "looks" not in described(image, reference, finding)


def test_a_box_at_the_scans_rim_is_described_too(chest):
    image, reference = chest
    depth, height, width = image.shape
    for box in (Box(0, 0, 0, 1, 1, 1), Box(depth - 2, height - 5, width - 9, depth, height, width)):
        facts = facts_of(image, reference, box)
        assert np.isfinite([facts.fine, facts.coarse, facts.middle, facts.about, facts.solid, facts.unrest]).all()
