"""`scanward train mits-gan-repaired`: the published generator bound to few HU, with the attacker's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import methods, weights
from scanward.attacks.ct_gan.tamper import Forger
from scanward.datasets.chests import nodules
from scanward.datasets.scenes import Scene, Scenes
from scanward.nets.cube import SIDE
from scanward.protectors.mits_gan.network import Discriminator, Generator, published_weights, rimmed
from scanward.protectors.mits_gan.protect import EPSILON, EVERY_SCAN, Levels
from scanward.protectors.mits_gan.train import repaired_loss
from scanward.training.adversarial import PLAIN, Step, fit
from scanward.training.curve import Curve
from scanward.training.finish import halved, preset_of, ship
from scanward.training.guarded_slices import Attacked, Followed, inner, licence_of, potency, slices, told
from scanward.training.loop import Schedule, device_of
from scanward.training.mits_gan_published import ATTACKERS, domain_of

BOUNDS = (8.0, 64.0)
"""HU of the smallest and the largest bound that a step draws: one network serves them all."""
LEAST = 80
"""Pixels that a scene spans at least, of which the discriminator judges all but the rims."""


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    lung: int = 600
    """Places in healthy lung."""


PRESETS = {"quick": Preset(Schedule(10, 2e-4, falls=False, every=5), 30),
           "full": Preset(Schedule(12_000, 2e-4, falls=False, every=150))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Generator and discriminator; writes float16 weights and a manifest into `out`, or the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    scans, known = slices(data), nodules("train", data)
    scenes = Scenes(list(scans.values()), known, chosen.lung, 8, LEAST)
    forgers = [methods.build(attacker, "attack").forger for attacker in ATTACKERS]
    torch.manual_seed(8)
    start, judge = Generator(), Discriminator()
    for one in (start, judge):
        published_weights(one)
    checkpoint = out / preset / f"{name}.ckpt"
    curve = Curve(checkpoint.with_suffix(".jsonl"), Followed(data, followed), Attacked(data, attacked, forgers))
    net = fit(start, judge, step_of(scenes, forgers, curve), chosen.schedule, checkpoint, seed=8, resume=resume,
              title=name, average=0.0, descent=PLAIN, curve=curve)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {"steps": chosen.schedule.steps, "pixels": curve.pixels},
                f"scanward train {name} --preset {preset}", folder,
                f"lung of {told(scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
                f"split train; through the attackers {', '.join(ATTACKERS)}", licence_of(scans))


def step_of(scenes: Scenes, forgers: list[Forger], curve: Curve) -> Step:
    """One step on one scene: injected into where it is healthy, removed from where it is not."""

    def step(net: nn.Module, judge: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        device = device_of(net)
        scene = scenes.draw(rng, 2)[int(rng.integers(2))].to(device)
        forger = next(one for one in forgers if one.inject != scene.ill).to(device)
        bound = float(np.exp(rng.uniform(*np.log(BOUNDS))))
        change, after = guarded(net, scene, bound)
        part = slices_of(scene)
        real, protected = (EVERY_SCAN.of(inner(voxels[part][:, None])) for voxels in (scene.voxels, after))
        more = potency(scene, after, scene.params(rng, 0.0), forger)
        curve.saw(real.numel())

        def of_judge() -> tuple[Tensor, float]:
            return domain_of(judge, real, protected)

        def of_net() -> Tensor:
            return repaired_loss(judge(protected), inner(change), more)

        return of_judge, of_net

    return step


def guarded(net: nn.Module, scene: Scene, bound: float) -> tuple[Tensor, Tensor]:
    """What the network answers to the slices that an attack on the scene's middle reads, (n, 1, y, x) in parts of the
    bound, and the scene's voxels (z, y, x) with that change, in HU."""
    part = slices_of(scene)
    change = answered(net, scene.voxels[part][:, None])
    after = scene.voxels.clone()
    after[part] = after[part] + bound * change[:, 0]
    return change, after


def slices_of(scene: Scene) -> slice:
    """Those within its cuboid."""
    return scene.cuboid.box(tuple(scene.voxels.shape), SIDE / 2)[0]


def answered(net: nn.Module, hu: Tensor) -> Tensor:
    """The network's answer to slices (n, 1, y, x) in HU."""
    made: Tensor = net(EVERY_SCAN.of(hu), torch.rand(hu.shape, device=hu.device)).to(hu.dtype)
    return made


def followed(net: nn.Module, real: Tensor, levels: Levels) -> Tensor:
    """Slices of a scan of these levels, protected within the bound that is the default."""
    hu = levels.back(real)
    return levels.of(hu + EPSILON * rimmed(net, EVERY_SCAN.of(hu)).to(hu.dtype))


def attacked(net: nn.Module, scene: Scene) -> Tensor:
    """A scene's voxels, likewise."""
    return guarded(net, scene, EPSILON)[1]
