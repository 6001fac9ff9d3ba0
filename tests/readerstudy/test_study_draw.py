"""The draw of a study: the mixture, who sees it, and in which order."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scanward.errors import ArgumentError
from scanward.readerstudy.draw import Candidate, allot, mixture, orders, wanted
from scanward.readerstudy.protocol import KINDS, PARTS


@st.composite
def pools(draw):
    """Films of women with one to four films each; some are hosts of one or more forgeries."""
    films = []
    for woman in range(draw(st.integers(4, 14))):
        for view in range(draw(st.integers(1, 2))):
            host = f"w{woman}v{view}"
            films.append(Candidate(host, draw(st.sampled_from(("healthy", "unhealthy"))), f"w{woman}", host))
            films += [Candidate(f"{host}f{n}", "fake", f"w{woman}", host) for n in range(draw(st.integers(0, 1)))]
    return films


def counted(films):
    return Counter(film.kind for film in films)


@given(pools(), st.integers(0, 2**32), st.data())
def test_the_mixture_has_the_counts_and_no_film_twice(pool, seed, data):
    have = counted(pool)
    counts = {"blind": {}, "open": {}}
    for kind in KINDS:
        counts["blind"][kind] = data.draw(st.integers(0, have[kind]))
        counts["open"][kind] = data.draw(st.integers(0, have[kind] - counts["blind"][kind]))
    parts = mixture(pool, counts, seed)
    for part in PARTS:
        assert {kind: counted(parts[part])[kind] for kind in KINDS} == counts[part]
    names = [film.name for part in PARTS for film in parts[part]]
    assert len(set(names)) == len(names)
    assert mixture(pool, counts, seed) == parts


@given(pools(), st.integers(0, 2**32), st.integers(1, 5))
def test_neighbours_are_of_different_women_and_never_an_original_and_its_forgery(pool, seed, readers):
    women = Counter(film.patient for film in pool)
    assume(max(women.values()) <= (len(pool) + 1) // 2)
    made = orders([pool] * readers, seed, "blind", [None] * readers)
    assert made == orders([pool] * readers, seed, "blind", [None] * readers)
    for order in made:
        assert sorted(f.name for f in order) == sorted(f.name for f in pool)
        for a, b in pairwise(order):
            assert a.patient != b.patient and a.family != b.family


@given(st.integers(0, 2**32), st.integers(2, 8))
def test_every_reader_has_an_order_of_their_own(seed, readers):
    pool = [Candidate(f"f{n}", "healthy", f"w{n}", f"f{n}") for n in range(8)]
    made = orders([pool] * readers, seed, "open", [None] * readers)
    assert len({tuple(f.name for f in order) for order in made}) == readers


def test_the_first_film_of_a_part_is_not_of_the_woman_seen_last():
    pool = [Candidate(f"f{n}", "healthy", f"w{n}", f"f{n}") for n in range(3)]
    for seed in range(30):
        assert orders([pool], seed, "open", ["w1"])[0][0].patient != "w1"


@given(pools(), st.integers(1, 6))
def test_allotted_films_are_shared_evenly(pool, readers):
    hands = allot(pool, readers)
    assert sorted(f.name for hand in hands for f in hand) == sorted(f.name for f in pool)
    sizes = [len(hand) for hand in hands]
    assert max(sizes) - min(sizes) <= 1
    for kind in KINDS:
        of_kind = [counted(hand)[kind] for hand in hands]
        assert max(of_kind) - min(of_kind) <= 1


@given(pools(), st.integers(0, 2**32))
def test_an_original_is_left_out_where_others_will_do(pool, seed):
    fakes = counted(pool)["fake"]
    spare = len({f.family for f in pool if f.kind == "healthy"} - {f.family for f in pool if f.kind == "fake"})
    assume(fakes and spare)
    parts = mixture(pool, {"blind": {"fake": fakes, "healthy": spare}, "open": {}}, seed)
    families = [film.family for film in parts["blind"]]
    assert len(set(families)) == len(families)


def test_kinds_without_a_count_are_split_by_share():
    assert wanted({"fake": 10, "healthy": 20}, {"blind": {"healthy": 5}}, 0.2) == {
        "blind": {"fake": 8, "healthy": 5, "unhealthy": 0}, "open": {"fake": 2, "healthy": 4, "unhealthy": 0}}
    assert wanted({"fake": 10}, {"open": {"fake": 3}}, 0.2)["blind"]["fake"] == 7


def test_more_films_than_there_are():
    with pytest.raises(ArgumentError, match="asks for 12 fake cases and 10 are there"):
        wanted({"fake": 10}, {"blind": {"fake": 12}}, 0)


def test_one_woman_with_most_of_the_films_is_refused():
    pool = [Candidate(f"f{n}", "healthy", "w", f"f{n}") for n in range(3)] + [Candidate("g", "fake", "v", "g")]
    with pytest.raises(ArgumentError, match="3 of 4 cases are of one patient"):
        orders([pool], 0, "blind", [None])
