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


@pytest.fixture
def made(detector):
    """Makes images of the detector's modality, of so many rows and columns."""
    return {"MG": breast, "CT": chest}[methods.find(detector.name, "detector").modality]


def breast(rows=320, columns=256, seed=1):
    """A half disc of noisy tissue on a dark film, 16 bit, 0.2 mm."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    inside = np.hypot((y - rows / 2) / (0.45 * rows), x / (0.8 * columns)) < 1
    tissue = 20000 + 8000 * cv2.GaussianBlur(rng.standard_normal((rows, columns)), (0, 0), 6) * 6
    plane = np.where(inside, tissue, 800) + rng.normal(0, 250, (rows, columns)) * np.where(inside, 1, 0.2)
    pixels = np.clip(np.rint(plane), 0, 65535).astype(np.float32)
    return Image(pixels[None], "MG", (1.0, 0.2, 0.2), provenance=FILM)


def chest(rows=96, columns=96, seed=1):
    """A noisy body with two lungs, in HU; 2.5 mm slices of 0.7 mm."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    plane = np.where(np.hypot(y / 0.8, x / 0.95) < 1, 40.0, -1000.0)
    plane[np.hypot(y / 0.55, (np.abs(x) - 0.4) / 0.3) < 1] = -850
    pixels = np.rint(plane + rng.normal(0, 20, (12, rows, columns))).clip(-1024, 3071).astype(np.float32)
    return Image(pixels, "CT", (2.5, 0.7, 0.7), provenance=FILM)


def check(evidence, image, detector):
    assert isinstance(evidence, Evidence)
    assert evidence.method == detector.name
    assert evidence.heat.shape == image.shape and evidence.heat.dtype == np.float32
    assert np.isfinite(evidence.heat).all() and evidence.heat.min() >= 0 and evidence.heat.max() <= 1
    assert 0 <= evidence.score <= 1 and 0 < evidence.threshold <= 1 and 0 < evidence.heat_threshold <= 1
    assert evidence.conclusive or evidence.reason
    for finding in evidence.findings:
        assert all(0 <= s.start < s.stop <= n for s, n in zip(finding.box.slices, image.shape, strict=True))
        assert 0 <= finding.score <= 1
        assert finding.method == detector.name
        if image.spacing:
            assert finding.box_mm == pytest.approx([v * s for v, s in zip(finding.box, 2 * image.spacing, strict=True)])
        else:
            assert finding.box_mm is None


def test_it_goes_by_the_name_it_has_in_the_table(detector, request):
    assert detector.name == request.node.callspec.params["detector"]


def test_an_image_gets_evidence_of_its_own_shape(detector, made):
    image = made()
    check(detector.detect(image), image, detector)


@pytest.mark.parametrize("shape", [(64, 64), (64, 300), (257, 131)])
def test_small_and_odd_shapes_are_no_trouble(detector, made, shape):
    image = made(*shape)
    check(detector.detect(image), image, detector)


def test_an_image_of_unknown_spacing_is_judged_too(detector, made):
    image = dataclasses.replace(made(), spacing=None)
    check(detector.detect(image), image, detector)


@pytest.mark.parametrize("value", [0.0, 30000.0, 65535.0])
def test_an_image_of_one_value_is_inconclusive(detector, made, value):
    image = made(256, 256)
    image = Image(np.full(image.shape, value, np.float32), image.modality, image.spacing)
    evidence = detector.detect(image)
    check(evidence, image, detector)
    assert evidence.label == "inconclusive"
    assert evidence.findings == ()


def test_where_the_pixels_came_from_changes_nothing(detector, made):
    image = made()
    first = detector.detect(image)
    second = detector.detect(dataclasses.replace(image, provenance=OTHER))
    np.testing.assert_array_equal(first.heat, second.heat)
    told, again = ({**vars(evidence), "heat": None, "seconds": 0} for evidence in (first, second))
    assert told == again


def test_the_pixels_are_left_as_they_were(detector, made):
    image = made()
    before = image.pixels.copy()
    detector.detect(image)
    np.testing.assert_array_equal(image.pixels, before)


def test_pixels_that_may_not_be_written_are_no_trouble(detector, made):
    image = made()
    image.pixels.flags.writeable = False
    check(detector.detect(image), image, detector)
