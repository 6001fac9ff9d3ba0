"""`scanward train mits-gan-published`: four neighbouring slices a step, the attacker injecting and removing in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import methods, weights
from scanward.attacks.base import Attack, Lesion
from scanward.datasets.chests import PARTS, THIN, scan_of
from scanward.image import Image
from scanward.protectors.mits_gan.network import Discriminator, Generator, published_weights
from scanward.protectors.mits_gan.train import discriminator_loss, generator_loss
from scanward.training.adversarial import Step, fit
from scanward.training.ct_gan import LICENCE
from scanward.training.finish import halved, preset_of, ship
from scanward.training.loop import Schedule, device_of

ATTACKERS = ("ct-gan-plain", "ct-gan-remove")
SLICES, SIDE = 4, 256
"""Of a batch; the published slices are 512 × 512."""
EDGE = 48
"""Pixels between the attack and the edges of these slices."""
HIGH_MM = 17.0
"""Of the scan above and below the slices that an attack reads."""


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule


PRESETS = {"quick": Preset(Schedule(20, 2e-4, every=10)), "full": Preset(Schedule(300, 2e-4, every=50))}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Generator and discriminator; writes float16 weights and a manifest into `out`, or the package with `install`."""
    chosen: Preset = preset_of(PRESETS, preset)
    scans = (THIN, *PARTS)
    images = [scan_of(scan, data) for scan in scans]
    attacks = [methods.build(attacker, "attack", noise="none") for attacker in ATTACKERS]
    torch.manual_seed(7)
    start, judge = Generator(), Discriminator()
    for one in (start, judge):
        published_weights(one)
    net = fit(start, judge, step_of(images, attacks), chosen.schedule, out / preset / f"{name}.ckpt", seed=7,
              resume=resume, title=name, average=0.0)
    folder = weights.FOLDER if install else out / preset
    return ship(name, halved(net), {}, f"scanward train {name} --preset {preset}", folder,
                f"slices of {', '.join(scans)}; attacked by {', '.join(ATTACKERS)}", LICENCE)


def step_of(images: list[Image], attacks: list[Attack]) -> Step:
    """One step on slices of a random scan."""
    slices = np.array([image.shape[0] for image in images], float)

    def step(net: nn.Module, judge: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        number = int(rng.choice(len(images), p=slices / slices.sum()))
        image, low, high = images[number], float(images[number].pixels.min()), float(images[number].pixels.max())
        corner = [int(rng.integers(n - side + 1)) for n, side in zip(image.shape, (SLICES, SIDE, SIDE), strict=True)]
        box = tuple(slice(c, c + side) for c, side in zip(corner, (SLICES, SIDE, SIDE), strict=True))
        real = torch.from_numpy((image.pixels[box] - low) * (2 / (high - low)) - 1)[:, None].to(device_of(net))
        protected = net(real, torch.rand(real.shape, device=real.device)).to(real.dtype)
        hu = (protected.detach()[:, 0].float().cpu() + 1) * ((high - low) / 2) + low
        attack = attacks[int(rng.integers(len(attacks)))]
        after = (torch.from_numpy(attacked(image, hu.numpy(), box, attack, rng)) - low) \
            * (2 / (high - low)) - 1

        def of_judge() -> tuple[Tensor, float]:
            value = discriminator_loss(judge(real), judge(protected.detach()))
            return value, float(value.detach())

        def of_net() -> Tensor:
            return generator_loss(judge(protected), protected, after[:, None].to(real.device))

        return of_judge, of_net

    return step


def attacked(image: Image, hu: np.ndarray, box: tuple[slice, ...], attack: Attack,
             rng: np.random.Generator) -> np.ndarray:
    """The protected slices (4, 256, 256) in HU after an attack at a random place in them, in lung or not, as published;
    the attack copies no noise."""
    high = round(HIGH_MM / (image.spacing or (1.0,))[0])
    start, stop = max(0, box[0].start - high), min(image.shape[0], box[0].stop + high)
    pixels = image.pixels[start:stop, box[1], box[2]].copy()
    inside = slice(box[0].start - start, box[0].stop - start)
    pixels[inside] = hu
    host = Image(pixels, "CT", image.spacing, integer=False)
    y, x = rng.uniform(EDGE, SIDE - EDGE, 2)
    lesion = Lesion((inside.start + 2.0, float(y), float(x)), 12.0)
    patch = attack.apply(host, attack.draw(host, lesion, rng))
    pixels[patch.box.slices] = patch.values
    return pixels[inside]
