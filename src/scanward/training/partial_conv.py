"""`scanward train partial-conv`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.attacks.partial_conv.network import PartialConvNet, Texture
from scanward.attacks.partial_conv.remove import SIDE
from scanward.attacks.partial_conv.train import batch, loss
from scanward.datasets.films import cbis, mias
from scanward.datasets.squares import squares
from scanward.training.finish import preset_of, ship
from scanward.training.loop import Schedule, device_of, fit


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    each: int = 16
    """Squares a film."""
    batch: int = 16


PRESETS = {"quick": Preset(Schedule(150), 4), "full": Preset(Schedule(800))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network and weights (float16) with a manifest in `out`, or in the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    tissue = squares(mias("train", data) + cbis("train"), chosen.each, seed=0)
    texture = Texture()

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        device = device_of(net)
        x, mask = (part.to(device) for part in batch(tissue, rng, chosen.batch))
        return loss(net, texture.to(device), x, mask)  # type: ignore[arg-type]

    torch.manual_seed(0)
    net = fit(PartialConvNet(), draw, chosen.schedule, out / preset / f"{name}.ckpt", resume=resume, title=name)
    arrays = {key: value.detach().numpy().astype(np.float16) for key, value in net.state_dict().items()
              if "num_batches" not in key}
    folder = weights.FOLDER if install else out / preset
    return ship(name, arrays, {"side": SIDE}, f"scanward train {name} --preset {preset}", folder)
