"""`scanward train tafim`: the published losses through our differentiable attack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import methods, weights
from scanward.attacks.ct_gan.cube import window
from scanward.attacks.ct_gan.tamper import Forger, cuboid_from, tampered_together
from scanward.datasets.chests import nodules
from scanward.datasets.scenes import Scene, Scenes
from scanward.protectors.mits_gan.protect import Levels
from scanward.protectors.tafim.network import Perturber
from scanward.protectors.tafim.protect import HIGH, LOW
from scanward.training.curve import Curve
from scanward.training.finish import halved, preset_of, ship
from scanward.training.guarded_slices import Attacked, Followed, licence_of, slices, told
from scanward.training.loop import Schedule, device_of, fit
from scanward.training.mits_gan import Preset

ATTACKER = "ct-gan-plain"
"""The one attacker it is trained against, as published."""
TARGET = 200.0
"""HU of the uniform cube that the attacker is to paint."""
FIDELITY = 10.0
"""Weight of the perturbation's mean square against the answer's distance from the target, both in [-1, 1]."""
HALF = (HIGH - LOW) / 2


PRESETS = {"quick": Preset(Schedule(40, 1e-3, warmup=10, every=20), 2, 60),
           "full": Preset(Schedule(2000, 1e-3, warmup=50, every=50), 4, 600)}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network and common perturbation; writes float16 weights and a manifest into `out`, or the package with
    `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    scans, known = slices(data), nodules("train", data)
    scenes = Scenes(list(scans.values()), known, chosen.lung, 6)
    forger = methods.build(ATTACKER, "attack").forger
    checkpoint = out / preset / f"{name}.ckpt"
    curve = Curve(checkpoint.with_suffix(".jsonl"), Followed(data, followed), Attacked(data, guarded, [forger]))

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        device = device_of(net)
        drawn = [scene.to(device) for scene in scenes.draw(rng, chosen.batch)]
        curve.saw(sum(scene.voxels.numel() for scene in drawn))
        return loss(net, drawn, forger.to(device), rng)

    torch.manual_seed(6)
    net = fit(Perturber(), draw, chosen.schedule, checkpoint, seed=6, resume=resume, title=name, curve=curve)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {"steps": chosen.schedule.steps, "pixels": curve.pixels},
                f"scanward train {name} --preset {preset}", folder,
                f"lung of {told(scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
                f"split train; through the attacker {ATTACKER}", licence_of(scans))


def guarded(net: nn.Module, scene: Scene) -> Tensor:
    """A scene's voxels protected, (z, y, x) in HU."""
    return scene.voxels + HALF * net(((scene.voxels - LOW) / HALF - 1)[:, None], scene.corner)[:, 0]


def followed(net: nn.Module, real: Tensor, levels: Levels) -> Tensor:
    """Whole slices (n, 1, y, x) in [-1, 1] of these levels, protected."""
    hu = levels.back(real)
    return levels.of(hu + HALF * net((hu - LOW) / HALF - 1))


def loss(net: nn.Module, scenes: Sequence[Scene], forger: Forger, rng: np.random.Generator) -> Tensor:
    """How far the attacker's answers are from the uniform target, and the perturbations from nothing (section 3.3)."""
    params = [scene.params(rng, 4.0) for scene in scenes]
    after = [guarded(net, scene) for scene in scenes]
    changes = [(made - scene.voxels) / HALF for scene, made in zip(scenes, after, strict=True)]
    terms = []
    for one, change, (box, made) in zip(params, changes, tampered_together(after, params, forger), strict=True):
        weight = window(cuboid_from(one), box).to(made.device)
        away = ((((made - TARGET) / HALF) ** 2) * weight).sum() / weight.sum()
        terms.append(away + FIDELITY * (change**2).mean())
    return torch.stack(terms).mean()
