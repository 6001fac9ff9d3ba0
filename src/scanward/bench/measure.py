"""Running a detector over a protocol, and what the answers are worth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from scanward.attacks.base import Donor
from scanward.bench.protocol import Item, make
from scanward.datasets.films import Film, donors_of
from scanward.detectors.base import Detector
from scanward.disk import Journal
from scanward.errors import UnreadableError
from scanward.formats import read
from scanward.image import Image
from scanward.judging.batch import runner
from scanward.metrics import auc

BINS = 256
"""Heat values are counted in this many bins, enough for every pixel metric and small enough to keep for each image."""


@dataclass(frozen=True)
class Row:
    """One detector's answer to one item."""

    item: Item
    score: float
    conclusive: bool
    inside: list[int]
    """Pixels a heat bin inside the truth."""
    outside: list[int]
    hit: bool
    """The hottest pixel lies in the truth (the pointing game)."""
    seconds: float
    features: tuple[float, ...] = ()


def run(make_detector: Callable[[], Detector], items: Sequence[Item], films: Sequence[Film], *,
        keep: Path | None = None, workers: int = 1, title: str = "scanning",
        donors: Sequence[Film] | None = None) -> list[Row]:
    """Scan every item; with `keep`, answers go to that JSONL file as they come, and a second call goes on from it.

    Masses are spliced from `donors`, or else from `films`.
    """
    done = load(keep) if keep and keep.is_file() else []
    known = {_key(row.item) for row in done}
    rest = [item for item in items if _key(item) not in known]
    by_name = {film.name: film for film in films}
    jobs = [(item, by_name[item.film]) for item in rest]
    rows = list(done)
    if jobs:
        spliced = donors_of(films if donors is None else donors)
        answers = runner(workers).run(partial(_scanning, make_detector, spliced), jobs)
        with Progress(console=Console(stderr=True)) as progress:
            for found in progress.track(answers, len(items), completed=len(done), description=title):
                row = found.answer()
                rows.append(row)
                if keep:
                    keep.parent.mkdir(parents=True, exist_ok=True)
                    Journal(keep).append(json.dumps(asdict(row)).encode())
    wanted = {_key(item) for item in items}
    return [row for row in rows if _key(row.item) in wanted]


def load(path: Path) -> list[Row]:
    """The rows that `run` kept; what a kill left of a last line is cut off the file."""
    text, found = path.read_text("utf-8"), []
    whole = text[:text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    for line in whole.splitlines():
        row = json.loads(line)
        found.append(Row(**{**row, "item": Item(**row["item"]), "features": tuple(row["features"])}))
    return found


def answer(detector: Detector, item: Item, film: Film, donors: Sequence[tuple[str, Donor]]) -> Row:
    """Make one item and scan it, as it would come: in a file that says nothing but its pixels."""
    image, truth, used = make(item, film, donors)
    evidence = detector.detect(received(image))
    heat = evidence.heat[0]
    bins = np.minimum((_stretch(heat) * BINS).astype(np.int32), BINS - 1)
    inside = np.bincount(bins[truth], minlength=BINS)
    outside = np.bincount(bins.ravel(), minlength=BINS) - inside
    hit = bool(truth.ravel()[int(heat.argmax())]) if truth.any() else False
    return Row(used, evidence.score, evidence.conclusive, inside.tolist(), outside.tolist(), hit, evidence.seconds,
               evidence.features)


def received(image: Image) -> Image:
    """A mammogram out of a PNG file, through the reader of the command line: no more is known of it than a user's file
    tells, least of all its pixel spacing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "received.png")
        depth = np.uint8 if image.bits <= 8 else np.uint16
        if not cv2.imwrite(str(path), image.plane.astype(depth), (cv2.IMWRITE_PNG_COMPRESSION, 1)):
            raise UnreadableError(f"{path} cannot be written; free some space for temporary files.")
        return read(path)


def _stretch(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Heat on a logit scale, [0, 1], so that the bins resolve both ends."""
    clipped = np.clip(heat, 3.4e-4, 1 - 3.4e-4)
    return np.where(heat <= 0, 0, np.clip((np.log(clipped / (1 - clipped)) + 8) / 16, 1 / BINS, 1 - 1e-6))


def heat_at(index: float) -> float:
    """The heat at the lower edge of a bin."""
    return float(1 / (1 + np.exp(8 - 16 * index / BINS)))


def pixel_auc(rows: Sequence[Row]) -> float:
    """AUC over all pixels of all forged images together."""
    inside = np.sum([row.inside for row in rows], 0)
    outside = np.sum([row.outside for row in rows], 0)
    values = np.concatenate([np.arange(BINS)] * 2)
    return auc(values, np.repeat([1, 0], BINS), np.concatenate([inside, outside]))


def ious(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """(rows, BINS) IoU of each forged image when heat is cut at the lower edge of each bin."""
    inside = np.array([row.inside for row in rows])[:, ::-1].cumsum(1)[:, ::-1]
    outside = np.array([row.outside for row in rows])[:, ::-1].cumsum(1)[:, ::-1]
    total = inside[:, :1]
    return inside / np.maximum(total + outside, 1)


def _key(item: Item) -> tuple[Any, ...]:
    """What makes an item the same one again; the diameter may have been halved since."""
    return item.film, item.attack, item.strength, item.step, item.amount, item.seed, item.x, item.y


def _scanning(make_detector: Callable[[], Detector],
              donors: Sequence[tuple[str, Donor]]) -> Callable[[tuple[Item, Film]], Row]:
    detector = make_detector()
    return lambda job: answer(detector, *job, donors)
