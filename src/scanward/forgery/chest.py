"""Forgeries of chest CT: places in the lungs, several at once, and files in the host's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.base import Lesion, Tamper
from scanward.attacks.ct_gan.attack import LARGEST_MM, SMALLEST_MM, check_lesion
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.write import FORGERY
from scanward.formats.write_volume import write_altered_volume, write_mask
from scanward.image import Image

MASK = "mask.nii.gz"
TRIES = 400
"""Places that `auto` looks at before it gives up."""
CALM = (-960.0, -650.0)
"""Mean HU about a place for a lesion: lung, not windpipe, wall or a large vessel."""


def lesions_of(image: Image, order: Order, seed: int) -> tuple[list[Lesion], Lungs]:
    """Where the order wants lesions, and the lungs; `ArgumentError` for a place outside them,
    `UnsupportedError` for a single slice."""
    if image.shape[0] == 1:
        raise UnsupportedError(f"{shown(image.name)} is a single slice, and lesions in CT are made in whole volumes; "
                               "give the series or volume.")
    lungs, rng = lungs_of(image), np.random.default_rng((seed, 1))
    low, high = order.size_mm
    if low < SMALLEST_MM or high > LARGEST_MM:
        wrong = low if low < SMALLEST_MM else high
        raise ArgumentError(f"A diameter of {wrong:g} mm cannot be made in CT; choose from {SMALLEST_MM:g} to "
                            f"{LARGEST_MM:g} mm.")
    sizes = order.diameters_mm(rng, 1 if order.at is None else len(order.at))
    if order.at is None:
        return [auto_place(image, lungs, sizes[0], rng)], lungs
    lesions = [Lesion(_voxel(image, at, order.world), size) for at, size in zip(order.at, sizes, strict=True)]
    for number, lesion in enumerate(lesions):
        check_lesion(image, lesion)
        _check_in_lungs(image, lungs, lesion)
        for other in lesions[:number]:
            away = np.linalg.norm(np.subtract(lesion.centre, other.centre) * (image.spacing or (1.0,) * 3))
            if away < 0.5 * (lesion.diameter + other.diameter):
                raise ArgumentError(f"Two lesions {away:.0f} mm apart would overlap in {shown(image.name)}; choose "
                                    "other places or smaller diameters.")
    return lesions, lungs


def auto_place(image: Image, lungs: Lungs, diameter_mm: float, rng: np.random.Generator) -> Lesion:
    """A random place in calm lung with room for a lesion; `ArgumentError` where there is none."""
    room = np.argwhere(lungs.mask & (lungs.depth > 0.5 * diameter_mm + 2))
    rng.shuffle(room)
    for index in room[:TRIES]:
        lesion = Lesion(lungs.voxel(tuple(index)), diameter_mm)
        if _fits(image, lesion) and CALM[0] <= _mean_about(image, lesion) <= CALM[1]:
            return lesion
    raise ArgumentError(f"{shown(image.name)} has no room in its lungs for {diameter_mm:g} mm; choose a smaller "
                        "diameter, or name a place with --at.")


def _fits(image: Image, lesion: Lesion) -> bool:
    step, z = (image.spacing or (1.0,))[0], lesion.centre[0]
    return (z + 0.5) * step >= lesion.diameter / 2 <= (image.shape[0] - z - 0.5) * step


def _mean_about(image: Image, lesion: Lesion) -> float:
    """Mean HU of the box that the lesion fills."""
    parts = []
    for middle, step, length in zip(lesion.centre, image.spacing or (1.0,) * 3, image.shape, strict=True):
        half = 0.5 * lesion.diameter / step
        parts.append(slice(max(0, round(middle - half)), min(length, round(middle + half) + 1)))
    return float(image.pixels[tuple(parts)].mean())


def _voxel(image: Image, at: tuple[float, ...], world: bool) -> tuple[float, float, float]:
    """(z, y, x) of a place given as (x, y, z): voxels, or the patient's millimetres."""
    if len(at) != 3:
        raise ArgumentError(f"A place in {shown(image.name)} has three numbers; write --at X,Y,Z.")
    if not world:
        return at[2], at[1], at[0]
    if image.provenance.to_world is None:
        raise ArgumentError(f"{shown(image.name)} does not say where it lies in the patient; leave --world out.")
    matrix = np.array(image.provenance.to_world)
    x, y, z = (float(v) for v in np.linalg.solve(matrix[:, :3], np.array(at) - matrix[:, 3]))
    return z, y, x


def _check_in_lungs(image: Image, lungs: Lungs, lesion: Lesion) -> None:
    if not lungs.mask[lungs.at(lesion.centre)]:
        z, y, x = lesion.centre
        raise ArgumentError(f"The place (x, y, z) = ({x:.0f}, {y:.0f}, {z:.0f}) does not lie in the "
                            f"lungs of {shown(image.name)}; choose another, or --at auto.")


def write(tamper: Tamper, host: Image, source: Source | Path, folder: Path, done: str) -> tuple[Path, dict[str, Any]]:
    """Write the forged volume in its host's format, and `mask.nii.gz`; the image's path, and where the record says
    that the lesions are. `done` is what was done to them, for the volume's description."""
    places = tamper.record.params["places"]
    where = "; ".join(f"centre x {p['centre'][2]:.0f} y {p['centre'][1]:.0f} z {p['centre'][0]:.0f}, "
                      f"{p['diameter_mm']:.0f} mm" for p in places)
    written = write_altered_volume(host, tamper.image, source, folder, synthetic=True, description=(
        f"{FORGERY}{len(places)} lesion{'s' if len(places) > 1 else ''} {done} by {tamper.record.method}, {where}."))
    write_mask(folder / MASK, tamper.mask, host)
    return written, {"at": [list(p["centre"][::-1]) for p in places],
                     "size_mm": [round(p["diameter_mm"], 3) for p in places]}
