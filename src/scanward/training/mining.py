"""Hard negatives: the places of authentic training films that a half-trained detector calls forged.

A film offers a hundred times more places for a false alarm than the bank's pairs show, and the image score is a maximum
over all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from scanward.anatomy.breast import breast_mask
from scanward.datasets import processing
from scanward.datasets.films import Film
from scanward.datasets.reencoding import draw, reencode
from scanward.detectors.self_reference import SelfReference
from scanward.detectors.self_reference.detect import dense_logits
from scanward.detectors.self_reference.local import measurer
from scanward.detectors.self_reference.reference import BLOCK
from scanward.judging.batch import Processes
from scanward.training.bank import CROP, Bank, Pair, lived, write_bank

Arrays = dict[str, np.ndarray]
PEAKS = 3
"""Crops a film visit, for each million pixels of breast, and at least."""


def mine(folder: Path, films: list[Film], arrays: Arrays, visits: int, *, seed: int = 1, past: float = 0.0,
         processed: float = 0.0, workers: int = 2, resume: bool = True) -> Bank:
    """A bank of authentic crops around the loudest places of every film, `visits` times re-encoded at random.

    Shares `past` and `processed` of them went through something else before, as in `Recipe`.
    Films that are visited more often than others are so here, too, up to four times, and whole, since at the end they
    are judged whole. With `resume` a bank that is already in `folder` is opened as it is.
    """
    if not resume or not (folder / "about.jsonl").is_file():
        part = folder.with_name(folder.name + ".part")
        for earlier in (part, folder):
            shutil.rmtree(earlier, ignore_errors=True)
        turns = [f for f in films for _ in range(min(4, f.visits))]
        jobs = [(film, (seed, turn, i)) for turn in range(visits) for i, film in enumerate(turns)]
        found = Processes(workers).run(partial(_mining, arrays, past, processed), jobs)
        with Progress(console=Console(stderr=True)) as progress:
            for done in progress.track(found, len(jobs), description="mining false alarms"):
                write_bank(part, iter(done.answer()))
        part.rename(folder)
    return Bank(folder)


def loudest(film: Film, detector: SelfReference, past: float, processed: float,
            rng: np.random.Generator) -> Iterator[Pair]:
    """Authentic crops around the film's highest logits, strongest first and not overlapping."""
    image = lived(film.read(), past, rng)
    if rng.random() < processed:
        image = processing.processed(image, int(rng.integers(2**31)))
    image = reencode(image, **draw(rng, 0.6))
    plane = image.plane
    tissue = breast_mask(plane)
    reference = measurer(varies=processed > 0)(plane, tissue)
    if reference is None or min(plane.shape) < CROP:
        return
    logits = np.clip(dense_logits(plane, tissue, reference, detector.infer), -8, 8)
    smooth = cv2.blur(logits, (9, 9), borderType=cv2.BORDER_REPLICATE)
    for _ in range(PEAKS * max(1, round(tissue.sum() / 1e6))):
        y, x = (2 * int(v) for v in np.unravel_index(int(smooth.argmax()), smooth.shape))
        value = float(smooth.max())
        top, left = (int(np.clip(c - rng.integers(64, CROP - 64), 0, side - CROP)) // BLOCK * BLOCK
                     for c, side in zip((y, x), plane.shape, strict=True))
        crop = plane[top:top + CROP, left:left + CROP].astype(np.uint16)
        about = {"film": film.name, "attack": "", "family": "", "variant": "", "present": [], "logit": value}
        own = reference.within((slice(top, top + CROP), slice(left, left + CROP)))
        yield Pair(crop, crop, np.zeros(crop.shape, bool), (own, own), float(plane.max()), about)
        smooth[max(0, y - CROP // 2) // 2:(y + CROP // 2) // 2, max(0, x - CROP // 2) // 2:(x + CROP // 2) // 2] = -8


def _mining(arrays: Arrays, past: float, processed: float) -> Callable[[tuple[Film, tuple[int, ...]]], list[Pair]]:
    detector = SelfReference(arrays, {})
    return lambda job: list(loudest(job[0], detector, past, processed, np.random.default_rng(job[1])))
