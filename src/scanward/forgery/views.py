"""One lesion put into, or taken from, the CC and the MLO view of a breast.

Each view is forged by an order of its own, with its place, its size and what it sees of the lesion named, and has a
record of its own in a folder of its own. So whatever reads a record or replays one need not know of pairs; what ties
the two together stands under `pair` in both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scanward import formats, methods
from scanward.arguments import PathLike, path_of
from scanward.attacks.base import Lesion, Tamper, View
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_digital.form import MARGINS, SHARES
from scanward.attacks.mammo_digital.inject import PEAKS, peak_of
from scanward.brief import brief
from scanward.disk import check_free, whole_folder
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.arcs import Sight, alike, injected, sight_of
from scanward.forgery.files import RECORD, Forged, write_tamper
from scanward.forgery.make import check_order, forge_image
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.host import host_of
from scanward.formats.whose import PAIR, said_by
from scanward.formats.write_volume import target_of
from scanward.image import Modality, digest

MEND = "Give the CC and the MLO view of one breast; files that do not say which they are come in this order."


@dataclass(frozen=True)
class Both:
    """An order for each view, in the order in which the views were given."""

    sights: tuple[Sight, Sight]
    lesions: tuple[Lesion, Lesion]
    orders: tuple[Order, Order]

    def pair(self, number: int) -> dict[str, Any]:
        """What the record of one view says of both."""
        sight, lesion, other = self.sights[number], self.lesions[number], self.sights[1 - number]
        parts = [[digest(s.image), asdict(o)] for s, o in zip(self.sights, self.orders, strict=True)]
        return {"id": hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16], "view": sight.name,
                "nipple": [round(sight.nipple.x, 1), round(sight.nipple.y, 1)],
                "from_nipple_mm": round(sight.arc_mm(lesion), 2), "other": f"../{other.name}/{RECORD}"}


@dataclass(frozen=True, eq=False)
class Pair:
    """One lesion in both views of a breast, in memory."""

    tampers: tuple[Tamper, Tamper]
    """In the order in which the views were given."""
    both: Both
    action: str
    modality: Modality | None
    spacing: tuple[float, float] | None

    __repr__ = brief

    def save(self, folder: PathLike) -> tuple[Path, Path]:
        """Write both views, as `--views` does, into the folders `CC` and `MLO` of `folder`, with a record each that
        names the other: all or nothing, and nothing is overwritten. Returns the two, in the order in which the views
        were given.

        Raises `ArgumentError` where the folder cannot be written, `UnreadableError` where a host's file has changed,
        `UnsupportedError` for a format that is not written."""
        for sight in self.both.sights:
            host_of(sight.source, sight.image, self.modality, self.spacing).again()
        first, second = (made.folder for made in self.write(path_of(folder, "folder")))
        return first, second

    def write(self, folder: Path) -> tuple[Forged, Forged]:
        """As `save`, of hosts that were read just now; what was written, with its records."""
        check_free(folder, PAIR)
        made = []
        with whole_folder(folder, last=PAIR[1], taken=PAIR) as draft:
            for number, (tamper, sight) in enumerate(zip(self.tampers, self.both.sights, strict=True)):
                made.append(write_tamper(tamper, sight.image, sight.source, draft / sight.name,
                                         self.both.orders[number], self.action, self.modality, self.spacing,
                                         pair=self.both.pair(number)))
        first, second = (replace(one, folder=folder / one.folder.name) for one in made)
        return first, second


def forge_views(sources: Sequence[Source], folder: Path, order: Order, action: str, *,
                at2: tuple[float, ...] | None = None, modality: Modality | None = None,
                spacing: tuple[float, float] | None = None) -> tuple[Forged, Forged]:
    """One lesion in two views of a breast, written into `CC` and `MLO` in `folder`, all or nothing. The place that the
    order names is in the first source; `at2` (x, y) names that in the second. Raises `InputError`."""
    check_free(folder, PAIR)
    both = plan_views(sources, order, action, at2=at2, modality=modality, spacing=spacing)
    for sight in both.sights:
        target_of(sight.image, sight.source, folder / sight.name, "forged")
    return made_of(both, action, modality, spacing).write(folder)


def made_of(both: Both, action: str, modality: Modality | None, spacing: tuple[float, float] | None) -> Pair:
    """What was planned, carried out. Raises as `inject`."""
    first, second = (forge_image(check_order(order, action), sight.image, order, order.seed)
                     for sight, order in zip(both.sights, both.orders, strict=True))
    return Pair((first, second), both, action, modality, spacing)


def plan_views(sources: Sequence[Source], order: Order, action: str, *, at2: tuple[float, ...] | None = None,
               modality: Modality | None = None, spacing: tuple[float, float] | None = None) -> Both:
    """What `forge_views` would do. Raises as that."""
    # any view will do to hear of a method that knows none, before files are read
    check_order(order if action == "remove" else replace(order, view=View(PAIR[0], 0, 0.0, (0.0, 1.0))), action)
    if order.at is not None and len(order.at) > 1:
        raise ArgumentError("One lesion is put into both views; write --at X,Y once, for the first view.")
    for source in sources:
        if source.kind != "file":
            raise UnsupportedError(f"{shown(source.path)} is no mammogram. {MEND}")
    names = _names(sources)
    images = [formats.read(source, modality=modality, spacing=spacing) for source in sources]
    for image in images:
        if image.modality != "MG":
            raise UnsupportedError(f"{shown(image.name)} is no mammogram. {MEND}")
    if digest(images[0]) == digest(images[1]):
        raise ArgumentError(f"{shown(images[0].name)} and {shown(images[1].name)} are the same image. {MEND}")
    one, other = (sight_of(*parts) for parts in zip(names, sources, images, strict=True))
    return both_of(one, other, order, action, at2)


def both_of(one: Sight, other: Sight, order: Order, action: str, at2: tuple[float, ...] | None = None) -> Both:
    """An order for each view of what is asked for in both. Raises `ArgumentError` where there is no place for it."""
    rng = np.random.default_rng((order.seed, 5))
    size = order.diameters_mm(rng, 1)[0]
    at = None if order.at is None else order.at[0]
    if action == "inject":
        lesions = injected(one, other, size, at, at2, rng, methods.find(order.method, "attack").reach)
        seen = _seen((one, other), lesions, order, rng)
    elif at is None:
        raise ArgumentError("What is to be removed is looked for in the second view; say with --at X,Y where it is in "
                            "the first.")
    else:
        lesions, seen = alike(one, other, size, at, at2), [{}, {}]
    first, second = (replace(order, size_mm=(size, size), at=((lesion.x, lesion.y),), seed=order.seed + number, **more)
                     for number, (lesion, more) in enumerate(zip(lesions, seen, strict=True)))
    return Both((one, other), lesions, (first, second))


def _names(sources: Sequence[Source]) -> list[str]:
    """Which view each is; `ArgumentError` where they are not those of one breast."""
    said = [said_by(source.path) for source in sources]
    for one, source in zip(said, sources, strict=True):
        if one.view and one.view not in PAIR:
            raise ArgumentError(f"{shown(source.path)} is a view {one.view}. {MEND}")
    known = next((number for number, one in enumerate(said) if one.view), 0)
    first = said[known].view or PAIR[0]
    if known:
        first = PAIR[1 - PAIR.index(first)]
    names = [first, PAIR[1 - PAIR.index(first)]]
    files = " and ".join(shown(source.path) for source in sources)
    if said[1].view and said[1].view != names[1]:
        raise ArgumentError(f"{files} are both {said[1].view} views. {MEND}")
    for field, what in (("side", "two breasts"), ("patient", "two patients"), ("study", "two studies")):
        values = {getattr(one, field) for one in said} - {""}
        if len(values) > 1:
            raise ArgumentError(f"{files} are of {what}. {MEND}")
    return names


def _seen(sights: tuple[Sight, Sight], lesions: tuple[Lesion, Lesion], order: Order,
          rng: np.random.Generator) -> list[dict[str, Any]]:
    """What both orders say of the one lesion."""
    margin = str(rng.choice([*MARGINS], p=SHARES))
    solid, share = int(rng.integers(2**31)), float(rng.uniform(*PEAKS))
    room = []
    for sight, lesion in zip(sights, lesions, strict=True):
        black, white = levels_of(sight.image.plane)
        room.append(peak_of(sight.image, lesion, share, (black, white), sight.mm) / (white - black))
    options, contrast = dict(order.options), float(np.sqrt(room[0] * room[1]))
    if "margin" in methods.find(order.method, "attack").options:
        options = {"margin": margin, **options}
    return [{"options": options, "view": View(sight.name, solid, contrast, sight.nipple.inward)}
            for sight in sights]
