"""Chest CT for training and tests: scans of five patients, and real nodules of LIDC-IDRI with their masks.

CT: CPTAC-LSCC (CC BY 4.0), Lung-Fused-CT-Pathology and LIDC-IDRI (CC BY 3.0; Armato et al. 2011).
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from scanward import formats
from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.ct_gan.cube import REACH
from scanward.datasets.films import data_folder
from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.nets.cube import LARGEST, SIDE, Cuboid, cut, spread

Cube = npt.NDArray[np.float32]
Taken = TypeVar("Taken")

SOFTEN = 0.7
"""Voxels by which an outline is blurred, so that the nodule's own rim comes along."""
SHARP, THIN = "cptac-lscc-C3N-00247", "lung-fused-ct-pathology-1"
"""A whole chest of 99 slices of 3 mm and a sharp kernel; an upper chest of 98 slices of 1 mm."""
SOLID = -300.0
"""HU above which a voxel of the lungs is vessel or lesion."""
PARTS = ("lidc-idri-0001", "lidc-idri-0003")
"""Parts of two more, about 40 and 27 mm high."""


@dataclass(frozen=True)
class Nodule:
    """A real nodule in the middle of a cube, at 1 mm a voxel or more."""

    name: str
    patient: str
    hu: Cube
    """(32, 32, 32)."""
    mask: Cube
    """(32, 32, 32) in [0, 1]: the share of each voxel that its readers outlined."""
    diameter: float
    """In voxels of the cube."""
    voxel: float
    """Millimetres a voxel."""

    @property
    def outline(self) -> Cube:
        """The mask softened by `SOFTEN`, (32, 32, 32) in [0, 1]."""
        return np.clip(1.4 * ndimage.gaussian_filter(self.mask, SOFTEN), 0, 1).astype(np.float32)

    @property
    def density(self) -> float:
        """Mean HU inside the outline."""
        return float((self.hu * self.mask).sum() / self.mask.sum())


def scan_of(name: str, data: Path | None = None) -> Image:
    """One of the five chest CTs."""
    folder = data_folder(data) / "ct" / name
    sources, errors = formats.find([folder])
    if errors or len(sources) != 1:
        raise UnreadableError(f"{folder} holds no CT series; name the data folder with --data or SCANWARD_DATA.")
    return formats.read(sources[0])


def part_of(patient: str, parts: int) -> int:
    """Into which of so many parts a patient falls, by name, for models that must not share patients."""
    return zlib.crc32(patient.encode()) % parts


def nodules(split: str, data: Path | None = None) -> list[Nodule]:
    """The nodules of a split (`train`, `val`, `test`) up to 30 mm, in the order of the table."""
    folder = data_folder(data) / "lidc-nodules"
    table = folder / "nodules.csv"
    if not table.is_file():
        raise UnreadableError(f"{table} is missing; name the data folder with --data or SCANWARD_DATA.")
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and float(row["diameter_mm"]) <= 30]
    return [_nodule(folder, row["nodule"], row["patient"], float(row["diameter_mm"])) for row in rows]


def _nodule(folder: Path, name: str, patient: str, diameter: float) -> Nodule:
    image = formats.read(folder / "images" / f"{name}.nii.gz")
    mask = formats.read(folder / "masks" / f"{name}.nii.gz")
    inside = mask.pixels > 0
    voxel = max(1.0, diameter / LARGEST)
    centre = ndimage.center_of_mass(inside)
    axes = [(np.arange(SIDE) - (SIDE - 1) / 2) * voxel / step + middle
            for step, middle in zip(image.spacing or (1.0,) * 3, centre, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    hu = ndimage.map_coordinates(image.pixels, grid, order=1, mode="nearest")
    share = ndimage.map_coordinates(inside.astype(np.float32), grid, order=1, mode="constant")
    return Nodule(name, patient, np.clip(hu, -1000, 2000).astype(np.float32), share.astype(np.float32),
                  diameter / voxel, voxel)


def candidates(image: Image, lungs: Lungs, rng: np.random.Generator, count: int) -> list[tuple[float, float, float]]:
    """Random voxels (z, y, x) at least 5 mm inside the lungs and, where the scan has the height, 16 mm from its
    ends."""
    depth = lungs.depth.copy()
    margin = min(len(depth) // 2, math.ceil(16 / lungs.spacing[0]))
    depth[:margin] = depth[len(depth) - margin:] = 0
    places = np.argwhere(depth > 5)
    picks = rng.choice(len(places), min(count, len(places)), replace=False)
    jitter = rng.uniform(-0.5, 0.5, (len(picks), 3))
    return [lungs.voxel(tuple(places[i] + j)) for i, j in zip(picks, jitter, strict=True)]


def taken(images: Sequence[Image], count: int, rng: np.random.Generator,
          take: Callable[[int, tuple[float, float, float]], Taken | None]) -> list[Taken]:
    """What `take` makes of random places in the lungs of the scans, given a scan's number and a voxel (z, y, x); None
    is passed over. About `count` in all, by the scans' heights."""
    heights = [image.shape[0] * (image.spacing or (1.0,))[0] for image in images]
    found: list[Taken] = []
    for number, (image, height) in enumerate(zip(images, heights, strict=True)):
        wanted = len(found) + round(count * height / sum(heights))
        for centre in candidates(image, lungs_of(image), rng, 8 * count):
            if len(found) == wanted:
                break
            made = take(number, centre)
            if made is not None:
                found.append(made)
    return found


def healthy(cube: np.ndarray) -> bool:
    """Whether nothing solid of more than about 7 mm lies in the middle of a cube (z, y, x) of lung."""
    middle = cube[6:-6, 6:-6, 6:-6]
    ball = np.linalg.norm(np.mgrid[-3:4, -3:4, -3:4], axis=0) <= 3.2
    return bool(middle.mean() > -960) and bool(middle.mean() < -550) and \
        not ndimage.binary_erosion(cube > SOLID, ball)[6:-6, 6:-6, 6:-6].any()


def healthy_at(image: Image, centre: tuple[float, float, float]) -> bool:
    """`healthy` of the cube about a voxel (z, y, x) of a CT."""
    cuboid = Cuboid(centre, image.spacing or (1.0, 1.0, 1.0))
    return healthy(cut(torch.from_numpy(image.pixels), cuboid)[0, 0].numpy())


def planted(image: Image, centre: tuple[float, float, float], nodule: Nodule,
            seed: int) -> tuple[tuple[slice, slice, slice], Cube]:
    """A real nodule, mirrored at random, in the lung of a CT at `centre` (z, y, x): the box that changes, and what
    stands in it.

    Its voxels inside its outline, softened by a voxel, where they are brighter than the lung.
    """
    rng = np.random.default_rng(seed)
    flips = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    cuboid = Cuboid(centre, image.spacing or (1.0, 1.0, 1.0), nodule.voxel)
    box = cuboid.box(image.shape, REACH)
    hu, share = (spread(torch.from_numpy(np.ascontiguousarray(part[flips]))[None, None], cuboid, box).numpy()
                 for part in (nodule.hu, nodule.outline))
    lung = image.pixels[box]
    return box, np.maximum(share * hu + (1 - share) * lung, lung).astype(np.float32)
