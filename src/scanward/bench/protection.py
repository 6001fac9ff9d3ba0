"""Whether a perturbation stops forgeries, and what it does to the scan: the protocol of `scanward bench protection`.

Places lie in chest CTs that no protector was trained on, far enough apart that all of them can carry a nodule of
LIDC-IDRI's test patients, and be protected, at once. Attackers inject where there is none, and remove where there is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track

from scanward import methods
from scanward.anatomy.lung import lungs_of
from scanward.attacks.base import Attack, Lesion
from scanward.bench.judge import NoduleJudge
from scanward.bench.purify import PURIFICATIONS
from scanward.datasets import thorax
from scanward.datasets.chests import SHARP, Nodule, candidates, healthy_at, nodules, planted, scan_of
from scanward.datasets.films import data_folder
from scanward.errors import ArgumentError, UnreadableError
from scanward.image import Image
from scanward.nets.cube import Cuboid, cut
from scanward.protectors.mits_gan import EPSILON, Around

Volume = npt.NDArray[np.float32]
Protect = Callable[[Image, Sequence[Around]], Image]

SCAN = SHARP
APART_MM = 38.0
ROUNDS = 2
"""Drawings of places."""
NEAR_MM = 30.0
"""About a place, what an attack on it reads and the bench keeps of the scan."""
INJECTORS = ("ct-gan-plain", "ct-gan-plain-b", "ct-gan", "ct-gan-b", "ct-diffusion")
REMOVERS = ("ct-gan-remove", "ct-gan-b-remove", "ct-diffusion-remove")
OURS = "mits-gan"
EPSILONS = (EPSILON, 2 * EPSILON)
PROTECTORS = {"MITS-GAN as published": "mits-gan-published", f"MITS-GAN repaired, {EPSILON:g} HU": "mits-gan-repaired",
              "TAFIM on CT": "tafim",
              **{f"ours, {epsilon:g} HU": OURS for epsilon in EPSILONS}}
"""Columns that have weights, and whose."""
AT_HOME = ("ct-gan-plain-b", "ct-gan-b", "ct-gan-b-remove")
"""Attackers that learned lung from the very scan `SCAN`."""
LOCAL = tuple(column for column, name in PROTECTORS.items() if name == OURS)
WHITE_BOX = ("ct-gan-plain", "ct-gan-remove")
"""What our protector was trained against; every other attacker is held out."""


@dataclass(frozen=True)
class Site:
    """A place in the scan."""

    centre: tuple[float, float, float]
    """(z, y, x) in voxels."""
    nodule: Nodule
    number: int

    @property
    def diameter_mm(self) -> float:
        """Of the nodule, and of what is injected."""
        return max(4.0, self.nodule.diameter * self.nodule.voxel)

    @property
    def around(self) -> Around:
        """As protectors are told of it."""
        z, y, x = self.centre
        return Around(z, y, x, self.diameter_mm)


Centre = tuple[float, float, float]


@dataclass(frozen=True)
class Chest:
    """One drawing of places, in the healthy scan and in the scan with a nodule at each."""

    well: Image
    ill: Image
    sites: tuple[Site, ...]

    @cached_property
    def around(self) -> list[Around]:
        """All places."""
        return [site.around for site in self.sites]


@dataclass(frozen=True)
class Guarded:
    """Both scans of a chest under one protection."""

    chest: Chest
    well: Image
    ill: Image


def guarded(drawn: Sequence[Chest], protect: Protect, *, everywhere: bool) -> list[Guarded]:
    """Every chest's scans protected at its places; by what protects `everywhere`, the healthy scan, which is always the
    same, once."""
    made: list[Guarded] = []
    for chest in drawn:
        well = made[0].well if made and everywhere else protect(chest.well, chest.around)
        made.append(Guarded(chest, well, protect(chest.ill, chest.around)))
    return made


def protections() -> dict[str, Protect]:
    """Every column: controls, the published methods, ours; none whose weights were not trained yet."""
    def noise(image: Image, around: Sequence[Around]) -> Image:
        drawn = np.random.default_rng(41).uniform(-EPSILON, EPSILON, image.shape)
        return _changed(image, drawn)

    made: dict[str, Protect] = {
        "none": lambda image, around: image,
        f"uniform noise, {EPSILON:g} HU": noise,
        f"constant shift, {EPSILON:g} HU": lambda image, around: _changed(image, np.full(image.shape, EPSILON)),
        **{column: partial(_protected, name) for column, name in PROTECTORS.items()
           if name != OURS and methods.find(name, "protector").weights}}
    for epsilon in EPSILONS:
        made[f"ours, {epsilon:g} HU"] = partial(_protected, OURS, epsilon=epsilon)
    return made


def _protected(name: str, image: Image, around: Sequence[Around], **options: float) -> Image:
    made: Image = methods.build(name, "protector", **options).protect(image, around)
    return made


def _changed(image: Image, change: npt.NDArray[np.float64]) -> Image:
    values = (image.pixels + change).astype(np.float32)
    return dataclasses.replace(image, pixels=image.storable(values, image.pixels))


def of_test(scan: str) -> str:
    """The name of a scan that no protector and no attacker but those `AT_HOME` was trained on; `ArgumentError` where it
    is none."""
    known = (SCAN, *(row.name for row in thorax.SCANS if row.split == "test" and not row.known_to))
    if scan not in known:
        raise ArgumentError(f"--scan {scan} is no scan to test on; choose from: {', '.join(known)}.")
    return scan


def _whole(scan: str, data: Path | None) -> Image:
    if scan == SCAN:
        return scan_of(scan, data)
    row = next(row for row in thorax.SCANS if row.name == scan)
    found = next(thorax.images(row, data), None)
    if found is None:
        raise UnreadableError(f"{data_folder(data)} holds no scan {scan}; name the data folder with --data or "
                              "SCANWARD_DATA.")
    return found[1]


def chests(count: int, data: Path | None, part: tuple[int, int] | None = None, scan: str = SCAN) -> list[Chest]:
    """`ROUNDS` drawings of at most `count` places each or, in `part` of the slices (first, last), a single one.

    `ArgumentError` where the scan has no such slices.
    """
    image = _whole(scan, data)
    if part is not None:
        if not 0 <= part[0] <= part[1] < image.shape[0]:
            raise ArgumentError(f"--slices {part[0]}-{part[1]} is no part of a scan with slices 0 to "
                                f"{image.shape[0] - 1}; name the first and the last.")
        image = dataclasses.replace(image, pixels=image.pixels[part[0]:part[1] + 1].copy())
    lungs, known = lungs_of(image), [n for n in nodules("test", data) if n.diameter * n.voxel >= 4]
    spacing = image.spacing or (1.0, 1.0, 1.0)
    made = []
    for number in range(ROUNDS if part is None else 1):
        rng = np.random.default_rng((23, number))
        sites: list[Site] = []
        for centre in candidates(image, lungs, rng, 4000):
            far = all(math.dist(np.multiply(centre, spacing), np.multiply(site.centre, spacing)) > APART_MM
                      for site in sites)
            if far and len(sites) < count and healthy_at(image, centre):
                sites.append(Site(centre, known[int(rng.integers(len(known)))], len(sites)))
        pixels = image.pixels.copy()
        for site in sites:
            box, values = planted(image, site.centre, site.nodule, site.number)
            pixels[box] = np.rint(values)
        made.append(Chest(image, dataclasses.replace(image, pixels=pixels), tuple(sites)))
    return made


def near(image: Image, site: Site) -> tuple[Image, Centre]:
    """What lies about a place, and where the place is in it."""
    box = tuple(slice(max(0, math.floor(c - NEAR_MM / s)), min(n, math.ceil(c + NEAR_MM / s) + 1))
                for c, s, n in zip(site.centre, image.spacing or (1.0,) * 3, image.shape, strict=True))
    z, y, x = (c - b.start for c, b in zip(site.centre, box, strict=True))
    return dataclasses.replace(image, pixels=image.pixels[box].copy()), (z, y, x)


def forged(image: Image, site: Site, attack: Attack, purify: str = "as it is") -> tuple[Image, Centre]:
    """What lies about a place after the attacker cleaned the scan up and attacked, taking no noise from elsewhere."""
    part, centre = near(image, site)
    part = dataclasses.replace(part, pixels=PURIFICATIONS[purify](part.pixels))
    params = attack.draw(part, Lesion(centre, site.diameter_mm), np.random.default_rng((31, site.number)))
    patch = attack.apply(part, params)
    part.pixels[patch.box.slices] = patch.values
    return part, centre


def called(parts: Iterable[tuple[Image, Centre]]) -> list[bool]:
    """Whether the judge calls each of these places a nodule."""
    judge = NoduleJudge()
    cubes = [cut(torch.from_numpy(part.pixels), Cuboid(centre, part.spacing or (1.0,) * 3)) for part, centre in parts]
    return [bool(p >= judge.threshold) for p in judge.of_cubes(torch.cat(cubes))]


def successes(one: Guarded, attacker: str, purify: str = "as it is") -> list[bool]:
    """Of every place whether an attack succeeds: an injection is called a nodule, or a removal leaves none."""
    attack = methods.build(attacker, "attack", noise="gaussian")
    scan = one.well if attack.inject else one.ill
    sites = track(one.chest.sites, attacker, console=Console(stderr=True))
    return [ill == attack.inject for ill in called(forged(scan, site, attack, purify) for site in sites)]
