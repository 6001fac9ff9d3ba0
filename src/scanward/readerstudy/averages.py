"""A study's figures averaged over its readers, with intervals that hold for other readers and other patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scanward.bench.multireader import (
    DRAWS,
    Average,
    Components,
    Figure,
    Studied,
    Task,
    average,
    components,
    difference,
    studied,
)
from scanward.bench.tables import estimate, table
from scanward.metrics import drawn_interval
from scanward.readerstudy.outcome import INJECTED, REMOVED, Read, described, on_it
from scanward.readerstudy.protocol import Part
from scanward.readerstudy.tables import members, score, shown_p

FIGURES: tuple[Figure, ...] = ("AUC", "sensitivity", "specificity", "accuracy")


@dataclass(frozen=True)
class Asked:
    """Two kinds of case that readers may or may not tell apart."""

    title: str
    part: Part
    positive: tuple[str, ...]
    negative: tuple[str, ...]


ASKED = (Asked("blind: unhealthy from healthy", "blind", ("unhealthy",), ("healthy",)),
         Asked("blind: lesions put in from healthy", "blind", (INJECTED,), ("healthy",)),
         Asked("blind: unhealthy from lesions taken out", "blind", ("unhealthy",), (REMOVED,)),
         Asked("open: fake from real", "open", (INJECTED, REMOVED), ("healthy", "unhealthy")))


@dataclass(frozen=True)
class Averages:
    """What came of each task, and of each held against the first."""

    titles: tuple[str, ...]
    readers: tuple[str, ...]
    """Who answered films of both kinds in every task; nobody else counts."""
    figures: dict[Figure, Studied]
    afroc: tuple[tuple[str, ...], Studied] | None = None
    """Of scans, the tasks whose positives were forged at a known place, and the area under the AFROC curve of each."""

    def estimates(self) -> dict[str, dict[str, Any]]:
        """For JSON: of each task, each figure; of each comparison, the difference of AUCs and its components."""
        made: dict[str, dict[str, Any]] = {"readers": {name: {} for name in self.readers}, "tasks": {},
                                           "comparisons": {}}
        for at, title in enumerate(self.titles):
            made["tasks"][title] = {figure: asdict(average(found, at)) | {"drawn": drawn_interval(found.drawn[:, at])}
                                    for figure, found in self.figures.items()}
            for reader, name in enumerate(self.readers):
                made["readers"][name][title] = {figure: float(found.figures[at, reader])
                                                for figure, found in self.figures.items()}
        for at, title in enumerate(self.afroc[0] if self.afroc else ()):
            found = self.afroc[1]  # type: ignore[index]
            made["tasks"][title]["AFROC"] = asdict(average(found, at)) | {"drawn": drawn_interval(found.drawn[:, at])}
            for reader, name in enumerate(self.readers):
                made["readers"][name][title]["AFROC"] = float(found.figures[at, reader])
        for title, (found, drawn, parts) in self.comparisons().items():
            made["comparisons"][title] = asdict(found) | {"drawn": drawn, "components": asdict(parts)}
        return made

    def comparisons(self) -> dict[str, tuple[Average, tuple[float, float], Components]]:
        """Each other task's AUC less the first's: by Obuchowski and Rockette, by drawing, and the components."""
        found, first = self.figures["AUC"], self.titles[0]
        return {f"{title}, less {first}": (difference(found, 0, at), drawn_interval(found.drawn[:, at] -
                                           found.drawn[:, 0]), components(found, 0, at))
                for at, title in enumerate(self.titles) if at}


def averages(reads: Sequence[Read]) -> Averages | str:
    """The averages of a study, or why there are none."""
    asked = {one: [read for read in reads if _sign(one, read) is not None] for one in ASKED}
    tasks = {one.title: (one, own) for one, own in asked.items() if _enough(one, own)}
    if not tasks:
        return "no two kinds of case, each of two patients or more, have been answered yet"
    readers = [name for name in dict.fromkeys(read.reader for read in reads)
               if all(len({_sign(one, r) for r in own if r.reader == name}) == 2 for one, own in tasks.values())]
    if not readers:
        return "no reader has answered cases of all kinds yet"
    made = [_task(one, own, readers, score) for one, own in tasks.values()]
    return Averages(tuple(tasks), tuple(readers), {figure: studied(made, figure) for figure in FIGURES},
                    _afroc(list(tasks.values()), readers))


def _afroc(tasks: Sequence[tuple[Asked, list[Read]]], readers: Sequence[str]) -> tuple[tuple[str, ...], Studied] | None:
    """Chakraborty and Winter 1990: how often the best mark on what was forged is rated above every mark on a scan with
    nothing to find, ties counting half; what is not marked is rated below all."""
    known = [(one, own) for one, own in tasks
             if all(r.truth.scan and r.truth.forged for r in own if _sign(one, r))]
    if not known:
        return None
    return tuple(one.title for one, _ in known), studied([_task(one, own, readers, rated) for one, own in known], "AUC")


def averages_table(found: Averages | str) -> str:
    """The averages as Markdown: of each task, and the comparisons."""
    if isinstance(found, str):
        return f"Not averaged: {found}."
    rows: list[tuple[str, ...]] = [(title, name, *_cells(one, at)) for at, title in enumerate(found.titles)
                                   for name, one in found.figures.items()]
    if found.afroc:
        rows += [(title, "AFROC", *_cells(found.afroc[1], at)) for at, title in enumerate(found.afroc[0])]
    parts = [_whom(found), table(("told apart", "figure", "mean of the readers (95 %)",
                                  f"95 % of {DRAWS:,} draws"), rows)]
    compared = [(title, f"{one.value:+.3f} " + ("(–)" if np.isnan(one.low) else f"({one.low:+.3f} to {one.high:+.3f})"),
                 _tested(one), f"{low:+.3f} to {high:+.3f}")
                for title, (one, (low, high), _) in found.comparisons().items()]
    if compared:
        parts.append(table(("difference of AUCs", "here (95 %)", "test", f"95 % of {DRAWS:,} draws"), compared))
    return "\n\n".join(parts)


def _cells(found: Studied, at: int) -> tuple[str, str]:
    return _told(average(found, at)), "{:.3f}–{:.3f}".format(*drawn_interval(found.drawn[:, at])).replace("0.", ".")


def _whom(found: Averages) -> str:
    count = len(found.readers)
    if count == 1:
        return (f"One reader ({found.readers[0]}): the intervals hold for other patients read by this reader, and say "
                "nothing of other readers.")
    return (f"{count} readers; the intervals hold for other readers and other patients, by Obuchowski and Rockette "
            "with a jackknife over patients and Hillis's degrees of freedom, and beside that by drawing readers and "
            "patients with replacement.")


def _told(one: Average) -> str:
    return f"{one.value:.3f} (–)".replace("0.", ".") if np.isnan(one.low) else estimate(one.value, one.low, one.high)


def _tested(one: Average) -> str:
    if np.isnan(one.p):
        return "–"
    ratio = (one.value / one.error) ** 2
    return f"{'z²' if np.isinf(one.df) else f'F(1, {one.df:.1f})'} = {ratio:.2f}, p = {shown_p(one.p)}"


def _enough(asked: Asked, reads: Sequence[Read]) -> bool:
    """Whether there are two patients of either kind: the jackknife leaves out one at a time."""
    return all(len({whose for whose, read in zip(members(reads), reads, strict=True) if _sign(asked, read) == kind}) > 1
               for kind in (False, True))


def _sign(asked: Asked, read: Read) -> bool | None:
    """Whether an answered film is one of the task's positives; None where the task does not ask for it."""
    if read.part != asked.part or read.answer is None:
        return None
    kind = described(read.truth)
    return True if kind in asked.positive else False if kind in asked.negative else None


def rated(read: Read) -> int:
    """The highest rating of a scan's marks, of a forged one's of those on what was forged; 0 without any."""
    return max((spot.rating for spot in read.reading.spots if not read.truth.forged or on_it(spot, read.truth)),
               default=0)


def _task(asked: Asked, reads: Sequence[Read], readers: Sequence[str], value: Callable[[Read], int]) -> Task:
    films = {read.film: read for read in reads if read.reader in readers}
    place = {film: at for at, film in enumerate(films)}
    scores = np.full((len(readers), len(films)), np.nan)
    for read in reads:
        if read.reader in readers:
            scores[readers.index(read.reader), place[read.film]] = value(read)
    return Task(scores, np.array([_sign(asked, read) for read in films.values()], bool),
                tuple(members(list(films.values()))))
