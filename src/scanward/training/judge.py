"""`scanward train nodule-judge` and `nodule-judge-b`: whether a cube shows a nodule, for measuring attacks.

Each shares its scans of healthy lung with the attacker of its letter, never its nodules' patients, and is used on the
scans that both have not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward import weights
from scanward.bench.judge import JudgeNet
from scanward.datasets.chests import nodules, scan_of
from scanward.metrics import auc
from scanward.training.ct_gan import LICENCE, OF, nodules_of
from scanward.training.cubes import Cubes, patches
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of, fit

PART = 2
"""The third of the training patients' nodules that no attacker sees."""

TRAINED, HELD = 0.62, 0.72
"""Parts of a scan's width: lung up to the first is trained on, from the second on the threshold is chosen."""


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    batch: int = 16
    """Places a step, each healthy and with a nodule."""
    lung: int = 900


PRESETS = {"quick": Preset(Schedule(150, 1e-3, every=50), 8, 150), "full": Preset(Schedule(900, 1e-3, every=150))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Classifier and threshold; writes weights (float16) and a manifest into `out`, or the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    who = OF["ct-gan-b" if name.endswith("-b") else "ct-gan"]
    known = nodules_of(PART, data)
    scans, seed = [scan_of(scan, data) for scan in who.scans], who.seed + 20
    cubes = Cubes(patches(scans, chosen.lung, seed, (0.0, TRAINED)), known)
    held = Cubes(patches(scans, chosen.lung // 5, seed, (HELD, 1.0)), nodules("val", data))

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        batch, device = cubes.draw(rng, chosen.batch, shift=3.0, vary=0.7), device_of(net)
        logits = net(torch.cat([batch.healthy, batch.lesion]).to(device))
        truth = torch.cat([torch.zeros(chosen.batch), torch.ones(chosen.batch)]).to(device)
        return functional.binary_cross_entropy_with_logits(logits, truth)

    net = fit(JudgeNet(), draw, chosen.schedule, out / preset / f"{name}.ckpt", seed=seed, resume=resume, title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), _settings(net, held), f"scanward train {name} --preset {preset}", folder,
                f"lung of {', '.join(who.scans)}; nodules of {len({n.patient for n in known})} patients of LIDC-IDRI, "
                f"split train, third {PART}; threshold from split val", LICENCE)


@torch.inference_mode()
def _settings(net: nn.Module, held: Cubes) -> dict[str, float]:
    """The threshold that calls as many of the validation patients' nodules healthy as healthy places nodules."""
    batch = held.draw(np.random.default_rng(0), 300, vary=0.5)
    every = torch.cat([batch.healthy, batch.lesion])
    scores = torch.cat([torch.sigmoid(net(part)) for part in every.split(32)])
    values, truth = scores.numpy(), np.repeat([False, True], 300)
    cuts = np.linspace(0.05, 0.95, 181)
    gaps = [abs((values[~truth] >= c).mean() - (values[truth] < c).mean()) for c in cuts]
    chosen = float(cuts[int(np.argmin(gaps))])
    return {"threshold": chosen, "validation_auc": round(auc(values, truth), 4),
            "validation_sensitivity": float((values[truth] >= chosen).mean()),
            "validation_specificity": float((values[~truth] < chosen).mean())}
