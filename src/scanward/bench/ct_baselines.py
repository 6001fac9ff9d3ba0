"""Yardsticks for forged CT on the bench's own forgeries: heat over the lungs, and from it what `scanward bench ct`
counts.

They are for comparison and are no detectors that anyone runs. The lungs are those of the scan before it was forged, for
all alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from scanward import weights
from scanward.anatomy.lung import Lungs, inside
from scanward.bench.ct import Item, Row, overlap, peaks_of, row_of
from scanward.bench.ct_changes import CELL, CHOSEN_ON, Box, Change, authentic, changes, lung_window, shared, wanted
from scanward.bench.ct_statistics import Covariance, Moments, Npr, OneStep, Scale
from scanward.datasets.thorax import SCANS, Scan, read
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import OUTSIDE, dense_logits, pooled
from scanward.detectors.ct_self_reference.reference import measure
from scanward.disk import Journal
from scanward.errors import UnreadableError, UnsupportedError
from scanward.tiles import widened

FILES = "slices.safetensors", "scan.safetensors"
"""HexMIL's two networks, trained."""
NEAR_MM = 7.0
"""Side of the cubes over which networks' heat is averaged."""
Volume = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Said:
    """What a yardstick says of one scan."""

    heat: Volume
    """(z, y / 2, x / 2) of the lungs' window, above 0 in the lungs; the more, the more forged."""
    slices: Volume
    """(z,) a score for each slice."""
    score: float
    """Of the scan."""


class Yardstick(Protocol):
    """One method, which is shown a scan as it is and then its forgeries."""

    levels: npt.NDArray[np.float64]
    """Heat among which the threshold is chosen, increasing."""

    def begin(self, scan: Scan, window: Box, lung: npt.NDArray[np.bool_]) -> Said:
        """The authentic scan; `lung` is (z, y / 2, x / 2) of the window."""
        ...

    def again(self, change: Change) -> Said:
        """A forgery of it."""
        ...


class Statistic:
    """A statistic without training (`ct_statistics.py`)."""

    levels = np.linspace(1, 12, 45)

    def __init__(self, moments: Moments) -> None:
        self.moments = moments

    def begin(self, scan: Scan, window: Box, lung: npt.NDArray[np.bool_]) -> Said:
        """As `Yardstick.begin`."""
        self.pixels, self.window = scan.image.pixels[window], window
        self.scale = Scale(self.moments, self.pixels, lung[:, ::CELL // 2, ::CELL // 2],
                           scan.image.spacing or (1.0, 1.0, 1.0))
        return self._said(self.scale.heat())

    def again(self, change: Change) -> Said:
        """As `Yardstick.again`."""
        pixels, box = within(change, self.pixels, self.window)
        return self._said(self.scale.heat_after(pixels, box))

    def _said(self, heat: Volume) -> Said:
        return _loudest(heat.repeat(CELL // 2, 1).repeat(CELL // 2, 2))


class Trained:
    """The yardstick after HexMIL, from the folder of its training."""

    levels = np.linspace(0.02, 0.98, 49)

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        from scanward.bench.ct_hexmil import WIDTHS, Gated, SliceNet
        from scanward.nets.blocks import filled

        self.net = filled(SliceNet(), load_file(folder / FILES[0]))
        self.judge = filled(Gated(WIDTHS[-1]), load_file(folder / FILES[1]))

    def begin(self, scan: Scan, window: Box, lung: npt.NDArray[np.bool_]) -> Said:
        """As `Yardstick.begin`."""
        from scanward.bench.ct_hexmil import looked_at

        self.pixels, self.window, self.lung = scan.image.pixels[window], window, lung
        self.spacing = scan.image.spacing or (1.0, 1.0, 1.0)
        self.plain = looked_at(self.net, self.pixels)
        return self._said(*self.plain)

    def again(self, change: Change) -> Said:
        """As `Yardstick.again`: slices are judged one by one, so those that did not change are not looked at again."""
        from scanward.bench.ct_hexmil import looked_at

        pixels, box = within(change, self.pixels, self.window)
        parts = [part.copy() for part in self.plain]
        for whole, new in zip(parts, looked_at(self.net, pixels[box[0]]), strict=True):
            whole[box[0]] = new
        return self._said(parts[0], parts[1], parts[2])

    def _said(self, logits: Volume, embeddings: Volume, heat: Volume) -> Said:
        from scanward.bench.ct_hexmil import scan_logit

        sides = [max(1, round(NEAR_MM / step)) for step in (self.spacing[0], 2 * self.spacing[1], 2 * self.spacing[2])]
        calm = ndimage.uniform_filter(heat * self.lung, sides) * self.lung
        return Said(calm, logits, scan_logit(self.judge, embeddings))


class Ours:
    """`ct-self-reference`: its logits, pooled over 7 mm. The reference is measured anew on the forged scan; logits are,
    in the slices that the forgery can reach."""

    levels = np.linspace(OUTSIDE, -OUTSIDE, 49) - OUTSIDE

    def __init__(self) -> None:
        self.detector = CtSelfReference()

    def begin(self, scan: Scan, window: Box, lung: npt.NDArray[np.bool_]) -> Said:
        """As `Yardstick.begin`."""
        self.scan, self.window, self.lung = scan, window, lung
        self.logits = self._logits(scan, scan.lungs)
        return self._said(self.logits)

    def again(self, change: Change) -> Said:
        """As `Yardstick.again`."""
        forged = replace(self.scan, image=change.applied(self.scan.image))
        spacing = self.scan.image.spacing or (1.0, 1.0, 1.0)
        near = widened(change.box[0], 1 + int(np.ceil(NEAR_MM / spacing[0])), forged.image.shape[0])
        mask = np.zeros_like(self.scan.lungs.mask)
        mask[near] = self.scan.lungs.mask[near]
        logits = self.logits.copy()
        logits[near] = self._logits(forged, replace(self.scan.lungs, mask=mask))[near]
        return self._said(logits)

    def _logits(self, scan: Scan, where: Lungs) -> Volume:
        reference = measure(scan.image.pixels, scan.lungs, scan.image.spacing or (1.0, 1.0, 1.0))
        if reference is None:
            raise UnsupportedError(f"{scan.name} holds too little noise to be judged.")
        return dense_logits(scan.image, where, reference, self.detector.infer)

    def _said(self, logits: Volume) -> Said:
        z, y, x = self.window
        part = logits[z, y.start // 2:y.stop // 2, x.start // 2:x.stop // 2]
        calm = pooled(part, self.scan.image.spacing or (1.0, 1.0, 1.0), NEAR_MM)
        return _loudest(np.where(self.lung, np.maximum(calm - np.float32(OUTSIDE), 0), 0))


def _loudest(heat: Volume) -> Said:
    slices = heat.max((1, 2))
    return Said(heat, slices, float(slices.max(initial=0)))


YARDSTICKS: dict[str, Callable[[Path], Yardstick]] = {
    "npr": lambda folder: Statistic(Npr()),
    "covariance": lambda folder: Statistic(Covariance()),
    "one-step": lambda folder: Statistic(OneStep()),
    "hexmil": lambda folder: Trained(folder / "hexmil"),
    "ct-self-reference": lambda folder: Ours(),
}
"""Each, made with the folder in which results lie."""
WEIGHTS = {"one-step": ("ct-diffusion",), "ct-self-reference": ("ct-self-reference",)}
"""Shipped weights that answers hang on."""


def within(change: Change, pixels: Volume, window: Box) -> tuple[Volume, Box]:
    """A window of a scan (z, y, x) with the forgery in it, and where it lies there."""
    part, box = shared(change.box, window)
    made = pixels.copy()
    made[box] = change.values[part]
    return made, box


@dataclass(frozen=True)
class Answer:
    """What became of one image."""

    row: Row
    """As the bench counts it; `overlap` is at the level that was chosen on the validation split."""
    overlaps: list[float]
    """Of the truth with the heat at each of the yardstick's levels; of forgeries that a level is chosen on."""
    places: tuple[float, float] | None
    """Mean heat in the truth, forged and in the authentic scan; None of what is authentic."""
    slices: list[float]
    first: int
    """The number of the slice that the first score is of."""
    depths: list[int]
    """Of the forged slices."""


def run(name: str, data: Path | None, folder: Path) -> list[Answer]:
    """A yardstick's answers to the authentic scans and forgeries of the validation and the test split. What `folder`
    keeps of them is not done again."""
    yardstick = YARDSTICKS[name](folder)
    keep = answers_of(name, folder)
    answers = list(kept(keep))
    done, level = {one.row.item for one in answers}, 0.0
    for row in (*(one for one in SCANS if one.name in CHOSEN_ON), *(one for one in SCANS if one.split == "test")):
        chosen = row.name in CHOSEN_ON
        items = [item for item in wanted(row) if item not in done]
        for scan in read(row, data) if items or Item(row.name) not in done else ():
            todo = track([authentic(scan), *changes(items, scan, folder / "changes", data)], f"{name}, {row.name}",
                         console=Console(stderr=True))
            made = [one for one in _of_scan(yardstick, scan, todo, level, chosen) if one.row.item not in done]
            Journal(keep).append(*(json.dumps(asdict(one)).encode() for one in made))
            answers += made
        if chosen:
            level = level_of(answers, yardstick.levels)
    return answers


def answers_of(name: str, folder: Path) -> Path:
    """The file of a yardstick's answers, which names the weights that gave them."""
    places = [weights.FOLDER / weights.entry(one).file for one in WEIGHTS.get(name, ())]
    if name == "hexmil":
        places = [folder / "hexmil" / file for file in FILES]
        if not all(place.is_file() for place in places):
            raise UnreadableError(f"{folder / 'hexmil'} holds no trained networks; train them first.")
    known = hashlib.sha256(b"".join(place.read_bytes() for place in places)).hexdigest()[:8]
    return folder / (f"{name}-{known}.jsonl" if places else f"{name}.jsonl")


def kept(path: Path) -> Iterator[Answer]:
    """The answers in a file of JSON lines."""
    for said in Journal(path).values():
        row, places = row_of(said.pop("row")), said.pop("places")
        yield Answer(row, places=(float(places[0]), float(places[1])) if places else None, **said)


def level_of(answers: Sequence[Answer], levels: npt.NDArray[np.float64]) -> float:
    """The heat at which forgeries of the validation split overlap with their truths best, on average."""
    known = [one.overlaps for one in answers if one.overlaps]
    return float(levels[np.mean(known, 0).argmax()]) if known else float(levels[-1])


def _of_scan(yardstick: Yardstick, scan: Scan, items: Iterable[Change], level: float, chosen: bool) -> Iterator[Answer]:
    window = lung_window(scan)
    lung = lung_of(scan, window)
    plain = np.zeros(lung.shape, np.float32)
    for change in items:
        said = yardstick.again(change) if change.item.attack else yardstick.begin(scan, window, lung)
        heat, truth = said.heat.repeat(2, 1).repeat(2, 2), change.mask(scan.image.shape)[window]
        tried = overlaps(said.heat, yardstick.levels, truth) if chosen and truth.any() else []
        if not change.item.attack:
            plain = said.heat
        row = Row(change.item, "", said.score, "", change.diameter, peaks_of(heat, truth, scan.image),
                  overlap(heat, level, truth), 0.0)
        yield Answer(row, tried, places_of(said.heat, plain, truth), [round(float(one), 5) for one in said.slices],
                     window[0].start, [int(z) for z in change.depths()])


def overlaps(heat: Volume, levels: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> list[float]:
    """`bench.ct.overlap` at increasing levels of heat (z, y / 2, x / 2) with a truth (z, y, x), in one pass."""
    depth, high, across = heat.shape
    share = truth.reshape(depth, high, 2, across, 2).sum((2, 4))
    below = np.searchsorted(levels.astype(np.float32), heat.ravel(), side="right")
    hot = 4.0 * np.bincount(below, minlength=len(levels) + 1)[::-1].cumsum()[::-1][1:]
    both = np.bincount(below, share.ravel(), len(levels) + 1)[::-1].cumsum()[::-1][1:]
    return [float(one) for one in both / np.maximum(1, hot + truth.sum() - both)]


def places_of(heat: Volume, plain: Volume, truth: npt.NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean heat of two volumes (z, y / 2, x / 2) in a truth (z, y, x); None where it is empty."""
    where = np.argwhere(truth) // (1, 2, 2)
    return (float(heat[tuple(where.T)].mean()), float(plain[tuple(where.T)].mean())) if len(where) else None


def lung_of(scan: Scan, window: Box) -> npt.NDArray[np.bool_]:
    """The lungs at every second pixel of a window, (z, y / 2, x / 2)."""
    z, y, x = window
    return np.stack([inside(scan.lungs, n, scan.image.shape[1:])[y, x][::2, ::2] for n in range(z.start, z.stop)])
