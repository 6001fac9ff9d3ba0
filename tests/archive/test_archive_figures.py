"""What answers come to: by hand, and against a count of every row."""

import datetime
from collections import Counter

import made_answers as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward.archive import figures, repeats
from scanward.archive.reading import Answers
from scanward.metrics import wilson


def sums(*studies):
    """Of (judged, alarms) a study, what `interval` takes."""
    return (len(studies), sum(n for n, _ in studies), sum(k for _, k in studies), sum(n * n for n, _ in studies),
            sum(n * k for n, k in studies), sum(k * k for _, k in studies))


def test_studies_of_one_image_have_wilsons_interval():
    # ten studies, two alarms: the ratio estimator's variance is 10/9 of the binomial one
    low, high = figures.interval(sums(*[(1, 1)] * 2, *[(1, 0)] * 8))
    assert (low, high) == pytest.approx(wilson(2 * 9 / 10, 10 * 9 / 10))


def test_images_that_are_alike_within_studies_count_as_one():
    # four films a study, all or none: Σ(k − pn)² = 2·3.2² + 8·0.8² = 25.6; 10/9·25.6/40 ÷ 0.16 = 40/9 images are one
    found = figures.interval(sums(*[(4, 4)] * 2, *[(4, 0)] * 8))
    assert found == pytest.approx(wilson(8 * 9 / 40, 40 * 9 / 40))
    assert found[1] - found[0] > 1.5 * (wilson(8, 40)[1] - wilson(8, 40)[0])


def test_without_an_alarm_the_studies_count():
    assert figures.interval(sums(*[(4, 0)] * 25)) == pytest.approx(wilson(0, 25))
    assert figures.interval(sums((50, 3))) == pytest.approx(wilson(3 / 50, 1))
    assert figures.interval((0, 0, 0, 0, 0, 0)) == (0.0, 1.0)


rows = st.lists(st.tuples(
    st.sampled_from(["tampered", "authentic", "inconclusive", "unscanned"]), st.booleans(),
    st.sampled_from([None, "A", "B", "'; drop view answers; --"]), st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([(), ("x",), ("x", "y"), ("y", "y")])), min_size=1, max_size=30)


@settings(max_examples=12)
@given(rows)
def test_groups_are_what_a_count_of_every_row_gives(tmp_path_factory, drawn):
    answers = [made.row(i, label, manufacturer=maker, study_uid=None if study is None else f"1.{study}",
                        error="It is cut short." if wrong and label != "tampered" else None,
                        kinds=kinds if label == "tampered" else ())
               for i, (label, wrong, maker, study, kinds) in enumerate(drawn)]
    judged = [one for one in answers if one.error is None and one.label != "unscanned"]
    with Answers(made.run(tmp_path_factory.mktemp("out"), answers)) as opened:
        found = figures.by(opened, "manufacturer")
        kinds = figures.by_kind(opened)
        counts = figures.counts(opened)
    assert {g.names[0]: (g.images, g.judged, g.alarms, g.inconclusive) for g in found.shown} == {
        maker or "not said": (sum(one.manufacturer == maker for one in answers),
                              *(sum(one.manufacturer == maker and one.label in labels for one in judged)
                                for labels in (("tampered", "inconclusive", "authentic"), ("tampered",),
                                               ("inconclusive",))))
        for maker in {one.manufacturer for one in answers}}
    assert {g.names[0]: g.alarms for g in kinds.shown} == Counter(
        kind for one in answers for kind in set(one.kinds))
    assert all(g.judged == len(judged) for g in kinds.shown)
    assert all(g.share is None or g.low <= g.share <= g.high for g in (*found.shown, *kinds.shown))
    assert [(c.images, c.tampered, c.errors) for c in counts] == [
        (len(answers), sum(one.label == "tampered" for one in answers), sum(one.error is not None for one in answers))]


def test_many_names_are_cut_and_nothing_is_lost(tmp_path):
    answers = [made.row(i, "tampered" if i < 3 else "authentic", manufacturer=f"M{i}", model=None) for i in range(70)]
    with Answers(made.run(tmp_path, answers)) as opened:
        found = figures.by(opened, "manufacturer", "model")
    assert found.count == 70 and len(found.shown) == 50
    assert [g.names for g in found.shown[:3]] == [(f"M{i}", "not said") for i in range(3)]
    assert found.others == (20, 0, 20)


def test_months_are_in_their_order(tmp_path):
    dates = [datetime.date(2024, month, 1) for month in (11, 2, 7)]
    answers = [made.row(i, "tampered" if i else "authentic", study_date=day) for i, day in enumerate([*dates, None])]
    with Answers(made.run(tmp_path, answers)) as opened:
        found = figures.by(opened, "strftime(study_date, '%Y-%m')", months=True)
    assert [g.names[0] for g in found.shown] == ["2024-02", "2024-07", "2024-11", "not said"]


def test_a_run_that_paused_is_as_fast_as_while_it_ran(tmp_path):
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    seconds = [0, 10, 20, 20 + 3600, 30 + 3600]
    answers = [made.row(i, judged_at=begin + datetime.timedelta(seconds=s), worker=f"w{i % 3}")
               for i, s in enumerate(seconds)]
    with Answers(made.run(tmp_path, answers[:2], answers[2:])) as opened:
        pace = figures.pace(opened)
        (cost,) = figures.costs(opened)
    assert (pace.seconds, pace.pauses, pace.workers) == (30.0, 1, 3)
    assert (pace.first, pace.last) == ("2026-01-01 00:00", "2026-01-01 01:00")
    assert (cost.images, cost.longest) == (5, pytest.approx(2.4))
    assert cost.seconds == pytest.approx(sum(2.0 + i % 5 / 10 for i in range(5)), abs=1e-5)


def test_what_occurs_twice(tmp_path):
    one, other = "1" * 32, "2" * 32
    answers = [
        made.row(0, content=one, path="a"), made.row(9, "tampered", content=one, path="b"),  # studies 0 and 2
        made.row(4, content=other, path="c"), made.row(5, content=other, path="d"),  # both of study 1
        made.row(12, sop_uid="1.2.9", path="e"), made.row(16, "tampered", sop_uid="1.2.9", path="f"),
        made.row(20, content=None), made.row(24, content=None), made.row(28)]
    with Answers(made.run(tmp_path, answers)) as opened:
        apart, together = repeats.of_content(opened, 50)
        uid = repeats.of_one_uid(opened, 50)
        slices = repeats.of_slices(opened, 50)
    assert apart.shown == (repeats.Repeat(2, 2, ("a", "b"), 1),) and (apart.count, apart.images) == (1, 2)
    assert together.shown == (repeats.Repeat(2, 1, ("c", "d"), 0),)
    assert uid.shown == (repeats.Repeat(2, 2, ("e", "f"), 1),)
    assert slices.shown == () and slices.count == 0


def test_one_uid_with_the_same_pixels_and_the_uids_of_series_are_no_contradiction(tmp_path):
    answers = [made.row(0, sop_uid="1.2", content="1" * 32), made.row(1, sop_uid="1.2", content="1" * 32),
               made.row(2, sop_uid="1.3", files=80), made.row(3, sop_uid="1.3", files=90)]
    with Answers(made.run(tmp_path, answers)) as opened:
        assert repeats.of_one_uid(opened, 50).shown == ()


def test_of_one_uid_each_content_is_named_once_and_forgiven_copies_are_not(tmp_path):
    def one(i, uid, content, **other):
        return made.row(i, sop_uid=uid, content=content * 32, path=f"{i}", **other)

    answers = [
        one(0, "1.1", "a"), one(1, "1.1", "a"), one(2, "1.1", "b", remade="lossy"),  # a copy, and one with loss
        one(3, "1.2", "a"), one(4, "1.2", "b", remade="derived"),
        one(5, "1.3", "a", remade="derived"), one(6, "1.3", "b", remade="derived"),  # films for reading all say so
        one(7, "1.4", "a"), one(8, "1.4", "a"), one(9, "1.4", "b", label="tampered"), one(10, "1.4", "c")]
    with Answers(made.run(tmp_path, answers)) as opened:
        found = repeats.of_one_uid(opened, 50)
    assert found.shown == (repeats.Repeat(2, 1, ("5", "6"), 0), repeats.Repeat(4, 2, ("10", "7", "9"), 1))
    assert (found.count, found.images) == (2, 6)


def test_series_that_share_slices(tmp_path):
    def series(i, *slices, **other):
        return made.row(4 * i, modality="CT", files=9, slices=tuple(f"{s:032x}" for s in slices), path=f"ct/{i}",
                        **other)

    # 0 and 1 share two slices; 2, 3 and 4 an empty one; 5 has one slice twice, which is no matter of the archive's
    answers = [series(0, 1, 2, 3), series(1, 2, 3, 4, label="tampered"), series(2, 10, 99), series(3, 11, 99),
               series(4, 12, 99), series(5, 20, 20)]
    with Answers(made.run(tmp_path, answers)) as opened:
        found = repeats.of_slices(opened, 50)
    assert found.shown == (repeats.Repeat(2, 2, ("ct/0", "ct/1"), 1, 2), repeats.Repeat(3, 2, ("ct/2", "ct/4"), 0, 1))
    assert (found.count, found.images) == (2, 5)
