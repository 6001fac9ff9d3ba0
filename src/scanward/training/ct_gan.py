"""`scanward train ct-gan`, `ct-gan-remove`, and `ct-gan-b`, `ct-gan-b-remove` (other patients, widths and seed)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.attacks.ct_gan.attack import BOUNDS_MM
from scanward.attacks.ct_gan.cube import Equaliser
from scanward.attacks.ct_gan.density import density_of
from scanward.attacks.ct_gan.network import PRESETS as WIDTHS
from scanward.attacks.ct_gan.network import Discriminator, Generator, hole, wanted
from scanward.attacks.ct_gan.train import OURS, PUBLISHED, Weights, generator_loss, judge_loss
from scanward.datasets.chests import PARTS, SHARP, THIN, Nodule, nodules, part_of, scan_of
from scanward.training.adversarial import Step, fit
from scanward.training.cubes import Batch, Cubes, patches
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of

KNOTS = 96
RANGE = (-1000.0, 2000.0)
ANCHORS = ((-1000.0, -0.5), (-700.0, -0.35), (-200.0, 0.05), (300.0, 0.4), (2000.0, 0.5))
"""(HU, level) of a fixed curve that is averaged with the cubes' distribution, or a nodule's inside, which is rare,
would have next to no levels."""
LICENCE = "LIDC-IDRI and Lung-Fused-CT-Pathology: CC BY 3.0; CPTAC-LSCC: CC BY 4.0"


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    widths: str
    """Of `network.PRESETS`."""
    schedule: Schedule
    batch: int = 16
    weights: Weights = OURS
    lung: int = 900
    """Patches of healthy lung."""
    least: float = 0.0
    """Millimetres of the smallest nodule."""
    anchored: bool = True
    """Equalise by the mean of the cubes' distribution and `ANCHORS`; otherwise, as published, by the former alone."""


@dataclass(frozen=True)
class Patients:
    """Whose cubes an attacker is trained on."""

    scans: tuple[str, ...]
    """Of healthy lung; of the others an attacker knows nothing."""
    part: int
    """Which third of the training patients' nodules."""
    seed: int


OF = {"ct-gan": Patients((THIN, *PARTS), 0, 0), "ct-gan-b": Patients((SHARP,), 1, 1),
      "ct-diffusion": Patients((THIN, *PARTS), 1, 2), "ct-gan-plain": Patients((THIN, *PARTS), 0, 3),
      "ct-gan-plain-b": Patients((SHARP,), 1, 4)}
THIRDS = 3
PLAIN_MM = 8.0
"""Of the smallest nodules that attackers of the published kind learn from, as they are told no size (10 mm in Mirsky et
al. 2019, section 4.1)."""
PRESETS = {
    name: {"quick": Preset("narrow", Schedule(200, 4e-4, every=100), 8, lung=150),
           "full": Preset(width, Schedule(steps, 4e-4, every=100)),
           "paper": Preset("paper", Schedule(20_000, 2e-4), 50, PUBLISHED, anchored=False)}
    for name, width, steps in (("ct-gan", "light", 1200), ("ct-gan-remove", "light", 400), ("ct-gan-b", "narrow", 800),
                               ("ct-gan-b-remove", "narrow", 400))
} | {
    name: {"quick": Preset(width, Schedule(200, 4e-4, every=100), 8, lung=150, least=PLAIN_MM),
           "full": Preset(width, Schedule(900, 4e-4, every=100), least=PLAIN_MM)}
    for name, width in (("ct-gan-plain", "plain"), ("ct-gan-plain-b", "plain-narrow"))
}


def nodules_of(part: int, data: Path | None) -> list[Nodule]:
    """The training nodules of one third of the patients; of those whose lungs `ct-gan` is trained on, none but its."""
    absent = {name.upper() for name in PARTS} if part != OF["ct-gan"].part else set()
    return [n for n in nodules("train", data) if part_of(n.patient, THIRDS) == part and n.patient not in absent]


def cubes_of(who: Patients, known: list[Nodule], lung: int, data: Path | None) -> Cubes:
    """About `lung` patches of their healthy lung, and these nodules."""
    return Cubes(patches([scan_of(scan, data) for scan in who.scans], lung, who.seed), known)


def settings_of(equaliser: Equaliser, known: list[Nodule]) -> dict[str, Any]:
    """What an attack has to know beside the weights."""
    return {"hu": [round(float(v), 2) for v in equaliser.hu], "level": [round(float(v), 6) for v in equaliser.level],
            "densities": densities_of(known)}


def trained_on(who: Patients, known: list[Nodule]) -> str:
    """What the manifest says of an attacker's data."""
    return (f"lung of {', '.join(who.scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
            f"split train, third {who.part}")


def equaliser_of(cubes: Cubes, anchored: bool, seed: int) -> Equaliser:
    """From the intensities of 200 lesions' cubes and their healthy lung."""
    batch = cubes.draw(np.random.default_rng((seed, 99)), 100)
    values = np.sort(torch.cat([batch.healthy, batch.lesion]).numpy().ravel())
    hu = np.unique(np.concatenate([np.quantile(values, np.linspace(0, 1, KNOTS)), np.linspace(*RANGE, KNOTS // 2)]))
    hu = hu[(hu >= RANGE[0]) & (hu <= RANGE[1])]
    level = np.searchsorted(values, hu, side="right") / len(values) - 0.5
    level[0], level[-1] = -0.5, 0.5
    if anchored:
        level = 0.5 * (level + np.interp(hu, *np.transpose(ANCHORS)))
    level += np.linspace(0, 1e-4, len(level))  # strictly ascending, so that it has an inverse
    level = (level - level[0]) / (level[-1] - level[0]) - 0.5
    return Equaliser(torch.from_numpy(hu.astype(np.float32)), torch.from_numpy(level.astype(np.float32)))


def step_of(cubes: Cubes, equaliser: Equaliser, preset: Preset, inject: bool) -> Step:
    """One step on fresh cubes: lesions to be painted, or the healthy lung that was there."""

    def step(net: nn.Module, judge: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        batch, device = cubes.draw(rng, preset.batch), device_of(net)
        real = equaliser.forward(batch.lesion if inject else batch.healthy).to(device)
        asked = _asked(batch, inject).to(device)
        made = net(real * (1 - hole(real)), asked, torch.randn_like(real))

        def of_judge() -> tuple[Tensor, float]:
            return judge_loss(judge, real, made, asked, preset.weights.pause)

        def of_net() -> Tensor:
            return generator_loss(judge, real, made, asked, preset.weights)

        return of_judge, of_net

    return step


def densities_of(known: list[Nodule]) -> list[list[float]]:
    """Quantiles of the nodules' densities, for each interval of diameters that `BOUNDS_MM` makes: large ones are more
    often solid, and of small ones most voxels lie on the rim."""
    bins = np.digitize([n.diameter * n.voxel for n in known], BOUNDS_MM)
    values = np.array([density_of(n.density) for n in known])
    return [[round(float(v), 3) for v in np.quantile(values[bins == number], np.linspace(0, 1, 11))]
            for number in range(len(BOUNDS_MM) + 1)]


def _asked(batch: Batch, inject: bool) -> Tensor:
    return wanted(batch.shape if inject else torch.zeros_like(batch.shape), batch.density)


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Generator and discriminator; writes float16 weights and a manifest into `out`, or the package with `install`."""
    attacker, inject = name.removesuffix("-remove"), not name.endswith("-remove")
    chosen: Preset = preset_of(PRESETS[name], preset)
    who = OF[attacker]
    known = nodules_of(who.part, data)
    used = [nodule for nodule in known if nodule.diameter * nodule.voxel >= chosen.least]
    cubes = cubes_of(who, used, chosen.lung, data)
    equaliser = equaliser_of(cubes, chosen.anchored, who.seed)
    seed = who.seed + (0 if inject else 10)
    torch.manual_seed(seed)
    widths = WIDTHS[chosen.widths]
    judge = Discriminator((100, 200, 400, 800) if preset == "paper" else (24, 48, 96), published=widths.published)
    net = fit(Generator(widths), judge, step_of(cubes, equaliser, chosen, inject), chosen.schedule,
              out / preset / f"{name}.ckpt", seed=seed, resume=resume, title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {"preset": chosen.widths, **settings_of(equaliser, known)},
                f"scanward train {name} --preset {preset}", folder, trained_on(who, used), LICENCE)
