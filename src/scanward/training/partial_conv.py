"""`scanward train partial-conv`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scanward import weights
from scanward.anatomy.breast import breast_small
from scanward.attacks.partial_conv.network import PartialConvNet, Texture
from scanward.attacks.partial_conv.remove import SIDE
from scanward.attacks.partial_conv.train import batch, loss
from scanward.attacks.places import draw_places
from scanward.datasets.films import Film, cbis, mias
from scanward.training.finish import preset_of, ship
from scanward.training.loop import Schedule, fit

SHRUNK = 3.0
"""A training square covers up to this many times its own side of the film, as for lesions larger than it."""


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    each: int = 16
    """Squares a film."""
    batch: int = 16


PRESETS = {"quick": Preset(Schedule(150), 4), "full": Preset(Schedule(800))}


def squares(films: list[Film], each: int, seed: int) -> npt.NDArray[np.float32]:
    """(n, 128, 128) squares of breasts in stored values, at their own size or shrunk."""
    rng = np.random.default_rng(seed)
    found = []
    for film in films:
        plane = film.read().plane
        breast = breast_small(plane)
        for _ in range(each):
            side = min(round(SIDE * float(rng.uniform(0.6, SHRUNK))), int(0.4 * min(plane.shape)))
            side = max(side, SIDE)
            place = draw_places(plane, rng, 1, side / 2, breast)[0]
            y, x = (int(np.clip(round(v - side / 2), 0, n - side)) for v, n in zip((place.y, place.x), plane.shape,
                                                                                  strict=True))
            found.append(cv2.resize(plane[y:y + side, x:x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(found)


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Network and weights (float16) with a manifest in `out`, or in the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    tissue = squares(mias("train", data) + cbis("train"), chosen.each, seed=0)
    texture = Texture()

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        return loss(net, texture, *batch(tissue, rng, chosen.batch))  # type: ignore[arg-type]

    torch.manual_seed(0)
    net = fit(PartialConvNet(), draw, chosen.schedule, out / preset / f"{name}.ckpt", resume=resume, title=name)
    arrays = {key: value.detach().numpy().astype(np.float16) for key, value in net.state_dict().items()
              if "num_batches" not in key}
    folder = weights.FOLDER if install else out / preset
    return ship(name, arrays, {"side": SIDE}, f"scanward train {name} --preset {preset}", folder)
