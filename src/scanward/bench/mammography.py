"""The mammography benches: which forgeries are made of which films, frozen, and what detectors are held against.

Every group of forgeries has authentic controls that went through the same whole-image steps. `frozen` reads the lists
that ship with the package (film, place, diameter, seed, method), from which anyone forges the same sets again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np

from scanward.bench.confusion import SOURCE, TARGET, Confusion
from scanward.bench.films import Film, mias
from scanward.bench.protocol import ATTACKS, STEPS, Item, controls, forgeries, place_in

PLAIN = STEPS[0]
THROUGH = ("through", 512.0)
"""The published target domain went through a tool that resamples every image to 512 pixels, forged or not."""
MIXED = ("mammo-cgan", "partial-conv", "splice", "copy-move")
COMPRESSION = (PLAIN, ("jpeg", 95.0), ("jpeg", 80.0), ("jpeg2000", 120.0), ("resample", 0.9), ("resample", 0.75),
               ("sharpen", 1.0), ("gamma", 0.8), ("rescan", 1.0))


@dataclass(frozen=True)
class Group:
    """Forgeries of one kind, their controls, and what the paper has for it."""

    title: str
    attacks: tuple[str, ...]
    mm: float | tuple[float, ...] | None = None
    """One diameter, several to draw from, or None for 5 to 40 mm; () for those of the annotated masses."""
    strength: float = 1.0
    step: tuple[str, float] = PLAIN
    """What every image goes through after it was forged."""
    control: tuple[str, float] = PLAIN
    """What its authentic films go through."""
    published: Confusion | None = None
    every: int = 1
    """Of the films in name order, every which one is used."""


PROTOCOLS: dict[str, tuple[Group, ...]] = {
    "source": (Group("injected by the generator trained on", ("mammo-cgan",), (), published=SOURCE),),
    "target": (
        Group("removed by partial convolutions, all through 512 pixels", ("partial-conv through=512",),
              control=THROUGH, published=TARGET),
        Group("removed by partial convolutions", ("partial-conv",)),
        Group("injected by another generator", ("mammo-cgan-b",), ()),
        Group("removed by diffusion", ("diffusion",))),
    "hard": (
        Group("the host's grain put back", ("mammo-cgan grain=host",), ()),
        Group("grain resynthesised from the host's", ("mammo-cgan grain=resynthesised",), ()),
        Group("another generator, the host's grain put back", ("mammo-cgan-b grain=host",), ()),
        Group("a composed mass under the host's grain", ("faithful-mass",)),
        Group("injected, 4 to 8 mm", ("mammo-cgan",), (4.0, 5.0, 6.0, 7.0, 8.0)),
        Group("injected, half strength", ("mammo-cgan",), (), 0.5)),
    "sizes": tuple(Group(f"injected, {mm:g} mm, strength {strength:g}", ("mammo-cgan",), mm, strength, every=2)
                   for strength in (1.0, 0.5) for mm in (4.0, 6.0, 8.0, 12.0, 20.0, 40.0)),
    "compression": tuple(Group(f"{step} {amount:g}" if amount else "as it is", MIXED, None, 1.0, (step, amount),
                               (step, amount), every=2) for step, amount in COMPRESSION),
    "families": tuple(Group(attack, (attack,)) for attack in ATTACKS),
}
"""The protocols of `scanward bench mammography`, in the order in which they are run."""


@cache
def frozen() -> dict[str, tuple[Item, ...]]:
    """Every group's items, forged and authentic, by `protocol/title`."""
    found: dict[str, list[Item]] = {}
    text = files("scanward.bench").joinpath("protocols.jsonl").read_text("utf-8")
    for line in text.splitlines():
        row = json.loads(line)
        found.setdefault(row.pop("group"), []).append(Item(**row))
    return {name: tuple(items) for name, items in found.items()}


def drawn(protocol: str, group: Group, films: Sequence[Film], diameters: Sequence[float]) -> list[Item]:
    """A group's items, each forgery with its place, drawn anew: what was frozen."""
    some = films[::group.every]
    items = controls(some, (group.control,))
    by_name = {film.name: film for film in some}
    mm = tuple(diameters) if group.mm == () else group.mm
    for item in forgeries(some, group.attacks, mm=mm, strength=group.strength, step=group.step):
        place, used = place_in(by_name[item.film].read(), item.mm, np.random.default_rng(item.seed))
        if not isinstance(group.mm, float) or used == group.mm:
            items.append(replace(item, x=place.x, y=place.y, mm=used))
    return items


def freeze() -> str:
    """The text of the frozen lists, from the test films and the diameters of the training films' annotated masses."""
    films = mias("test")
    spacing = 0.2
    diameters = [round(mass.diameter * spacing, 1) for film in mias("train") for mass in film.masses]
    lines = []
    for protocol, groups in PROTOCOLS.items():
        for group in groups:
            for item in drawn(protocol, group, films, diameters):
                plain = {key: value for key, value in asdict(item).items() if value not in ("", None)}
                lines.append(json.dumps({"group": f"{protocol}/{group.title}", **plain}))
    return "\n".join(lines) + "\n"
