"""Parts of a chest: what is too little for an alarm, by a phantom whose heights are known, and what is said then."""

import dataclasses

import numpy as np
import pytest

from scanward.anatomy.airways import lungs_alone, windpipe_mm
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.part import LUNGS_MM, WINDPIPE_MM, cut_off
from scanward.image import Image
from scanward.judging.scan import scan
from tests.anatomy.test_airways import chest
from tests.detectors.test_ct_self_reference import chest as grainy
from tests.detectors.test_ct_self_reference import smoothed


def part(image, *slices):
    return Image(image.pixels[slice(*slices)], "CT", image.spacing)


def said(image):
    return cut_off(image, lungs_alone(image))


def test_the_windpipe_is_as_high_as_its_slices():
    image = chest()  # round air in slices 12 to 29, 2.5 mm apart; below, bronchi run across
    assert windpipe_mm(image, lungs_alone(image)) == 45
    assert windpipe_mm(part(image, 0, 24), lungs_alone(part(image, 0, 24))) == 30
    without = chest(trachea=False)
    assert windpipe_mm(without, lungs_alone(without)) == 0
    empty = Image(np.full((8, 64, 64), 40, np.float32), "CT", (2.5, 2.0, 2.0))
    assert windpipe_mm(empty, lungs_alone(empty)) == 0


def test_an_alarm_counts_where_enough_of_the_lungs_and_the_windpipe_are_there():
    assert 2.5 * 27 < LUNGS_MM < 2.5 * 28 + 1 and WINDPIPE_MM == 30
    assert said(chest()) == ""
    assert said(part(chest(), 28)) == ""
    assert "68 mm" in said(part(chest(), 3, 30))
    assert "windpipe" in said(chest(trachea=False))
    assert all("scan the whole series" in text for text in (said(part(chest(), 9)), said(chest(trachea=False))))


def test_lungs_that_end_within_the_series_are_whole_however_small():
    image = chest(trachea=False)
    pixels = image.pixels.copy()
    for z in (*range(6), *range(24, 30)):
        pixels[z] = np.where(pixels[z] < -500, 40, pixels[z])
    assert said(dataclasses.replace(image, pixels=pixels)) == ""
    pixels[:6] = image.pixels[:6]
    assert "60 mm" in said(dataclasses.replace(image, pixels=pixels))


def test_what_would_be_an_alarm_is_inconclusive_in_a_part_and_names_the_place():
    image, _ = smoothed(grainy())
    arrays, settings = CtSelfReference()._weights
    evidence = CtSelfReference(arrays, {**settings, "threshold": 0.0}).detect(image)
    assert (evidence.label, evidence.conclusive, evidence.findings) == ("inconclusive", False, ())
    assert evidence.heat.max() > settings["heat_threshold"]
    assert evidence.reason.startswith("About x 7") and "in slice 11 there is less noise" in evidence.reason
    assert "50 mm of them are too little" in evidence.reason and evidence.reason.endswith("scan the whole series.")
    quiet = CtSelfReference(arrays, {**settings, "threshold": 1.0}).detect(image)
    assert (quiet.label, quiet.reason) == ("authentic", "")


@pytest.mark.parametrize("method", ["default", "ct-self-reference"])
def test_a_scan_of_a_part_says_so(method):
    image, _ = smoothed(grainy())
    verdict = scan(image, method=method)
    assert (verdict.label, verdict.findings) == ("inconclusive", ()) and "beyond this series" in verdict.reason
