"""`scanward train ct-diffusion`: one model for nodules and for healthy lung."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.attacks.ct_diffusion.network import SCALE, Denoiser
from scanward.attacks.ct_gan.network import hole, wanted
from scanward.nets.diffusion import loss
from scanward.training.ct_gan import LICENCE, OF, cubes_of, equaliser_of, nodules_of, settings_of, trained_on
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of, fit


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    batch: int = 16
    lung: int = 900


PRESETS = {"quick": Preset(Schedule(100, every=50), 8, 150), "full": Preset(Schedule(2400, 8e-4))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Denoiser; writes float16 weights and a manifest into `out`, or the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    who = OF[name]
    known = nodules_of(who.part, data)
    cubes = cubes_of(who, known, chosen.lung, data)
    equaliser = equaliser_of(cubes, True, who.seed)

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        batch, device = cubes.draw(rng, chosen.batch), device_of(net)
        ill = torch.from_numpy(rng.random(chosen.batch) < 0.6)[:, None, None, None, None]
        x = (SCALE * equaliser.forward(torch.where(ill, batch.lesion, batch.healthy))).to(device)
        asked = wanted(batch.shape * ill, batch.density).to(device)
        chance = torch.Generator().manual_seed(int(rng.integers(2**31)))
        return loss(partial(net, wanted=asked), x, 1 - hole(x), chance)

    torch.manual_seed(who.seed)
    net = fit(Denoiser(), draw, chosen.schedule, out / preset / f"{name}.ckpt", seed=who.seed, resume=resume,
              title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), settings_of(equaliser, known), f"scanward train {name} --preset {preset}", folder,
                trained_on(who, known), LICENCE)
