"""Forgeries of mammograms: one place in the breast, and files in the host's own format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from scanward.anatomy.breast import Breast, breast_small
from scanward.attacks.base import Lesion, Tamper
from scanward.attacks.places import auto_place, check_in_breast, tissue_place
from scanward.disk import whole_file
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.write import FORGERY, write_altered
from scanward.formats.write_volume import target_of
from scanward.image import Image
from scanward.methods import find
from scanward.report.heat import png

MASK = "mask.png"


def lesions_of(image: Image, order: Order, seed: int) -> tuple[list[Lesion], Breast]:
    """Where the order wants a lesion, and the breast; `ArgumentError` for a place outside it."""
    each = pixel_mm(image)
    rng = np.random.default_rng((seed, 1))
    diameter = order.diameters_mm(rng, 1)[0] / each
    if order.at is not None and order.world:
        raise ArgumentError(f"{shown(image.name)} is a mammogram, whose places are in pixels; leave --world out, "
                            "and write --at X,Y.")
    if order.at is not None and (len(order.at) > 1 or len(order.at[0]) != 2):
        raise ArgumentError(f"{shown(image.name)} is a mammogram, which takes one place of two numbers in pixels; "
                            "write --at X,Y.")
    breast = breast_small(image.plane)
    method = find(order.method, "attack")
    if order.at is None and method.digital:
        return [tissue_place(image, rng, diameter, each, breast, method.reach)], breast
    if order.at is None:
        return [auto_place(image, rng, diameter, breast)], breast
    lesion = Lesion((0, order.at[0][1], order.at[0][0]), diameter)
    check_in_breast(image, lesion, breast)
    return [lesion], breast


def pixel_mm(image: Image) -> float:
    """Millimetres a pixel of a mammogram; `ArgumentError` where it does not say, or its pixels are no squares."""
    if image.spacing is None:
        raise ArgumentError(f"{shown(image.name)} does not say how large its pixels are; give --spacing MM.")
    y, x = image.spacing[1:]
    if abs(y - x) > 0.02 * max(y, x):
        raise UnsupportedError(f"{shown(image.name)} has pixels of {y:g} x {x:g} mm, and lesions are made in square "
                               "ones; resample it first.")
    return math.sqrt(y * x)


def write(tamper: Tamper, host: Image, source: Source | Path, folder: Path, done: str) -> tuple[Path, dict[str, Any]]:
    """Write the forged film under its host's name, and `mask.png`; the image's path, and where the record says that
    the lesion is. `done` is what was done to it, for the film's description."""
    with whole_file(folder / MASK, replace=False) as file:
        file.write(png(tamper.mask[0].astype(np.uint8) * 255))
    params = tamper.record.params.get("shape", tamper.record.params)
    x, y, diameter = (float(params[key]) for key in ("x", "y", "diameter"))
    written = write_altered(tamper.image, target_of(host, source, folder, "forged"), synthetic=True, description=(
        f"{FORGERY}a lesion {done} by {tamper.record.method}, centre x {x:.0f} y {y:.0f}, diameter {diameter:.0f} "
        "pixels."))
    return written, {"at": [x, y], "size_mm": round(diameter * pixel_mm(host), 3)}
