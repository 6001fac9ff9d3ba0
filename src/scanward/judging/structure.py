"""The file as a witness: what is odd about a file beside its pixels, weighed.

Each fact's weight is the decimal logarithm of how much more often changed files show it than ordinary and harmlessly
rewritten ones, measured by `benchmarks/structure.py` on one half of the sources (docs/results.md). What harmless
programs leave behind is told and weighs nothing. The witness alone never says more than `inconclusive`, unless a fact
is proof.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from scanward.box import Box
from scanward.formats.fact import Fact
from scanward.formats.structure import said_of
from scanward.judging.case import Case
from scanward.verdict import FILE, Evidence, Finding

WEIGHTS = {
    "odd writing": 2.0, "jump": 1.96, "odd value": 1.88, "odd elements": 1.73, "location": 1.67, "odd uid": 1.55,
    "levels": 1.55, "largest": 1.45, "time order": 1.45, "number order": 1.39, "hidden": 1.36, "foreign kernel": 1.31,
    "program": 1.23, "same name": 1.23, "table": 1.23, "combed": 1.12, "icon": 1.12, "nearly same": 1.12,
    "overlay": 1.12, "same values": 1.12, "slice twice": 1.12, "text": 1.12, "window": 1.12, "two patients": 1.09,
    "blocks": 1.02, "moved": 0.97, "foreign slice": 0.97, "foreign model": 0.75, "air": 0.27,
    **dict.fromkeys(("born after", "capture", "diameter", "instance root",
                     "odd blocks", "taken after", "taken before", "two names"), 0.5),
    "unread": 1.0,
}
"""By a fact's name; others weigh nothing. Those of 0.5 weigh more in the half that weights are of; files that nobody
is known to have changed show them, too, and alone they are told and not heard. No ordinary header was found that cannot
be read."""
LIMIT = 1.0
"""Sum of weights from which a file is odd: ten times likelier changed than not."""
SAID = 3
"""Facts that make up the reason."""


class File:
    """The files that an image was read from. An image in memory has none."""

    def load(self) -> None:
        """Nothing: it is arithmetic."""

    def testify(self, case: Case) -> Evidence | None:
        if case.source is None:
            return None
        start = time.perf_counter()
        said = said_of(case.source, case.image)
        facts = (*said.facts, *(() if case.seen is None else case.seen.add(said)))
        return None if not facts else evidence_of(facts, case.image.shape, time.perf_counter() - start)


def weight_of(fact: Fact) -> float:
    """What a fact counts for."""
    return 0.0 if fact.harmless else WEIGHTS.get(fact.name, 0.0)


def odd(facts: Iterable[Fact]) -> bool:
    """Whether facts weigh enough together; one of a name counts once."""
    return sum({fact.name: weight_of(fact) for fact in facts if not fact.harmless}.values()) >= LIMIT


def evidence_of(facts: tuple[Fact, ...], shape: tuple[int, int, int], seconds: float = 0.0) -> Evidence:
    """The witness's answer. Where nothing is odd it is not concerned: it has facts to tell, and no say."""
    proofs = [fact for fact in facts if fact.proof]
    telling = sorted((fact for fact in facts if not fact.harmless), key=lambda fact: (-fact.proof, -weight_of(fact)))
    found = odd(facts) or bool(proofs)
    heat = np.broadcast_to(np.float32(0), shape)
    boxes = sorted({z for fact in proofs for z in fact.slices or range(shape[0])})
    if boxes:
        heat = np.zeros(shape, np.float32)
        heat[boxes] = 1
    findings = tuple(Finding(Box(first, 0, 0, last, *shape[1:]), 1.0, method=FILE) for first, last in _runs(boxes))
    return Evidence(FILE, 1.0 if proofs else 0.0, 0.5, heat, 0.5, findings, conclusive=bool(proofs) or not found,
                    reason=" ".join(fact.says for fact in telling[:SAID]) if found else "", seconds=seconds,
                    facts={"facts": [fact.to_json(weight_of(fact)) for fact in facts]}, concerned=found)


def _runs(slices: list[int]) -> list[tuple[int, int]]:
    """Slices that follow one another, as (first, one past the last)."""
    cuts = [i for i in range(len(slices)) if i == 0 or slices[i] != slices[i - 1] + 1]
    return [(slices[a], slices[b - 1] + 1) for a, b in zip(cuts, [*cuts, len(slices)][1:], strict=True)]
