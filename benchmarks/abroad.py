"""What the default scan makes of mammograms of a hospital of one's own, untouched and forged by every attack.

    python benchmarks/abroad.py FILE... [--spacing MM]

Each is forged once by each attack, 8 to 25 mm at one place that is the same for all, drawn with the seed in glandular
tissue. One image a woman, please: intervals resample images. Answers go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from scanward import formats, methods
from scanward.attacks.base import Lesion, forge
from scanward.attacks.places import tissue_place
from scanward.bench import tables
from scanward.errors import InputError
from scanward.forgery.film import pixel_mm
from scanward.forgery.order import Order
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import judge

ATTACKS = ("mammo-cgan", "mammo-cgan-b", "mammo-digital", "mammo-cgan-remove", "mammo-digital-remove", "partial-conv",
           "diffusion", "copy-move", "self-blend")
SIZES_MM = (8.0, 25.0)
LABELS = ("tampered", "inconclusive")


def place_in(image: Image, rng: np.random.Generator) -> Lesion:
    """Where all attacks forge. Raises `InputError` where there is no room."""
    mm = pixel_mm(image)
    return tissue_place(image, rng, Order("", SIZES_MM).diameters_mm(rng, 1)[0] / mm, mm)


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--spacing", type=float, help="mm a pixel, of files that do not say")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    spacing = (args.spacing, args.spacing) if args.spacing else None
    attacks = {name: methods.build(name, "attack") for name in ATTACKS}
    said: dict[str, list[str]] = {name: [] for name in ("untouched", *ATTACKS)}
    who: dict[str, list[str]] = {name: [] for name in said}
    for number, path in enumerate(track(args.files)):
        try:
            image = formats.read(path, modality="MG", spacing=spacing)
            place = place_in(image, np.random.default_rng((args.seed, number)))
        except InputError as error:
            print(error)
            continue
        for name, labels in said.items():
            made = image if name == "untouched" else forge(attacks[name], image, [place], number).image
            labels.append(judge(Case(made)).label)
            who[name].append(path.name)
    if not who["untouched"]:
        raise SystemExit(2)
    print(tables.table(["images", *(f"called {label}" for label in LABELS)], [
        [name, *(tables.rate([one == label for one in labels], who[name]) for label in LABELS)]
        for name, labels in said.items()]))


if __name__ == "__main__":
    main()
