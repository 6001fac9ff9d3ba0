"""What a run says of the time it takes."""

from collections import Counter

import pytest

from scanward.archive.listing import Progress
from scanward.archive.run import Counts
from scanward.cli.archiving import line_of


def counts(done, units, *, seconds, loading, done_mb=0, mb=0, complete=True):
    return Counts(Counter(authentic=done), cost=done_mb * 10**6, now=done, now_cost=done_mb * 10**6, seconds=seconds,
                  loading=loading, listed=Progress(1, units, mb * 10**6, complete))


def test_the_time_left_leaves_the_start_out_and_one_large_file_does_not_rule_it():
    """Films of 2 MB, a tenth of a second each after 60 s of loading, and a file of 500 MB as the last: by bytes alone
    and with the loading 95 minutes would be left after 3 of 39, and 9 after 30."""
    early = counts(3, 39, done_mb=6, mb=576, seconds=60.3, loading=60.0)
    late = counts(30, 39, done_mb=60, mb=576, seconds=63.0, loading=60.0)
    assert early.remaining == pytest.approx((36 * 11 + 570) * 0.3 / (3 * 11 + 6))
    assert late.remaining == pytest.approx((9 * 11 + 516) * 3.0 / (30 * 11 + 60))
    assert late.remaining < 5
    even = counts(100, 1000, done_mb=200, mb=2000, seconds=40.0, loading=20.0)
    assert even.remaining == pytest.approx(180.0), "nine times what a tenth took"


def test_files_that_are_not_there_are_left_too():
    """Of a list: they have no bytes."""
    assert counts(5, 11, done_mb=10, mb=10, seconds=20, loading=10).remaining > 0


@pytest.mark.parametrize(("given", "line"), [
    (counts(0, 39, seconds=50, loading=None), "0 of 39, 0 alarms, 0 errors"),
    (counts(2, 39, seconds=70, loading=50), "2 of 39, 6.00 a minute, 0 alarms, 0 errors"),
    (counts(4, 8, seconds=90, loading=50), "4 of 8, 6.00 a minute, about 40 s left, 0 alarms, 0 errors"),
    (counts(4, 8, seconds=7250, loading=50), "4 of 8, 2.00 an hour, about 2 h 00 min left, 0 alarms, 0 errors"),
    (counts(50, 50, seconds=20, loading=0), "50 of 50, 2.50 a second, 0 alarms, 0 errors"),
    (counts(50, 90, seconds=20, loading=0, complete=False),
     "50 of 90 listed so far, 2.50 a second, 0 alarms, 0 errors")])
def test_a_line_tells_slow_runs_from_none_and_is_not_sure_too_early(given, line):
    assert line_of(given) == line
