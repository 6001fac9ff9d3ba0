"""What a perturbation could do at best, and what ours takes.

    python benchmarks/protection.py bound     the change itself optimised for each place, against one known attacker
    python benchmarks/protection.py blind     the same where the place is not known: several ideas
    python benchmarks/protection.py left      how much of an attack our change leaves, and whether it can be taken off
    python benchmarks/protection.py speed     seconds a slice, beside the published generator

A change that was optimised for the very place, attacker and scan is what no trained network will surpass by much. All
are of the whole HU that a file stores. Attackers are those that read the scan's surroundings (`ct-gan-plain`,
`ct-gan-remove`), and the one that is told what to paint (`ct-gan`). Answers go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from scanward import methods
from scanward.attacks.ct_gan.tamper import Forger, tampered_together
from scanward.bench import tables
from scanward.bench.judge import NoduleJudge
from scanward.bench.protection import SCAN, Chest, chests, near
from scanward.datasets.chests import scan_of
from scanward.datasets.scenes import Scene
from scanward.metrics import mean_interval
from scanward.nets.cube import Cuboid, cuboid_of, cut
from scanward.training.mits_gan import effect

MISSES = (0.0, 1.0, 2.0, 4.0)
"""Millimetres by which attacks miss the place that was protected."""
STEPS = 60
CELL = (3, 14, 14)
"""Voxels (z, y, x) of a repeated pattern, about 8 mm of the sharp scan."""
Shape = Callable[[list[Tensor], float], list[Tensor]]
"""Free parameters and the bound, to the changes of each scene."""


@dataclass
class Case:
    """Places of one kind, and an attacker who attacks there."""

    scenes: list[Scene]
    forger: Forger
    owners: list[str]

    def params(self, number: int, rng: np.random.Generator, miss: Tensor | float) -> dict:
        """Of an attack on a place: anywhere within `miss` along each axis, or off by just that (z, y, x), in mm."""
        if isinstance(miss, float):
            return self.scenes[number].params(rng, miss)
        made = self.scenes[number].params(rng, 0.0)
        made["centre"] = [c + float(off) / s for c, off, s in zip(made["centre"], miss, made["spacing"], strict=True)]
        return made


def cases(chest: Chest, attacker: str) -> Case:
    """The chest's places as this attacker wants them: healthy to inject, with a nodule to remove."""
    forger = methods.build(attacker, "attack").forger
    scenes = []
    for site in chest.sites:
        part, centre = near(chest.well if forger.inject else chest.ill, site)
        cuboid = cuboid_of(centre, part.spacing or (1.0,) * 3, site.diameter_mm)
        scenes.append(Scene(torch.from_numpy(part.pixels), cuboid, site.diameter_mm, not forger.inject, (0, 0)))
    return Case(scenes, forger, [site.nodule.patient for site in chest.sites])


def optimised(case: Case, epsilon: float, miss: float, shape: Shape, seed: int = 1) -> list[Tensor]:
    """The scenes' voxels under the change that leaves least of attacks within `miss` mm, by signed gradient steps with
    momentum; `shape` turns free parameters into changes."""
    rng = np.random.default_rng(seed)
    free = [((torch.rand(scene.voxels.shape) - 0.5) * 2 * epsilon).requires_grad_() for scene in case.scenes]
    momentum = [torch.zeros_like(one) for one in free]
    for step in track(range(STEPS), f"{epsilon:g} HU, within {miss:g} mm", console=Console(stderr=True)):
        changes = shape(free, epsilon)
        params = [case.params(n, rng, miss) for n in range(len(free))]
        after = [scene.voxels + change for scene, change in zip(case.scenes, changes, strict=True)]
        with torch.autocast("cpu", torch.bfloat16):
            made = tampered_together(after, params, case.forger)
        left = torch.stack([effect(values - scene.voxels[box], one, box, case.forger)
                            for scene, one, (box, values) in zip(case.scenes, params, made, strict=True)]).sum()
        rate = epsilon * (4 / STEPS * (1 - step / STEPS) + 0.02)
        with torch.no_grad():
            for one, moved, slope in zip(free, momentum, torch.autograd.grad(left, free, materialize_grads=True),
                                         strict=True):
                moved.mul_(0.8).add_(slope / (slope.abs().mean() + 1e-12))
                one.sub_(rate * moved.sign()).clamp_(-epsilon, epsilon)
    with torch.no_grad():
        return [torch.round(scene.voxels + change)
                for scene, change in zip(case.scenes, shape(free, epsilon), strict=True)]


def success(case: Case, scans: list[Tensor], miss: float) -> str:
    """How many attacks that miss the place by just `miss` mm succeed, by the judge."""
    judge, found = NoduleJudge(), []
    for number, scan in enumerate(scans):
        rng = np.random.default_rng((51, number))
        way = rng.standard_normal(3)
        params = case.params(number, rng, torch.from_numpy(miss * way / np.linalg.norm(way)))
        with torch.inference_mode():
            (box, made), = tampered_together([scan], [params], case.forger)
            attacked = scan.clone()
            attacked[box] = made
            cube = cut(attacked, Cuboid(tuple(params["centre"]), tuple(params["spacing"])))
        found.append((float(judge.of_cubes(cube)[0]) >= judge.threshold) == case.forger.inject)
    return tables.rate(found, case.owners)


def free_form(changes: list[Tensor], epsilon: float) -> list[Tensor]:
    """Every voxel on its own."""
    return changes


def periodic(changes: list[Tensor], epsilon: float) -> list[Tensor]:
    """One pattern for all places, repeated about every 8 mm in the scan's own grid."""
    made = []
    cell = changes[0][:CELL[0], :CELL[1], :CELL[2]]
    for one in changes:
        times = [-(-n // s) for n, s in zip(one.shape, CELL, strict=True)]
        made.append(cell.repeat(*times)[:one.shape[0], :one.shape[1], :one.shape[2]])
    return made


def coarse(changes: list[Tensor], epsilon: float) -> list[Tensor]:
    """Nothing finer than about 4 mm, which means nearly the same two millimetres on."""
    smooth = (functional.avg_pool3d(one[None, None], (1, 7, 7), 1, (0, 3, 3), count_include_pad=False)[0, 0]
              for one in changes)
    return [(5 * one).clamp(-epsilon, epsilon) for one in smooth]


def bound(args: argparse.Namespace) -> None:
    """Known places."""
    chest, body = chests(args.places, args.data)[0], []
    for attacker in ("ct-gan-plain", "ct-gan-remove", "ct-gan"):
        case = cases(chest, attacker)
        bare = [scene.voxels for scene in case.scenes]
        body.append([attacker, "none", "–", *(success(case, bare, miss) for miss in MISSES)])
        for epsilon, miss in ((16.0, 0.0), (32.0, 0.0), (32.0, 1.0)):
            scans = optimised(case, epsilon, miss, free_form)
            body.append([attacker, f"{epsilon:g} HU", f"{miss:g} mm", *(success(case, scans, m) for m in MISSES)])
    print(tables.table(["attacker", "change", "optimised for attacks within",
                        *(f"success, off by {miss:g} mm" for miss in MISSES)], body))


def blind(args: argparse.Namespace) -> None:
    """Places known to 4 mm only, which is what a lattice of changes over the whole lung comes to."""
    chest, body = chests(args.places, args.data)[0], []
    case = cases(chest, "ct-gan-plain")
    ideas = {"every voxel on its own": free_form, "one pattern, repeated every 8 mm": periodic,
             "nothing finer than 4 mm": coarse}
    for label, shape in ideas.items():
        for epsilon in (16.0, 32.0):
            scans = optimised(case, epsilon, 4.0, shape)
            body.append([label, f"{epsilon:g} HU", *(success(case, scans, miss) for miss in MISSES)])
    print(tables.table(["change", "at most", *(f"success, off by {miss:g} mm" for miss in MISSES)], body))


def left(args: argparse.Namespace) -> None:
    """What attacks on protected places still do, as a part of what they do without protection."""
    chest, body = chests(args.places, args.data)[0], []
    for attacker in ("ct-gan-plain", "ct-gan-remove"):
        case = cases(chest, attacker)
        scan = chest.well if case.forger.inject else chest.ill
        for epsilon in (16.0, 32.0):
            method = methods.build("mits-gan", "protector", epsilon=epsilon)
            made = method.protect(scan, chest.around)
            again = method.protect(made, chest.around)
            taken_off = dataclasses.replace(made, pixels=2 * made.pixels - again.pixels)
            for label, image in (("as it is", made), ("our own answer to it taken off", taken_off)):
                scans = [torch.from_numpy(near(image, site)[0].pixels) for site in chest.sites]
                body.append([attacker, f"{epsilon:g} HU", label, *(_left(case, scans, miss) for miss in MISSES[:3])])
    head = ["attacker", "bound", "before the attack", *(f"left, off by {miss:g} mm" for miss in MISSES[:3])]
    print(tables.table(head, body))


def _left(case: Case, scans: list[Tensor], miss: float) -> str:
    """The mean effect of attacks that miss by just so much, as a part of that on the unprotected scenes."""
    shares = []
    for number, (scan, scene) in enumerate(zip(scans, case.scenes, strict=True)):
        rng = np.random.default_rng((51, number))
        way = rng.standard_normal(3)
        params = case.params(number, rng, torch.from_numpy(miss * way / np.linalg.norm(way)))
        with torch.inference_mode():
            (box, made), (_, bare) = tampered_together([scan, scene.voxels], [params, params], case.forger)
        shares.append(float(effect(made - scan[box], params, box, case.forger)
                            / effect(bare - scene.voxels[box], params, box, case.forger)))
    return tables.estimate(*mean_interval(shares, case.owners))


def speed(args: argparse.Namespace) -> None:
    """One scan by each protector; of those that take every slice alike, ten slices."""
    whole, body, took = scan_of(SCAN, args.data), [], {}
    around = chests(args.places, args.data)[0].around
    slab = dataclasses.replace(whole, pixels=whole.pixels[40:50].copy())
    for name in ("mits-gan-published", "tafim", "mits-gan"):
        method = methods.build(name, "protector")
        method.net  # noqa: B018
        image, places = (whole, around) if name == "mits-gan" else (slab, ())
        started = time.perf_counter()
        method.protect(image, places)
        took[name] = (time.perf_counter() - started) / image.shape[0]
    for name, seconds in took.items():
        what = f"{len(around)} places" if name == "mits-gan" else "the whole scan"
        body.append([name, what, f"{seconds:.3f}", f"{took['mits-gan-published'] / seconds:.1f}×"])
    print(tables.table(["protector", "protects", "s a slice", "published generator ÷ this"], body))


def main() -> None:
    """Parse the command line and run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["bound", "blind", "left", "speed"])
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    {"bound": bound, "blind": blind, "left": left, "speed": speed}[args.table](args)


if __name__ == "__main__":
    main()
