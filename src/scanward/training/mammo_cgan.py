"""`scanward train mammo-cgan`, `mammo-cgan-b` (another pair of injectors) and `mammo-cgan-remove` (their twin)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.attacks.base import Lesion
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import SIDE, levels_of, symmetric
from scanward.attacks.mammo_cgan.network import PRESETS as WIDTHS
from scanward.attacks.mammo_cgan.network import Cascade
from scanward.attacks.mammo_cgan.train import (
    OURS,
    PUBLISHED,
    Adversaries,
    Weights,
    augmented,
    generators_loss,
    judges_loss,
    overlaid,
    run,
)
from scanward.datasets.films import Film, cbis, mias
from scanward.datasets.squares import Squares, healthy
from scanward.training.adversarial import Step, fit
from scanward.training.finish import TRAINED_ON, halved, preset_of, ship
from scanward.training.loop import Schedule, device_of


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    widths: str
    """Of `network.PRESETS`."""
    schedule: Schedule
    batch: int = 12
    """Squares of masses, or of healthy tissue, a step; injectors see as many more with masses laid over them."""
    weights: Weights = OURS
    seed: int = 0
    healthy: int = 12
    """Squares of healthy tissue a training film."""
    antialias: bool = True


@dataclass(frozen=True)
class Mass:
    """A mass and its film, as samples are cut from it."""

    plane: Plane
    levels: tuple[float, float]
    place: Lesion


_LIGHT, _NARROW = Schedule(5000, 4e-4, every=250), Schedule(1500, 4e-4, every=250)
PRESETS: dict[str, dict[str, Preset]] = {
    "mammo-cgan": {"quick": Preset("narrow", Schedule(300, 4e-4, every=100), 8),
                   "full": Preset("light", _LIGHT)},
    "mammo-cgan-b": {"quick": Preset("narrow", Schedule(300, 4e-4, every=100), 8, seed=1),
                     "full": Preset("narrow", _NARROW, seed=1)},
    "mammo-cgan-remove": {"quick": Preset("narrow", Schedule(300, 4e-4, every=100), 8, seed=2),
                          "full": Preset("light", _NARROW, seed=2)},
}
for _presets in PRESETS.values():
    _presets["paper"] = Preset("paper", Schedule(40_000, 2e-4), weights=PUBLISHED, seed=_presets["full"].seed,
                               antialias=False)

LEFT_OUT = {"mammo-cgan": 3, "mammo-cgan-b": 1}
"""Every fourth patient with a mass, counted from this one, is not seen by this injector."""


def lesions(films: list[Film], name: str) -> list[Mass]:
    """The annotated masses that the injector `name` is trained on."""
    owners = sorted({film.patient for film in films if film.masses})
    absent = set(owners[LEFT_OUT[name]::4])
    found = []
    for film in films:
        if film.masses and film.patient not in absent:
            plane = film.read().plane
            found += [Mass(plane, levels_of(plane), mass) for mass in film.masses]
    return found


def step_of(masses: list[Mass], tissue: Squares, preset: Preset) -> Step:
    """One step: with `masses` on their squares, and on as many of healthy tissue with the same masses laid over it;
    without, on healthy tissue."""

    def step(net: nn.Module, judges: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        picks = rng.choice(len(tissue), preset.batch, replace=False)
        device = device_of(net)
        real = _tensor([symmetric(tissue[i], int(rng.integers(8))) for i in picks], device)
        if masses:
            known = _tensor([augmented(m.plane, m.place, m.levels, rng, preset.antialias)
                             for m in (masses[i] for i in rng.integers(len(masses), size=preset.batch))], device)
            real = torch.cat([known, overlaid(real, known)])
        made = run(net, real)  # type: ignore[arg-type]

        def of_judges() -> tuple[Tensor, float]:
            return judges_loss(judges, real, made, preset.weights.pause)

        def of_net() -> Tensor:
            return generators_loss(judges, real, made, preset.weights)

        return of_judges, of_net

    return step


def _tensor(squares: list[Plane], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(squares))[:, None].to(device)


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Cascade and judges; writes weights (float16) and a manifest into `out`, or into the package with `install`."""
    chosen: Preset = preset_of(PRESETS[name], preset)
    films = mias("train", data)
    tissue = healthy(films + cbis("train"), chosen.healthy, chosen.seed, chosen.antialias)
    masses = lesions(films, name) if name in LEFT_OUT else []
    torch.manual_seed(chosen.seed)
    widths = WIDTHS[chosen.widths]
    net = fit(Cascade(widths), Adversaries(widths.published), step_of(masses, tissue, chosen), chosen.schedule,
              out / preset / f"{name}.ckpt", seed=chosen.seed, resume=resume, title=name)
    settings = {"preset": chosen.widths, "antialias": chosen.antialias, "side": SIDE}
    folder = weights.FOLDER if install else out / preset
    without = "; no masses of every fourth patient" if name in LEFT_OUT else ""
    return ship(name, halved(net), settings, f"scanward train {name} --preset {preset}", folder, TRAINED_ON + without)
