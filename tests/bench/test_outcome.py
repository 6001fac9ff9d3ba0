"""Figures of a bench against values computed by hand, and curves that can be opened."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scanward.bench.confusion import SOURCE
from scanward.bench.measure import BINS, Row
from scanward.bench.outcome import Outcome, confusion_table, counts_table, figures_table, mean_of, reliability
from scanward.bench.plots import curves
from scanward.bench.protocol import Item


def row(patient, forged, score, *, iou=0.5, hit=True, conclusive=True):
    """Of 100 pixels of truth and as many others: heat that overlaps by `iou`, all of it in the truth."""
    inside, outside = np.zeros(BINS, int), np.zeros(BINS, int)
    if forged:
        inside[-1], inside[0] = round(100 * iou), 100 - round(100 * iou)
    outside[0] = 100
    item = Item(f"f-{patient}", patient, "blur" if forged else "", seed=int(1000 * score))
    return Row(item, score, conclusive, inside.tolist(), outside.tolist(), hit, 0.1)


ROWS = (row("a", False, 0.1), row("a", True, 0.9, iou=0.6), row("b", False, 0.7),
        row("b", True, 0.4, iou=0.2, hit=False), row("c", False, 0.2), row("c", True, 0.8, iou=1.0))
OUTCOME = Outcome("blur", ROWS, 0.5, 0.5, SOURCE)


def test_counts_and_figures_by_hand():
    counts = OUTCOME.confusion
    assert (counts.tn, counts.fp, counts.fn, counts.tp) == (2, 1, 1, 2)
    figures = {name: value[0] for name, value in OUTCOME.figures.items()}
    assert figures["balanced accuracy"] == pytest.approx(2 / 3)
    assert figures["image AUC"] == pytest.approx(8 / 9)  # of nine pairs only 0.4 against 0.7 is wrong
    assert figures["IoU"] == pytest.approx((0.6 + 0.2 + 1) / 3)
    assert figures["F1"] == pytest.approx((1.2 / 1.6 + 0.4 / 1.2 + 1) / 3)
    assert figures["pointing game"] == pytest.approx(2 / 3)
    assert figures["Brier score"] == pytest.approx(((0.01 + 0.49 + 0.04) / 3 + (0.01 + 0.36 + 0.04) / 3) / 2)


def test_intervals_hold_their_value_and_narrow_with_patients():
    many = Outcome("blur", tuple(replace(r, item=replace(r.item, patient=f"{r.item.patient}{i}"))
                                 for r in ROWS for i in range(20)), 0.5, 0.5)
    for few, more in zip(OUTCOME.figures.values(), many.figures.values(), strict=True):
        assert few[1] <= few[0] <= few[2]
        assert more[2] - more[1] <= few[2] - few[1]


def test_an_inconclusive_answer_raises_no_alarm():
    rows = (*ROWS[:2], replace(ROWS[2], conclusive=False))
    assert Outcome("blur", rows, 0.5, 0.5).confusion.fp == 0


def test_the_mean_over_groups():
    worse = Outcome("other", tuple(replace(r, score=0.3) for r in ROWS), 0.5, 0.5)
    assert mean_of([OUTCOME, worse])["balanced accuracy"][0] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_reliability_weighs_both_classes_alike():
    points = reliability([row("a", False, 0.05), row("b", False, 0.05), row("c", True, 0.05), row("d", True, 0.95)])
    assert points[0] == pytest.approx((0.05, 0.25 / 0.75, 0.75))
    assert points[1] == pytest.approx((0.95, 1.0, 0.25))


def test_tables_show_ours_beside_the_papers():
    text = confusion_table(OUTCOME)
    assert "| TP | 2 | 45 |" in text
    assert "90.1 % (91/101" in text
    assert "| blur |" in figures_table({"blur": OUTCOME.figures})
    assert json.dumps(OUTCOME.to_json(), allow_nan=False)
    silent = Outcome("silent", tuple(replace(r, score=0.0) for r in ROWS), 0.5, 0.5).to_json()
    assert silent["rates"]["ppv"][0] is None
    assert json.dumps(silent, allow_nan=False)


def test_one_rate_has_one_interval():
    rates = OUTCOME.to_json()["rates"]
    assert f"{100 * rates['tpr'][1]:.1f}–{100 * rates['tpr'][2]:.1f}" in counts_table([OUTCOME])
    assert f"{100 * rates['tpr'][1]:.1f}–{100 * rates['tpr'][2]:.1f}" in confusion_table(OUTCOME)
    assert "333 (1/3; " in counts_table([OUTCOME])


def test_curves_are_a_picture(tmp_path):
    cv2 = pytest.importorskip("cv2")
    curves([OUTCOME], "blur", tmp_path / "c.png")
    picture = cv2.imread(str(tmp_path / "c.png"))
    assert picture.shape[0] == 600
    assert picture.std() > 5
