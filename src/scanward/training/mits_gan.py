"""`scanward train mits-gan`: ours, through attackers that inject and remove, and through clean-ups before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward import methods, weights
from scanward.attacks.ct_gan.cube import window
from scanward.attacks.ct_gan.tamper import Box, Forger, tampered_together
from scanward.datasets.chests import PARTS, THIN, nodules, scan_of
from scanward.datasets.scenes import Scene, Scenes, mirrored
from scanward.nets.cube import Cuboid, cut
from scanward.protectors.mits_gan.network import Guard
from scanward.protectors.mits_gan.protect import EPSILON, laid
from scanward.training.ct_gan import LICENCE
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of, fit

ATTACKERS = ("ct-gan-plain", "ct-gan-remove")
"""What is trained against; every other attacker is held out."""
MISS_MM = 0.0
"""By how much attacks miss the protected place along each axis; a millimetre undoes what can be learned here."""
VISIBLE = 30.0
"""HU added that nobody sees."""
LEAST = 50.0
"""HU below which a removal took nothing."""
SOFTEST = 1.0
"""Pixels of the strongest blur that a scan goes through between protection and attack."""
GRAIN = 10.0
"""HU of the strongest noise, likewise."""


@dataclass(frozen=True)
class Preset:
    """One way to train on scenes."""

    schedule: Schedule
    batch: int
    lung: int = 400
    """Places in healthy lung."""


PRESETS = {"quick": Preset(Schedule(60, 4e-4, warmup=20, every=30), 4, 60),
           "full": Preset(Schedule(400, 6e-4, warmup=20, every=25), 8)}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network; writes float16 weights and a manifest into `out`, or the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    known = nodules("train", data)
    scans = (THIN, *PARTS)
    scenes = Scenes([scan_of(scan, data) for scan in scans], known, chosen.lung, 5)
    forgers = [methods.build(attacker, "attack").forger for attacker in ATTACKERS]

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        device = device_of(net)
        drawn = [mirrored(scene, rng).to(device) for scene in scenes.draw(rng, chosen.batch)]
        return loss(net, drawn, [forger.to(device) for forger in forgers], rng)

    torch.manual_seed(5)
    net = fit(Guard(), draw, chosen.schedule, out / preset / f"{name}.ckpt", seed=5, resume=resume, title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {}, f"scanward train {name} --preset {preset}", folder,
                f"lung of {', '.join(scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
                f"split train; through the attackers {', '.join(ATTACKERS)}", LICENCE)


def loss(net: nn.Module, scenes: Sequence[Scene], forgers: Sequence[Forger], rng: np.random.Generator) -> Tensor:
    """How much of each attack is left: of an injection what it adds, of a removal what it takes, relative to what it
    does without protection (their mean)."""
    cubes = torch.cat([cut(scene.voxels, scene.cuboid) for scene in scenes])
    changes = EPSILON * net(cubes)
    left: list[Tensor] = []
    for forger in forgers:
        chosen = [n for n, scene in enumerate(scenes) if scene.ill != forger.inject]
        params = [scenes[n].params(rng, MISS_MM) for n in chosen]
        before = [scenes[n].voxels for n in chosen]
        after = [cleaned(guarded(scenes[n], changes[n:n + 1]), rng) for n in chosen]
        with torch.no_grad():
            plain = tampered_together(before, params, forger)
        made = tampered_together(after, params, forger)
        for n, one in enumerate(params):
            (box, values), (_, bare) = made[n], plain[n]
            left.append(effect(values - after[n][box], one, box, forger)
                        / effect(bare - before[n][box], one, box, forger))
    return torch.stack(left).mean()


def guarded(scene: Scene, change: Tensor) -> Tensor:
    """The scene's voxels with a cube's change, rounded as files store them; the gradient knows nothing of that."""
    box, part = laid(change, scene.cuboid, tuple(scene.voxels.shape))
    part = part + (part.round() - part).detach()
    after = scene.voxels.clone()
    after[box] = after[box] + part
    return after


def effect(change: Tensor, params: dict[str, Any], box: Box, forger: Forger) -> Tensor:
    """What an attack did: of an injection the mean logarithm of the HU that it added, since a few bright voxels are a
    nodule, too; of a removal the mean HU that it took from the middle of its place."""
    if forger.inject:
        return ((change - VISIBLE).clamp_min(0) + 1).log().mean() + 1e-3
    middle = window(Cuboid(tuple(params["centre"]), tuple(params["spacing"]), params["voxel"] / 2), box)
    middle = middle.to(change.device)
    return ((-change * middle).sum() / middle.sum().clamp_min(1e-3)).clamp_min(-LEAST) + LEAST


def cleaned(scan: Tensor, rng: np.random.Generator) -> Tensor:
    """What an attacker may do to a whole scan before: half of the time nothing, else a blur of its slices or noise."""
    way = rng.random()
    if way < 0.5:
        return scan
    if way < 0.8:
        return blurred(scan, float(rng.uniform(0.3, SOFTEST)))
    return scan + float(rng.uniform(0, GRAIN)) * torch.from_numpy(
        rng.standard_normal(tuple(scan.shape), np.float32)).to(scan.device)


def blurred(scan: Tensor, sigma: float) -> Tensor:
    """Every slice (z, y, x) through a Gaussian of so many pixels."""
    axis = torch.arange(-3, 4, dtype=torch.float32, device=scan.device)
    kernel = torch.exp(-0.5 * (axis / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(scan[:, None], (3,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.reshape(1, 1, 7, 1)), kernel.reshape(1, 1, 1, 7))[:, 0]
