"""Trains the yardstick after HexMIL on CT-GAN's forgeries of the train scans, in its own way: slices first, then runs
of 32 slices on the frozen slice network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from scanward import methods
from scanward.attacks.base import Lesion
from scanward.bench.ct_baselines import FILES
from scanward.bench.ct_changes import Box, lung_window, shared, shown_in
from scanward.bench.ct_hexmil import SLICES, WIDTHS, Gated, SliceNet, looked_at, scaled
from scanward.datasets.chests import candidates
from scanward.datasets.thorax import SCANS, Scan, read
from scanward.nets.blocks import filled
from scanward.training.loop import Schedule, fit
from scanward.training.self_reference import arrays_of

ATTACKS = ("ct-gan", "ct-gan-remove")
LEAST_MM = 80.0
"""Height of a scan that is trained on."""
SIZES = (5.0, 30.0)
"""Diameters in mm, drawn log-uniformly."""
EACH = 2
"""Forged slices a step, and as many authentic ones, all of one scan."""
STEPS, RUNS = Schedule(4000, 3e-4, every=100, precision="32-true"), Schedule(400, 1e-3, every=400, precision="32-true")
"""The published rate is 1e-4, from ImageNet weights."""


@dataclass(frozen=True)
class Chest:
    """One scan about its lungs, and what is forged there one by one."""

    pixels: npt.NDArray[np.int16]
    """(z, y, x) HU."""
    forgeries: list[tuple[Box, npt.NDArray[np.float32], npt.NDArray[np.intp]]]
    """Box, the HU in it, and the numbers of the slices that count as forged."""


def chest(scan: Scan, count: int, seed: int) -> Chest:
    """A scan with so many forgeries, in turn by each attack."""
    rng = np.random.default_rng((seed, 113))
    window = lung_window(scan)
    made = []
    for number, centre in enumerate(candidates(scan.image, scan.lungs, rng, count)):
        attack = methods.build(ATTACKS[number % len(ATTACKS)], "attack")
        lesion = Lesion(centre, float(np.exp(rng.uniform(*np.log(SIZES)))))
        patch = attack.apply(scan.image, attack.draw(scan.image, lesion, rng, anatomy=scan.lungs))
        part, box = shared(patch.box.slices, window)
        depths = shown_in(patch.mask[part]) + box[0].start
        if depths.size and min(patch.values[part].shape) > 0:
            made.append((box, patch.values[part], depths))
    return Chest(np.rint(scan.image.pixels[window]).astype(np.int16), made)


def trained(folder: Path, data: Path | None, forgeries: int, resume: bool = True) -> tuple[SliceNet, Gated]:
    """Both networks; what `folder` holds of a finished training is taken as it is."""
    nets: tuple[SliceNet, Gated] = SliceNet(), Gated(WIDTHS[-1])
    places = [folder / name for name in FILES]
    if not (resume and all(place.is_file() for place in places)):
        chests = list(chests_of(data, forgeries))
        torch.manual_seed(0)
        fit(nets[0], lambda net, rng: slice_loss(net, chests[int(rng.integers(len(chests)))], rng), STEPS,
            folder / "slices.ckpt", resume=resume, title="HexMIL, slices")
        bank = [runs_of(nets[0], one) for one in chests]
        fit(nets[1], lambda net, rng: run_loss(net, bank[int(rng.integers(len(bank)))], rng), RUNS,
            folder / "scan.ckpt", resume=resume, title="HexMIL, runs of slices")
        for net, place in zip(nets, places, strict=True):
            save_file(arrays_of(net), place)
    return filled(nets[0], load_file(places[0])), filled(nets[1], load_file(places[1]))


def chests_of(data: Path | None, forgeries: int) -> Iterator[Chest]:
    """Whole chests of the train split whose lung CT-GAN did not learn, which it forges too well."""
    for number, row in enumerate(SCANS):
        if row.split == "train" and not row.single and not set(ATTACKS) & set(row.known_to):
            for scan in read(row, data):
                if scan.image.shape[0] * (scan.image.spacing or (1.0,))[0] >= LEAST_MM:
                    yield chest(scan, forgeries, number)


def slice_loss(net: nn.Module, one: Chest, rng: np.random.Generator) -> Tensor:
    """Of forged slices, and of as many authentic ones at any depth, as published: how deep a slice lies tells, too."""
    planes = []
    for number in rng.integers(len(one.forgeries), size=EACH):
        box, values, depths = one.forgeries[number]
        z = int(rng.choice(depths))
        plane = one.pixels[z].astype(np.float32)
        plane[box[1:]] = values[z - box[0].start]
        planes.append(plane)
    planes += [one.pixels[z].astype(np.float32) for z in rng.integers(len(one.pixels), size=EACH)]
    seen = [plane[::int(rng.choice([-1, 1])), ::int(rng.choice([-1, 1]))] for plane in planes]
    logits, _, _ = net(torch.from_numpy(scaled(np.stack(seen)))[:, None])
    return functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0] * EACH + [0.0] * EACH))


Runs = tuple[npt.NDArray[np.float32], list[tuple[slice, npt.NDArray[np.float32]]]]
"""Embeddings (z, 256) of the authentic slices, and of each forgery's box of slices."""


def runs_of(net: SliceNet, one: Chest) -> Runs:
    """What the frozen slice network makes of a scan and of its forgeries' slices."""
    net.eval()
    plain = looked_at(net, one.pixels.astype(np.float32))[1]
    forged = []
    for box, values, _ in one.forgeries:
        part = one.pixels[box[0]].astype(np.float32)
        part[(slice(None), *box[1:])] = values
        forged.append((box[0], looked_at(net, part)[1]))
    return plain, forged


def run_loss(net: nn.Module, runs: Runs, rng: np.random.Generator) -> Tensor:
    """Of runs of 32 slices with a forgery in them, and of runs anywhere without."""
    plain, forged = runs
    bags = []
    for number in rng.integers(len(forged), size=4):
        where, inside = forged[number]
        whole = plain.copy()
        whole[where] = inside
        middle = (where.start + where.stop) // 2
        first = int(np.clip(middle - rng.integers(4, SLICES - 4), 0, max(0, len(plain) - SLICES)))
        bags.append(whole[first:first + SLICES])
        first = int(rng.integers(0, max(1, len(plain) - SLICES + 1)))
        bags.append(plain[first:first + SLICES])
    logits, _, _ = net(torch.from_numpy(np.stack(bags)))
    return functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0] * 4))
