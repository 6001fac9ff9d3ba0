"""Curves of a bench: ROC and reliability, one line a group."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from scanward.bench.outcome import Outcome, reliability
from scanward.disk import whole_file
from scanward.mark import marked_png


def curves(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """A PNG with both; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    roc, calibration = figure.subplots(1, 2)
    for outcome in outcomes:
        false, true = _roc(outcome)
        line = roc.step(false, true, where="post", label=outcome.title)[0]
        points = reliability(outcome.rows, bins=5)
        said, true, weight = (list(part) for part in zip(*points, strict=True))
        calibration.plot(said, true, "-", color=line.get_color(), linewidth=1)
        calibration.scatter(said, true, [10 + 400 * w for w in weight], color=line.get_color(), alpha=0.7)
        counts = outcome.confusion
        roc.plot(counts.fp / max(1, counts.fp + counts.tn), counts.tp / max(1, counts.tp + counts.fn), "o",
                 color=line.get_color())
    for axes, x, y in ((roc, "false alarms", "detected (dot: the shipped threshold)"),
                       (calibration, "score", "share forged, classes balanced (size: share of all)")):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
        axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    roc.legend(loc="lower right", fontsize="small")
    figure.suptitle(title)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    with whole_file(path) as file:
        file.write(marked_png(drawn.getvalue()))


def _roc(outcome: Outcome) -> tuple[list[float], list[float]]:
    score = np.array([row.score for row in outcome.rows])
    forged = np.array([bool(row.item.attack) for row in outcome.rows])
    false, true = [0.0], [0.0]
    for cut in np.unique(score)[::-1]:
        false.append(float((score[~forged] >= cut).mean()))
        true.append(float((score[forged] >= cut).mean()))
    return false, true
