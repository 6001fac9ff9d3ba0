"""The mammography benches: which forgeries are made of which films, frozen, and what detectors are held against.

Every group of forgeries has authentic controls that went through the same whole-image steps. `frozen` reads the lists
that ship with the package (film, place, diameter, seed, method), from which anyone forges the same sets again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from scanward.anatomy.breast import breast_small
from scanward.bench.confusion import SOURCE, TARGET, Confusion
from scanward.bench.protocol import ATTACKS, STEPS, Item, attack_of, controls, forgeries, place_in
from scanward.datasets.films import MIAS_SPACING, Film, cbis, digital, mias
from scanward.errors import UnreadableError

PLAIN = STEPS[0]
THROUGH = ("through", 512.0)
"""The published target domain went through a tool that resamples every image to 512 pixels, forged or not."""
MIXED = ("mammo-cgan", "partial-conv", "splice", "copy-move")
COMPRESSION = (PLAIN, ("jpeg", 95.0), ("jpeg", 80.0), ("jpeg2000", 120.0), ("resample", 0.9), ("resample", 0.75),
               ("sharpen", 1.0), ("gamma", 0.8), ("rescan", 1.0))
SETS: dict[str, Callable[[Path | None], list[Film]]] = {
    "mini-MIAS": lambda data: mias("test", data),
    "GE": lambda data: digital("test", data),
    "another maker": lambda data: digital("test", data, "other"),
    "CBIS-DDSM": lambda data: cbis("test"),
}
"""Test films, by their maker or digitiser. Nothing was trained or chosen on films of `another maker`."""
TRAINED = ("splice", "composed-mass", "inpaint-telea", "inpaint-ns", "resample", "noise", "blur", "jpeg")
UNSEEN = ("partial-conv", "mammo-cgan-b", "diffusion")
DIGITAL = (PLAIN, ("jpeg", 95.0), ("jpeg2000", 120.0), ("resample", 0.75))


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
    films: str = "mini-MIAS"
    """Whose films: one of `SETS`."""


@dataclass(frozen=True)
class Frozen:
    """One forgery of a group: everything that is not the group's own."""

    attack: str
    film: str
    mm: float
    x: float
    y: float
    seed: int


def _compressed(steps: Sequence[tuple[str, float]], every: int, films: str) -> tuple[Group, ...]:
    """Forgeries of several kinds, they and their authentic films alike through each of the steps."""
    return tuple(Group(f"{step[0]} {step[1]:g}" if step[1] else "as it is", MIXED, None, 1.0, step, step, every=every,
                       films=films) for step in steps)


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
    "compression": _compressed(COMPRESSION, 4, "mini-MIAS"),
    "families": tuple(Group(attack, (attack,)) for attack in ATTACKS),
    "source-digital": (Group("injected by the generator trained on", ("mammo-cgan",), (), films="GE"),
                       *(Group(attack, (attack,), films="GE") for attack in TRAINED)),
    "target-digital": (*(Group(title, (attack,), films="GE") for title, attack in (
        ("removed by partial convolutions", "partial-conv"), ("injected by another generator", "mammo-cgan-b"),
        ("removed by diffusion", "diffusion"), ("copied and moved", "copy-move"))),
        Group("injected, 4 to 8 mm", ("mammo-cgan",), (4.0, 5.0, 6.0, 7.0, 8.0), films="GE"),
        Group("the host's grain put back", ("mammo-cgan grain=host",), (), films="GE")),
    "compression-digital": _compressed(DIGITAL, 2, "GE"),
    "makers": tuple(Group(name, ("mammo-cgan", "splice", "resample", *UNSEEN), every=every, films=name)
                    for name, every in (("GE", 2), ("another maker", 1), ("CBIS-DDSM", 1), ("mini-MIAS", 4))),
}
"""The protocols of `scanward bench mammography`, in the order in which they are run."""


@cache
def frozen() -> dict[str, tuple[Frozen, ...]]:
    """Every group's forgeries, by `protocol/title`, in the order of `PROTOCOLS`."""
    found: dict[str, list[Frozen]] = {}
    for line in files("scanward.bench").joinpath("protocols.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["group"], []).extend(Frozen(row["attack"], *item) for item in row["items"])
    return {name: tuple(items) for name, items in found.items()}


def films_of(groups: Sequence[Group], data: Path | None) -> dict[str, list[Film]]:
    """The test films that the groups need, by the name of their set."""
    return {name: SETS[name](data) for name in dict.fromkeys(group.films for group in groups)}


def items_of(protocol: str, group: Group, films: Sequence[Film]) -> list[Item]:
    """A group's items: its controls, then its frozen forgeries. `films` are all of its set."""
    by_name = {film.name: film for film in films}
    absent = {one.film for one in frozen()[f"{protocol}/{group.title}"]} - by_name.keys()
    if absent:
        raise UnreadableError(f"The data folder lacks the film {min(absent)}, which a frozen list of {group.films} "
                              "names; give the whole data folder with --data or SCANWARD_DATA.")
    return [*controls(films[::group.every], (group.control,)),
            *(Item(one.film, by_name[one.film].patient, one.attack, attack_of(one.attack).family, one.mm,
                   group.strength, *group.step, one.seed, one.x, one.y)
              for one in frozen()[f"{protocol}/{group.title}"])]


def draw(group: Group, films: Sequence[Film], diameters: Sequence[float]) -> list[Frozen]:
    """A group's forgeries drawn anew, as they were before they were frozen.

    Where a breast has no room for the group's one diameter, the film is left out; drawn diameters are halved there.
    """
    found = []
    some = films[::group.every]
    hosts = {film.name: film.read() for film in some}
    mm = tuple(diameters) if group.mm == () else group.mm
    for item in forgeries(some, group.attacks, mm=mm, strength=group.strength, step=group.step):
        place, used = place_in(hosts[item.film], item.mm, np.random.default_rng(item.seed),
                               breast_small(hosts[item.film].plane))
        if not isinstance(group.mm, float) or used == group.mm:
            found.append(Frozen(item.attack, item.film, round(used, 2), round(place.x, 1), round(place.y, 1),
                                item.seed))
    return found


def freeze(data: Path | None = None) -> str:
    """The text of `protocols.jsonl`: from the test films, and the diameters of the training films' masses."""
    diameters = [round(mass.diameter * MIAS_SPACING, 1) for film in mias("train", data) for mass in film.masses]
    lines = []
    for protocol, groups in PROTOCOLS.items():
        sets = films_of(groups, data)
        for group in groups:
            drawn = draw(group, sets[group.films], diameters)
            for attack in group.attacks:
                items = [list(astuple(one)[1:]) for one in drawn if one.attack == attack]
                lines.append(json.dumps({"group": f"{protocol}/{group.title}", "attack": attack, "items": items}))
    return "\n".join(lines) + "\n"
