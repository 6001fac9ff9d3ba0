"""How well the CT copy-move detector does on whole chest CTs, as Markdown tables with counts and 95 % intervals.

    python benchmarks/ct_copy_move.py --split test --data DIR

For each kind of copy a scan gets three copies of each diameter at once, at places drawn by chance, and each is
counted on its own: found where the heat reaches its threshold in it. The threshold is the shipped one, which bounds
false alarms.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from scanward.attacks.base import Lesion
from scanward.attacks.ct_copy_move import CtCopyMove, CtCopyMoveRemove
from scanward.bench.ct import DIAMETERS, STEPS, stepped
from scanward.bench.tables import rate, table
from scanward.datasets.thorax import SCANS, Scan, read
from scanward.detectors.ct_copy_move import CtCopyMove as Detector
from scanward.image import Image

NONE, COLUMNS = (False, False, False), (False, False, True)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {}, "mirrored": {"flips": COLUMNS}, "mirrored, upside down": {"flips": (True, True, False)},
    "turned by 90°": {"turn": 90.0}, "turned by 180°": {"turn": 180.0}, "turned by 5°": {"turn": 5.0},
    "half a pixel off": {}, "blended over half the radius": {"rim": 0.5, "level": True}, "noise of 5 HU added": {},
    "plain, JPEG 2000 7:1": {}, "plain, 8 bits": {}, "something dense": {}}
AFTER = {"plain, JPEG 2000 7:1": STEPS[1], "plain, 8 bits": STEPS[3]}
RIM = 0.15
"""Of the radius, unless a kind says otherwise."""
EACH = 3
"""Copies of each diameter."""
NOISE_HU = 5.0


@dataclass
class Row:
    scan: str
    kind: str
    """Of the authentic scan: what it went through."""
    mm: float
    """0: authentic."""
    found: bool
    """Of the authentic scan: an alarm."""
    score: float
    elsewhere: int
    """Findings that touch no copy and no source."""
    seconds: float


def forged(scan: Scan, kind: str) -> tuple[Image, list[tuple[float, Any, list[int]]]]:
    """A scan with its copies, and of each the diameter, the voxels that it changed and its source's centre."""
    image = replace(scan.image, pixels=scan.image.pixels.copy())
    attack = CtCopyMove() if kind == "something dense" else CtCopyMoveRemove()
    wish, made = KINDS[kind], []
    used: list[tuple[Any, float]] = []
    for number, mm in enumerate(sorted(DIAMETERS * EACH, reverse=True)):
        rng = np.random.default_rng([*kind.encode(), number])
        params = _drawn(scan, attack, mm, used, rng)
        params |= {"flips": list(wish.get("flips", NONE)), "turn": wish.get("turn", 0.0),
                   "rim_mm": wish.get("rim", RIM) * mm / 2}
        if not wish.get("level"):
            params["offset_hu"] = 0.0
        patch = attack.apply(_shifted(scan.image, params) if kind == "half a pixel off" else scan.image, params)
        values = patch.values
        own = scan.image.pixels[patch.box.slices]
        if kind == "half a pixel off":
            values = np.where(patch.mask, values, own)
        if kind == "noise of 5 HU added":
            values = np.where(patch.mask, np.rint(values + rng.normal(0, NOISE_HU, values.shape)), values)
        image.pixels[patch.box.slices] = values
        made.append((mm, np.argwhere(patch.mask) + patch.box[:3], params["source"]))
    return image, made


def _shifted(image: Image, params: dict[str, Any]) -> Image:
    """The scan moved by half a pixel, of which a copy is taken, about the copy's source."""
    z, y, x = params["source"]
    reach = int(params["diameter_mm"]) + 8
    box = tuple(slice(max(0, v - reach), v + reach + 1) for v in (z, y, x))
    pixels = image.pixels.copy()
    pixels[box] = np.rint(ndimage.shift(image.pixels[box].astype(np.float64), (0, 0.5, 0.5), order=3, mode="nearest"))
    return replace(image, pixels=pixels)


def _drawn(scan: Scan, attack: CtCopyMove, mm: float, used: list[tuple[Any, float]],
           rng: np.random.Generator) -> dict[str, Any]:
    """A copy whose two places touch none of the `used` ones, voxels with mm about them."""
    spacing = np.array(scan.image.spacing)
    ends = max(1, round(mm / 2 / spacing[0]) + 1)
    depth = scan.lungs.depth.copy()
    depth[:ends] = depth[len(depth) - ends:] = 0
    places = np.argwhere(depth > min(mm / 2 + 1, 0.9 * float(depth.max())))
    for _ in range(400):
        centre = scan.lungs.voxel(tuple(places[int(rng.integers(len(places)))]))
        params = attack.draw(scan.image, Lesion(centre, mm), rng, anatomy=scan.lungs)
        both = [np.round(centre), np.array(params["source"])]
        if all(np.linalg.norm((one - other) * spacing) > (mm + wide) / 2 + 3 for one in both for other, wide in used):
            break
    used += [(one, mm) for one in both]
    return params


def judged(scan: Scan, kind: str) -> Iterator[Row]:
    """The rows of one detection."""
    if kind in STEPS:
        image, _ = stepped(kind, scan.image, np.zeros(scan.image.shape, np.bool_))
        evidence = Detector().detect(image)
        yield Row(scan.name, kind, 0, evidence.label == "tampered", evidence.score, len(evidence.findings),
                  evidence.seconds)
        return
    image, made = forged(scan, kind)
    image, _ = stepped(AFTER.get(kind, STEPS[0]), image, np.zeros(image.shape, np.bool_))
    evidence = Detector().detect(image)
    hot = evidence.heat >= np.float32(evidence.heat_threshold)
    spacing = np.array(image.spacing or (1.0, 1.0, 1.0))
    elsewhere = 0
    for finding in evidence.findings:
        middle = np.array(finding.box.centre)
        near = [np.linalg.norm((middle - place) * spacing) < mm / 2 + 2
                for mm, voxels, source in made for place in (voxels.mean(0), np.array(source))]
        elsewhere += not any(near)
    for mm, voxels, _ in made:
        yield Row(scan.name, kind, mm, bool(hot[tuple(voxels.T)].any()), evidence.score, elsewhere, evidence.seconds)


def measured(split: str, data: Path | None, kinds: list[str], keep: Path | None) -> list[Row]:
    """Every row; those that `keep` holds (JSON lines) are not done again."""
    lines = keep.read_text(encoding="utf-8").splitlines() if keep and keep.is_file() else []
    rows = [Row(**json.loads(line)) for line in lines]
    done = {(row.scan, row.kind) for row in rows}
    for row in SCANS:
        if row.split != split or row.single or all((row.name, kind) in done for kind in kinds):
            continue
        for scan in read(row, data):
            for kind in kinds:
                if (scan.name, kind) in done:
                    continue
                new = list(judged(scan, kind))
                rows += new
                if keep:
                    with keep.open("a", encoding="utf-8") as file:
                        file.writelines(json.dumps(asdict(one)) + "\n" for one in new)
                print(scan.name, kind, sum(one.found for one in new), file=sys.stderr, flush=True)
    return rows


def report(rows: list[Row]) -> None:
    """Print the tables."""
    copies = [row for row in rows if row.mm]
    kinds = {kind: [row for row in copies if row.kind == kind] for kind in KINDS}
    kinds["all"] = copies
    head = ["kind", *(f"{mm:g} mm" for mm in DIAMETERS), "findings elsewhere"]
    print(table(head, [[kind, *(rate([row.found for row in some if row.mm == mm],
                                     [row.scan for row in some if row.mm == mm]) for mm in DIAMETERS),
                        str(sum({(row.scan, row.kind): row.elsewhere for row in some}.values()))]
                       for kind, some in kinds.items() if some]))
    calm = [row for row in rows if not row.mm]
    print("\n" + table(["authentic scans", "alarms", "largest score", "seconds"], [
        [step, rate([row.found for row in some], [row.scan for row in some]), f"{max(row.score for row in some):.1e}",
         ", ".join(f"{row.seconds:.1f}" for row in some)]
        for step in STEPS if (some := [row for row in calm if row.kind == step])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds ct/ and ct-more/")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--kinds", nargs="*", default=[*STEPS, *KINDS], choices=[*STEPS, *KINDS])
    parser.add_argument("--rows", type=Path, help="keep every row here, as JSON lines, and do none twice")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    report(measured(options.split, options.data, options.kinds, options.rows))


if __name__ == "__main__":
    main()
