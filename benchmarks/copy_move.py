"""How well the copy-move detector does on mini-MIAS, as Markdown tables with counts and Wilson 95 % intervals.

    python benchmarks/copy_move.py --split test

Every film is forged once per kind of copy and diameter by the copy-move attack, with the kind's transform set by hand.
The threshold is the shipped one, which follows from a bound on false alarms and was not fitted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scanward.attacks.base import Tamper, forge
from scanward.attacks.copy_move import CopyMove as Attack
from scanward.attacks.places import draw_places
from scanward.datasets.films import MIAS_SPACING, Film, mias
from scanward.detectors.copy_move import CopyMove
from scanward.image import Image
from scanward.metrics import auc, wilson
from scanward.verdict import Evidence

KINDS = ("exact", "gain", "mirror", "rot90", "rotation", "scale")
DATA = os.environ.get("SCANWARD_DATA", str(Path(__file__).parents[2] / "shared" / "data"))


@dataclass
class Row:
    film: str
    kind: str
    mm: int
    after: str
    score: float
    hit: bool
    iou: float
    first: bool
    """The strongest finding is the pasted region, not the source."""
    seconds: float


class Controlled(Attack):
    """The attack with one transform only."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def draw(self, host: Image, lesion: Any, rng: np.random.Generator, **rest: Any) -> dict[str, Any]:
        params = super().draw(host, lesion, rng, **rest)
        params |= {"plain": False, "mirror": self.kind == "mirror", "turn": 0.0, "scale": 1.0, "gain": 1.0,
                   "offset": 0.0}
        if self.kind == "rot90":
            params["turn"] = float(90 * rng.integers(1, 4))
        if self.kind == "rotation":
            params["turn"], params["mirror"] = float(rng.uniform(5, 355)), bool(rng.random() < 0.5)
        if self.kind == "scale":
            params["scale"] = float(rng.choice([rng.uniform(0.8, 0.93), rng.uniform(1.07, 1.25)]))
            params["turn"] = float(rng.uniform(-180, 180)) if rng.random() < 0.5 else 0.0
        if self.kind == "gain":
            params["gain"], params["offset"] = float(rng.uniform(0.8, 1.2)), float(rng.uniform(-15, 15))
        return params


def passed(image: Image, after: str) -> Image:
    """The image after `none`, `jpeg90`, `jpeg85`, `noise` (1 grey level) or `resample` (by 0.9) of the whole of it."""
    plane = image.plane
    if after.startswith("jpeg"):
        _, data = cv2.imencode(".jpg", plane.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(after[4:])])
        return image.with_plane(cv2.imdecode(data, cv2.IMREAD_UNCHANGED).astype(np.float32))
    if after == "noise":
        return image.with_plane(plane + np.random.default_rng(0).normal(0, 1, plane.shape))
    if after == "resample":
        return image.with_plane(cv2.resize(plane, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA))
    return image


def judge(tamper: Tamper | None, image: Image, after: str, film: str, kind: str, mm: int) -> Row:
    evidence = CopyMove().detect(passed(image, after))
    hit, overlap, first = _compared(evidence, tamper) if tamper else (evidence.label == "tampered", 0.0, False)
    return Row(film, kind, mm, after, evidence.score, hit, overlap, first, evidence.seconds)


def _compared(evidence: Evidence, tamper: Tamper) -> tuple[bool, float, bool]:
    """Whether the paste was found at all, its IoU with the heat's own component, and whether it ranks first."""
    heat, truth = evidence.heat[0], tamper.mask[0]
    if heat.shape != truth.shape:
        truth = cv2.resize(truth.astype(np.uint8), heat.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    if evidence.label != "tampered":
        return False, 0.0, False
    _, labels = cv2.connectedComponents((heat >= evidence.heat_threshold).astype(np.uint8))
    within = np.bincount(labels[truth], minlength=2)
    within[0] = 0
    own = labels == within.argmax()
    if not within.any():
        return False, 0.0, False
    _, y0, x0, _, y1, x1 = evidence.findings[0].box
    first = own[y0:y1, x0:x1].sum() > own.sum() / 2
    return True, float((own & truth).sum() / (own | truth).sum()), bool(first)


def measure(films: list[Film], kinds: list[str], sizes: list[int], afters: list[str]) -> list[Row]:
    rows = []
    for number, film in enumerate(films):
        host = film.read()
        rows += [judge(None, host, after, film.name, "authentic", 0) for after in afters]
        for kind in kinds:
            for mm in sizes:
                rng = np.random.default_rng([number, mm, KINDS.index(kind)])
                place = draw_places(host, rng, 1, mm / MIAS_SPACING)[0]
                tamper = forge(Controlled(kind), host, place, int(rng.integers(2**31)))
                rows += [judge(tamper, tamper.image, after, film.name, kind, mm) for after in afters]
        print(f"{number + 1}/{len(films)} {film.name}", file=sys.stderr)
    return rows


def _rate(hits: list[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits)}/{len(hits)} ({100 * low:.0f}–{100 * high:.0f} %)"


def report(rows: list[Row], split: str) -> None:
    """Print the tables."""
    for after in dict.fromkeys(r.after for r in rows):
        part = [r for r in rows if r.after == after]
        clean, forged = [r for r in part if r.mm == 0], [r for r in part if r.mm > 0]
        print(f"\n## mini-MIAS, {split}, whole image after: {after}\n")
        print(f"False alarms: {_rate([r.hit for r in clean])}. Largest authentic score "
              f"{max(r.score for r in clean):.1e}. Seconds a film: median "
              f"{statistics.median(r.seconds for r in part):.2f}.")
        if not forged:
            continue
        scores, labels = [r.score for r in part], [r.mm > 0 for r in part]
        ranked = [r.first for r in forged if r.hit]
        print(f"Image AUC over all sizes and kinds: {auc(scores, labels):.4f}. The pasted region ranks before its "
              f"source: {_rate(ranked)}.\n")
        sizes = sorted({r.mm for r in forged})
        print("| kind | " + " | ".join(f"{mm} mm" for mm in sizes) + " | IoU of the paste, median |")
        print("|---|" + "---|" * (len(sizes) + 1))
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in forged:
            groups[row.kind].append(row)
        groups["all"] = forged
        for kind, group in groups.items():
            found = [r.iou for r in group if r.hit]
            cells = [_rate([r.hit for r in group if r.mm == mm]) for mm in sizes]
            print(f"| {kind} | " + " | ".join(cells) + f" | {statistics.median(found) if found else 0:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(DATA), help="folder that holds mias/")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--films", type=int, default=None, help="only the first FILMS films")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--mm", nargs="*", type=int, default=[8, 12, 16, 24], help="diameters; none: authentic only")
    parser.add_argument("--after", nargs="*", default=["none"],
                        choices=("none", "jpeg90", "jpeg85", "noise", "resample"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=None, help="also write every row as a JSON line")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    rows = measure(mias(options.split, options.data)[:options.films], options.kinds, options.mm, options.after)
    if options.rows:
        options.rows.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows), encoding="utf-8")
    report(rows, options.split)


if __name__ == "__main__":
    main()
