"""`scanward train self-reference`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from scanward import weights
from scanward.datasets.films import Film, cbis, digital, mias
from scanward.detectors.self_reference import OfFilm, SelfReference
from scanward.detectors.self_reference.network import SelfReferenceNet
from scanward.detectors.self_reference.reference import BLOCK
from scanward.detectors.self_reference.train import loss as pixel_loss
from scanward.detectors.self_reference.train import sample
from scanward.training.bank import CROP, DETAILED, EVERYTHING, PAINTED, Bank, Pool, Recipe, banks_of, make_bank, pool_of
from scanward.training.finish import (
    DIGITAL,
    FORGED,
    LICENCE,
    OWN_PIXEL,
    SHOWN,
    TRAINED_ON,
    abroad,
    calibrated,
    preset_of,
    ship,
)
from scanward.training.loop import Loss, Schedule, device_of, fit
from scanward.training.mining import mine

Arrays = dict[str, np.ndarray]
LAST, LONG = Schedule(2500, 1e-3), Schedule(4000, 1.5e-3)
LIVED = Recipe(4500, EVERYTHING, (3.0, 40.0), past=0.6)
MAKERS = Recipe(1700, EVERYTHING, (3.0, 40.0), past=0.35, processed=0.6)
SMALL = Recipe(1700, EVERYTHING, (3.0, 12.0), past=0.35, processed=0.6)
MASSES = Recipe(1500, DETAILED, (4.0, 35.0), past=0.35, processed=0.2, digital=True)
AGAIN = Recipe(900, EVERYTHING, (3.0, 40.0), past=0.35, processed=0.6)


@dataclass(frozen=True)
class Preset:
    """One way to train: a first round on the bank, then others that also see the false alarms of those before, the last
    of them on further banks, too."""

    bank: Recipe
    first: Schedule
    others: tuple[Schedule, ...]
    visits: int = 2
    """How often every film is searched for false alarms before each of the other rounds."""
    batch: int = 6
    """Pairs a step; each gives an authentic and a forged crop of the same place."""
    negatives: int = 4
    """Mined authentic crops a step in the other rounds."""
    crop: int = 224
    further: tuple[tuple[Recipe, Schedule], ...] = ()
    """Banks that each get a round of its own, which also draws from those before."""
    onwards: str = ""
    """Begins with these weights that ship, keeps their batch norms as they are, and makes those for grain that a
    maker's processing lets vary."""
    averaged: int = 1
    """The weights of so many of the last rounds are averaged (Wortsman et al. 2022, model soups): calmer on scanners
    that none of them knows."""

    @property
    def kind(self) -> type[OfFilm | SelfReference]:
        """Whose network it is."""
        return SelfReference if self.onwards else OfFilm


PRESETS = {
    "quick": Preset(Recipe(1200), Schedule(300, 2e-3), (Schedule(100, 1e-3),), visits=1),
    "ablation": Preset(Recipe(8000), Schedule(600, 2e-3), (Schedule(250, 1e-3),), visits=1),
    "full": Preset(Recipe(8000), Schedule(4000, 2e-3), (LAST,) * 3, further=(
        (PAINTED[0], LAST), (PAINTED[1], LAST),
        (LIVED, LONG), (LIVED, LONG)), averaged=2),
    "digital": Preset(MAKERS, Schedule(700, 6e-4), (Schedule(900, 6e-4),), visits=1, onwards=OfFilm.weights_name,
                      further=((SMALL, Schedule(2000, 6e-4)),), averaged=2),
    "digital-masses": Preset(MASSES, Schedule(500, 5e-4), (), visits=1, onwards=SelfReference.weights_name,
                             further=((AGAIN, Schedule(1000, 5e-4)),)),
}


def fit_network(bank: Bank, films: list[Film], preset: Preset, out: Path, *, further: Sequence[Bank] = (),
                leave_out: frozenset[str] = frozenset(), seed: int = 0, resume: bool = True) -> Arrays:
    """Every round, on the banks without the families of `leave_out`; the arrays are also saved under `out`."""
    pool = pool_of(bank, leave_out)
    label = preset.kind.weights_name + "".join(f"-no-{name}" for name in sorted(leave_out))
    torch.manual_seed(seed)
    net = SelfReferenceNet()
    if preset.onwards:
        before, _ = weights.load(preset.onwards)
        net.load_state_dict({key: torch.from_numpy(values) for key, values in before.items()})
    train_on = partial(fit, net, resume=resume, frozen_norms=bool(preset.onwards))
    train_on(_loss(pool, preset, []), preset.first, out / f"{label}.ckpt", seed=seed, title=label)
    negatives: list[Bank] = []
    made = [arrays_of(net)]
    rounds = [(schedule, None) for schedule in preset.others] + [
        (schedule, (more, recipe.past)) for more, (recipe, schedule) in zip(further, preset.further, strict=True)]
    for number, (schedule, more) in enumerate(rounds, 2):
        pool = pool + pool_of(more[0], leave_out) if more is not None else pool
        negatives.append(mine(out / f"{label}-mined-{number}", films, arrays_of(net), preset.visits, seed=number,
                              past=more[1] if more is not None else 0.0, processed=preset.bank.processed,
                              resume=resume))
        train_on(_loss(pool, preset, negatives), schedule, out / f"{label}-{number}.ckpt", seed=seed + number - 1,
                 title=f"{label}, round {number}")
        made.append(arrays_of(net))
    last = made[-preset.averaged:]
    arrays = {key: np.mean([arrays[key] for arrays in last], 0).astype(last[0][key].dtype) for key in last[0]}
    save_file(arrays, out / f"{label}.safetensors")
    return arrays


def arrays_of(net: nn.Module) -> Arrays:
    """What inference needs of a network; copies, which further training leaves alone."""
    state = net.state_dict().items()
    return {key: value.detach().cpu().numpy().copy() for key, value in state if "num_batches" not in key}


def _loss(pool: Pool, preset: Preset, negatives: list[Bank]) -> Loss:
    loudness = [np.array([row["logit"] for row in mined.about]) for mined in negatives]
    alarms = [(mined, i) for mined in negatives for i in range(len(mined))]
    # every place may come up, those that still sound like a forgery most of all
    share = 0.1 + 1 / (1 + np.exp(-1 - np.concatenate(loudness))) if alarms else np.zeros(0)
    share /= max(share.sum(), 1e-9)

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        count = min(preset.negatives, len(alarms))
        picks = rng.choice(len(alarms), count, replace=False, p=share) if alarms else np.zeros(0, int)
        return loss_of(net, *batch(pool, preset, [alarms[i] for i in picks], rng))

    return draw


def loss_of(net: nn.Module, planes: Tensor, gains: Tensor, target: Tensor) -> Tensor:
    """Of a network on what `batch` drew."""
    device = device_of(net)
    logits = net(planes.to(device, memory_format=torch.channels_last), gains.to(device))[:, 0]
    return pixel_loss(logits.float(), target.to(device))


def batch(pool: Pool, preset: Preset, negatives: Pool,
          rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Planes (n, 1, crop, crop), gains (n, 15, crop / 16, crop / 16) and targets (n, crop / 2, crop / 2).

    Authentic and forged crops of the same places in turn, then the authentic ones of `negatives`.
    """
    rows = []
    for number in rng.choice(len(pool), preset.batch, replace=False):
        bank, index = pool[number]
        corner, turn = _cut(preset, rng)
        mask = np.asarray(bank.masks[index]) > 0
        for half, reference in enumerate(bank.references(index)):
            truth = mask if half else np.zeros_like(mask)
            rows.append(sample(bank.planes[index, half], truth, reference, corner, preset.crop, turn))
    clean = np.zeros((CROP, CROP), bool)
    for mined, index in negatives:
        corner, turn = _cut(preset, rng)
        rows.append(sample(mined.planes[index, 0], clean, mined.references(index)[0], corner, preset.crop, turn))
    planes, gains, targets = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return planes[:, None], gains, targets


def _cut(preset: Preset, rng: np.random.Generator) -> tuple[tuple[int, int], int]:
    y, x = (int(v) * BLOCK for v in rng.integers(0, (CROP - preset.crop) // BLOCK + 1, 2))
    return (y, x), int(rng.integers(8))


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Bank, network, calibration; writes weights and a manifest into `out`, or into the package with `install`."""
    chosen = preset_of(PRESETS, preset)
    own = digital("train", data) if chosen.onwards else []
    films = mias("train", data) + cbis("train") + own
    bank = make_bank(out / f"bank-{chosen.bank.pairs}", own if chosen.bank.digital else films, chosen.bank)
    further = banks_of([recipe for recipe, _ in chosen.further], films, out)
    command, trained_on, licence = f"scanward train {name} --preset {preset}", TRAINED_ON, LICENCE
    more: list[Film] = []
    if chosen.onwards:
        command = f"{weights.entry(chosen.onwards).command}; {command}"
        trained_on, licence = TRAINED_ON + DIGITAL, f"{LICENCE}; CDD-CESM: CC BY 4.0"
        more = digital("val", data)
    made = chosen.kind.weights_name
    arrays = fit_network(bank, films, chosen, out / preset, further=further, resume=resume)
    settings = calibrated(chosen.kind, arrays, out / preset, made, data, steps=SHOWN, more=more)
    settings = abroad(settings) if chosen.onwards else settings
    forged = FORGED + OWN_PIXEL if chosen.bank.digital else FORGED
    return ship(made, arrays, settings, command, weights.FOLDER if install else out / preset, trained_on + forged,
                licence)
