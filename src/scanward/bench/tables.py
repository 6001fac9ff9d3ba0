"""Markdown tables of what detectors answered: every rate with its counts and a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scanward.bench.measure import BINS, Row, ious, pixel_auc
from scanward.metrics import auc_interval, drawn_interval, mean_interval, wilson


def rate(hits: Sequence[bool], members: Sequence[str]) -> str:
    """`94.2 % (49/52; 84.4–98.0)`, with the wider of Wilson's interval and that of resampling the groups.

    Wilson's takes images as independent, which those of one patient are not; resampling knows no spread where all or
    none were hit.
    """
    if not len(hits):
        return "–"
    low, high = rate_interval(hits, members)
    k, n = int(np.sum(hits)), len(hits)
    return f"{100 * k / n:.1f} % ({k}/{n}; {100 * low:.1f}–{100 * high:.1f})"


def rate_interval(hits: Sequence[bool], members: Sequence[str]) -> tuple[float, float]:
    """The interval of `rate`; (0, 1) where nothing was counted."""
    if not len(hits):
        return 0.0, 1.0
    (low, high), (_, least, most) = wilson(int(np.sum(hits)), len(hits)), mean_interval(hits, members)
    return min(low, least), max(high, most)


def estimate(value: float, low: float, high: float) -> str:
    """`.953 (.931–.972)`."""
    return " ".join([f"{value:.3f}", f"({low:.3f}–{high:.3f})"]).replace("0.", ".")


def groups(rows: Sequence[Row]) -> list[str]:
    """What intervals resample: patients, or films where there is one patient only."""
    patients = [row.item.patient for row in rows]
    return patients if len(set(patients)) > 1 else [row.item.film for row in rows]


def image_auc(rows: Sequence[Row]) -> str:
    """AUC over images; the interval resamples patients."""
    labels = [bool(row.item.attack) for row in rows]
    return estimate(*auc_interval([row.score for row in rows], labels, groups(rows)))


def alarms(rows: Sequence[Row], threshold: float) -> str:
    """The share of rows at or above the threshold: detections among forgeries, false alarms among controls."""
    return rate([row.score >= threshold for row in rows], groups(rows))


def overlap(rows: Sequence[Row], heat_threshold: float) -> str:
    """Mean IoU of forged images at the heat threshold; the interval resamples patients."""
    values = ious(rows)[:, bin_of(heat_threshold)]
    return estimate(*mean_interval(values, groups(rows)))


def pointing(rows: Sequence[Row]) -> str:
    """The share of forged images whose hottest pixel lies in the truth."""
    return rate([row.hit for row in rows], groups(rows))


def pixel(rows: Sequence[Row]) -> str:
    """Pixel AUC over the forged images together; the interval resamples patients."""
    members: dict[str, list[Row]] = {}
    for group, row in zip(groups(rows), rows, strict=True):
        members.setdefault(group, []).append(row)
    parts, rng, drawn = list(members.values()), np.random.default_rng(0), []
    for _ in range(200):
        drawn.append(pixel_auc([row for i in rng.choice(len(parts), len(parts)) for row in parts[i]]))
    return estimate(pixel_auc(rows), *drawn_interval(drawn))


def bin_of(heat: float) -> int:
    """The heat bin that starts at this value."""
    return int(np.clip(round((np.log(heat / (1 - heat)) + 8) / 16 * BINS), 1, BINS - 1))


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
