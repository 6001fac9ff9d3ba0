"""Combining evidence, and what a scan does with good, bad and unexpected input."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward import formats
from scanward.box import Box
from scanward.errors import ArgumentError, InputError, UnreadableError, UnsupportedError
from scanward.image import Image
from scanward.judging.judge import combine, rescale
from scanward.judging.scan import load, scan, scan_many
from scanward.judging.witnesses import placed
from scanward.modality import MODALITIES
from scanward.verdict import DOUBT, Evidence, Finding

UNIT = st.floats(0, 1)


def image_of(plane, modality="MG"):
    return Image(np.asarray(plane, np.float32)[None], modality)


def evidence_of(method, score, threshold, heat, heat_threshold=0.5, **rest):
    return Evidence(method, score, threshold, np.asarray(heat, np.float32)[None], heat_threshold, **rest)


@given(UNIT, UNIT, st.floats(0.001, 0.999))
def test_rescaling_keeps_the_order_and_each_side_of_the_threshold(a, b, threshold):
    low, high = sorted((a, b))
    x, y = rescale(low, threshold), rescale(high, threshold)
    assert 0 <= x <= y <= 1
    assert (x >= 0.5) == (low >= threshold)
    assert rescale(threshold, threshold) == 0.5


@pytest.mark.parametrize(("value", "threshold", "wanted"), [
    (0.2, 0.8, 0.125), (0.9, 0.8, 0.75), (1.0, 0.8, 1.0), (0.0, 0.8, 0.0), (1.0, 1.0, 0.5), (0.3, 0.0, 0.65),
])
def test_rescaling_by_hand(value, threshold, wanted):
    assert rescale(value, threshold) == pytest.approx(wanted)


def test_the_strongest_method_gives_the_score_and_heat_is_the_voxelwise_maximum():
    image = image_of(np.zeros((2, 2)))
    one = evidence_of("one", 0.2, 0.8, [[0.0, 0.4], [0.8, 1.0]], 0.8, findings=(Finding(Box(0, 0, 0, 1, 1, 1), 0.9),))
    two = evidence_of("two", 0.6, 0.4, [[0.3, 0.1], [0.2, 0.0]], 0.5,
                      findings=(Finding(Box(0, 0, 0, 1, 2, 2), 0.6, method="two"),
                                Finding(Box(0, 1, 1, 1, 2, 2), 0.7, method="two")))
    verdict = combine(image, (one, two))
    assert verdict.score == pytest.approx(0.5 + 0.2 / 1.2)
    assert verdict.threshold == 0.5
    assert verdict.label == "tampered"
    np.testing.assert_allclose(verdict.heat[0], [[0.3, 0.25], [0.5, 1.0]], rtol=1e-6)
    # `one` calls the image authentic, so its finding is not reported.
    assert [(f.method, f.score) for f in verdict.findings] == [("two", 0.7), ("two", 0.6)]


@pytest.mark.parametrize(("score", "label"), [(0.2, "authentic"), (0.3, "inconclusive"), (0.49, "inconclusive"),
                                              (0.5, "tampered")])
def test_a_score_that_is_neither_leaves_the_verdict_open(score, label):
    image = image_of(np.zeros((2, 2)))
    calm = evidence_of("calm", 0.1, 0.5, np.zeros((2, 2)))
    one = evidence_of("one", score, 0.5, np.zeros((2, 2)), doubt=0.3)
    verdict = combine(image, (calm, one))
    assert (one.label, verdict.label) == (label, label)
    assert verdict.doubtful == (label == "inconclusive")
    assert verdict.score == pytest.approx(score)
    assert placed(one, None).reason == (DOUBT if label == "inconclusive" else "")
    louder = evidence_of("louder", 0.9, 0.5, np.ones((2, 2)))
    assert combine(image, (one, louder)).label == "tampered"


def test_a_method_that_cannot_judge_neither_alarms_nor_reassures():
    image = image_of(np.zeros((2, 2)))
    mute = evidence_of("mute", 0.99, 0.5, np.ones((2, 2)), conclusive=False, reason="No grain.",
                       findings=(Finding(Box(0, 0, 0, 1, 1, 1), 1.0),))
    calm = evidence_of("calm", 0.1, 0.5, np.zeros((2, 2)))
    heard = combine(image, (mute, calm))
    assert (heard.label, heard.findings, heard.heat.max()) == ("inconclusive", (), 0)
    alone = combine(image, (mute,))
    assert (alone.label, alone.score, alone.findings) == ("inconclusive", 0.0, ())
    assert alone.to_json()["reason"] == "No grain."


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_combined_heat_reaches_one_half_exactly_where_some_method_reaches_its_threshold(seed, t1, t2):
    rng = np.random.default_rng(seed)
    # Values at the thresholds themselves are the hard case.
    a = rng.choice(np.array([0, t1, 1, 0.5, t1 / 2], np.float32), (70, 3))
    b = rng.choice(np.array([0, t2, 1, 0.5, t2 / 2], np.float32), (70, 3))
    verdict = combine(image_of(np.zeros((70, 3))),
                               (evidence_of("a", 0, 0.5, a, t1), evidence_of("b", 0, 0.5, b, t2)))
    np.testing.assert_array_equal(verdict.heat[0] >= 0.5, (a >= np.float32(t1)) | (b >= np.float32(t2)))
    assert verdict.heat.min() >= 0 and verdict.heat.max() <= 1


def test_a_detector_whose_heat_has_another_shape_is_a_fault():
    with pytest.raises(ValueError, match=r"\(1, 2, 2\)"):
        combine(image_of(np.zeros((3, 3))), (evidence_of("a", 0, 0.5, np.zeros((2, 2))),))


def test_one_method_alone_keeps_its_own_scale(bright):
    verdict = scan(image_of([[0, 65535]]), method="copy-move")
    assert (verdict.score, verdict.threshold, verdict.label) == (1.0, 0.8, "tampered")
    assert verdict.method == "copy-move"
    assert len(verdict.findings) == 1
    assert verdict.seconds > 0


def test_nothing_is_found_in_an_image_called_authentic(bright):
    verdict = scan(image_of([[0, 0.5 * 65535]]), method="copy-move")
    assert (verdict.label, verdict.findings) == ("authentic", ())
    assert scan(image_of([[0, 0.5 * 65535]])).findings == ()


def test_the_default_names_its_detectors_and_weights(bright):
    verdict = scan(image_of([[0, 65535]]))
    assert verdict.method == "default"
    assert verdict.parameters["detectors"] == list(MODALITIES["MG"].detectors)
    assert verdict.weights_sha256 == "ab"
    assert len(verdict.evidence) == len(MODALITIES["MG"].detectors)


def test_detectors_are_built_once(bright):
    for _ in range(3):
        scan(image_of([[0, 1]]), method="copy-move")
    assert bright.built == 1


def test_an_image_that_the_method_does_not_judge_is_declined_in_one_sentence(bright):
    said = r"^image is a CT volume, and copy-move judges none; leave out --method\.$"
    with pytest.raises(UnsupportedError, match=said):
        scan(Image(np.zeros((3, 4, 4), np.float32), "CT"), method="copy-move")


def test_an_unknown_method_is_refused_before_anything_is_read():
    with pytest.raises(ArgumentError, match="copy-move"):
        scan("does-not-exist.png", method="nonsense")


def test_a_bad_file_does_not_stop_the_others(bright, tmp_path):
    good, bad = tmp_path / "a good.png", tmp_path / "b bad.png"
    pixels = np.zeros((64, 64), np.uint16)
    pixels[3, 4] = 65535
    assert cv2.imwrite(str(good), pixels)
    bad.write_bytes(good.read_bytes()[:60])
    sources, errors = formats.find([tmp_path])
    assert not errors
    results = {r.path.name: r for r in scan_many(sources, method="copy-move", spacing=(0.1, 0.1))}
    assert isinstance(results["b bad.png"].error, UnreadableError)
    assert results["b bad.png"].verdict is None
    assert results["a good.png"].verdict.label == "tampered"
    assert results["a good.png"].image.spacing[1:] == (0.1, 0.1)


def test_a_fault_of_ours_is_not_hidden(monkeypatch, bright, tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))
    monkeypatch.setattr(bright, "detect", lambda self, image: 1 / 0)
    sources, _ = formats.find([path])
    with pytest.raises(ZeroDivisionError):
        list(scan_many(sources))


def test_a_folder_with_two_images_is_not_one_image(tmp_path):
    for name in "ab":
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match="2 images"):
        load(tmp_path)


def test_the_verdict_keeps_where_the_image_came_from(bright, tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))
    image = load(path)
    verdict = scan(dataclasses.replace(image))
    assert verdict.to_json()["path"] == str(path)
