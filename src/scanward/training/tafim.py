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
from scanward.datasets.chests import PARTS, THIN, nodules, scan_of
from scanward.datasets.scenes import Scene, Scenes
from scanward.protectors.tafim.network import Perturber
from scanward.protectors.tafim.protect import HIGH, LOW
from scanward.training.ct_gan import LICENCE
from scanward.training.finish import halved, preset_of, ship
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
           "full": Preset(Schedule(200, 1e-3, warmup=50, every=50), 4)}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network and common perturbation; writes float16 weights and a manifest into `out`, or the package with
    `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    known, scans = nodules("train", data), (THIN, *PARTS)
    scenes = Scenes([scan_of(scan, data) for scan in scans], known, chosen.lung, 6)
    forger = methods.build(ATTACKER, "attack").forger

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        device = device_of(net)
        return loss(net, [scene.to(device) for scene in scenes.draw(rng, chosen.batch)], forger.to(device), rng)

    torch.manual_seed(6)
    net = fit(Perturber(), draw, chosen.schedule, out / preset / f"{name}.ckpt", seed=6, resume=resume, title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {}, f"scanward train {name} --preset {preset}", folder,
                f"lung of {', '.join(scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
                f"split train; through the attacker {ATTACKER}", LICENCE)


def loss(net: nn.Module, scenes: Sequence[Scene], forger: Forger, rng: np.random.Generator) -> Tensor:
    """How far the attacker's answers are from the uniform target, and the perturbations from nothing (section 3.3)."""
    params = [scene.params(rng, 4.0) for scene in scenes]
    changes = [net(((scene.voxels - LOW) / HALF - 1)[:, None], scene.corner)[:, 0] for scene in scenes]
    after = [scene.voxels + HALF * change for scene, change in zip(scenes, changes, strict=True)]
    terms = []
    for one, change, (box, made) in zip(params, changes, tampered_together(after, params, forger), strict=True):
        weight = window(cuboid_from(one), box).to(made.device)
        away = ((((made - TARGET) / HALF) ** 2) * weight).sum() / weight.sum()
        terms.append(away + FIDELITY * (change**2).mean())
    return torch.stack(terms).mean()
