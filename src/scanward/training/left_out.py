"""`scanward bench mammography leave-one-out`: each family tested by a network that was trained without it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from scanward import methods
from scanward.bench.mammography import PROTOCOLS, items_of
from scanward.bench.measure import run
from scanward.bench.outcome import Outcome
from scanward.bench.protocol import ATTACKS, FAMILIES, STEPS
from scanward.datasets.films import cbis, mias
from scanward.detectors.base import Detector
from scanward.detectors.self_reference import OfFilm
from scanward.judging.detector import one_detector, thresholds
from scanward.judging.witnesses import weights_of
from scanward.training.bank import make_bank
from scanward.training.finish import calibrated
from scanward.training.self_reference import PRESETS, Arrays, fit_network


def outcomes(data: Path | None, out: Path, workers: int, preset: str = "ablation") -> Iterator[Outcome]:
    """One family after the other: a network without it, thresholds from validation without it, its test.

    A family that the bank holds no pair of (copies) is in no network's training, and tested with the shipped default.
    Whatever is finished under `out` is used again.
    """
    films, chosen = mias("test", data), PRESETS[preset]
    known = mias("train", data) + cbis("train")
    bank = make_bank(out / f"bank-{chosen.bank.pairs}", known, chosen.bank)
    for family in FAMILIES:
        label = f"no-{family}"
        members = [name for name in ATTACKS if methods.build(name, "attack").family == family]
        items = {item: None for group in PROTOCOLS["families"] if group.title in members
                 for item in items_of("families", group, films)}
        if len(bank.without(frozenset({family}))) == len(bank):
            make_detector: Callable[[], Detector] = partial(one_detector, methods.DEFAULT)
            made, (image, heat) = weights_of(modality="MG"), thresholds()
        else:
            arrays = fit_network(bank, known, chosen, out, leave_out=frozenset({family}))
            settings = calibrated(OfFilm, arrays, out, label, data, steps=STEPS[:1],
                                  attacks=[name for name in ATTACKS if name not in members])
            make_detector = partial(OfFilm, arrays, settings)
            made, image, heat = _hashes(arrays), settings["threshold"], settings["heat_threshold"]
        made_by = hashlib.sha256(repr((made, image)).encode()).hexdigest()[:12]
        rows = run(make_detector, list(items), films, keep=out / f"{label}-{made_by}.jsonl", workers=workers,
                   title=label)
        yield Outcome(family, tuple(rows), image, heat)


def _hashes(arrays: Arrays) -> tuple[str, ...]:
    return tuple(hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() for values in arrays.values())
