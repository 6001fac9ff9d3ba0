"""Calcifications forged on digital mammograms: a picture, and what the shipped scan says of them.

    python benchmarks/mammo_calcifications.py pictures    groups drawn at random and benign ones, before and after
    python benchmarks/mammo_calcifications.py detectors   the shipped scan on forgeries that it was not trained for

Hosts are the digital test films of the data folder. Nothing is trained; what no source says was chosen by eye.
Answers go to standard output as Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import mammo_cgan
import numpy as np
from mammo_cgan import Squares
from mammo_digital import Called, hosts

from scanward import methods
from scanward.attacks.base import Lesion, Tamper, forge
from scanward.attacks.mammo_calcifications.kinds import BENIGN
from scanward.attacks.places import tissue_place
from scanward.datasets.films import FFDM_SPACING, Film, digital
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.report.heat import window

METHOD = "mammo-calcifications"
SIZES_MM = {None: (5.0, 20.0), "popcorn": (4.0, 12.0), "rim": (4.0, 10.0)}
"""By morphology; None has it drawn."""
CELL = 320
"""Pixels a side of a picture's cells."""


def drawn(count: int, seed: int, films: list[Film],
          morphology: str | None = None) -> Iterator[tuple[Film, Image, Lesion, Tamper]]:
    """Forgeries of the films in turn, at random places and of random sizes."""
    rng, attack = np.random.default_rng(seed), methods.build(METHOD, "attack", morphology=morphology)
    for number in range(count):
        film = films[number % len(films)]
        image = film.read()
        for _ in range(20):
            diameter = float(np.exp(rng.uniform(*np.log(SIZES_MM[morphology])))) / FFDM_SPACING
            try:
                place = tissue_place(image, rng, diameter, FFDM_SPACING)
                yield film, image, place, forge(attack, image, place, number)
                break
            except ArgumentError:
                continue


def pictures(args: argparse.Namespace) -> None:
    """Before and after of eight groups and two benign calcifications of each kind: drawn at random, none left out.
    Films of CDD-CESM alone, whose licence lets them be shown."""
    args.out.mkdir(parents=True, exist_ok=True)
    films = digital("test")
    parts = {"FORGED: 8 groups by mammo-calcifications, drawn at random: before | after": cells(
        drawn(args.count or 8, args.seed, films))}
    for number, name in enumerate(BENIGN, 1):
        parts[f"FORGED: benign, {name}: before | after"] = cells(drawn(2, args.seed + number, films[8 * number:], name))
    cv2.imwrite(str(args.out / "calcifications.jpg"), mammo_cgan._page(parts, 4 * (CELL + 4)),
                [cv2.IMWRITE_JPEG_QUALITY, 60])


def cells(forged: Iterator[tuple[Film, Image, Lesion, Tamper]]) -> list[Squares]:
    made = []
    for film, image, place, tamper in forged:
        params = tamper.record.params
        print(film.name, params["morphology"], params["distribution"], params["count"],
              f"{place.diameter * FFDM_SPACING:.1f} mm")
        near = Lesion(place.centre, 0.5 * place.diameter)
        made += [np.hstack([mammo_cgan._view(plane, near, window(image), CELL)
                            for plane in (image.plane, tamper.image.plane)])]
    return made


def detectors(args: argparse.Namespace) -> None:
    """How many of the forgeries the default scan calls tampered."""
    called = Called()
    for film, _, _, tamper in drawn(args.count or 24, 5, hosts()):
        called.ask(METHOD, tamper.image, film)
    for morphology in BENIGN:
        for film, _, _, tamper in drawn(6, 7, hosts(), morphology):
            called.ask(f"{METHOD}, benign", tamper.image, film)
    print(called.table())


def main() -> None:
    """One table or the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["pictures", "detectors"])
    parser.add_argument("--count", type=int, help="groups; 8 in the picture, 24 for the detectors")
    parser.add_argument("--seed", type=int, default=6, help="of the picture")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"pictures": pictures, "detectors": detectors}[args.table](args)


if __name__ == "__main__":
    main()
