"""Parts of chest CTs, as routing or a reader cuts them: what alarms, and what is still found.

    python benchmarks/ct_parts.py --data DIR -o bench/

Of each whole scan of a split, parts at three heights of its lungs, as they are, and around forgeries of 12 mm: in the
split test by attackers that the detector was never trained on, otherwise by those that it was. Answers are kept in
--output, so that an interrupted run goes on; the tables go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from scanward import weights
from scanward.bench.ct import DIAMETERS, METHOD
from scanward.bench.ct_changes import Change, changes, wanted
from scanward.bench.tables import rate, table
from scanward.datasets.thorax import SCANS, Scan, read
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.disk import Journal
from scanward.errors import ScanwardError, UnreadableError
from scanward.image import Image

LENGTHS = (25.0, 50.0, 100.0)
"""Millimetres of a part."""
HEIGHTS = (0.0, 0.5, 1.0)
"""Where parts lie, 0 at one end of the lungs and 1 at the other."""
DIAMETER = 12.0
"""Millimetres of a forgery."""
WHOLE_MM = 90.0
"""Of lungs, at least, in a scan that parts are cut from."""


@dataclass(frozen=True)
class Part:
    """Some slices of a scan."""

    scan: str
    attack: str
    """Empty: authentic."""
    length: float
    """Millimetres."""
    first: int
    count: int


@dataclass(frozen=True)
class Row:
    """What the detector says of it."""

    part: Part
    label: str
    loud: bool
    """Whether the score reaches the threshold, whatever the label."""
    reason: str


def parts_of(scan: Scan, change: Change | None) -> Iterator[Part]:
    """Of an authentic scan one at each height, of a forged one around the forgery; none that the whole fits into."""
    slices = np.flatnonzero(scan.lungs.mask.any((1, 2)))
    low, high, step = int(slices[0]), int(slices[-1]) + 1, (scan.image.spacing or (1.0,))[0]
    for length in LENGTHS:
        count = math.ceil(length / step)
        if count >= high - low:
            continue
        if change is None:
            yield from (Part(scan.name, "", length, low + round(q * (high - low - count)), count) for q in HEIGHTS)
            continue
        least, most = max(low, change.box[0].stop - count), min(high - count, change.box[0].start)
        if least <= most:
            rng = np.random.default_rng([*change.item.attack.encode(), round(length)])
            yield Part(scan.name, change.item.attack, length, int(rng.integers(least, most + 1)), count)


def judged(detector: CtSelfReference, part: Part, image: Image) -> Row:
    """The part of this scan, forged or not."""
    evidence = detector.detect(replace(image, pixels=image.pixels[part.first:part.first + part.count]))
    return Row(part, evidence.label, evidence.score >= evidence.threshold, evidence.reason)


def run(split: str, data: Path | None, out: Path) -> list[Row]:
    """Every part of a split; what `out` keeps is not judged again."""
    keep = Journal(out / f"ct-parts-{split}-{weights.entry(METHOD).sha256[:8]}.jsonl")
    done = {row.part: row for row in (Row(**{**said, "part": Part(**said["part"])}) for said in keep.values())}
    detector, rows = CtSelfReference(), []
    for row in (one for one in SCANS if one.split == split and not one.single):
        items = [item for item in wanted(row) if DIAMETERS[item.number] == DIAMETER]
        for scan in read(row, data):
            if scan.lungs.mask.any((1, 2)).sum() * scan.lungs.spacing[0] < WHOLE_MM:
                continue
            made: list[Change | None] = [None, *changes(items, scan, out / "changes", data)]
            for change in track(made, row.name, console=Console(stderr=True)):
                image = scan.image if change is None else change.applied(scan.image)
                for part in parts_of(scan, change):
                    if part not in done:
                        done[part] = judged(detector, part, image)
                        keep.append(json.dumps(asdict(done[part])).encode())
                    rows.append(done[part])
    return rows


def report(rows: Sequence[Row]) -> str:
    """Authentic parts, and forged ones, by length."""
    return "\n\n".join([_table("authentic parts", [row for row in rows if not row.part.attack]),
                        _table("forged parts", [row for row in rows if row.part.attack])])


def _table(name: str, rows: Sequence[Row]) -> str:
    groups = {f"{length:g} mm": [row for row in rows if row.part.length == length] for length in LENGTHS}
    body = []
    for title, some in (*groups.items(), ("all", list(rows))):
        owners = [row.part.scan for row in some]
        if some:
            body.append([title, str(len(set(owners))), rate([row.loud for row in some], owners),
                         rate([row.label == "tampered" for row in some], owners),
                         rate([row.label == "inconclusive" for row in some], owners)])
    return table((name, "scans", "loud enough for an alarm", "called tampered", "inconclusive"), body)


def main() -> None:
    """Parse the command line, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("bench"))
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    try:
        rows = run(asked.split, asked.data, asked.output)
        if not rows:
            raise UnreadableError("The data folder holds no whole chest CT of this split; name it with --data.")
        print(report(rows))
    except ScanwardError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
