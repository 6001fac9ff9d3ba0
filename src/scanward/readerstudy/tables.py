"""The report's two tables, the published figures beside the study's, and what else readings can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from scanward.bench.confusion import Confusion
from scanward.bench.readers import (
    ALPHA,
    BLIND,
    DRAWS,
    WARNED,
    Table,
    association,
    cohen,
    fleiss_interval,
    power,
    resampled_power,
)
from scanward.bench.tables import estimate, rate, rate_interval, table
from scanward.errors import ArgumentError
from scanward.metrics import auc_interval, drawn_interval, mean_interval
from scanward.readerstudy.outcome import INJECTED, Read, described, located, on_it
from scanward.readerstudy.protocol import CHOICES, Part

PUBLISHED = {"healthy": BLIND[0], INJECTED: BLIND[1]}
"""Unhealthy, healthy. What the report's readers said of real unhealthy films it does not print."""


@dataclass(frozen=True)
class Comparison:
    """Two kinds of film in the blind part, held against each other."""

    table: Table
    """Of each kind, how many were called unhealthy and how many healthy."""
    chi2: float
    p: float
    chi2_yates: float
    p_yates: float
    p_fisher: float
    power: float
    power_yates: float
    power_resampled: tuple[float, float, float]
    """Value, and between which so many draws scatter."""
    difference: tuple[float, float, float]
    """As `difference` gives it."""


@dataclass(frozen=True)
class Agreement:
    """Of the readers of one part, on the films that at least two answered."""

    fleiss: tuple[float, float, float]
    """κ and its 95 % interval over films."""
    films: int
    cohen: dict[str, tuple[float, int]]
    """Of each two readers (`Ada, Ben`), κ and on how many films."""


def called(reads: Sequence[Read], word: str) -> list[bool]:
    """Of each answered film, whether it was called so."""
    return [read.answer == word for read in reads if read.answer is not None]


def members(reads: Sequence[Read]) -> list[str]:
    """What intervals resample: patients, or films where all are of one."""
    answered = [read for read in reads if read.answer is not None]
    patients = [read.truth.patient for read in answered]
    return patients if len(set(patients)) > 1 else [read.film for read in answered]


def blind_counts(reads: Sequence[Read]) -> dict[str, tuple[int, int]]:
    """Of each kind of film, how many were called unhealthy and how many healthy."""
    kinds = {described(read.truth): [r for r in reads if described(r.truth) == described(read.truth)] for read in reads}
    order = ["healthy", "unhealthy"]
    return {kind: (sum(called(kinds[kind], "unhealthy")), sum(called(kinds[kind], "healthy")))
            for kind in sorted(kinds, key=lambda k: (k not in order, k))}


def blind_table(reads: Sequence[Read]) -> str:
    """The paper's table of the blind part."""
    body = []
    for kind, (ill, well) in blind_counts(reads).items():
        own = [read for read in reads if described(read.truth) == kind]
        known = PUBLISHED.get(kind)
        published = f"{known[0]} / {known[1]} ({100 * known[0] / sum(known):.1f} %)" if known else "–"
        body.append((kind, f"{ill} / {well}", rate(called(own, "unhealthy"), members(own)), published))
    return _beside(("cases", "called unhealthy / healthy", "unhealthy (95 %)", "Bar-on 2020"), body, reads)


def comparison(reads: Sequence[Read], first: str, second: str) -> Comparison | str:
    """χ² and power of two kinds of film in the blind part, or why they cannot be compared."""
    counts = blind_counts(reads)
    if first not in counts or second not in counts:
        return f"no cases that are {first if first not in counts else second}"
    pair: Table = (counts[first], counts[second])
    try:
        tests = association(pair)
    except ArgumentError as error:
        return str(error)
    one, other = ([r for r in reads if described(r.truth) == kind] for kind in (first, second))
    return Comparison(pair, tests.chi2, tests.p, tests.chi2_corrected, tests.p_corrected, tests.p_fisher, power(pair),
                      power(pair, corrected=True), resampled_power(pair), difference(one, other))


def difference(first: Sequence[Read], second: Sequence[Read], draws: int = 2000) -> tuple[float, float, float]:
    """By how much more often the second films are called unhealthy: value and 95 % interval, drawing patients with
    replacement. χ² takes readings as independent; several readings of one film are not."""
    rng = np.random.default_rng(0)
    sets = []
    for reads in (first, second):
        _, group = np.unique(members(reads), return_inverse=True)
        sets.append((np.bincount(group, called(reads, "unhealthy")), np.bincount(group)))
    picks = [rng.integers(0, len(n), (draws, len(n))) for _, n in sets]
    a, b = (k[p].sum(1) / n[p].sum(1) for (k, n), p in zip(sets, picks, strict=True))
    value = sets[1][0].sum() / sets[1][1].sum() - sets[0][0].sum() / sets[0][1].sum()
    return float(value), *drawn_interval(b - a)


def tests_table(found: Comparison | str, published: Table | None) -> str:
    """χ² three ways and power, the published figures beside."""
    if isinstance(found, str):
        return f"Not compared: {found.rstrip('.')}."
    known = association(published) if published else None
    drawn, low, high = found.power_resampled
    value, least, most = found.difference
    body = [("χ²", f"{found.chi2:.2f}, p = {shown_p(found.p)}", f"p = {shown_p(known.p)}" if known else "–"),
            ("χ², Yates", f"{found.chi2_yates:.2f}, p = {shown_p(found.p_yates)}", "–"),
            ("Fisher", f"p = {shown_p(found.p_fisher)}", "–"),
            (f"power at p < {ALPHA:g}",
             f"{100 * found.power:.1f} %; with Yates {100 * found.power_yates:.1f} %", "–"),
            (f"the same from {DRAWS:,} draws",
             f"{100 * drawn:.1f} % (so many scatter over {100 * low:.1f}–{100 * high:.1f})",
             "96.8 %" if known else "–"),
            ("difference, patients resampled",
             f"{100 * value:+.1f} points ({100 * least:+.1f} to {100 * most:+.1f})", "–")]
    return table(("test", "here", "Bar-on 2020"), body) if known else \
        table(("test", "here"), [row[:-1] for row in body])


def open_confusion(reads: Sequence[Read]) -> Confusion:
    """Of the open part; positive is fake."""
    answers = [(read.truth.forged, read.answer == "fake") for read in reads if read.answer is not None]
    return Confusion(*(answers.count(kind) for kind in ((False, False), (False, True), (True, False), (True, True))))


def open_table(reads: Sequence[Read]) -> str:
    """The paper's table of the open part."""
    found, rows = open_confusion(reads), []
    answered = [read for read in reads if read.answer is not None]
    for name, own in (("NPV", [r for r in answered if r.answer == "real"]),
                      ("PPV", [r for r in answered if r.answer == "fake"]),
                      ("TNR", [r for r in answered if not r.truth.forged]),
                      ("TPR", [r for r in answered if r.truth.forged]), ("accuracy", answered)):
        known = getattr(WARNED, name.lower())
        rows.append((name, rate([bool(r.right) for r in own], members(own)),
                     f"{100 * known[0] / known[1]:.1f} % ({known[0]}/{known[1]})"))
    counts = _beside(("cases", "called real", "called fake", "Bar-on 2020: real, fake"),
                     [("real", str(found.tn), str(found.fp), f"{WARNED.tn}, {WARNED.fp}"),
                      ("fake", str(found.fn), str(found.tp), f"{WARNED.fn}, {WARNED.tp}")], reads)
    return counts + "\n\n" + _beside(("rate", "here (95 %)", "Bar-on 2020"), rows, reads)


def _beside(head: tuple[str, ...], body: Sequence[tuple[str, ...]], reads: Sequence[Read]) -> str:
    """A table whose last column is the published one, which is of mammograms: of scans it goes without."""
    if any(read.truth.scan for read in reads):
        return table(head[:-1], [row[:-1] for row in body])
    return table(head, body)


def readers_table(reads: Sequence[Read], part: Part) -> str:
    """One line a reader, then all."""
    names = list(dict.fromkeys(read.reader for read in reads))
    groups = [(name, [r for r in reads if r.reader == name]) for name in names] + [("all", list(reads))]
    kinds = list(blind_counts(reads)) if part == "blind" else ["real", "fake"]
    word = CHOICES[part][1]
    body = []
    for name, own in groups:
        cells = [_share([r for r in own if (described(r.truth) if part == "blind" else
                                            "fake" if r.truth.forged else "real") == kind], word) for kind in kinds]
        times = [r.reading.seconds for r in own if r.answer is not None]
        body.append((name, f"{sum(r.answer is not None for r in own)}/{len(own)}", *cells, _auc(own),
                     f"{np.median(times):.0f}" if times else "–"))
    return table(("reader", "answered", *(f"{kind}: called {word}" for kind in kinds), "AUC of sureness",
                  "seconds a case (median)"), body)


def _share(reads: Sequence[Read], word: str) -> str:
    return rate(called(reads, word), members(reads))


def _auc(reads: Sequence[Read]) -> str:
    """How well the answers with their sureness tell unhealthy from healthy real films, or fake from real ones."""
    rated = [r for r in reads if r.answer is not None and (r.part == "open" or not r.truth.forged)]
    positive = [r.truth.forged if r.part == "open" else r.truth.kind == "unhealthy" for r in rated]
    if len(set(positive)) < 2:
        return "–"
    return estimate(*auc_interval([score(r) for r in rated], positive, members(rated)))


def score(read: Read) -> int:
    """An answer with its sureness: 5 for certainly unhealthy or fake, −5 for certainly healthy or real; 3 and −3
    where the reader did not say how sure."""
    return (1 if read.answer == CHOICES[read.part][1] else -1) * (read.reading.confidence or 3)


def located_table(reads: Sequence[Read]) -> str:
    """Where fakes were marked, of those called unhealthy or fake and of all answered ones."""
    body = []
    for part in dict.fromkeys(read.part for read in reads):
        fakes = [r for r in reads if r.part == part and r.truth.forged and r.answer is not None]
        for kind in dict.fromkeys(described(r.truth) for r in fakes):
            own = [r for r in fakes if described(r.truth) == kind]
            for name, some in ((f"called {CHOICES[part][1]}", [r for r in own if r.answer == CHOICES[part][1]]),
                               ("all answered", own)):
                body.append((part, kind, name, *_found(some)))
    if not body:
        return "No fake was answered yet."
    if reads[0].truth.scan:
        return table(("part", "cases", "readings", "marked", "a mark in it",
                      f"a mark within {reads[0].truth.margin_mm:g} mm of it", "marks beyond, a reading"), body)
    return table(("part", "cases", "readings", "marked", "a mark's centre in it", "a mark over it (IoU > 0)",
                  "mean IoU of the marked"), body)


def _found(reads: Sequence[Read]) -> tuple[str, ...]:
    places, whose = [located(read) for read in reads], members(reads)
    if any(read.truth.scan for read in reads):
        beyond = [sum(not on_it(spot, read.truth) for spot in read.reading.spots) for read in reads]
        return (rate([p.marked for p in places], whose), rate([p.touched for p in places], whose),
                rate([p.inside for p in places], whose), f"{np.mean(beyond):.2f}")
    marked = [(p.iou, m) for p, m in zip(places, whose, strict=True) if p.marked]
    overlap = estimate(*mean_interval([i for i, _ in marked], [m for _, m in marked])) if marked else "–"
    return (rate([p.marked for p in places], whose), rate([p.inside for p in places], whose),
            rate([p.touched for p in places], whose), overlap)


def agreement(reads: Sequence[Read], part: Part) -> Agreement:
    """Fleiss' κ with its interval over films, and Cohen's of each two readers, on the films that both answered."""
    first = CHOICES[part][0]
    films: dict[str, dict[str, int]] = {}
    for read in reads:
        if read.part == part and read.answer is not None:
            films.setdefault(read.film, {})[read.reader] = int(read.answer != first)
    shared = [row for row in films.values() if len(row) > 1]
    value = fleiss_interval([(len(row) - sum(row.values()), sum(row.values())) for row in shared])
    pairs = {}
    for a, b in combinations(dict.fromkeys(read.reader for read in reads), 2):
        both = [row for row in shared if a in row and b in row]
        if both:
            pairs[f"{a}, {b}"] = (cohen([row[a] for row in both], [row[b] for row in both]), len(both))
    return Agreement(value, len(shared), pairs)


def agreement_table(reads: Sequence[Read], parts: Sequence[Part]) -> str:
    """Agreement of both parts."""
    body = []
    for part in parts:
        found = agreement(reads, part)
        if not found.films:
            continue
        alike = "–" if found.films < 2 else "– (all answers alike)"
        kappa = alike if np.isnan(found.fleiss[0]) else estimate(*found.fleiss)
        body.append((part, "all (Fleiss)", kappa, str(found.films)))
        body += [(part, f"{pair} (Cohen)", "–" if np.isnan(k) else f"{k:.3f}".replace("0.", "."), str(n))
                 for pair, (k, n) in found.cohen.items()]
    return table(("part", "readers", "κ (95 %)", "cases"), body) if body else "No case was answered by two readers yet."


def rates(reads: Sequence[Read], word: str) -> dict[str, Any]:
    """A rate for JSON: count, of how many, and its interval."""
    hits = called(reads, word)
    return {"count": sum(hits), "of": len(hits), "interval": rate_interval(hits, members(reads))}


def shown_p(value: float) -> str:
    """A p with two digits."""
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.1e}"
