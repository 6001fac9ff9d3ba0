"""Real nodules taken away: how often `ct-self-reference` finds the place.

    python benchmarks/ct_removals.py --data DIR -o bench/

Nodules of LIDC-IDRI where their own scan is at hand (ct, ct-more), each removed by every remover that no detector was
trained on, each scan judged whole by pixels alone. Answers are kept in --output, so that an interrupted run goes on;
the tables go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from scanward import methods, weights
from scanward.attacks.base import Lesion
from scanward.bench.ct import METHOD, UNSEEN, Item, Row, added, judged, kept
from scanward.bench.ct_tables import level_at, peak
from scanward.bench.tables import estimate, rate, table
from scanward.datasets.films import data_folder
from scanward.datasets.thorax import SCANS, Scan, Thorax, read
from scanward.errors import ScanwardError, UnreadableError
from scanward.judging.judge import judge
from scanward.metrics import mean_interval

REMOVERS = tuple(name for name in UNSEEN if name.endswith("-remove"))
ALLOWED = 1.0
"""False findings in a scan."""


@dataclass(frozen=True)
class Known:
    """A nodule as its readers measured it."""

    name: str
    world: tuple[float, float, float]
    """(x, y, z) in the patient's coordinates, mm."""
    diameter: float
    """Millimetres."""

    def centre(self, scan: Scan) -> tuple[float, float, float]:
        """Its voxel (z, y, x)."""
        rows = np.asarray(scan.image.provenance.to_world)
        x, y, z = np.linalg.solve(rows[:, :3], np.asarray(self.world) - rows[:, 3])
        return float(z), float(y), float(x)


def nodules_of(row: Thorax, data: Path | None) -> list[Known]:
    """Those of a scan's patient in the table."""
    path = data_folder(data) / "lidc-nodules" / "nodules.csv"
    if not path.is_file():
        raise UnreadableError(f"{path} is missing; name the data folder with --data or SCANWARD_DATA.")
    with path.open(encoding="utf-8", newline="") as file:
        return [Known(one["nodule"], (float(one["x_mm"]), float(one["y_mm"]), float(one["z_mm"])),
                      float(one["diameter_mm"])) for one in csv.DictReader(file) if one["patient"].lower() == row.name]


def answers(data: Path | None, keep: Path) -> Iterator[tuple[Thorax, Known, dict[str, Row]]]:
    """Every nodule with what became of it: by remover, and as it is, which is named ''."""
    done = {row.item: row for row in kept(keep)}
    for row in SCANS:
        known = nodules_of(row, data)
        for scan in read(row, data) if known else ():
            shown = [one for one in known if 0 <= one.centre(scan)[0] < len(scan.image.pixels)]  # parts of scans
            for number, nodule in enumerate(track(shown, row.name, console=Console(stderr=True))):
                items = [Item(row.name, name, number) for name in ("", *REMOVERS)]
                items = [one for one in items if one.attack not in row.known_to]
                for item in (one for one in items if one not in done):
                    done[item] = added(keep, _row(item, scan, nodule))
                yield row, nodule, {one.attack: done[one] for one in items}


def _row(item: Item, scan: Scan, nodule: Known) -> Row:
    """One nodule removed, or with no attack the authentic scan; its truth is then the nodule's ball."""
    centre, spacing = nodule.centre(scan), scan.image.spacing or (1.0, 1.0, 1.0)
    by = partial(judge, method=METHOD)
    if not item.attack:
        offsets = [(np.arange(n) - c) * s for n, c, s in zip(scan.image.shape, centre, spacing, strict=True)]
        z, y, x = np.ix_(*offsets)
        return judged(item, scan.image, z ** 2 + y ** 2 + x ** 2 <= (nodule.diameter / 2) ** 2, nodule.diameter, by)
    attack = methods.build(item.attack, "attack")
    seed = np.random.default_rng([*item.attack.encode(), item.number])
    patch = attack.apply(scan.image, attack.draw(scan.image, Lesion(centre, nodule.diameter), seed, anatomy=scan.lungs))
    pixels, truth = scan.image.pixels.copy(), np.zeros(scan.image.shape, np.bool_)
    pixels[patch.box.slices], truth[patch.box.slices] = patch.values, patch.mask
    return judged(item, replace(scan.image, pixels=pixels), truth, nodule.diameter, by)


def report(found: list[tuple[Thorax, Known, dict[str, Row]]]) -> str:
    """A line a nodule, and one for each remover."""
    body = [[nodule.name, f"{nodule.diameter:.0f} mm", _seen(row), f"{peak(rows['']):.2f}",
             *(_cell(rows, name) for name in REMOVERS)] for row, nodule, rows in found]
    lines = []
    for known in dict.fromkeys(_seen(row) for row, _, _ in found):
        for name in REMOVERS:
            some = [(row, rows) for row, _, rows in found if _seen(row) == known and name in rows]
            if some:
                ours, owners = [rows[name] for _, rows in some], [row.name for row, _ in some]
                lines.append([name, known, str(len(set(owners))),
                              rate([one.label == "tampered" for one in ours], owners),
                              rate([_is_found(rows, name) for _, rows in some], owners),
                              rate([bool(one.peaks) and one.peaks[0][1] for one in ours], owners),
                              estimate(*mean_interval([one.overlap for one in ours], owners))])
    return "\n\n".join([table(("nodule", "diameter", "scan", "heat there before", *REMOVERS), body),
                        table(("remover", "scan", "scans", "called tampered", f"found at {ALLOWED:g} a scan",
                               "loudest place is it", "IoU"), lines)])


def _seen(row: Thorax) -> str:
    """What the scan has been to the detector."""
    if row.name in weights.entry(METHOD).trained_on.replace(";", ",").split(", "):
        return "trained on"
    return "test" if row.split == "test" else "not trained on"


def _cell(rows: dict[str, Row], name: str) -> str:
    if name not in rows:
        return "–"
    return f"{peak(rows[name]):.2f}, {'found' if _is_found(rows, name) else 'missed'}, {rows[name].label}"


def _is_found(rows: dict[str, Row], name: str) -> bool:
    """Whether the place is louder than all but so many of the authentic scan's."""
    return peak(rows[name]) > level_at(ALLOWED, [rows[""]])


def main() -> None:
    """Parse the command line, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("bench"))
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    made_by = weights.entry(METHOD).sha256[:8]
    try:
        print(report(list(answers(asked.data, asked.output / f"ct-removals-{made_by}.jsonl"))))
    except ScanwardError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
