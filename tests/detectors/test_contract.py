"""What every detector in the table keeps, whatever it looks for."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from scanward import methods, weights
from scanward.image import Image, Provenance
from scanward.verdict import Evidence

DETECTORS = [m.name for m in methods.METHODS if m.kind == "detector"]
FILM = Provenance(path=Path("a.dcm"), format="dicom", sop_instance_uid="1.2.3", manufacturer="One")
OTHER = Provenance(path=Path("forged/tampered.png"), format="png", sop_instance_uid="9.9", manufacturer="Two",
                   transfer_syntax="1.2.840.10008.1.2.4.90", body_part="BREAST", synthetic=True)


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    row = methods.find(request.param, "detector")
    for name in row.weights:
        if name not in weights.manifest():
            pytest.skip(f"the weights {name} are not in the manifest")
    return methods.build(request.param, "detector")


def breast(rows=320, columns=256, seed=1):
    """A half disc of noisy tissue on a dark film, 16 bit, 0.2 mm."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    inside = np.hypot((y - rows / 2) / (0.45 * rows), x / (0.8 * columns)) < 1
    tissue = 20000 + 8000 * cv2.GaussianBlur(rng.standard_normal((rows, columns)), (0, 0), 6) * 6
    plane = np.where(inside, tissue, 800) + rng.normal(0, 250, (rows, columns)) * np.where(inside, 1, 0.2)
    pixels = np.clip(np.rint(plane), 0, 65535).astype(np.float32)
    return Image(pixels[None], "MG", (1.0, 0.2, 0.2), provenance=FILM)


def check(evidence, image, detector):
    assert isinstance(evidence, Evidence)
    assert evidence.method == detector.name
    assert evidence.heat.shape == image.shape and evidence.heat.dtype == np.float32
    assert np.isfinite(evidence.heat).all() and evidence.heat.min() >= 0 and evidence.heat.max() <= 1
    assert 0 <= evidence.score <= 1 and 0 < evidence.threshold <= 1 and 0 < evidence.heat_threshold <= 1
    assert evidence.conclusive or evidence.reason
    _, rows, columns = image.shape
    for finding in evidence.findings:
        x0, y0, x1, y1 = finding.box
        assert 0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows
        assert 0 <= finding.score <= 1
        assert finding.method == detector.name
        if image.spacing:
            assert finding.box_mm == pytest.approx([v * 0.2 for v in finding.box])
        else:
            assert finding.box_mm is None


def test_it_goes_by_the_name_it_has_in_the_table(detector, request):
    assert detector.name == request.node.callspec.params["detector"]


def test_a_film_gets_evidence_of_its_own_shape(detector):
    image = breast()
    check(detector.detect(image), image, detector)


@pytest.mark.parametrize("shape", [(64, 64), (64, 300), (257, 131)])
def test_small_and_odd_shapes_are_no_trouble(detector, shape):
    image = breast(*shape)
    check(detector.detect(image), image, detector)


def test_a_film_of_unknown_spacing_is_judged_too(detector):
    image = dataclasses.replace(breast(), spacing=None)
    check(detector.detect(image), image, detector)


@pytest.mark.parametrize("value", [0.0, 30000.0, 65535.0])
def test_a_film_of_one_value_is_inconclusive(detector, value):
    image = Image(np.full((1, 256, 256), value, np.float32), "MG", (1.0, 0.2, 0.2))
    evidence = detector.detect(image)
    check(evidence, image, detector)
    assert evidence.label == "inconclusive"
    assert evidence.findings == ()


def test_where_the_pixels_came_from_changes_nothing(detector):
    image = breast()
    first = detector.detect(image)
    second = detector.detect(dataclasses.replace(image, provenance=OTHER))
    np.testing.assert_array_equal(first.heat, second.heat)
    assert dataclasses.replace(first, heat=second.heat, seconds=0) == dataclasses.replace(second, seconds=0)


def test_the_pixels_are_left_as_they_were(detector):
    image = breast()
    before = image.pixels.copy()
    detector.detect(image)
    np.testing.assert_array_equal(image.pixels, before)


def test_pixels_that_may_not_be_written_are_no_trouble(detector):
    image = breast()
    image.pixels.flags.writeable = False
    check(detector.detect(image), image, detector)
