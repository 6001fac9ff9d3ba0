"""From a trained CT network to its settings: scores and heat on the scans of the validation split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from scanward.datasets.thorax import Scan
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import HEAT_MM, features_of, pooled
from scanward.image import Image
from scanward.training.calibrate import regress, threshold_among
from scanward.training.ct_bank import forge_once, variant

FORGERIES, CONTROLS = 8, 5
"""A scan, and of it authentic: as it is, and as other scanners might have made it."""
LEVELS = np.linspace(-3, 5, 33)
"""Logits among which the heat's threshold is chosen."""


def settings_of(make: Callable[[dict[str, Any]], CtSelfReference], known: Sequence[Scan], keep: Path,
                counts: tuple[int, int] = (FORGERIES, CONTROLS)) -> dict[str, Any]:
    """`slopes`, `offset` and `threshold` of the score, and the heat's; what they were fitted to stays in `keep`.

    `counts` are of forgeries and of controls a scan.
    """
    detector = make({})
    rows: list[dict[str, Any]] = []
    for number, scan in enumerate(track(known, "calibrating", console=Console(stderr=True))):
        rows += _rows(detector, scan, known, np.random.default_rng((number, 79)), *counts)
    keep.write_text(json.dumps(rows))
    x = np.array([row["features"] for row in rows])
    forged = np.array([row["forged"] for row in rows])
    slopes, offset = regress(x, forged)
    threshold = threshold_among(x @ slopes + offset, forged)
    overlap = np.array([row["ious"] for row in rows if row["forged"]]).mean(0)
    return {"slopes": slopes.tolist(), "offset": offset, "threshold": threshold, "heat_slope": 1.0,
            "heat_offset": -float(LEVELS[overlap.argmax()]), "heat_threshold": 0.5}


def _rows(detector: CtSelfReference, scan: Scan, known: Sequence[Scan],
          rng: np.random.Generator, forgeries: int, controls: int) -> Iterator[dict[str, Any]]:
    spacing = scan.image.spacing or (1.0, 1.0, 1.0)
    for number in range(controls):
        image = scan.image if number == 0 else variant(scan.image, rng)
        logits = detector.logits(image)
        if logits is not None:
            yield {"scan": scan.name, "forged": False, "ious": None,
                   "features": features_of(logits, image.spacing or spacing)}
    for _ in range(forgeries):
        made = forge_once(scan, scan.image, known, rng)
        if made is None:
            continue
        logits = detector.logits(_with(scan.image, made.box, made.values))
        if logits is not None:
            overlap = _ious(pooled(logits, spacing, HEAT_MM), made.box, made.truth)
            yield {"scan": scan.name, "forged": True, "recipe": made.name, "ious": overlap,
                   "features": features_of(logits, spacing)}


def _with(image: Image, box: tuple[slice, ...], values: npt.NDArray[np.float32]) -> Image:
    pixels = image.pixels.copy()
    pixels[box] = values
    return replace(image, pixels=pixels)


def _ious(logits: npt.NDArray[np.float32], box: tuple[slice, ...], truth: npt.NDArray[np.bool_]) -> list[float]:
    """Overlap of the truth with what lies above each of `LEVELS`, on the logits' grid."""
    half = np.zeros(logits.shape, np.bool_)
    z, y, x = (np.arange(part.start, part.stop) for part in box)
    where = np.argwhere(truth)
    half[z[where[:, 0]], y[where[:, 1]] // 2, x[where[:, 2]] // 2] = True
    found = []
    for level in LEVELS:
        above = logits >= level
        found.append(float((above & half).sum() / max(1, (above | half).sum())))
    return found
