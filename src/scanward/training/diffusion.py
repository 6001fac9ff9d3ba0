"""`scanward train diffusion`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.attacks.diffusion.network import Denoiser
from scanward.attacks.partial_conv.remove import SIDE
from scanward.attacks.partial_conv.train import batch
from scanward.datasets.films import cbis, mias
from scanward.datasets.squares import squares
from scanward.nets.diffusion import loss
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of, fit


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    each: int = 16
    """Squares a film."""
    batch: int = 16


PRESETS = {"quick": Preset(Schedule(100), 4), "full": Preset(Schedule(2500, 6e-4))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network and weights (float16) with a manifest in `out`, or in the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    tissue = squares(mias("train", data) + cbis("train"), chosen.each, seed=3)

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        x, mask = (part.to(device_of(net)) for part in batch(tissue, rng, chosen.batch))
        chance = torch.Generator().manual_seed(int(rng.integers(2**31)))
        return loss(net, x, mask, chance)  # type: ignore[arg-type]

    torch.manual_seed(3)
    net = fit(Denoiser(), draw, chosen.schedule, out / preset / f"{name}.ckpt", seed=3, resume=resume, title=name)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {"side": SIDE}, f"scanward train {name} --preset {preset}", folder)
