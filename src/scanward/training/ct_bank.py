"""A bank of paired windows of chest CT: the same slices of a scan, authentic and forged, with what the scan's own noise
should be like there.

Every scan is also taken as other scanners might have made it (softer, sharper, noisier, thicker slices), since more
scanners teach more than more forgeries.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward import methods
from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import Lungs
from scanward.attacks.base import Lesion
from scanward.datasets.thorax import SCANS, Scan
from scanward.detectors.ct_self_reference.reference import ACROSS, BLOCK, Reference, measure, stack
from scanward.image import AIR, Image
from scanward.training.ct_pairs import SHARES, Scene, forged, pick, region

SIDE = 144
"""Pixels a side of a window; multiples of `BLOCK`."""
LOWEST, HIGHEST = -1100, 3100
"""HU between which stabilised values are tabulated."""
ATTACKERS = {"ct-gan": 2, "ct-gan-plain": 2, "ct-gan-remove": 2}
"""What is painted by a network for training, and how often each. Others are only ever tested on."""
KNOWN = {row.name for row in SCANS if set(row.known_to) & set(ATTACKERS)}
"""Scans that these were trained on, which they forge too well."""
VISIT, SINGLE = 40, 8
"""Forgeries for which a scan's reference is measured once, and those of a single slice."""
HIGH_MM = 250.0
THICKEST_MM = 6.0
"""How far apart slices are at most that variants of a scan are made of."""
RESAMPLED = 0.2
"""Share of the variants that an archive resampled."""
MOST_VOXELS = 120_000_000
"""Of a scan on another grid."""
AS_IT_IS, PAINTED = 0.4, 0.25
"""Share of the visits that take a scan as it is, and of the forgeries that a network paints."""
SLICES = 2
"""Of each forgery that a bank holds, at most."""
SIZES = (4.5, 32.0)
"""Diameters in mm, drawn log-uniformly."""
EDGE_MM = 1.5
"""How far inside the lungs a forgery's middle lies, at least."""


@dataclass
class Bank:
    """Windows on disk, and what they were cut from."""

    planes: npt.NDArray[np.int16]
    """(n, 2, 3, 144, 144) HU: authentic and forged, each a slice between its neighbours; of mined places twice the
    same."""
    gains: npt.NDArray[np.float16]
    """(n, 2, 16, 18, 18)."""
    masks: npt.NDArray[np.uint8]
    """(n, 144, 144), 255 where forged."""
    about: list[dict[str, Any]]
    tables: npt.NDArray[np.float32]
    """(variants, 4200) the stabilising map of each variant at each HU; a row's is the one that it names."""

    def __len__(self) -> int:
        return len(self.about)

    def showing(self, scans: Collection[str]) -> list[int]:
        """The windows that show tissue of no scan but these."""
        return [i for i, row in enumerate(self.about) if {row["scan"], row.get("donor") or row["scan"]} <= set(scans)]

    def save(self, folder: Path) -> None:
        """All of it, the list last: a bank without one is not finished."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("planes", "gains", "masks", "tables"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        (folder / "about.json").write_text(json.dumps(self.about))

    @classmethod
    def load(cls, folder: Path) -> Bank:
        """Windows stay on disk until they are drawn."""
        names = ("planes", "gains", "masks", "tables")
        parts = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        return cls(**parts, about=json.loads((folder / "about.json").read_text()))


def table_of(reference: Reference) -> npt.NDArray[np.float32]:
    """(4200,) the stabilising map at each HU from `LOWEST` on."""
    return reference.stabilise(np.arange(LOWEST, HIGHEST, dtype=np.float64))


def variant(image: Image, rng: np.random.Generator) -> Image:
    """The scan as another scanner might have made it, or an archive that resampled it."""
    pixels, spacing = _thick(image, rng) if rng.random() < 0.3 else (image.pixels, image.spacing or (1.0, 1.0, 1.0))
    kind = rng.random()
    if kind < 0.3:
        width = float(rng.uniform(0.4, 0.9))
        pixels = ndimage.gaussian_filter(pixels, (0, width, width))
    elif kind < 0.6:
        width, more = float(rng.uniform(0.6, 1.2)), float(rng.uniform(0.3, 1.2))
        pixels = pixels + more * (pixels - ndimage.gaussian_filter(pixels, (0, width, width)))
    if rng.random() < 0.35:
        width = float(rng.uniform(0.3, 0.9))
        drawn = ndimage.gaussian_filter(rng.standard_normal(pixels.shape, np.float32), (0, width, width))
        pixels = pixels + drawn / drawn.std() * float(rng.uniform(5, 40))
    lowest = float(image.pixels.min())
    if pixels.shape == image.shape:
        pixels = np.where(image.pixels <= AIR, lowest, pixels)  # padding has no noise
    if rng.random() < RESAMPLED:
        pixels, spacing = _resampled(pixels, spacing, rng)
    whole = np.clip(np.rint(pixels), lowest, 3071)
    return replace(image, pixels=whole.astype(np.float32), spacing=spacing)


Grid = tuple[npt.NDArray[np.float32], tuple[float, float, float]]
"""HU (z, y, x) and the spacing in mm."""


def _thick(image: Image, rng: np.random.Generator) -> Grid:
    """Slices averaged, and as far apart as they are thick, or overlapping."""
    pixels, spacing = image.pixels, image.spacing or (1.0, 1.0, 1.0)
    most = min(6, len(pixels) // 6, int(THICKEST_MM / spacing[0]))
    if most < 2:
        return pixels, spacing
    count = int(rng.integers(2, most + 1))
    thick = ndimage.uniform_filter1d(pixels, count, axis=0)
    if rng.random() < 0.4 and count < 4:
        return thick, spacing
    return thick[count // 2::count], (spacing[0] * count, *spacing[1:])


def _resampled(pixels: npt.NDArray[np.float32], spacing: tuple[float, float, float], rng: np.random.Generator) -> Grid:
    """On another grid: cubes of 1 mm, other pixels, other slices."""
    kind = int(rng.integers(3)) if len(pixels) > 12 else 1
    wanted = np.array(spacing)
    if kind == 0:
        wanted[:] = float(rng.choice([1.0, rng.uniform(0.8, 1.5)]))
    else:
        wanted[1:] *= float(rng.uniform(0.75, 1.35))
        if kind == 2:
            wanted[0] = min(max(1.0, wanted[0] * float(rng.uniform(0.6, 1.6))), THICKEST_MM)
    shape = [max(1, round(n * a / b)) for n, a, b in zip(pixels.shape, spacing, wanted, strict=True)]
    if min(shape[1:]) < SIDE or np.prod(shape) > MOST_VOXELS:
        return pixels, spacing
    how = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
    made = pixels if shape[0] == len(pixels) else ndimage.zoom(pixels, (shape[0] / len(pixels), 1, 1), order=1,
                                                               mode="nearest", grid_mode=True)
    if shape[1:] != list(pixels.shape[1:]):
        made = np.stack([cv2.resize(plane, shape[:0:-1], interpolation=how) for plane in made])
    z, y, x = (a * n / m for a, n, m in zip(spacing, pixels.shape, shape, strict=True))
    return np.asarray(made, np.float32), (z, y, x)


def visit(scan: Scan, image: Image, donors: Sequence[Scan], count: int, rng: np.random.Generator) -> Bank | None:
    """So many forgeries in a scan, or a variant of it, one by one; None where it cannot be its own reference."""
    lungs = scan.lungs if image.shape == scan.image.shape else lungs_alone(image)
    spacing = image.spacing or (1.0, 1.0, 1.0)
    reference = measure(image.pixels, lungs, spacing)
    places = np.argwhere(lungs.depth > EDGE_MM) if lungs.mask.any() else np.zeros((0, 3), int)
    if reference is None or len(places) < 50:
        return None
    rows: list[tuple[Any, ...]] = []
    for _ in range(count):
        diameter = float(np.exp(rng.uniform(*np.log(SIZES))))
        made = _forge(scan, image, _place(image, lungs, places, rng), diameter, donors, places, lungs, rng)
        if made is not None:
            rows += _windows(image, reference, made, diameter, scan.name, rng)
    if not rows:
        return None
    planes, gains, masks, about = zip(*rows, strict=True)
    return Bank(np.stack(planes), np.stack(gains), np.stack(masks), list(about), table_of(reference)[None])


class Forged(NamedTuple):
    """What an attack or a recipe changed."""

    name: str
    box: tuple[slice, ...]
    values: npt.NDArray[np.float32]
    """(z, y, x) of the box, HU."""
    truth: npt.NDArray[np.bool_]
    donor: str = ""
    """The other scan whose tissue was pasted; empty where it is the scan's own."""


def forge_once(scan: Scan, image: Image, donors: Sequence[Scan], rng: np.random.Generator) -> Forged | None:
    """One forgery at a random place of a scan, or of a variant on the same grid; None where it changed too little."""
    places = np.argwhere(scan.lungs.depth > EDGE_MM)
    centre, diameter = _place(image, scan.lungs, places, rng), float(np.exp(rng.uniform(*np.log(SIZES))))
    return _forge(scan, image, centre, diameter, donors, places, scan.lungs, rng)


def _place(image: Image, lungs: Lungs, places: npt.NDArray[np.intp],
           rng: np.random.Generator) -> tuple[float, float, float]:
    """A voxel (z, y, x) near one of the places of the lungs' mask."""
    drawn = lungs.voxel(tuple(places[int(rng.integers(len(places)))] + rng.uniform(-0.5, 0.5, 3)))
    z, y, x = (float(np.clip(at, 0, side - 1)) for at, side in zip(drawn, image.shape, strict=True))
    return z, y, x


def _forge(scan: Scan, image: Image, centre: tuple[float, float, float], diameter: float, donors: Sequence[Scan],
           places: npt.NDArray[np.intp], lungs: Lungs, rng: np.random.Generator) -> Forged | None:
    high = image.shape[0] * (image.spacing or (1.0,))[0]
    if rng.random() < PAINTED and scan.name not in KNOWN and image.shape[0] > 8 and high > 40:
        name = pick(rng, ATTACKERS)
        noise = str(rng.choice(["copied", "gaussian", "none"], p=[0.45, 0.35, 0.2]))
        attack = _attack(name, noise)
        lesion = Lesion(centre, float(np.clip(diameter, 5, 30)))
        patch = attack.apply(image, attack.draw(image, lesion, rng, anatomy=lungs))
        if patch.mask.sum() < 8:
            return None
        truth = ndimage.binary_closing(patch.mask, iterations=1) | patch.mask
        return Forged(name, patch.box.slices, patch.values, truth)
    name = pick(rng, SHARES)
    where = region(image, centre, diameter, rng)
    cube = image.pixels[where.box]
    spacing = image.spacing or (1.0, 1.0, 1.0)
    elsewhere = _elsewhere(image, places, lungs, cube.shape, rng)
    donor, tissue = _donor(donors, scan.name, cube.shape, spacing, rng)
    scene = Scene(cube, spacing, where.weight, elsewhere, tissue, rng)
    made = np.clip(np.rint(forged(name, scene)), min(-1024.0, float(cube.min())), 3071)
    changed = (where.weight >= 0.5) & (np.abs(made - cube) >= 1)
    if changed.sum() < 12:
        return None
    return Forged(name, where.box, made, where.weight >= 0.5, donor if name == "foreign" else "")


@cache
def _attack(name: str, noise: str) -> Any:
    return methods.build(name, "attack", noise=noise)


def _elsewhere(image: Image, places: npt.NDArray[np.intp], lungs: Lungs, shape: tuple[int, ...],
               rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A box of this shape about another place in the lungs."""
    centre = lungs.voxel(tuple(places[int(rng.integers(len(places)))]))
    starts = [int(np.clip(c - n / 2, 0, m - n)) for c, n, m in zip(centre, shape, image.shape, strict=True)]
    return image.pixels[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]


def _donor(donors: Sequence[Scan], name: str, shape: tuple[int, ...], spacing: tuple[float, float, float],
           rng: np.random.Generator) -> tuple[str, npt.NDArray[np.float32]]:
    """Another scan's name, and a box of its lungs at this spacing."""
    others = [one for one in donors if one.name != name and (one.image.shape[0] > 8 or shape[0] == 1)]
    donor = others[int(rng.integers(len(others)))]
    places = np.argwhere(donor.lungs.depth > 4)
    if not len(places):
        places = np.argwhere(donor.lungs.mask)
    centre = donor.lungs.voxel(tuple(places[int(rng.integers(len(places)))]))
    steps = [a / b for a, b in zip(spacing, donor.image.spacing or (1.0, 1.0, 1.0), strict=True)]
    size = [int(np.ceil(n * s)) + 3 for n, s in zip(shape, steps, strict=True)]
    starts = [int(np.clip(c - n / 2, 0, max(0, m - n)))
              for c, n, m in zip(centre, size, donor.image.shape, strict=True)]
    part = donor.image.pixels[tuple(slice(s, s + n) for s, n in zip(starts, size, strict=True))]
    made = ndimage.affine_transform(part, steps, np.minimum(1, rng.uniform(0, 1, 3)), shape,
                                    order=int(rng.choice([1, 3])), mode="nearest")
    return donor.name, np.asarray(made, np.float32)


def _windows(image: Image, reference: Reference, forgery: Forged, diameter: float, scan: str,
             rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Windows of slices through a forgery, (planes, gains, mask, about)."""
    box, truth = forgery.box, forgery.truth
    areas = truth.sum((1, 2))
    usable = np.flatnonzero(areas >= max(6, 0.25 * areas.max()))
    for k in rng.choice(usable, min(SLICES, len(usable)), replace=False):
        z = box[0].start + int(k)
        before = stack(image.pixels, z)
        after = before.copy()
        for layer, there in enumerate((max(z - 1, 0), z, min(z + 1, len(image.pixels) - 1))):
            if box[0].start <= there < box[0].stop:
                after[layer][box[1:]] = forgery.values[there - box[0].start]
        mask = np.zeros(image.shape[1:], np.bool_)
        mask[box[1:]] = truth[k]
        middle = np.argwhere(mask).mean(0)
        corner = corner_of(middle, image.shape[1:], rng)
        if corner is None:
            continue
        both = [reference.gains_at(one[1], z) for one in (before, after)]
        planes, gains = cut(np.stack([before, after]), both, corner)
        if image.shape[0] == 1:
            gains[:, list(ACROSS)] = 0
        window = slice(corner[0], corner[0] + SIDE), slice(corner[1], corner[1] + SIDE)
        yield planes, gains, mask[window].astype(np.uint8) * 255, {
            "scan": scan, "table": 0, "recipe": forgery.name, "donor": forgery.donor, "diameter": round(diameter, 2),
            "z": z}


def corner_of(middle: npt.NDArray[np.floating], shape: tuple[int, ...],
            rng: np.random.Generator) -> tuple[int, int] | None:
    """The upper left of a window about a place, on the blocks' grid."""
    if min(shape) < SIDE:
        return None
    found = []
    for at, side in zip(middle + rng.uniform(-24, 24, 2), shape, strict=True):
        found.append(int(np.clip(at - SIDE / 2, 0, side // BLOCK * BLOCK - SIDE)) // BLOCK * BLOCK)
    return found[0], found[1]


def cut(planes: npt.NDArray[np.float32], gains: Sequence[npt.NDArray[np.float32]],
        corner: tuple[int, int]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float16]]:
    """Windows (n, 3, 144, 144) and (n, 16, 18, 18) of stacks (n, 3, y, x) and their gains."""
    y, x = corner
    by, bx, side = y // BLOCK, x // BLOCK, SIDE // BLOCK
    window = planes[..., y:y + SIDE, x:x + SIDE]
    return (np.clip(np.rint(window), LOWEST, HIGHEST - 1).astype(np.int16),
            np.stack([one[:, by:by + side, bx:bx + side] for one in gains]).astype(np.float16))


def joined(parts: Sequence[Bank]) -> Bank:
    """One bank of visits' rows, each row's table its visit's."""
    about = [{**row, "table": number} for number, bank in enumerate(parts) for row in bank.about]
    planes, gains, masks, tables = (np.concatenate([getattr(bank, name) for bank in parts])
                                    for name in ("planes", "gains", "masks", "tables"))
    return Bank(planes, gains, masks, about, tables)


def bank_of(folder: Path, scan: Scan, known: Sequence[Scan], forgeries: int, *, seed: int,
            resume: bool = True) -> Bank | None:
    """The bank of one scan, `forgeries` for every 250 mm of it; None where it cannot be its own reference.

    With `resume` one that is already in `folder` is opened as it is.
    """
    place = folder / scan.name.replace("/", "-")
    if not (resume and (place / "about.json").is_file()):
        rng = np.random.default_rng((seed, 71))
        single = len(scan.image.pixels) == 1
        high = len(scan.image.pixels) * (scan.image.spacing or (1.0,))[0]
        visits = 1 if single else max(2, round(forgeries * min(1.0, high / HIGH_MM) / VISIT))
        parts = []
        for _ in range(visits):
            image = scan.image if rng.random() < AS_IT_IS else variant(scan.image, rng)
            found = visit(scan, image, known, SINGLE if single else VISIT, rng)
            parts += [found] if found is not None else []
        if not parts:
            return None
        joined(parts).save(place)
    return Bank.load(place)


def stabilised(bank: Bank, index: int, half: int) -> npt.NDArray[np.float32]:
    """The planes (3, 144, 144) of a window, 0: authentic, 1: forged, as the network takes them."""
    table = bank.tables[bank.about[index]["table"]]
    return np.asarray(table[np.asarray(bank.planes[index, half], np.int32) - LOWEST])
