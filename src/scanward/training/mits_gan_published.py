"""`scanward train mits-gan-published`: crops of slices, injected into and removed from, the published losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scanward import methods, weights
from scanward.attacks.base import Attack, Lesion
from scanward.image import Image
from scanward.protectors.mits_gan.network import Discriminator, Generator, published_weights, rimmed
from scanward.protectors.mits_gan.protect import Levels
from scanward.protectors.mits_gan.train import discriminator_loss, generator_loss
from scanward.training.adversarial import PLAIN, Step, fit
from scanward.training.curve import Curve
from scanward.training.finish import halved, preset_of, ship
from scanward.training.guarded_slices import REACH_MM, Crop, Crops, Followed, inner, licence_of, slices, told
from scanward.training.loop import Schedule, device_of

ATTACKERS = ("ct-gan-plain", "ct-gan-remove")
"""Of a step's crops the first is injected into and the second removed from, where published steps take turns."""
PLACES = 8
"""Crops of a step, each of another slice: of two places alone, batch norms know too little of what a slice holds."""
HIGH_MM = 17.0
"""Of the scan above and below the slices that an attack reads."""
DIAMETER_MM = 12.0
"""Of what is injected, or taken away."""


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    schedule: Schedule
    average: float = 0.0
    """Share of the generator's running average that a step leaves; its authors average nothing."""


LONG = Schedule(20_000, 2e-4, falls=False, every=200)
PRESETS = {"quick": Preset(Schedule(20, 2e-4, falls=False, every=10)), "full": Preset(LONG),
           "averaged": Preset(LONG, average=0.99)}


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Generator and discriminator; writes float16 weights and a manifest into `out`, or the package with `install`.

    The discriminator, whose batch norms take real and protected slices apart, does not see a level, so the generator's
    wanders for as long as it is trained: it ships as it was when nearest to the scans that are followed. The preset
    `averaged` is for those who want it to settle.
    """
    chosen: Preset = preset_of(PRESETS, preset)
    scans = slices(data)
    attacks = [methods.build(attacker, "attack", noise="none", extent="cuboid") for attacker in ATTACKERS]
    torch.manual_seed(7)
    start, judge = Generator(), Discriminator()
    for one in (start, judge):
        published_weights(one)
    checkpoint = out / preset / f"{name}.ckpt"
    curve = Curve(checkpoint.with_suffix(".jsonl"), Followed(data, answered))
    net = fit(start, judge, step_of(Crops(list(scans.values())), attacks, curve), chosen.schedule, checkpoint, seed=7,
              resume=resume, title=name, average=chosen.average, descent=PLAIN, curve=curve, least="rmse")
    nearest, folder = curve.least("rmse"), weights.FOLDER if install else out / preset
    return ship(name, halved(net), {"steps": int(nearest["step"]), "pixels": int(nearest["pixels"])},
                f"scanward train {name} --preset {preset}", folder,
                f"slices of {told(scans)}; attacked by {', '.join(ATTACKERS)}", licence_of(scans))


def answered(net: nn.Module, real: Tensor, levels: Levels) -> Tensor:
    """What the published generator makes of whole slices: the protected slices themselves."""
    return rimmed(net, real)


def step_of(crops: Crops, attacks: list[Attack], curve: Curve) -> Step:
    """One step on `PLACES` crops, of which as many are attacked as there are attacks."""

    def step(net: nn.Module, judge: nn.Module, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        drawn = [crops.draw(rng) for _ in range(PLACES)]
        real = torch.cat([crop.real() for crop in drawn]).to(device_of(net))
        made = net(real, torch.rand(real.shape, device=real.device)).to(real.dtype)
        real, protected = inner(real), inner(made)
        aimed = protected[:len(attacks)]
        after = torch.cat([tampered(crop, part, attack, rng) for crop, part, attack in
                           zip(drawn, aimed.detach().float().cpu().split(1), attacks, strict=False)])
        share = float(np.mean([crop.share for crop in drawn[:len(attacks)]]))
        curve.saw(real.numel())

        def of_judge() -> tuple[Tensor, float]:
            return domain_of(judge, real, protected)

        def of_net() -> Tensor:
            return generator_loss(judge(protected), aimed, after.to(real.device), share)

        return of_judge, of_net

    return step


def domain_of(judge: nn.Module, real: Tensor, protected: Tensor) -> tuple[Tensor, float]:
    """The discriminator's loss, and its value."""
    value = discriminator_loss(judge(real), judge(protected.detach()))
    return value, float(value.detach())


def tampered(crop: Crop, protected: Tensor, attack: Attack, rng: np.random.Generator) -> Tensor:
    """A crop's protected slice (1, 1, y, x) in [-1, 1], without its rim, after an attack that knows NumPy only, so
    that no gradient comes back: as released."""
    hu = crop.levels.back(protected[:, 0]).numpy()
    return crop.levels.of(torch.from_numpy(attacked(crop.image, hu, crop.judged, attack, rng)))[:, None]


def attacked(image: Image, hu: np.ndarray, box: tuple[slice, ...], attack: Attack,
             rng: np.random.Generator) -> np.ndarray:
    """The protected slices (z, y, x) in HU, which stand in `box`, after an attack at a random place in them, in lung or
    not, as published; its cuboid lies within them, and it copies no noise."""
    spacing = image.spacing or (1.0, 1.0, 1.0)
    high = round(HIGH_MM / spacing[0])
    start, stop = max(0, box[0].start - high), min(image.shape[0], box[0].stop + high)
    pixels = image.pixels[start:stop, box[1], box[2]].copy()
    inside = slice(box[0].start - start, box[0].stop - start)
    pixels[inside] = hu
    host = Image(pixels, "CT", spacing, integer=False)
    y, x = (float(rng.uniform(edge, n - 1 - edge)) for n, edge in
            zip(hu.shape[1:], (min(REACH_MM / s, n / 2 - 1) for n, s in zip(hu.shape[1:], spacing[1:], strict=True)),
                strict=True))
    lesion = Lesion((inside.start + len(hu) // 2, y, x), DIAMETER_MM)
    patch = attack.apply(host, attack.draw(host, lesion, rng))
    pixels[patch.box.slices] = patch.values
    return pixels[inside]
