"""Forged nodules and removals in whole chest CTs: the protocol of `scanward bench ct`.

One lesion a scan, in scans of patients and scanners that no detector was trained on, each judged whole and by pixels
alone. Besides labels it measures free response: how many forgeries lie above what is allowed to alarm falsely.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from scanward import methods
from scanward.attacks.base import Lesion
from scanward.bench.purify import eight_bits, jpeg2000
from scanward.datasets.chests import candidates, nodules, planted
from scanward.datasets.thorax import SCANS, Scan, Thorax, read
from scanward.detectors.ct_self_reference.detect import odd_sides
from scanward.disk import Journal
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import judge
from scanward.verdict import Verdict

METHOD = "ct-self-reference"
"""What is measured; copies within a scan have a bench of their own."""
DIAMETERS = (5.0, 8.0, 12.0, 20.0)
"""Millimetres, one forgery of each a scan and attack."""
TRAINED = ("ct-gan", "ct-gan-plain", "ct-gan-remove")
"""What detectors are trained on, beside recipes of real scans."""
UNSEEN = ("ct-gan-b", "ct-gan-plain-b", "ct-diffusion", "projection", "planted", "ct-gan-b-remove",
          "ct-diffusion-remove", "projection-remove")
"""What none is. `planted`: a real nodule of another patient, composed into the lung."""
STEPS = ("as it is", "jpeg2000 7:1", "resampled to 1 mm", "8 bits, lung window")
APART_MM = 12.0
"""Peaks of the heat that are nearer than this are one."""
MOST = 60
"""Peaks a scan that are kept."""


@dataclass(frozen=True)
class Item:
    """One image of the bench."""

    scan: str
    attack: str = ""
    """Empty: authentic."""
    number: int = 0
    step: str = STEPS[0]
    """What the whole scan went through after it was forged, or not."""


@dataclass(frozen=True)
class Row:
    """What became of one."""

    item: Item
    label: str
    score: float
    reason: str
    diameter: float
    peaks: list[tuple[float, bool]]
    """Heat of its local maxima, loudest first, and whether each lies in the truth."""
    overlap: float
    """Of the truth with the heat at its threshold."""
    seconds: float
    """Of judging."""


def items_of(row: Thorax) -> list[Item]:
    """An authentic scan, through every step, and forgeries of it; attackers that learned its lung are left out."""
    return [Item(row.name, step=step) for step in STEPS] + [
        Item(row.name, attack, number) for attack in (*TRAINED, *UNSEEN) if row.forged and attack not in row.known_to
        for number in range(len(DIAMETERS))]


def run(data: Path | None, keep: Path) -> list[Row]:
    """Every item's row; those in `keep` (JSON lines) are not done again."""
    done = {row.item: row for row in kept(keep)}
    rows: list[Row] = []
    for row in (one for one in SCANS if one.split == "test"):
        scans = list(read(row, data))
        for item in track(items_of(row) if scans else [], row.name, console=Console(stderr=True)):
            if item not in done:
                done[item] = added(keep, answer(item, scans[0], data))
            rows.append(done[item])
    return rows


def added(keep: Path, row: Row) -> Row:
    """The row, which is now also the last in a file of JSON lines."""
    Journal(keep).append(json.dumps(asdict(row)).encode())
    return row


def kept(keep: Path) -> Iterator[Row]:
    """The rows in a file of JSON lines; none where there is none. A line that a kill cut short is no row."""
    yield from map(row_of, Journal(keep).values())


def row_of(said: dict[str, Any]) -> Row:
    """A row as JSON keeps it."""
    given = {**said, "item": Item(**said["item"]), "peaks": [(float(a), bool(b)) for a, b in said["peaks"]]}
    return Row(**given)


def answer(item: Item, scan: Scan, data: Path | None = None) -> Row:
    """Forge, pass through the step, judge."""
    image, truth, diameter = forged(item, scan, data)
    return judged(item, *stepped(item.step, image, truth), diameter, lambda case: judge(case, METHOD))


def judged(item: Item, image: Image, truth: npt.NDArray[np.bool_], diameter: float,
           by: Callable[[Case], Verdict]) -> Row:
    """What becomes of an image whose truth (z, y, x) and diameter in mm are known."""
    start = time.perf_counter()
    verdict = by(Case(image))
    seconds = time.perf_counter() - start
    evidence = next(e for e in verdict.evidence if e.method != "seal")
    return Row(item, verdict.label, evidence.score, verdict.reason, diameter, peaks_of(evidence.heat, truth, image),
               overlap(evidence.heat, evidence.heat_threshold, truth), seconds)


def overlap(heat: npt.NDArray[np.float32], level: float, truth: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of the truth with the heat that is at least so high; 0 where nothing was forged."""
    hot = heat >= np.float32(level)
    return float((hot & truth).sum() / max(1, (hot | truth).sum())) if truth.any() else 0.0


def forged(item: Item, scan: Scan, data: Path | None) -> tuple[Image, npt.NDArray[np.bool_], float]:
    """The image of an item, its truth (z, y, x), and the diameter asked for; the same every time."""
    truth = np.zeros(scan.image.shape, np.bool_)
    if not item.attack:
        return scan.image, truth, 0.0
    seed = [*item.attack.encode(), item.number]
    diameter = DIAMETERS[item.number]
    centre = candidates(scan.image, scan.lungs, np.random.default_rng([*seed, 1]), 1)[0]
    if item.attack == "planted":
        known = _nodules(data)
        nodule = min(known, key=lambda one: (abs(one.diameter * one.voxel - diameter), one.name))
        box, values = planted(scan.image, centre, nodule, item.number)
        values = np.rint(values)
        truth[box] = np.abs(values - scan.image.pixels[box]) >= 40
    else:
        attack = methods.build(item.attack, "attack")
        params = attack.draw(scan.image, Lesion(centre, diameter), np.random.default_rng([*seed, 2]),
                             anatomy=scan.lungs)
        patch = attack.apply(scan.image, params)
        box, values = patch.box.slices, patch.values
        truth[box] = patch.mask
    pixels = scan.image.pixels.copy()
    pixels[box] = values
    return replace(scan.image, pixels=pixels), truth, diameter


@cache
def _nodules(data: Path | None) -> list[Any]:
    return [one for one in nodules("test", data) if one.diameter * one.voxel >= 4]


def stepped(step: str, image: Image, truth: npt.NDArray[np.bool_]) -> tuple[Image, npt.NDArray[np.bool_]]:
    """The whole scan through a step, and its truth on the new grid."""
    pixels = image.pixels
    if step == "jpeg2000 7:1":
        return replace(image, pixels=np.rint(jpeg2000(pixels)).astype(np.float32)), truth
    if step == "8 bits, lung window":
        return replace(image, pixels=eight_bits(pixels)), truth
    if step == "resampled to 1 mm":
        factors = image.spacing or (1.0, 1.0, 1.0)
        made = ndimage.zoom(pixels, factors, order=1)
        return replace(image, pixels=np.rint(made).astype(np.float32), spacing=(1.0, 1.0, 1.0)), ndimage.zoom(
            truth.astype(np.uint8), factors, order=0) > 0
    return image, truth


def peaks_of(heat: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_], image: Image) -> list[tuple[float, bool]]:
    """Heat of its local maxima, on every second pixel, and whether each lies within a voxel or two of the truth."""
    small = np.ascontiguousarray(heat[:, ::2, ::2])
    steps = (image.spacing or (1.0, 1.0, 1.0))[0], *(2 * s for s in (image.spacing or (1.0, 1.0, 1.0))[1:])
    places = np.argwhere((small == ndimage.maximum_filter(small, odd_sides(steps, APART_MM))) & (small > 0))
    places = places[np.argsort(-small[tuple(places.T)], kind="stable")]
    near = np.zeros(small.shape, np.bool_)
    for part in ndimage.find_objects(truth[:, ::2, ::2].astype(np.uint8)):
        wide = tuple(slice(max(0, one.start - 2), one.stop + 2) for one in part)
        near[wide] = ndimage.binary_dilation(truth[:, ::2, ::2][wide], iterations=2)
    inside, where = near[tuple(places.T)], places * steps
    found: list[tuple[float, bool]] = []
    left = np.arange(len(places))
    while left.size and len(found) < MOST:
        here = left[0]
        found.append((float(small[tuple(places[here])]), bool(inside[here])))
        left = left[np.linalg.norm(where[left] - where[here], axis=1) > APART_MM]
        left = left[~inside[left]] if inside[here] else left  # one forgery is found once
    return found
