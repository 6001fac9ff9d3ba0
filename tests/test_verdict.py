"""What counts of several labels, and what a verdict looks like to a program."""

import itertools

from scanward.verdict import COLOURS, LABELS, SEVERITY, STUDY_LABELS, SYMBOLS, worst


def test_the_worst_label_counts_and_what_nobody_looked_at_is_not_authentic():
    for better, worse in itertools.combinations(("authentic", "unscanned", "inconclusive", "tampered"), 2):
        assert worst([better, worse, better]) == worst([worse, better]) == worse
    assert worst(["authentic", "authentic"]) == "authentic"
    assert worst([]) == "unscanned"


def test_every_label_has_its_severity_symbol_and_colour():
    assert set(SEVERITY) == set(STUDY_LABELS) == {*LABELS, "unscanned"} == set(SYMBOLS)
    assert set(COLOURS) == set(LABELS)
