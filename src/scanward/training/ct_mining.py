"""Hard negatives of chest CT: the places of authentic scans that a half-trained detector calls forged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from scanward.anatomy.airways import lungs_alone
from scanward.datasets.thorax import Scan
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import dense_logits, peaks, pooled
from scanward.detectors.ct_self_reference.reference import ACROSS, measure, stack
from scanward.image import Image
from scanward.training.ct_bank import SIDE, Bank, corner_of, cut, table_of, variant

Arrays = dict[str, np.ndarray]
WINDOW_MM = 6.0
MOST = 80
"""Places a visit of a scan."""
QUIET = -4.0
"""The mean logit of a place that teaches nothing any more."""


def mined(folder: Path, known: Sequence[Scan], arrays: Arrays, visits: int, seed: int, resume: bool = True) -> Bank:
    """A bank of authentic windows about the loudest places of every scan; every visit but the first takes it as another
    scanner might have made it. With `resume` a bank that is already in `folder` is opened as it is."""
    if not (resume and (folder / "about.json").is_file()):
        detector, rng = CtSelfReference(arrays, {}), np.random.default_rng((seed, 73))
        rows: list[tuple[Any, ...]] = []
        tables: list[npt.NDArray[np.float32]] = []
        for scan in track(known, "looking for false alarms", console=Console(stderr=True)):
            for number in range(visits if len(scan.image.pixels) > 1 else 1):
                image = scan.image if number == 0 else variant(scan.image, rng)
                rows += _loudest(scan, image, detector, tables, rng)
        planes, gains, about = zip(*rows, strict=True)
        masks = np.zeros((len(rows), SIDE, SIDE), np.uint8)
        Bank(np.stack(planes), np.stack(gains), masks, list(about), np.stack(tables)).save(folder)
    return Bank.load(folder)


def _loudest(scan: Scan, image: Image, detector: CtSelfReference, tables: list[npt.NDArray[np.float32]],
             rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Windows (planes, gains, about) about a scan's loudest places; its stabilising map is put to `tables`."""
    lungs = scan.lungs if image.shape == scan.image.shape else lungs_alone(image)
    spacing = image.spacing or (1.0, 1.0, 1.0)
    reference = measure(image.pixels, lungs, spacing)
    if reference is None:
        return
    tables.append(table_of(reference))
    logits = dense_logits(image, lungs, reference, detector.infer)
    values, places = peaks(pooled(logits, spacing, WINDOW_MM), spacing, MOST)
    for value, (z, y, x) in zip(values, places, strict=True):
        corner = corner_of(np.array([2.0 * y, 2.0 * x]), image.shape[1:], rng)
        if value < QUIET or corner is None:
            return
        planes, gains = cut(stack(image.pixels, int(z))[None], [reference.gains_at(image.pixels[z], int(z))], corner)
        if len(image.pixels) == 1:
            gains[:, list(ACROSS)] = 0
        yield np.repeat(planes, 2, 0), np.repeat(gains, 2, 0), {"scan": scan.name, "table": len(tables) - 1,
                                                               "logit": float(value), "z": int(z)}
