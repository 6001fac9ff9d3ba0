"""How often what happened: counts that the index keeps of the audit log's lines, each of which it reads once.

The log alone counts: an index that is made anew counts it from its first line on.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from scanward.inbox.index import Index
from scanward.verdict import STUDY_LABELS

BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 7200.0, math.inf)
"""Seconds of a scan: the upper bounds of the histogram."""
REASONS = ("full", "too_large", "mismatched", "unreadable", "unsupported", "pulled", "other")
"""Why objects were refused: no room, larger than node.largest_mb, the data set is another object than the command says,
no study in it, a kind that is not kept, one that was pulled, and what an earlier version did not say."""
Count = tuple[str, str, float]
"""What, of which kind, and how many more."""


def counts_of(line: Mapping[str, Any]) -> Iterator[Count]:
    """What one line of the log adds."""
    event = str(line.get("event"))
    if event in ("objects.stored", "pull"):
        yield "received", "pull" if event == "pull" else "store", _number(line.get("count" if event == "pull"
                                                                                   else "stored"))
        yield from _refused(line, "pulled" if event == "pull" else "other")
    elif event == "study.scanned" and line.get("label") in STUDY_LABELS:
        yield "scanned", str(line["label"]), 1
        if "seconds" in line:
            seconds = _number(line["seconds"])
            yield "seconds", "", seconds
            yield "scans", str(next(bound for bound in BOUNDS if seconds <= bound)), 1
    elif event == "study.failed":
        yield "scanned", "failed", 1
    elif event in ("results.sent", "results.refused", "hook.sent", "hook.refused"):
        yield "delivered", event.replace("hook.", "hooks.").replace(".", " "), 1
    elif event == "association.rejected":
        yield "rejected", "", 1
    elif event == "login":
        yield "logins", "accepted" if line.get("outcome") == "success" else "refused", 1


def add(to: sqlite3.Connection, line: Mapping[str, Any]) -> None:
    """Counts it."""
    for name, kind, more in counts_of(line):
        to.execute("INSERT INTO counted VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
                   (name, kind, more))


def counted(index: Index) -> dict[tuple[str, str], float]:
    """All counts by what and kind. Raises `ScanwardError` where the index cannot be read."""
    rows = index.read(lambda one: one.execute("SELECT name, kind, number FROM counted").fetchall())
    return {(name, kind): number for name, kind, number in rows}


def _refused(line: Mapping[str, Any], whole: str) -> Iterator[Count]:
    reasons = line.get("reasons")
    if isinstance(reasons, dict) and reasons:
        for reason, number in reasons.items():
            yield "refused", reason if reason in REASONS else "other", _number(number)
    elif refused := _number(line.get("refused")):
        yield "refused", whole, refused


def _number(value: object) -> float:
    """Zero for what is no plausible number."""
    with suppress(TypeError, ValueError, OverflowError):
        found = float(value)  # type: ignore[arg-type]
        if math.isfinite(found) and found > 0:
            return found
    return 0.0
