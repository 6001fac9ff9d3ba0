"""Pictures of what a detector missed: each forged place as it looks, and under the detector's heat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Donor
from scanward.bench.confusion import judgements
from scanward.bench.measure import Row, received
from scanward.bench.outcome import Outcome
from scanward.bench.protocol import Item, make
from scanward.datasets.films import Film, donors_of
from scanward.detectors.base import Detector
from scanward.image import Image
from scanward.judging.batch import Processes

Picture = tuple[Image, npt.NDArray[np.bool_], npt.NDArray[np.float32]]
"""An image, its truth (y, x) and its heat (y, x)."""

COLUMNS = 3
_GROUND = 0.35
"""Share of the picture's side that the forged region fills, at most."""


def lowest(outcomes: Sequence[Outcome], each: int = 3) -> list[tuple[str, Row]]:
    """Of every group, the `each` forgeries with the lowest scores among those that were not called forged."""
    found = []
    for outcome in outcomes:
        missed = [row for row, (forged, called) in
                  zip(outcome.rows, judgements(outcome.rows, outcome.threshold), strict=True) if forged and not called]
        found += [(outcome.title, row) for row in sorted(missed, key=lambda row: row.score)[:each]]
    return found


def sheet(rows: Sequence[tuple[str, Row]], films: Sequence[Film],
          make_detector: Callable[[], Detector], donors: Sequence[Film] | None = None) -> npt.NDArray[np.uint8] | None:
    """(y, x, 3) BGR: one cell a row of answers, each forged and scanned once more, as `measure.run` does it; None where
    nothing was missed."""
    if not rows:
        return None
    spliced = donors_of(films if donors is None else donors)
    by_name = {film.name: film for film in films}
    jobs = [(row.item, by_name[row.item.film]) for _, row in rows]
    # In a process of its own, as the bench's answers are made: the attacks' threads and the detectors' stay apart.
    seen = Processes(1).run(partial(_seeing, make_detector, spliced), jobs)
    cells = [_cell(*done.answer(), title, row) for done, (title, row) in zip(seen, rows, strict=True)]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
    return np.vstack([np.hstack(cells[i:i + COLUMNS]) for i in range(0, len(cells), COLUMNS)])


def _seeing(make_detector: Callable[[], Detector],
            donors: Sequence[tuple[str, Donor]]) -> Callable[[tuple[Item, Film]], Picture]:
    detector = make_detector()

    def see(job: tuple[Item, Film]) -> Picture:
        image, truth, _ = make(*job, donors)
        return image, truth, detector.detect(received(image)).heat[0]

    return see


def _cell(image: Image, truth: npt.NDArray[np.bool_], heat: npt.NDArray[np.float32], title: str,
          row: Row) -> npt.NDArray[np.uint8]:
    ys, xs = np.nonzero(truth)
    across = max(np.ptp(ys), np.ptp(xs)) + 1
    side = int(min(max(160, across / _GROUND), *image.plane.shape))
    top, left = (int(np.clip((v.min() + v.max() - side) / 2, 0, n - side))
                 for v, n in zip((ys, xs), image.plane.shape, strict=True))
    window = slice(top, top + side), slice(left, left + side)
    low, high = np.percentile(image.plane[window], [1, 99])
    grey = np.clip((image.plane[window] - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    plain = cv2.cvtColor(cv2.resize(grey, (240, 240), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
    warm = cv2.resize((heat[window] * 255).astype(np.uint8), (240, 240), interpolation=cv2.INTER_LINEAR)
    hot = cv2.addWeighted(plain, 0.5, cv2.applyColorMap(warm, cv2.COLORMAP_INFERNO), 0.8, 0)
    outline = cv2.resize(truth[window].astype(np.uint8), (240, 240), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(outline, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(hot, contours, -1, (255, 255, 0), 1)
    cell = np.vstack([np.zeros((36, 480, 3), np.uint8), np.hstack([plain, hot])])
    for line, text in enumerate((title, f"{row.item.film}, {row.item.mm:.0f} mm, score {row.score:.2f}")):
        cv2.putText(cell, text, (6, 14 + 16 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.pad(cell, ((0, 8), (0, 8), (0, 0)))
