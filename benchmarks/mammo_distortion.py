"""Architectural distortions forged on digital mammograms: a picture, their spectrum, and what the shipped scan says.

    python benchmarks/mammo_distortion.py pictures    eight drawn at random, before and after
    python benchmarks/mammo_distortion.py spectrum    radial power inside one against the untouched host's; seconds
    python benchmarks/mammo_distortion.py detectors   the shipped scan on forgeries that it was not trained for

Hosts are the digital test films of the data folder. Nothing is trained; how they look was chosen on `val`. Answers go
to standard output as Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import cv2
import mammo_cgan
import numpy as np
from mammo_digital import Called, drawn, rings

from scanward import methods
from scanward.attacks.base import Attack, Lesion, forge
from scanward.attacks.mammo_cgan.inject import cut
from scanward.bench import tables
from scanward.datasets.films import FFDM_SPACING, digital
from scanward.report.heat import window

METHOD = "mammo-distortion"
GRAINS = {METHOD: "resynthesised", f"{METHOD}, host's grain": "host"}
SIZES_MM = (10.0, 40.0)
CELL = 320
"""Pixels a side of a picture's cells."""


def build(grain: str = GRAINS[METHOD]) -> Attack:
    made: Attack = methods.build(METHOD, "attack", grain=grain)
    return made


def pictures(args: argparse.Namespace) -> None:
    """Before and after of eight, drawn at random, none left out. Films of CDD-CESM alone, whose licence lets them be
    shown."""
    args.out.mkdir(parents=True, exist_ok=True)
    cells = []
    for film, image, place, seed in drawn(args.count or 8, args.seed, digital("test"), SIZES_MM):
        print(film.name, f"{place.diameter * FFDM_SPACING:.1f} mm")
        near = Lesion(place.centre, 0.62 * place.diameter)
        planes = image.plane, forge(build(), image, place, seed).image.plane
        cells.append(np.hstack([mammo_cgan._view(plane, near, window(image), CELL) for plane in planes]))
    parts = {f"FORGED: {len(cells)} distortions by {METHOD}, drawn at random: before | after": cells}
    cv2.imwrite(str(args.out / "distortions.jpg"), mammo_cgan._page(parts, 4 * (CELL + 4)),
                [cv2.IMWRITE_JPEG_QUALITY, 60])


def spectrum(args: argparse.Namespace) -> None:
    """Power of the square inside each over the untouched square's, by ring, from 1 cycle a mm to Nyquist; how bright
    its middle is; and seconds a forgery."""
    edges, body, took, middles = np.linspace(1.0, 0.5 / FFDM_SPACING, 9), [], [], []
    places = list(drawn(args.count or 24, 3, sizes_mm=SIZES_MM))
    for name, grain in GRAINS.items():
        ratios = []
        for _, image, place, seed in places:
            started = time.perf_counter()
            after = forge(build(grain), image, place, seed).image.plane
            took.append(time.perf_counter() - started)
            inner = {"y": place.y, "x": place.x, "side": round(place.diameter / np.sqrt(2))}
            ratios.append(rings(cut(after, inner), edges) / rings(cut(image.plane, inner), edges))
            middle = inner | {"side": max(3, round(0.2 * place.diameter))}
            middles.append(float(cut(after, middle).mean() / cut(image.plane, middle).mean()))
        mean = np.exp(np.log(np.stack(ratios)).mean(0))
        body.append([name, str(len(ratios)), *(f"{value:.2f}" for value in mean)])
    print(tables.table(["attack", "places", *(f"{a:.1f}–{b:.1f}/mm" for a, b in pairwise(edges))], body))
    print(f"\nSeconds a forgery: {np.median(took):.2f} (median), {max(took):.2f} at most. Mean brightness of the middle "
          f"fifth over what it was: {np.median(middles):.3f} (median), {min(middles):.2f} to {max(middles):.2f}.")


def detectors(args: argparse.Namespace) -> None:
    """How many of the forgeries the default scan calls tampered."""
    called = Called()
    for film, image, place, seed in drawn(args.count or 24, 5, sizes_mm=SIZES_MM):
        for name, grain in GRAINS.items():
            called.ask(name, forge(build(grain), image, place, seed).image, film)
    print(called.table())


def main() -> None:
    """One table or the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["pictures", "spectrum", "detectors"])
    parser.add_argument("--count", type=int, help="distortions; 8 in the picture, 24 in the tables")
    parser.add_argument("--seed", type=int, default=6, help="of the picture")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"pictures": pictures, "spectrum": spectrum, "detectors": detectors}[args.table](args)


if __name__ == "__main__":
    main()
