"""A bank of paired crops: the same place of a film, authentic and forged, ready for any detector's training.

Pairs keep a network from learning where or what instead of how; real masses are among the authentic halves. The bank
is made once, by films, and kept on disk outside the repository, so that trainings which leave a family out share it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from scanward.anatomy.breast import Breast, breast_mask, breast_small
from scanward.attacks.base import Donor, Lesion, forge
from scanward.attacks.places import draw_places, share_inside
from scanward.bench.protocol import attack_of
from scanward.datasets.films import Film, donors_of
from scanward.datasets.processing import processed
from scanward.datasets.reencoding import draw, past, reencode, reencode_mask
from scanward.detectors.self_reference.local import measurer
from scanward.detectors.self_reference.reference import BLOCK, KERNELS, SCALES, Reference
from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.judging.batch import Processes

CROP = 256
SHARES = {"self-blend": 4, "splice": 7, "composed-mass": 4, "inpaint-telea": 1, "inpaint-ns": 1, "resample": 4,
          "noise": 5, "blur": 2, "jpeg": 2}
"""How often each attack is drawn: most often those that are hardest to see. Copies and other forgeries that keep the
image's grain are not among them: with nothing else to tell the halves of a pair apart, a network learns what looks like
a mass."""
GENERATED = {"mammo-cgan": 4, "mammo-cgan grain=host": 4, "mammo-cgan grain=resynthesised": 3, "mammo-cgan-remove": 3,
             "mammo-cgan-remove grain=host": 2, "splice": 2, "noise": 2}
"""The same of a second bank, of what generators paint; with some of what else is hard to see, so that it is not
forgotten. No other generator is trained on: `mammo-cgan-b`, `partial-conv` and `diffusion` are only ever tested on."""
EVERYTHING = {**SHARES, **GENERATED}
"""A third bank's."""
DETAILED = {"mammo-digital": 10, "mammo-digital-remove": 5, "splice": 2, "noise": 2, "composed-mass": 1,
            "self-blend": 1, "mammo-cgan grain=host": 1, "resample": 1}
"""A fourth bank's, on digital mammograms: most of all what is forged there at the host's own pixel."""
LEAST_PAINTED = 72
"""Pixels of a lesion from which on putting the host's grain back leaves anything to tell it by: the way through 64×64
takes some away."""
FAITHFUL = ("shift", "lowfreq")
"""Self-blends that keep the grain, left out for the same reason."""
FIELDS = (2, len(SCALES) * len(KERNELS), CROP // BLOCK, CROP // BLOCK)
LATE = 0.25
LARGE = 1536
"""Films with a longer side give a random window of this many pixels a visit."""


@dataclass(frozen=True)
class Recipe:
    """What a bank holds."""

    pairs: int
    shares: Mapping[str, int] = field(default_factory=lambda: SHARES)
    """How often each attack is drawn."""
    sizes: tuple[float, float] = (4.0, 45.0)
    """Diameters in mm, drawn log-uniformly."""
    past: float = 0.0
    """Share of the films that went through something before they were forged, and again afterwards."""
    processed: float = 0.0
    """Share of the films that a maker's processing was simulated on (`datasets.processing`), for one in four of these
    after they were forged. Where there are none, grain is held against one curve an image."""
    digital: bool = False
    """Digital mammograms alone."""


PAINTED = (Recipe(3000, GENERATED), Recipe(2500, GENERATED, (3.0, 12.0)))
"""Two banks of what generators paint, the second of what is smallest."""

_Drawn = tuple[Lesion, npt.NDArray[np.bool_], dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """One place, authentic and forged."""

    authentic: npt.NDArray[np.uint16]
    """(256, 256) stored values."""
    forged: npt.NDArray[np.uint16]
    mask: npt.NDArray[np.bool_]
    """(256, 256), True where forged."""
    references: tuple[Reference, Reference]
    """Measured on the whole authentic and the whole forged image; their fields are the crop's."""
    white: float
    """The film's brightest value."""
    about: dict[str, Any]
    """Film, attack, family, variant, diameter in mm, re-encoding, and the families that show in the crop."""


def visit(film: Film, donors: list[tuple[str, Donor]], rng: np.random.Generator, recipe: Recipe,
          pairs: int = 6) -> Iterator[Pair]:
    """Forge a film at several places at once, re-encode both versions alike, and cut the pairs."""
    host = lived(host_of(film.read(), rng), recipe.past, rng)
    maker, late = int(rng.integers(2**31)), rng.random() < LATE
    shown = rng.random() < recipe.processed
    if shown and not late:
        host = processed(host, maker)
    spacing = host.spacing[1] if host.spacing else 0.1
    drawn: list[_Drawn] = []
    forged, breast = host, breast_small(host.plane)
    for _ in range(pairs):
        made = _forge_once(host, forged, breast, spacing, donors, film.name, rng, drawn, recipe)
        if made is not None:
            forged = made
    step = past(host, rng) if recipe.past and rng.random() < 0.5 * recipe.past else draw(rng, 0.35)
    if shown and late:
        host, forged = processed(host, maker), processed(forged, maker)
    before, after = reencode(host, **step), reencode(forged, **step)
    tissue, measure = breast_mask(before.plane), measurer(varies=recipe.processed > 0)
    references = (measure(before.plane, tissue), measure(after.plane, tissue))
    if references[0] is None or references[1] is None:
        return
    union = np.zeros(after.plane.shape, bool)
    masks = [reencode_mask(mask, step["step"], step["amount"]) for _, mask, _ in drawn]
    for mask in masks:
        union |= mask
    for (_, _, about), mask in zip(drawn, masks, strict=True):
        window = window_of(mask, rng)
        if window is None:
            continue
        present = {_mimicked(a) for (_, _, a), m in zip(drawn, masks, strict=True) if m[window].any()}
        described = {**about, "film": film.name, "step": step["step"], "amount": step["amount"],
                     "present": sorted(present)}
        yield Pair(before.plane[window].astype(np.uint16), after.plane[window].astype(np.uint16), union[window],
                   (references[0].within(window), references[1].within(window)), float(after.plane.max()), described)


def host_of(image: Image, rng: np.random.Generator) -> Image:
    """A film as another scanner might have stored it: a part of a large one, at the same or a lesser depth."""
    plane = image.plane
    if max(plane.shape) > LARGE:
        place = draw_places(plane, rng, 1, 8)[0]
        corner = [int(np.clip(centre - LARGE / 2 + rng.uniform(-0.3, 0.3) * LARGE, 0, max(0, side - LARGE)))
                  for centre, side in zip((place.y, place.x), plane.shape, strict=True)]
        plane = plane[corner[0]:corner[0] + LARGE, corner[1]:corner[1] + LARGE]
    bits = int(rng.choice([8, 10, 12, image.bits])) if image.bits > 12 and rng.random() < 0.6 else image.bits
    return dataclasses.replace(image, bits=bits).with_plane(plane * ((2**bits - 1) / image.largest))


def lived(image: Image, share: float, rng: np.random.Generator) -> Image:
    """The image, or with the probability `share` what a past of resampling, scanning or compression made of it."""
    return reencode(image, **past(image, rng)) if share and rng.random() < share else image


def _forge_once(host: Image, forged: Image, breast: Breast, spacing: float,
                donors: list[tuple[str, Donor]], film: str, rng: np.random.Generator,
                drawn: list[_Drawn], recipe: Recipe) -> Image | None:
    """One more forgery on `forged`, appended to `drawn`; None where it found no free place."""
    others = [donor for owner, donor in donors if owner != film]
    shares = np.array([share if others or name != "splice" else 0 for name, share in recipe.shares.items()])
    name = str(rng.choice(list(recipe.shares), p=shares / shares.sum()))
    mm = float(np.exp(rng.uniform(*np.log(recipe.sizes))))
    strength = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.5, 1.0))
    donor = others[int(rng.integers(len(others)))] if others else None
    mm = min(mm, 0.45 * min(host.plane.shape) * spacing)
    if "grain=" in name and mm / spacing < LEAST_PAINTED:
        return None
    tissue = breast.at_full_size(host.plane.shape)
    for place in draw_places(host.plane, rng, 6, mm / spacing, breast):
        free = all(np.hypot(place.y - p.y, place.x - p.x) > 0.6 * (place.diameter + p.diameter) for p, _, _ in drawn)
        if free and share_inside(tissue, place) > 0.9:
            break
    else:
        return None
    attack = attack_of(name)
    tamper = forge(attack, forged, place, int(rng.integers(2**31)), strength=strength, donor=donor)
    if tamper.record.params.get("variant") in FAITHFUL:
        return None
    about = {"attack": name, "family": attack.family, "variant": tamper.record.params.get("variant", ""),
             "mm": mm, "strength": strength}
    drawn.append((place, tamper.mask[0], about))
    return tamper.image


def window_of(mask: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[slice, slice] | None:
    """A CROP-sized window around a random pixel of the mask, or of its rim: two times in three what is forged can be
    held against what is not."""
    if min(mask.shape) < CROP or not mask.any():
        return None
    rim = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    ys, xs = np.nonzero(rim if rng.random() < 0.67 else mask)
    pick = int(rng.integers(len(ys)))
    corner = []
    for centre, side in ((ys[pick], mask.shape[0]), (xs[pick], mask.shape[1])):
        start = int(centre) - int(rng.integers(CROP // 5, CROP - CROP // 5))
        corner.append(min(max(0, start), side - CROP) // BLOCK * BLOCK)
    return slice(corner[0], corner[0] + CROP), slice(corner[1], corner[1] + CROP)


class Bank:
    """Pairs in one folder: arrays memory-mapped, the rest as JSON lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = [json.loads(line) for line in (folder / "about.jsonl").read_text("utf-8").splitlines()]
        shape = (len(self.about), 2, CROP, CROP)
        self.planes = np.memmap(folder / "planes.u16", np.uint16, "r", shape=shape)
        self.masks = np.memmap(folder / "masks.u8", np.uint8, "r", shape=(len(self.about), CROP, CROP))
        self.fields = np.memmap(folder / "fields.f16", np.float16, "r", shape=(len(self.about), *FIELDS))

    def __len__(self) -> int:
        return len(self.about)

    def references(self, index: int) -> tuple[Reference, Reference]:
        """Of the authentic and the forged image."""
        a, b = (_reference(row, field.astype(np.float32)) for row, field
                in zip(self.about[index]["references"], self.fields[index], strict=True))
        return a, b

    def without(self, families: frozenset[str]) -> npt.NDArray[np.intp]:
        """Indices of the pairs that show no forgery of these families, nor a self-blend variant that mimics one."""
        return np.array([i for i, row in enumerate(self.about) if not families.intersection(row["present"])], np.intp)

    def visible(self, chosen: npt.NDArray[np.intp], least: float = 0.25) -> npt.NDArray[np.intp]:
        """Those of `chosen` in which at least this share of the pixels inside the truth did change."""
        return np.array([i for i in chosen if (self.planes[i, 0] != self.planes[i, 1])[self.masks[i] > 0].mean()
                         >= least], np.intp)


Pool = list[tuple[Bank, int]]
"""Pairs of one or more banks."""


def pool_of(bank: Bank, leave_out: frozenset[str] = frozenset()) -> Pool:
    """The bank's pairs that show something, and nothing of the families of `leave_out`."""
    return [(bank, int(i)) for i in bank.visible(bank.without(leave_out))]


MIMICS = {"noise": "noise", "blur": "blur", "denoise": "blur", "jpeg": "jpeg", "affine": "resample",
          "shift": "copy-move"}
"""Self-blend variants that are another family's forgery under another name."""


def _mimicked(about: dict[str, Any]) -> str:
    return MIMICS.get(about["variant"], about["family"])


def write_bank(folder: Path, pairs: Iterator[Pair]) -> int:
    """Append pairs to the bank in `folder`, one at a time, so that `make_bank` can go on with an interrupted one."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / "planes.u16").open("ab") as planes, (folder / "masks.u8").open("ab") as masks, \
            (folder / "fields.f16").open("ab") as fields, (folder / "about.jsonl").open("a", encoding="utf-8") as about:
        for pair in pairs:
            planes.write(np.stack([pair.authentic, pair.forged]).tobytes())
            masks.write(pair.mask.astype(np.uint8).tobytes())
            for reference in pair.references:
                fields.write(np.asarray(reference.field, np.float16).tobytes())
            row = {**pair.about, "white": pair.white, "references": [_as_json(r) for r in pair.references]}
            about.write(json.dumps(row) + "\n")
            about.flush()
            count += 1
    return count


def _mend(folder: Path) -> int:
    """Cut the files to the pairs that all of them hold whole, after a kill between two writes; their count."""
    sizes = {"planes.u16": 2 * CROP * CROP * 2, "masks.u8": CROP * CROP,
             "fields.f16": 2 * int(np.prod(FIELDS))}
    about = folder / "about.jsonl"
    lines = about.read_bytes().splitlines(keepends=True) if about.is_file() else []
    whole = len(lines) if not lines or lines[-1].endswith(b"\n") else len(lines) - 1
    for name, size in sizes.items():
        path = folder / name
        whole = min(whole, path.stat().st_size // size if path.is_file() else 0)
    if whole < len(lines):
        about.write_bytes(b"".join(lines[:whole]))
    for name, size in sizes.items():
        path = folder / name
        if path.is_file() and path.stat().st_size > whole * size:
            os.truncate(path, whole * size)
    return whole


def _as_json(reference: Reference) -> dict[str, list[float]]:
    return {"levels": reference.levels.tolist(), "stabilised": reference.stabilised.tolist(),
            "gains": reference.gains.tolist()}


def _reference(row: dict[str, list[float]], field: npt.NDArray[np.float32]) -> Reference:
    return Reference(np.array(row["levels"]), np.array(row["stabilised"]), np.array(row["gains"], np.float32), field)


def make_bank(folder: Path, films: list[Film], recipe: Recipe, *, seed: int = 0, workers: int = 2) -> Bank:
    """At least `recipe.pairs` pairs of `films`, visited in turn; a bank cut short is gone on with, a whole one opened.

    A film is visited `visits` times as often as others.
    """
    have = _mend(folder)
    if have < recipe.pairs:
        donors = donors_of([f for f in films if f.masses])
        turns = [f for f in films for _ in range(f.visits)]
        visits = ((turns[i % len(turns)], (seed, start, i)) for start in (count(have, len(turns)) if turns else ())
                  for i in range(start, start + len(turns)))
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("forging pairs", total=recipe.pairs, completed=have)
            before = have
            # Even one worker is a process of its own: torch's threads are turned off there.
            for number, done in enumerate(Processes(workers).run(partial(_visiting, donors, recipe), visits), 1):
                have += write_bank(folder, iter(done.answer()))
                progress.update(task, completed=have)
                whole_round = number % len(turns) == 0
                if have >= recipe.pairs or (whole_round and have == before):
                    break
                before = have if whole_round else before
        if have < recipe.pairs:
            raise UnreadableError("None of the training films has room for a forgery; name the data folder with --data "
                                  "or SCANWARD_DATA.")
    return Bank(folder)


def banks_of(recipes: Sequence[Recipe], films: list[Film], out: Path) -> list[Bank]:
    """The further banks of a preset, which trainings share."""
    return [make_bank(out / f"bank-{number}-{recipe.pairs}", films, recipe, seed=number)
            for number, recipe in enumerate(recipes, 1)]


def _visiting(donors: list[tuple[str, Donor]],
              recipe: Recipe) -> Callable[[tuple[Film, tuple[int, ...]]], list[Pair]]:
    import torch

    torch.set_num_threads(1)
    return lambda job: list(visit(job[0], donors, np.random.default_rng(job[1]), recipe))
