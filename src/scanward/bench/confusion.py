"""Confusion matrices as the mammography report prints them (Bar-on 2020, tables 2 to 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scanward.bench.measure import Row


@dataclass(frozen=True)
class Confusion:
    """Counts of images; positive is forged. Rates are NaN where nothing was counted."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def npv(self) -> tuple[int, int]:
        """Authentic among what was called authentic: (count, of)."""
        return self.tn, self.tn + self.fn

    @property
    def ppv(self) -> tuple[int, int]:
        """Forged among what was called forged."""
        return self.tp, self.tp + self.fp

    @property
    def tnr(self) -> tuple[int, int]:
        """Called authentic among the authentic: specificity."""
        return self.tn, self.tn + self.fp

    @property
    def tpr(self) -> tuple[int, int]:
        """Called forged among the forged: sensitivity."""
        return self.tp, self.tp + self.fn

    @property
    def accuracy(self) -> tuple[int, int]:
        """Right among all."""
        return self.tn + self.tp, self.tn + self.fp + self.fn + self.tp

    @property
    def balanced(self) -> float:
        """Mean of TNR and TPR."""
        return (_share(self.tnr) + _share(self.tpr)) / 2


SOURCE = Confusion(tn=46, fp=3, fn=7, tp=45)
"""Bar-on 2020, table 3: trained on Mammo-CGAN, tested on Mammo-CGAN."""
TARGET = Confusion(tn=24, fp=8, fn=16, tp=16)
"""Bar-on 2020, table 4: lesions removed by partial convolutions, never trained on. It prints an accuracy of 64.5 %; its
own counts give 62.5."""


def judgements(rows: Sequence[Row], threshold: float) -> list[tuple[bool, bool]]:
    """Of each row: forged, and called forged."""
    return [(bool(row.item.attack), row.conclusive and row.score >= threshold) for row in rows]


def confusion(rows: Sequence[Row], threshold: float) -> Confusion:
    """Of a detector's answers; those it is not conclusive about count as called authentic, since no alarm is raised."""
    called = judgements(rows, threshold)
    return Confusion(*(called.count(kind) for kind in ((False, False), (False, True), (True, False), (True, True))))


def _share(part: tuple[int, int]) -> float:
    return part[0] / part[1] if part[1] else float("nan")
