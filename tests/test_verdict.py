"""What counts of several labels, and what a verdict looks like to a program."""

import itertools

import numpy as np
import pytest

from scanward.box import Box
from scanward.cli.sealing import say_places
from scanward.cli.table import described
from scanward.verdict import COLOURS, LABELS, SEVERITY, STUDY_LABELS, SYMBOLS, Evidence, Finding, Verdict, worst


def test_the_worst_label_counts_and_what_nobody_looked_at_is_not_authentic():
    for better, worse in itertools.combinations(("authentic", "unscanned", "inconclusive", "tampered"), 2):
        assert worst([better, worse, better]) == worst([worse, better]) == worse
    assert worst(["authentic", "authentic"]) == "authentic"
    assert worst([]) == "unscanned"


def test_every_label_has_its_severity_symbol_and_colour():
    assert set(SEVERITY) == set(STUDY_LABELS) == {*LABELS, "unscanned"} == set(SYMBOLS)
    assert set(COLOURS) == set(LABELS)


@pytest.mark.parametrize(("box", "words"), [(Box(19, 4, 6, 24, 8, 8), "slices 20 to 24"),
                                            (Box(19, 4, 6, 20, 8, 8), "slice 20")])
def test_a_person_reads_of_slices_from_one_and_a_program_of_indices_from_zero(box, words, capsys):
    heat = np.zeros((30, 9, 9), np.float32)
    verdict = Verdict(1.0, 0.5, "tampered", heat, (Finding(box, 1.0),), (), "default", "CT")
    assert described(verdict) == f"1: 2×4 px, centre x 7, y 6, corner x 6, y 4, {words}"
    (found,) = verdict.to_json()["findings"]
    assert found["corner"] == [6, 4, 19]
    say_places([box], True, "sealed")
    assert capsys.readouterr().out == f"  x 7, y 6, {words}: 2 x 4 x {box.z1 - 19} voxels, others than were sealed\n"


def test_what_two_methods_say_alike_is_said_once():
    heat = np.zeros((1, 4, 4), np.float32)
    both = tuple(Evidence(name, 0.0, 0.5, heat, 0.5, conclusive=False, reason=why) for name, why in (
        ("self-reference", "It is black."), ("copy-move", "It is black."), ("seal", "It has a seal.")))
    assert Verdict(0.0, 0.5, "inconclusive", heat, (), both, "default", "MG").reason == "It is black. It has a seal."
