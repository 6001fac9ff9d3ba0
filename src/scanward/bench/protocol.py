"""Protocols as data: which film is forged how, where and with which seed, so that anyone makes the same set again."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast, breast_small
from scanward.attacks.base import Attack, Donor, Lesion, forge
from scanward.attacks.places import draw_places, share_inside
from scanward.datasets.films import Film
from scanward.datasets.reencoding import reencode, reencode_mask
from scanward.image import Image
from scanward.methods import build

ATTACKS = ("copy-move", "splice", "composed-mass", "inpaint-telea", "inpaint-ns", "resample", "noise", "blur", "jpeg")
HARD = ("faithful-mass",)
"""Attacks that leave the host's grain as it is: measured, never trained on, and in no average."""
FAMILIES = ("copy-move", "splice", "inpaint", "resample", "noise", "blur", "jpeg")
STEPS = (("none", 0.0), ("jpeg", 95.0), ("jpeg2000", 120.0), ("resample", 0.9))
"""Whole-image steps after the forgery, and their amounts. `none` is what every forgery and every control goes through:
reading, rounding and writing at the file's own depth."""
SIZES_MM = (5.0, 40.0)


@dataclass(frozen=True)
class Item:
    """One image of a protocol; `attack` is empty for an authentic control."""

    film: str
    patient: str
    attack: str = ""
    family: str = ""
    mm: float = 0.0
    """Wanted diameter; halved until the region fits the breast."""
    strength: float = 1.0
    step: str = "none"
    amount: float = 0.0
    seed: int = 0
    x: float | None = None
    """Where, in the film's pixels; None to draw the place from the seed."""
    y: float | None = None


def controls(films: Sequence[Film], steps: Sequence[tuple[str, float]] = STEPS) -> list[Item]:
    """Every film, untouched, through every step."""
    return [Item(f.name, f.patient, step=step, amount=amount) for f in films for step, amount in steps]


def forgeries(films: Sequence[Film], attacks: Sequence[str] = ATTACKS, *, mm: float | Sequence[float] | None = None,
              strength: float = 1.0, step: tuple[str, float] = STEPS[0]) -> list[Item]:
    """Every film by every attack, once, then through one whole-image step.

    Diameters are `mm`, or drawn from those, or log-uniformly between 5 and 40 mm.
    """
    found = []
    for film in films:
        for attack in attacks:
            fixed = mm if isinstance(mm, float) else None
            seed = zlib.crc32(f"{film.name} {attack} {fixed} {strength}".encode())
            rng = np.random.default_rng(seed)
            drawn = rng.choice(mm) if isinstance(mm, Sequence) else np.exp(rng.uniform(*np.log(SIZES_MM)))
            size = fixed or float(drawn)
            found.append(Item(film.name, film.patient, attack, attack_of(attack).family, size, strength, *step, seed))
    return found


@cache
def attack_of(name: str) -> Attack:
    """The attack of an item: a method's name, and options of its after blanks, as in `mammo-cgan grain=host`."""
    method, *options = name.split()
    given = dict(option.split("=") for option in options)
    attack: Attack = build(method, "attack", **{k: int(v) if v.isdecimal() else v for k, v in given.items()})
    return attack


def make(item: Item, film: Film, donors: Sequence[tuple[str, Donor]]) -> tuple[Image, npt.NDArray[np.bool_], Item]:
    """The item's image, its truth mask (y, x), and the item with the diameter that was used.

    Donors of the film itself are left out.
    """
    host = film.read()
    if not item.attack:
        image = reencode(host, item.step, item.amount, item.seed)
        return image, np.zeros(image.plane.shape, bool), item
    rng = np.random.default_rng(item.seed)
    breast = breast_small(host.plane)
    place, mm = place_in(host, item.mm, rng, breast)
    if item.x is not None and item.y is not None:
        place, mm = Lesion((0, item.y, item.x), item.mm / (host.spacing[1] if host.spacing else 0.1)), item.mm
    others = [donor for owner, donor in donors if owner != film.name]
    donor = others[int(rng.integers(len(others)))] if others else None
    tamper = forge(attack_of(item.attack), host, place, item.seed, strength=item.strength, donor=donor,
                   anatomy=breast)
    image = reencode(tamper.image, item.step, item.amount, item.seed)
    return image, reencode_mask(tamper.mask[0], item.step, item.amount), replace(item, mm=mm)


def place_in(host: Image, mm: float, rng: np.random.Generator, breast: Breast) -> tuple[Lesion, float]:
    """A random place whose disc lies in the breast, and its diameter in mm: `mm`, halved until one is found."""
    tissue = breast.at_full_size(host.plane.shape)
    spacing = host.spacing[1] if host.spacing else 0.1
    while True:
        places = draw_places(host.plane, rng, 16, mm / spacing, breast)
        inside = [share_inside(tissue, place) for place in places]
        best = int(np.argmax([share > 0.95 for share in inside]))
        if inside[best] > 0.95 or mm / spacing < 16:
            return places[best], mm
        mm /= 2
