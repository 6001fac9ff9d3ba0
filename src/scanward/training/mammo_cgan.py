"""`scanward train mammo-cgan`, `mammo-cgan-b` (another pair of injectors) and `mammo-cgan-remove` (their twin)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.anatomy.breast import breast_small
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
from scanward.attacks.places import draw_places
from scanward.datasets.films import Film, cbis, mias
from scanward.training.adversarial import Step, fit
from scanward.training.finish import TRAINED_ON, halved, preset_of, ship
from scanward.training.loop import Schedule

Squares = npt.NDArray[np.float32]
SIZES_MM = (5.0, 45.0)


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


def healthy(films: list[Film], each: int, seed: int, antialias: bool) -> Squares:
    """(n, 64, 64) squares of the films' breasts away from their masses, black 0 and white 1, of every size."""
    rng = np.random.default_rng(seed)
    found = []
    for film in films:
        image = film.read()
        plane, levels = image.plane, levels_of(image.plane)
        spacing = image.spacing[1] if image.spacing else 0.1
        breast = breast_small(plane)
        for _ in range(each):
            mm = float(np.exp(rng.uniform(*np.log(SIZES_MM))))
            place = draw_places(plane, rng, 1, min(mm / spacing, 0.3 * min(plane.shape)), breast)[0]
            if all(np.hypot(place.y - m.y, place.x - m.x) > 0.5 * m.diameter + 0.9 * place.diameter
                   for m in film.masses):
                found.append(augmented(plane, place, levels, rng, antialias))
    return np.stack(found)


def step_of(masses: list[Mass], tissue: Squares, preset: Preset) -> Step:
    """One step: with `masses` on their squares, and on as many of healthy tissue with the same masses laid over it;
    without, on healthy tissue."""

    def step(net: nn.Module, judges: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        picks = rng.choice(len(tissue), preset.batch, replace=False)
        real = _tensor([symmetric(tissue[i], int(rng.integers(8))) for i in picks])
        if masses:
            known = _tensor([augmented(m.plane, m.place, m.levels, rng, preset.antialias)
                             for m in (masses[i] for i in rng.integers(len(masses), size=preset.batch))])
            real = torch.cat([known, overlaid(real, known)])
        made = run(net, real)  # type: ignore[arg-type]

        def of_judges() -> tuple[Tensor, float]:
            return judges_loss(judges, real, made, preset.weights.pause)

        def of_net() -> Tensor:
            return generators_loss(judges, real, made, preset.weights)

        return of_judges, of_net

    return step


def _tensor(squares: list[Plane]) -> Tensor:
    return torch.from_numpy(np.stack(squares))[:, None]


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
