"""How well the mammography detectors do on patients that no model was trained on.

    python benchmarks/mammography.py families    every attack, every detector; false alarms by re-encoding
    python benchmarks/mammography.py sizes       diameter against strength
    python benchmarks/mammography.py scanner     the 16-bit patient no model has seen
    python benchmarks/mammography.py site        its false alarms before and after `scanward calibrate`
    python benchmarks/mammography.py misses      a picture of what was missed on that patient

Answers are kept under --out as JSONL, so that an interrupted run goes on; tables go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2

from scanward import methods
from scanward.bench import tables
from scanward.bench.measure import Row, run
from scanward.bench.misses import sheet
from scanward.bench.protocol import ATTACKS, HARD, STEPS, controls, forgeries
from scanward.datasets.films import Film, cbis, mias
from scanward.judging.detector import one_detector, thresholds
from scanward.judging.site import threshold_of
from scanward.judging.witnesses import weights_of

DETECTORS = ("default", "self-reference", "copy-move", "forensic-transfer", "forensic-transfer-highpass")
HALF = 0.5


def kept(args: argparse.Namespace, what: str, name: str) -> Path:
    """Where answers are kept: by the weights that gave them, so that other weights never meet old answers."""
    hashes = [sha[:8] for sha in weights_of(name)]
    return Path(args.out, "-".join([what, name, *hashes]) + ".jsonl")


def families(args: argparse.Namespace) -> None:
    """Every attack against every detector, and the false alarms."""
    films = mias(args.split, args.data)
    items = [*controls(films), *forgeries(films, ATTACKS + HARD)]
    summary, by_attack, calm = [], [], []
    for name in args.detectors:
        rows = run(partial(one_detector, name), items, films, keep=kept(args, args.split, name),
                   workers=args.workers, title=name)
        image, heat = thresholds(name)
        every, clean = parts(rows)
        forged = [row for row in every if row.item.attack not in HARD]
        plain = [row for row in clean if row.item.step == "none"]
        summary.append([name, tables.image_auc(forged + plain), tables.alarms(forged, image),
                        tables.alarms(plain, image), tables.pixel(forged), tables.overlap(forged, heat),
                        tables.pointing(forged)])
        for attack in ATTACKS + HARD:
            some = [row for row in every if row.item.attack == attack]
            by_attack.append([name, attack, tables.image_auc(some + plain), tables.alarms(some, image),
                              tables.pixel(some), tables.overlap(some, heat)])
        calm.append([name, *(tables.alarms([r for r in clean if r.item.step == step], image) for step, _ in STEPS)])
    print(tables.table(["detector", "image AUC", "detected", "false alarms", "pixel AUC", "IoU", "pointing"], summary))
    print()
    print(tables.table(["detector", "attack", "image AUC", "detected", "pixel AUC", "IoU"], by_attack))
    print()
    print(tables.table(["false alarms by re-encoding", *(f"{step} {amount:g}" if amount else step
                                                         for step, amount in STEPS)], calm))


def sizes(args: argparse.Namespace) -> None:
    """Detection by diameter and strength, over all attacks; where the breast has no room for a diameter, it is left
    out."""
    films = mias(args.split, args.data)
    image, heat = thresholds(args.detectors[0])
    body = []
    for mm in (5.0, 10.0, 20.0, 40.0):
        line = [f"{mm:g} mm"]
        for strength in (0.5, 0.75, 1.0):
            items = forgeries(films[::13], mm=mm, strength=strength)
            rows = run(partial(one_detector, args.detectors[0]), items, films, workers=args.workers,
                       keep=kept(args, f"{args.split}-sizes", args.detectors[0]), title=f"{mm:g} mm {strength}")
            rows = [row for row in rows if row.item.mm == mm]
            line += [tables.alarms(rows, image), tables.overlap(rows, heat)]
        body.append(line)
    print(tables.table(["diameter", *(f"{what} at {s}" for s in (0.5, 0.75, 1.0) for what in ("detected", "IoU"))],
                       body))


def scanner(args: argparse.Namespace) -> None:
    """The 16-bit patient that no model was trained on."""
    films: list[Film] = cbis("test")
    attacks = [name for name in ATTACKS if not methods.build(name, "attack").needs_donor]
    body = []
    for name in args.detectors:
        rows = run(partial(one_detector, name), [*controls(films), *forgeries(films, attacks)], films,
                   keep=kept(args, "cbis", name), workers=1, title=name)
        image, heat = thresholds(name)
        forged, clean = parts(rows)
        untouched = [row for row in clean if row.item.step == "none"]
        body.append([name, tables.image_auc(forged + untouched), tables.alarms(forged, image),
                     tables.alarms(untouched, image),
                     tables.alarms(clean, image), tables.pixel(forged), tables.overlap(forged, heat)])
    print(tables.table(["detector", "image AUC", "detected", "false alarms, untouched", "false alarms, all steps",
                        "pixel AUC", "IoU"], body))


SITE_STEPS = (("none", 0.0), ("jpeg", 95.0), ("resample", 0.9), ("gamma", 0.8), ("noise", 0.3))
"""What the other scanner's authentic films go through, since there are so few of them."""


def site(args: argparse.Namespace) -> None:
    """The other scanner with the shipped thresholds, and with those of ten authentic images: of the patient that was
    trained on, or of two films of the unseen one, tested on its other two."""
    own, films = cbis("train"), cbis("test")
    attacks = [name for name in ATTACKS if not methods.build(name, "attack").needs_donor]
    name = "self-reference"
    detector, shipped = partial(one_detector, name), thresholds(name)[0]
    known = run(detector, controls(own, SITE_STEPS), own, keep=kept(args, "site-own", name), title="own")[::2]
    rows = run(detector, [*controls(films, SITE_STEPS), *forgeries(films, attacks)], films,
               keep=kept(args, "site", name), title=name)
    halves = [{film.name for film in films[:2]}, {film.name for film in films[2:]}]
    folds = {film: [row for row in rows if not row.item.attack and row.item.film not in half]
             for half in halves for film in half}
    limits = {"shipped": dict.fromkeys(folds, shipped),
              "ten images of the patient trained on": dict.fromkeys(folds, _limit(known, shipped)),
              "ten images of the patient's two other films": {film: _limit(calm, shipped)
                                                              for film, calm in folds.items()}}
    body = []
    for label, limit in limits.items():
        calls = [[(row.score >= limit[row.item.film], row.item.film) for row in part] for part in parts(rows)]
        values = sorted(set(limit.values()))
        body.append([label, ", ".join(f"{value:.3f}" for value in values),
                     *(tables.rate([hit for hit, _ in some], [film for _, film in some]) for some in calls[::-1])])
    print(tables.table(["thresholds from", "value", "false alarms", "detected"], body))


def _limit(calm: list[Row], shipped: float) -> float:
    return max(shipped, threshold_of([row.score for row in calm], 0.02))


def misses(args: argparse.Namespace) -> None:
    """A picture of what the default scan of the unseen 16-bit patient missed, or found with the least certainty."""
    films = cbis("test")
    attacks = [name for name in ATTACKS + HARD if not methods.build(name, "attack").needs_donor]
    items = [item for mm in (8.0, 16.0) for item in forgeries(films, attacks, mm=mm)]
    rows = run(partial(one_detector, "default"), items, films, keep=kept(args, "cbis-misses", "default"),
               title="misses")
    lowest = [(row.item.attack, row) for row in sorted(rows, key=lambda row: row.score)[:12]]
    path = args.out / "misses.png"
    cv2.imwrite(str(path), sheet(lowest, films, partial(one_detector, "default")))
    print(f"{path}: {sum(row.score < HALF for row in rows)} of {len(rows)} missed; the 12 lowest scores are shown")


def parts(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Forged and authentic rows."""
    return [row for row in rows if row.item.attack], [row for row in rows if not row.item.attack]


def main() -> None:
    """Parse the command line and run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["families", "sizes", "scanner", "site", "misses"])
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=DETECTORS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print_table = {"families": families, "sizes": sizes,
                   "scanner": scanner, "site": site, "misses": misses}[args.table]
    print_table(args)


if __name__ == "__main__":
    main()
