"""Forgeries of chest CT: places in the lungs, several at once, and files in the host's own format."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.base import Record, Spot, Tamper, digest
from scanward.attacks.ct_gan import CtGan
from scanward.attacks.ct_gan.attack import LARGEST_MM, SMALLEST_MM, check_spot
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.write_volume import hash_of, write_altered_volume, write_mask
from scanward.image import Image
from scanward.version import __version__

MASK = "mask.nii.gz"
TRIES = 400
"""Places that `auto` looks at before it gives up."""
CALM = (-960.0, -650.0)
"""Mean HU about a place for a lesion: lung, not windpipe, wall or a large vessel."""


def forge_chest(attack: CtGan, image: Image, order: Order, seed: int) -> Tamper:
    """Every lesion of the order, one after the other, in a CT volume. Raises as `inject`."""
    if image.modality != "CT":
        raise UnsupportedError(f"{shown(image.name)} is no CT volume, and {attack.name} forges those; choose a method "
                               "for mammograms.")
    lungs = lungs_of(image)
    pixels, mask, params = image.pixels.copy(), np.zeros(image.shape, np.bool_), []
    now = replace(image, pixels=pixels)
    for number, spot in enumerate(spots_of(image, lungs, order, seed)):
        drawn = attack.draw(image, spot, np.random.default_rng((seed, 3, number)), strength=order.strength, lungs=lungs)
        box, values, changed = attack.apply(now, drawn)
        if not (values != pixels[box])[changed].any():
            raise ArgumentError(f"The forgery would change nothing in {shown(image.name)}; choose another place, a "
                                "larger strength, or other options.")
        pixels[box] = values
        mask[box] |= changed
        params.append(drawn)
    record = Record(attack.name, {"places": params}, seed, digest(image), None, attack.weights_sha256, __version__)
    return Tamper(now, mask, record)


def spots_of(image: Image, lungs: Lungs, order: Order, seed: int) -> list[Spot]:
    """Where the order wants lesions, in voxels; `ArgumentError` for a place outside the lungs."""
    rng = np.random.default_rng((seed, 1))
    low, high = order.size_mm
    if low < SMALLEST_MM or high > LARGEST_MM:
        wrong = low if low < SMALLEST_MM else high
        raise ArgumentError(f"A diameter of {wrong:g} mm cannot be made in CT; choose from {SMALLEST_MM:g} to "
                            f"{LARGEST_MM:g} mm.")
    count = 1 if order.at is None else len(order.at)
    sizes = [float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low for _ in range(count)]
    if order.at is None:
        return [auto_spot(image, lungs, sizes[0], rng)]
    spots = [Spot(*_voxel(image, at, order.world), size) for at, size in zip(order.at, sizes, strict=True)]
    for number, spot in enumerate(spots):
        check_spot(image, spot)
        _check_in_lungs(image, lungs, spot)
        for other in spots[:number]:
            away = np.linalg.norm(np.subtract((spot.z, spot.y, spot.x), (other.z, other.y, other.x))
                                  * (image.spacing or (1.0,) * 3))
            if away < 0.5 * (spot.diameter_mm + other.diameter_mm):
                raise ArgumentError(f"Two lesions {away:.0f} mm apart would overlap in {shown(image.name)}; choose "
                                    "other places or smaller diameters.")
    return spots


def auto_spot(image: Image, lungs: Lungs, diameter_mm: float, rng: np.random.Generator) -> Spot:
    """A random place in calm lung with room for a lesion; `ArgumentError` where there is none."""
    room = np.argwhere(lungs.mask & (lungs.depth > 0.5 * diameter_mm + 2))
    rng.shuffle(room)
    for index in room[:TRIES]:
        z, y, x = lungs.voxel(tuple(index))
        spot = Spot(z, y, x, diameter_mm)
        if _fits(image, spot) and CALM[0] <= _mean_about(image, spot) <= CALM[1]:
            return spot
    raise ArgumentError(f"{shown(image.name)} has no room in its lungs for {diameter_mm:g} mm; choose a smaller "
                        "diameter, or name a place with --at.")


def _fits(image: Image, spot: Spot) -> bool:
    step = (image.spacing or (1.0,))[0]
    return (spot.z + 0.5) * step >= spot.diameter_mm / 2 <= (image.shape[0] - spot.z - 0.5) * step


def _mean_about(image: Image, spot: Spot) -> float:
    """Mean HU of the box that the lesion fills."""
    parts = []
    for middle, step, length in zip((spot.z, spot.y, spot.x), image.spacing or (1.0,) * 3, image.shape, strict=True):
        half = 0.5 * spot.diameter_mm / step
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


def _check_in_lungs(image: Image, lungs: Lungs, spot: Spot) -> None:
    if not lungs.mask[lungs.at((spot.z, spot.y, spot.x))]:
        raise ArgumentError(f"The place (x, y, z) = ({spot.x:.0f}, {spot.y:.0f}, {spot.z:.0f}) does not lie in the "
                            f"lungs of {shown(image.name)}; choose another, or --at auto.")


def write_chest(tamper: Tamper, host: Image, source: Source | Path, folder: Path, action: str) -> dict[str, Any]:
    """Write the forged volume in its host's format, and `mask.nii.gz`; what `record.json` says of both."""
    places = tamper.record.params["places"]
    done = "injected" if action == "inject" else "removed"
    where = "; ".join(f"centre x {p['centre'][2]:.0f} y {p['centre'][1]:.0f} z {p['centre'][0]:.0f}, "
                      f"{p['diameter_mm']:.0f} mm" for p in places)
    written = write_altered_volume(host, tamper.image, source, folder, synthetic=True, description=(
        f"Forgery: {len(places)} lesion{'s' if len(places) > 1 else ''} {done} by {tamper.record.method}, {where}."))
    write_mask(folder / MASK, tamper.mask, host)
    spots = np.argwhere(tamper.mask)
    low, high = spots.min(0), spots.max(0) + 1
    return {**asdict(tamper.record), "action": action, "at": [list(p["centre"][::-1]) for p in places],
            "size_mm": [round(p["diameter_mm"], 3) for p in places], "box": [int(v) for v in (*low[::-1], *high[::-1])],
            "host": str(Path(host.name).resolve()), "image": written.name, "mask": MASK,
            "image_sha256": hash_of(written), "pixels_sha256": digest(tamper.image)}
