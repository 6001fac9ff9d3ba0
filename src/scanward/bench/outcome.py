"""What a detector made of one group of a bench: every figure with its interval, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.bench import tables
from scanward.bench.confusion import Confusion, confusion, judgements
from scanward.bench.measure import Row, ious, pixel_auc
from scanward.metrics import auc, drawn_interval, wilson

DRAWS = 500
RATES = ("npv", "ppv", "tnr", "tpr", "accuracy")
Estimate = tuple[float, float, float]
"""A value and its 95 % interval."""


@dataclass(frozen=True)
class Outcome:
    """A detector's answers to one group, and what the paper has for it."""

    title: str
    rows: tuple[Row, ...]
    threshold: float
    heat_threshold: float
    published: Confusion | None = None

    @property
    def confusion(self) -> Confusion:
        """Counts at the shipped threshold."""
        return confusion(self.rows, self.threshold)

    @cached_property
    def figures(self) -> dict[str, Estimate]:
        """Everything measured besides the counts, with intervals from resampling patients."""
        return mean_of([self])

    def members(self, name: str) -> tuple[list[bool], list[str]]:
        """Of the rate `name`: hit or not, and whose image it is."""
        judged = [(*pair, who) for pair, who in zip(judgements(self.rows, self.threshold), tables.groups(self.rows),
                                                    strict=True)]
        found = {"npv": [(not forged, who) for forged, called, who in judged if not called],
                 "ppv": [(forged, who) for forged, called, who in judged if called],
                 "tnr": [(not called, who) for forged, called, who in judged if not forged],
                 "tpr": [(called, who) for forged, called, who in judged if forged],
                 "accuracy": [(forged == called, who) for forged, called, who in judged]}[name]
        return [hit for hit, _ in found], [who for _, who in found]

    @property
    def false_alarms(self) -> Estimate:
        """Per 1,000 authentic images, with its interval."""
        hits, owners = self.members("tnr")
        low, high = tables.rate_interval(hits, owners)
        return 1000 * (len(hits) - sum(hits)) / max(1, len(hits)), 1000 * (1 - high), 1000 * (1 - low)

    def statistics(self) -> dict[str, Callable[[Sequence[Row]], float]]:
        """What `figures` computes, of any of the rows."""
        return {"balanced accuracy": lambda rows: confusion(rows, self.threshold).balanced, "image AUC": _image_auc,
                "pixel AUC": lambda rows: pixel_auc([row for row in rows if row.item.attack]),
                "IoU": lambda rows: float(overlaps(rows, self.heat_threshold).mean()),
                "F1": lambda rows: float(_f1(overlaps(rows, self.heat_threshold)).mean()),
                "pointing game": lambda rows: float(np.mean([row.hit for row in rows if row.item.attack])),
                "Brier score": _brier, "calibration error": _calibration_error}

    def to_json(self) -> dict[str, Any]:
        """Counts, rates and figures; null where nothing was counted."""
        counts = self.confusion
        return {"group": self.title, "tn": counts.tn, "fp": counts.fp, "fn": counts.fn, "tp": counts.tp,
                "rates": {name: _known(_share(*self.members(name))) for name in RATES},
                "false alarms per 1000": _known(self.false_alarms),
                "figures": {name: _known(value) for name, value in self.figures.items()},
                "inconclusive": sum(not row.conclusive for row in self.rows),
                "seconds an image": float(np.mean([row.seconds for row in self.rows]))}


def mean_of(outcomes: Sequence[Outcome]) -> dict[str, Estimate]:
    """Every figure, averaged over the groups; intervals draw the same patients for all of them."""
    owners = [tables.groups(outcome.rows) for outcome in outcomes]
    names = sorted({name for owner in owners for name in owner})
    ready = [[_as_arrays(row) for row in outcome.rows] for outcome in outcomes]
    members = [{name: [row for row, who in zip(rows, owner, strict=True) if who == name] for name in names}
               for rows, owner in zip(ready, owners, strict=True)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        picks = [names[i] for i in rng.integers(0, len(names), len(names))]
        parts = [[row for name in picks for row in of[name]] for of in members]
        if all({bool(row.item.attack) for row in part} == {True, False} for part in parts):
            drawn.append(_mean(outcomes, parts))
    whole = _mean(outcomes, ready)
    return {name: (float(value), *drawn_interval([one[i] for one in drawn]))
            for i, (name, value) in enumerate(zip(outcomes[0].statistics(), whole, strict=True))}


def _as_arrays(row: Row) -> Row:
    """The same row with counts that NumPy need not convert at every draw."""
    return replace(row, inside=np.asarray(row.inside), outside=np.asarray(row.outside))  # type: ignore[arg-type]


def _mean(outcomes: Sequence[Outcome], parts: Sequence[Sequence[Row]]) -> npt.NDArray[np.float64]:
    return np.mean([[f(part) for f in outcome.statistics().values()]
                    for outcome, part in zip(outcomes, parts, strict=True)], axis=0)


def overlaps(rows: Sequence[Row], heat_threshold: float) -> npt.NDArray[np.float64]:
    """IoU of each forged row's heat with its truth."""
    return np.asarray(ious([row for row in rows if row.item.attack])[:, tables.bin_of(heat_threshold)], np.float64)


def confusion_table(outcome: Outcome) -> str:
    """The report's tables 3 and 4, with its own column where it has one. Whose images the report counted is not known,
    so its column has Wilson's intervals alone."""
    ours, theirs = outcome.confusion, outcome.published
    head = ["", "ours"] + (["published"] if theirs else [])
    body = [[name.upper(), str(getattr(ours, name)), *([str(getattr(theirs, name))] if theirs else [])]
            for name in ("tn", "fp", "fn", "tp")]
    body += [[name.upper() if name != "accuracy" else name, tables.rate(*outcome.members(name)),
              *([_rate(*getattr(theirs, name))] if theirs else [])] for name in RATES]
    return tables.table(head, body)


def counts_table(outcomes: Sequence[Outcome]) -> str:
    """What was detected, and the false alarms per 1,000 authentic images."""
    body = []
    for outcome in outcomes:
        counts, (value, low, high) = outcome.confusion, outcome.false_alarms
        body.append([outcome.title, tables.rate(*outcome.members("tpr")),
                     f"{value:.0f} ({counts.fp}/{counts.fp + counts.tn}; {low:.0f}–{high:.0f})"])
    return tables.table(["group", "detected", "false alarms per 1,000"], body)


def figures_table(figures: dict[str, dict[str, Estimate]]) -> str:
    """One line a group: every figure."""
    names = list(next(iter(figures.values())))
    return tables.table(["group", *names], [[title, *(tables.estimate(*values[name]) for name in names)]
                                            for title, values in figures.items()])


def _image_auc(rows: Sequence[Row]) -> float:
    return auc([row.score for row in rows], [bool(row.item.attack) for row in rows])


def _f1(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2 * values / (1 + values)


def _brier(rows: Sequence[Row]) -> float:
    """Mean squared difference of score and truth, both classes counted alike (Brier 1950)."""
    gaps = [[(row.score - forged) ** 2 for row in rows if bool(row.item.attack) == forged] for forged in (False, True)]
    return float(np.mean([np.mean(part) for part in gaps]))


def reliability(rows: Sequence[Row], bins: int = 10) -> list[tuple[float, float, float]]:
    """(mean score, share forged, weight) of each tenth of the scale that holds scores, both classes counted alike."""
    score = np.array([row.score for row in rows])
    forged = np.array([bool(row.item.attack) for row in rows])
    weight = np.where(forged, 0.5 / max(1, forged.sum()), 0.5 / max(1, (~forged).sum()))
    where = np.minimum((score * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        inside = where == number
        total = float(weight[inside].sum())
        if total > 0:
            found.append((float((weight * score)[inside].sum()) / total,
                          float((weight * forged)[inside].sum()) / total, total))
    return found


def _calibration_error(rows: Sequence[Row]) -> float:
    """Expected calibration error over tenths of the scale (Naeini et al. 2015)."""
    return sum(weight * abs(said - true) for said, true, weight in reliability(rows))


def _share(hits: Sequence[bool], members: Sequence[str]) -> Estimate:
    return (float(np.mean(hits)) if hits else float("nan"), *tables.rate_interval(hits, members))


def _known(values: Sequence[float]) -> list[float | None]:
    """For JSON, which has no NaN."""
    return [None if np.isnan(value) else value for value in values]


def _rate(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} % ({k}/{n}; {100 * low:.1f}–{100 * high:.1f})" if n else "–"
