"""The draw: which films a study shows, to whom, and in which order. A seed gives it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from scanward.errors import ArgumentError
from scanward.readerstudy.protocol import KINDS, PARTS, Kind, Part

T = TypeVar("T")
TRIES = 50
"""Drawings until two readers' orders differ; few films have few orders."""


@dataclass(frozen=True)
class Candidate:
    """What the draw needs to know of a film."""

    name: str
    kind: Kind
    patient: str
    family: str
    """The same for an original and every forgery of it."""


def wanted(available: Mapping[Kind, int], counts: Mapping[Part, Mapping[Kind, int]],
           open_share: float) -> dict[Part, dict[Kind, int]]:
    """How many films of each kind each part gets; `ArgumentError` where there are fewer."""
    made: dict[Part, dict[Kind, int]] = {part: {} for part in PARTS}
    for kind in KINDS:
        have = available.get(kind, 0)
        blind, opened = counts.get("blind", {}).get(kind), counts.get("open", {}).get(kind)
        if opened is None:
            share = max(1, round(have * open_share)) if open_share and have > 1 else 0
            opened = share if blind is None else min(have - blind, share)
        if blind is None:
            blind = have - opened
        if min(blind, opened) < 0 or blind + opened > have:
            raise ArgumentError(f"The study asks for {max(0, blind) + max(0, opened)} {kind} cases and {have} are "
                                "there; ask for fewer, or name more folders.")
        made["blind"][kind], made["open"][kind] = blind, opened
    return made


def mixture(pool: Sequence[Candidate], counts: Mapping[Part, Mapping[Kind, int]],
            seed: int) -> dict[Part, list[Candidate]]:
    """The films of each part, none in both. An original and its forgery are both taken only where too few others are
    there; so are two forgeries of one original."""
    rng = np.random.default_rng((seed, 1))
    left = {kind: _shuffled([c for c in pool if c.kind == kind], rng) for kind in KINDS}
    used: set[str] = set()
    made: dict[Part, list[Candidate]] = {part: [] for part in PARTS}
    for part in PARTS:
        for kind in KINDS:
            for _ in range(counts[part].get(kind, 0)):
                at = next((i for i, c in enumerate(left[kind]) if c.family not in used), 0)
                used.add(left[kind][at].family)
                made[part].append(left[kind].pop(at))
    return made


def allot(films: Sequence[Candidate], readers: int) -> list[list[Candidate]]:
    """The films dealt out: of each kind, and in all, no reader gets more than one film more than another."""
    hands: list[list[Candidate]] = [[] for _ in range(readers)]
    dealt = 0
    for kind in KINDS:
        for film in (f for f in films if f.kind == kind):
            hands[dealt % readers].append(film)
            dealt += 1
    return hands


def orders(films: Sequence[Sequence[Candidate]], seed: int, part: Part,
           last: Sequence[str | None]) -> list[list[Candidate]]:
    """Each reader's films in an order of their own. A patient's films, and so an original and its forgeries, are never
    neighbours; nor does one follow on the patient `last` seen, where that can be helped. `ArgumentError` where one
    patient has more than half of the films."""
    made: list[list[Candidate]] = []
    for reader, own in enumerate(films):
        rng = np.random.default_rng((seed, 2, PARTS.index(part), reader))
        drawn = _order(own, rng, last[reader])
        for _ in range(TRIES):
            if [f.name for f in drawn] not in [[f.name for f in other] for other in made]:
                break
            drawn = _order(own, rng, last[reader])
        made.append(drawn)
    return made


def _order(films: Sequence[Candidate], rng: np.random.Generator, last: str | None) -> list[Candidate]:
    left = _shuffled(films, rng)
    group = _groups(films)
    counts = Counter(group[f.name] for f in left)
    if not _possible(counts, None):
        patient, most = counts.most_common(1)[0]
        raise ArgumentError(f"{most} of {len(left)} cases are of one patient ({patient}), so some would be neighbours; "
                            "take those of more patients.")
    before = next((group[f.name] for f in left if f.patient == last), None)
    if not _possible(counts, before):
        before = None
    made = []
    while left:
        at = next(i for i, film in enumerate(left) if group[film.name] != before
                  and _possible(counts - Counter([group[film.name]]), group[film.name]))
        film = left.pop(at)
        before = group[film.name]
        counts -= Counter([before])
        made.append(film)
    return made


def _possible(counts: Counter[str], before: str | None) -> bool:
    """Whether so many films of each group can follow on `before` without neighbours of one group."""
    total = counts.total()
    return all(n <= (total if group == before else total + 1) // 2 for group, n in counts.items())


def _groups(films: Sequence[Candidate]) -> dict[str, str]:
    """What must be kept apart: films that share a patient or a family, directly or through others."""
    parent: dict[str, str] = {}

    def top(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for film in films:
        parent[top(f"family {film.family}")] = top(f"patient {film.patient}")
    return {film.name: top(f"patient {film.patient}").removeprefix("patient ") for film in films}


def _shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))]
