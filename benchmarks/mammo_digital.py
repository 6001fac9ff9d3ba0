"""Masses forged on digital mammograms: their spectrum, whether texture tells them from real ones, and the detectors.

    python benchmarks/mammo_digital.py spectrum    radial power inside a mass against the untouched host's
    python benchmarks/mammo_digital.py told        a lesion classifier's word, a two-sample AUC against real masses
    python benchmarks/mammo_digital.py pictures    24 injections and 12 removals drawn at random, beside real masses
    python benchmarks/mammo_digital.py detectors   the shipped scan on forgeries that it was not trained for

Hosts are the digital test films of the data folder. Nothing was trained on digital mammograms; how the attacks look was
chosen on `train` and `val`. Answers go to standard output as Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import mammo_cgan
import numpy as np
import torch
from mammo_cgan import JITTER, Kind, Squares

from scanward import methods
from scanward.anatomy.breast import breast_small
from scanward.attacks.base import Attack, Lesion, Tamper, forge
from scanward.attacks.mammo_cgan.inject import cut
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_digital.texture import gain, grain_curve
from scanward.attacks.partial_conv.network import Texture
from scanward.attacks.places import tissue_place
from scanward.bench import tables
from scanward.datasets.films import FFDM_SPACING, Film, digital
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import judge
from scanward.report.heat import window

REAL = {
    "IM0087": (530, 658, 90), "IM0088": (740, 1013, 260), "IM0089": (527, 693, 100), "IM0093": (1636, 398, 180),
    "IM0101": (1498, 743, 140), "IM0103": (1430, 890, 230), "IM0104": (1762, 675, 70), "IM0105": (735, 640, 330),
    "IM0106": (425, 1625, 110), "IM0107": (1684, 923, 120), "IM0108": (1316, 952, 110), "IM0110": (973, 671, 150),
    "IM0113": (1690, 845, 240), "IM0117": (180, 1030, 160), "IM0118": (1270, 343, 150), "IM0119": (690, 637, 300)}
"""Real masses by film: y, x and diameter in pixels. Found by eye, since these films come without annotations."""
ATTACKS = {"mammo-digital": {}, "mammo-digital, host's grain": {"grain": "host"}, "mammo-cgan": {},
           "mammo-cgan, host's grain": {"grain": "host"}}
SIZES_MM = (6.0, 30.0)
NATIVE = 64
"""Pixels a side of a square at the host's own pixel."""


def hosts(split: str = "test") -> list[Film]:
    return digital("test") + digital("test", maker="other") if split == "test" else digital("val")


def real_masses() -> Iterator[tuple[Film, Lesion]]:
    for film in hosts("val") + hosts():
        if film.name[5:] in REAL:
            y, x, diameter = REAL[film.name[5:]]
            yield film, Lesion((0, y, x), diameter)


def build(name: str) -> Attack:
    made: Attack = methods.build(name.partition(",")[0], "attack", **ATTACKS.get(name, {}))
    return made


def drawn(count: int, seed: int, films: list[Film] | None = None,
          sizes_mm: tuple[float, float] = SIZES_MM) -> Iterator[tuple[Film, Image, Lesion, int]]:
    """Hosts, or `films`, in turn with random places and sizes."""
    rng, films = np.random.default_rng(seed), films or hosts()
    for number in range(count):
        film = films[number % len(films)]
        image = film.read()
        for _ in range(20):
            diameter = float(np.exp(rng.uniform(*np.log(sizes_mm)))) / FFDM_SPACING
            try:
                yield film, image, tissue_place(image, rng, diameter, FFDM_SPACING), number
                break
            except ArgumentError:
                continue


def spectrum(args: argparse.Namespace) -> None:
    """Of the square inside each mass: its power over the untouched square's, by ring, from 1 cycle a mm to Nyquist."""
    ratios: dict[str, list[Squares]] = {name: [] for name in ATTACKS}
    edges, said = np.linspace(1.0, 0.5 / FFDM_SPACING, 9), []
    for _, image, place, seed in drawn(args.count, 3):
        curve = grain_curve(image.plane, breast_small(image.plane).at_full_size(image.plane.shape))
        side = max(16, round(place.diameter / np.sqrt(2)))
        inner = {"y": place.y, "x": place.x, "side": side}
        before = rings(cut(image.plane, inner), edges)
        for name in ATTACKS:
            after = forge(build(name), image, place, seed).image.plane
            ratios[name].append(rings(cut(after, inner), edges) / before)
            if name == "mammo-digital":
                said.append(float((gain(curve, cut(image.plane, inner), cut(after, inner)) ** 2).mean()))
    body = []
    for name, found in ratios.items():
        mean = np.exp(np.log(np.stack(found)).mean(0))
        body.append([name, str(len(found)), *(f"{value:.2f}" for value in mean)])
    print(tables.table(["attack", "places", *(f"{a:.1f}–{b:.1f}/mm" for a, b in pairwise(edges))],
                       body))
    print(f"\nThe hosts' own curves say {np.exp(np.mean(np.log(said))):.2f} for grain at the masses' brightness.")


def rings(square: Squares, edges: Squares) -> Squares:
    """Mean power of a square (a, a), under a Hann window, between frequencies in cycles a mm."""
    side = len(square)
    hann = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fft2((square - square.mean()) * hann)) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, FFDM_SPACING)] * 2))
    return np.array([power[(frequency >= a) & (frequency < b)].mean() + 1e-9
                     for a, b in pairwise(edges)])


def told(args: argparse.Namespace) -> None:
    """Real masses against forged ones: as the film benchmark sees them, and squares at the host's own pixel."""
    net = mammo_cgan.classifier(args).requires_grad_(False)
    whole, fine = kinds(args)
    texture, body = Texture(), []
    for name, kind in whole.items():
        scores = torch.sigmoid(net(torch.from_numpy(kind.all)[:, None])).numpy().reshape(-1, JITTER).mean(1)
        line = [name, str(len(kind.patients)), tables.rate(list(scores >= 0.5), kind.patients)]
        line += ["–", "–"] if name == "real masses" else [
            tables.estimate(*mammo_cgan.two_sample(texture, some[name], some["real masses"])) for some in (whole, fine)]
        body.append(line)
    print(tables.table(["kind", "places", "called a lesion", "AUC of telling from real masses",
                        "the same at the host's own pixel"], body))


def kinds(args: argparse.Namespace) -> tuple[dict[str, Kind], dict[str, Kind]]:
    """Squares of every kind: whole masses in 64 pixels, and 64 pixels of the host's own inside them."""
    rng = np.random.default_rng(0)
    whole, fine = ({name: Kind() for name in ("real masses", "healthy tissue", *ATTACKS)} for _ in range(2))

    def add(name: str, plane: Squares, place: Lesion, film: Film) -> None:
        levels = levels_of(plane)
        whole[name].add(plane, place, levels, film.name, rng)
        fine[name].squares.append(np.stack([native(plane, place, levels, rng) for _ in range(JITTER)]))
        fine[name].patients.append(film.name)

    for film, place in real_masses():
        add("real masses", film.read().plane, place, film)
    for film, image, place, seed in drawn(args.count, 4):
        add("healthy tissue", image.plane, place, film)
        for name in ATTACKS:
            add(name, forge(build(name), image, place, seed).image.plane, place, film)
    return whole, fine


def native(plane: Squares, place: Lesion, levels: tuple[float, float], rng: np.random.Generator) -> Squares:
    """(64, 64) at the film's own pixel somewhere in the inner half of a mass."""
    reach = max(0.0, 0.25 * place.diameter)
    y, x = (v + float(rng.uniform(-reach, reach)) for v in (place.y, place.x))
    square = cut(plane, {"y": y, "x": x, "side": NATIVE})
    return np.asarray((square - levels[0]) / (levels[1] - levels[0]), np.float32)


def pictures(args: argparse.Namespace) -> None:
    """Before and after of 24 injections and 12 removals, beside real masses: drawn at random, none left out. Films of
    CDD-CESM alone, whose licence lets them be shown."""
    args.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Squares]] = {}
    cells = []
    for _, image, place, seed in drawn(24, args.seed, digital("test")):
        cells.append(pair(image, forge(build("mammo-digital"), image, place, seed), place))
    parts["24 by mammo-digital, drawn at random: before | after"] = cells
    real = list(real_masses())
    parts["12 by mammo-digital-remove, of real masses: before | after"] = [
        pair(image, forge(build("mammo-digital-remove"), image, wider(place), 0), place)
        for film, place in real[:12] for image in [film.read()]]
    parts["real masses of these films"] = [mammo_cgan._view(image.plane, place, window(image))
                                           for film, place in real for image in [film.read()]]
    cv2.imwrite(str(args.out / "digital-forgeries.jpg"), mammo_cgan._page(parts), [cv2.IMWRITE_JPEG_QUALITY, 55])


def wider(place: Lesion) -> Lesion:
    """What is to go: the mass and a little around it."""
    return Lesion(place.centre, min(1.15 * place.diameter, 400))


def pair(image: Image, tamper: Tamper, place: Lesion) -> Squares:
    levels = window(image)
    return np.hstack([mammo_cgan._view(plane, place, levels) for plane in (image.plane, tamper.image.plane)])


class Called:
    """How many images the default scan calls tampered, by name."""

    def __init__(self) -> None:
        self.said: dict[str, list[bool]] = {}
        self.who: dict[str, list[str]] = {}

    def ask(self, name: str, image: Image, film: Film) -> None:
        self.said.setdefault(name, []).append(judge(Case(image)).label == "tampered")
        self.who.setdefault(name, []).append(film.name)

    def table(self) -> str:
        return tables.table(["images", "called tampered"], [[name, tables.rate(found, self.who[name])]
                                                            for name, found in self.said.items()])


def detectors(args: argparse.Namespace) -> None:
    """How many of the forgeries the default scan calls tampered, by attack; and of the untouched hosts."""
    called = Called()
    for film in hosts():
        called.ask("untouched", film.read(), film)
    for film, image, place, seed in drawn(args.count, 5):
        for name in ("mammo-digital", "mammo-digital, host's grain"):
            called.ask(name, forge(build(name), image, place, seed).image, film)
    for film, place in real_masses():
        image = film.read()
        called.ask("mammo-digital-remove", forge(build("mammo-digital-remove"), image, wider(place), 0).image, film)
    print(called.table())


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["spectrum", "told", "pictures", "detectors"])
    parser.add_argument("--count", type=int, default=24, help="injections of each attack")
    parser.add_argument("--seed", type=int, default=6, help="of the picture")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"spectrum": spectrum, "told": told, "pictures": pictures, "detectors": detectors}[args.table](args)


if __name__ == "__main__":
    main()
