"""`scanward train ct-self-reference`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from scanward import weights
from scanward.datasets.thorax import SCANS, Scan, scans
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.network import CtSelfReferenceNet
from scanward.detectors.ct_self_reference.reference import BLOCK
from scanward.detectors.ct_self_reference.train import sample
from scanward.detectors.self_reference.train import loss as pixel_loss
from scanward.training.ct_bank import SIDE, Bank, bank_of, stabilised
from scanward.training.ct_calibrate import CONTROLS, FORGERIES, settings_of
from scanward.training.ct_mining import mined
from scanward.training.finish import preset_of, ship
from scanward.training.loop import Loss, Schedule, fit
from scanward.training.self_reference import Arrays, arrays_of

FILE = "ct-self-reference.safetensors"
CROP = 112
PAIRS, NEGATIVES = 12, 6
"""Pairs a step, and authentic crops of places where a round before alarmed."""
SMALL_MM, TWICE = 8.0, 2.0
"""How often forgeries of a smaller diameter are drawn, beside the others."""
FORGED_WEIGHT, LEAST = 3.0, 3
"""Of a forged pixel in the loss, and the logits of a forgery whose overlap counts: one of 4 mm has a handful."""
FLAT = 0.2
"""Share of the crops that show no neighbouring slices, as where only one is at hand."""


@dataclass(frozen=True)
class Preset:
    """Forgeries a scan of 250 mm, and the rounds; before each but the first, false alarms are looked for."""

    forgeries: int
    rounds: tuple[Schedule, ...]
    visits: int = 2
    """How often each scan is searched for false alarms before a round, every time but the first as another scanner
    might have made it."""
    counts: tuple[int, int] = (FORGERIES, CONTROLS)
    """On which scores are calibrated, of each scan."""


PRESETS = {
    "ablation": Preset(80, (Schedule(500, 2e-3), Schedule(250, 1e-3)), visits=1, counts=(4, 3)),
    "quick": Preset(160, (Schedule(1200, 2e-3), Schedule(800, 1e-3)), visits=1),
    "full": Preset(560, (Schedule(2600, 2e-3), Schedule(3000, 1.5e-3), Schedule(2000, 1e-3), Schedule(3000, 1.5e-3),
                         Schedule(3600, 1.3e-3), Schedule(1600, 7e-4))),
}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Banks, network, calibration; writes weights and a manifest into `out`, or into the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    folder = out / preset
    known = list(scans("train", data))
    arrays = fit_network(banks_of(folder / "banks", known, chosen, resume), known, chosen, folder, resume)
    settings = settings_of(partial(CtSelfReference, arrays), list(scans("val", data)), folder / f"{name}.val.json",
                           chosen.counts)
    return ship(name, arrays, settings, f"scanward train {name} --preset {preset}",
                weights.FOLDER if install else folder, *_origin({scan.name.split("/")[0] for scan in known}))


def _origin(names: set[str]) -> tuple[str, str]:
    """What weights were trained on, and the licences, of the scans that were there."""
    used = [row for row in SCANS if row.name in names]
    sources = list(dict.fromkeys(row.source for row in used))
    said = "chest CT: " + ", ".join(row.name for row in used)
    return f"{said}; forged by recipes, ct-gan, ct-gan-plain and ct-gan-remove", "; ".join(sources)


def banks_of(folder: Path, known: Sequence[Scan], preset: Preset, resume: bool = True) -> list[Bank]:
    """A bank of each scan that can be its own reference."""
    banks = [bank_of(folder, scan, known, preset.forgeries, seed=number, resume=resume)
             for number, scan in enumerate(known)]
    return [bank for bank in banks if bank is not None]


def fit_network(banks: Sequence[Bank], known: Sequence[Scan], preset: Preset, folder: Path,
                resume: bool = True) -> Arrays:
    """Every round, on those windows of the banks that show no scan but the `known`; the arrays are also saved in
    `folder`."""
    torch.manual_seed(0)
    net, negatives = CtSelfReferenceNet(), []
    names = {scan.name for scan in known}
    pool = [(bank, i) for bank in banks for i in bank.showing(names)]
    for number, schedule in enumerate(preset.rounds, 1):
        if number > 1:
            negatives.append(mined(folder / f"mined-{number}", known, arrays_of(net), preset.visits, number, resume))
        fit(net, _loss(pool, negatives), schedule, folder / f"round-{number}.ckpt", seed=number, resume=resume,
            title=f"ct-self-reference, round {number}")
    arrays = arrays_of(net)
    save_file(arrays, folder / FILE)
    return arrays


def _loss(pool: Sequence[tuple[Bank, int]], negatives: Sequence[Bank]) -> Loss:
    often = np.array([TWICE if bank.about[i]["diameter"] < SMALL_MM else 1.0 for bank, i in pool])
    alarms = [(bank, i) for bank in negatives for i in range(len(bank))]
    # every place may come up, those that still sound like a forgery most of all
    loudness = np.array([bank.about[i]["logit"] for bank, i in alarms])
    share = 0.1 + 1 / (1 + np.exp(-1 - loudness))

    def rows(rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for number in rng.choice(len(pool), PAIRS, replace=False, p=often / often.sum()):
            bank, index = pool[number]
            truth, cut = np.asarray(bank.masks[index]) > 0, _cut(rng)
            for half in (0, 1):
                yield sample(stabilised(bank, index, half), np.asarray(bank.gains[index, half]),
                             truth if half else np.zeros_like(truth), *cut)
        count = min(NEGATIVES, len(alarms))
        for number in rng.choice(len(alarms), count, replace=False, p=share / share.sum()) if count else ():
            bank, index = alarms[number]
            yield sample(stabilised(bank, index, 0), np.asarray(bank.gains[index, 0]), np.zeros((SIDE, SIDE), np.bool_),
                         *_cut(rng))

    def loss(net: nn.Module, rng: np.random.Generator) -> Tensor:
        planes, gains, target = (torch.from_numpy(np.stack(part)) for part in zip(*rows(rng), strict=True))
        logits = net(planes.to(memory_format=torch.channels_last), gains)[:, 0]
        return pixel_loss(logits.float(), target, FORGED_WEIGHT, least=LEAST)

    return loss


def _cut(rng: np.random.Generator) -> tuple[tuple[int, int], int, int, bool]:
    """Corner, size, turn and whether neighbours are left out, as `sample` takes them."""
    y, x = (BLOCK * int(v) for v in rng.integers(0, (SIDE - CROP) // BLOCK + 1, 2))
    return (y, x), CROP, int(rng.integers(16)), bool(rng.random() < FLAT)
