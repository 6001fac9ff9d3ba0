"""Architectural distortions forged on digital mammograms: a picture, their spectrum, and what the shipped scan says.

    python benchmarks/mammo_distortion.py pictures    eight drawn at random, before and after
    python benchmarks/mammo_distortion.py spectrum    radial power inside one against the untouched host's; seconds
    python benchmarks/mammo_distortion.py radiating   how far strands radiate, in real ones of mini-MIAS and forged ones
    python benchmarks/mammo_distortion.py detectors   the shipped scan on forgeries that it was not trained for

Hosts are the digital test films of the data folder; those of `radiating` are healthy films of mini-MIAS. Nothing is
trained; how they look was chosen on `val`, but for pull, changed once, and opacity, twice, after a look at `pictures`
and `radiating`. Answers go to standard output as Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
import csv
import time
from itertools import pairwise
from pathlib import Path

import cv2
import mammo_cgan
import numpy as np
import numpy.typing as npt
from mammo_digital import Called, drawn, rings

from scanward import methods
from scanward.attacks.base import Attack, Lesion, forge
from scanward.attacks.grain import smooth
from scanward.attacks.mammo_cgan.inject import cut
from scanward.attacks.places import tissue_place
from scanward.bench import tables
from scanward.datasets.films import FFDM_SPACING, MIAS_SPACING, Film, data_folder, digital, mias
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.metrics import auc_interval
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
    print(f"\nSeconds a forgery: {np.median(took):.2f} (median), {max(took):.2f} at most. Mean brightness of the "
          f"middle fifth over what it was: {np.median(middles):.3f} (median), "
          f"{min(middles):.2f} to {max(middles):.2f}.")


def radiating(args: argparse.Namespace) -> None:
    """Real distortions of mini-MIAS, healthy tissue of its films, and forgeries there; as large as the real ones."""
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in ("real", "healthy tissue", METHOD)}
    films = {film.name: film for film in mias()}
    healthy = [films[row["film"]] for row in _annotations("NORM")]
    rng = np.random.default_rng(0)
    for row in _annotations("ARCH"):
        film, radius = films[row["film"]], float(row["radius"])
        place = Lesion((0, float(row["y"]), float(row["x"])), 2 * radius)
        found["real"].append((spokes(film.read().plane, place), film.patient))
        for seed in range(3):
            film, image, place = _healthy(healthy, min(2 * radius, SIZES_MM[1] / MIAS_SPACING), rng)
            found["healthy tissue"].append((spokes(image.plane, place), film.patient))
            found[METHOD].append((spokes(forge(build(), image, place, seed).image.plane, place), film.patient))
    body = []
    for name, scores in found.items():
        low, middle, high = np.percentile([score for score, _ in scores], (25, 50, 75))
        line = [name, str(len(scores)), f"{middle:.2f} ({low:.2f}–{high:.2f})"]
        for other in ("healthy tissue", "real"):
            both = scores + found[other]
            labels = [True] * len(scores) + [False] * len(found[other])
            line.append("–" if other == name else tables.estimate(*auc_interval(
                [score for score, _ in both], labels, [who for _, who in both])))
        body.append(line)
    print(tables.table(["kind", "places", "radiating: median (quartiles)", "AUC against healthy", "AUC against real"],
                       body))


def _annotations(kind: str) -> list[dict[str, str]]:
    """The lines of mini-MIAS of a class, those with a place unless they are of healthy films."""
    with (data_folder() / "mias" / "annotations.csv").open(newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["class"] == kind and (row["radius"] or kind == "NORM")]


def _healthy(films: list[Film], diameter: float, rng: np.random.Generator) -> tuple[Film, Image, Lesion]:
    """A film with room for a distortion, and a place there."""
    while True:
        film = films[int(rng.integers(len(films)))]
        image = film.read()
        try:
            return film, image, tissue_place(image, rng, diameter, MIAS_SPACING)
        except ArgumentError:
            continue


def spokes(plane: npt.NDArray[np.float32], place: Lesion) -> float:
    """How far strands of 0.3 to 1.5 mm radiate: the share of the gradients' power across the radii, 1/2 in no
    direction; about the point within .35 radii of the place where that is most, since places are marked roughly."""
    radius, best = place.diameter / 2, 0.0
    for y, x in np.stack(np.meshgrid(*[np.linspace(-0.35, 0.35, 7) * radius] * 2), -1).reshape(-1, 2):
        inside = [min(max(at, 0.0), side - 1.0) for at, side in zip((place.y + y, place.x + x), plane.shape,
                                                                    strict=True)]
        square = cut(plane, {"y": inside[0], "x": inside[1], "side": 2 * int(radius) + 21})
        dy, dx = np.gradient(smooth(square, 0.3 / MIAS_SPACING) - smooth(square, 1.5 / MIAS_SPACING))
        rows, columns = np.mgrid[:len(square), :len(square)] - (len(square) - 1) / 2
        away = np.maximum(np.hypot(rows, columns), 1e-6)
        ring = (away > 1.5 / MIAS_SPACING) & (away < radius)
        along = ((dy * rows + dx * columns) / away)[ring]
        best = max(best, 1 - float((along**2).sum() / (dy[ring] ** 2 + dx[ring] ** 2).sum()))
    return best


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
    parser.add_argument("table", choices=["pictures", "spectrum", "radiating", "detectors"])
    parser.add_argument("--count", type=int, help="distortions; 8 in the picture, 24 in the tables")
    parser.add_argument("--seed", type=int, default=6, help="of the picture")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    made = {"pictures": pictures, "spectrum": spectrum, "radiating": radiating, "detectors": detectors}
    made[args.table](args)


if __name__ == "__main__":
    main()
