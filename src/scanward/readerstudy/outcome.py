"""What came of a study: each reading beside the truth, and where the marks lie on what was forged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanward.readerstudy.folder import Study, Truth, View, read_truth
from scanward.readerstudy.log import Mark, Reading, Spot, State, parts_of, read_log
from scanward.readerstudy.protocol import PARTS, Part
from scanward.tiles import extent

INJECTED, REMOVED = "fake: a lesion put in", "fake: a lesion taken out"
"""What `described` says of forgeries."""
TINY = 1e-6
"""Millimetres: steps of a slanted scan are no round numbers."""
TITLES: dict[Part, str] = {"blind": "healthy or unhealthy", "open": "real or fake"}


@dataclass(frozen=True)
class Read:
    """One film as one reader was shown it."""

    reader: str
    part: Part
    place: int
    """In the reader's order, from 1."""
    film: str
    truth: Truth
    reading: Reading
    size: tuple[int, int]
    views: tuple[View, ...] = ()
    """Of a pair."""

    @property
    def answer(self) -> str | None:
        return self.reading.answer

    @property
    def right(self) -> bool | None:
        """Whether the answer is true; None without one. A fake in the blind part has no right answer: it is real
        tissue that looks, or should look, like something else."""
        if self.answer is None or (self.part == "blind" and self.truth.forged):
            return None
        return self.answer == (self.truth.kind if self.part == "blind" else "fake" if self.truth.forged else "real")


@dataclass(frozen=True)
class Located:
    """How a reading's marks lie on the forged region."""

    marked: bool
    inside: bool
    """The centre of a mark lies in it; of a scan, a mark lies on it or within the study's margin of it."""
    touched: bool
    """A mark overlaps it: IoU > 0; of a scan, a mark lies on it."""
    iou: float
    """The largest of a mark's; of a scan 0."""


@dataclass(frozen=True)
class FilmResult:
    """One film of a closed study, in words for its reader."""

    id: str
    answer: str
    confidence: str
    truth: str
    marks: str


@dataclass(frozen=True)
class PartResult:
    """One part of a closed study, for its reader."""

    title: str
    rows: list[FilmResult]
    counts: list[str]
    """What was called what, a sentence a kind of film."""


def collect(study: Study) -> tuple[list[Read], list[State]]:
    """Every film of every reader, answered or not, and each reader's state."""
    truth = read_truth(study.folder)
    reads, states = [], []
    for number in range(len(study.readers)):
        state = read_log(study.answers(number), parts_of(study.lists[number]))
        states.append(state)
        reads += [read for part in PARTS for read in _reads(study, number, part, state, truth)]
    return reads, states


def _reads(study: Study, reader: int, part: Part, state: State, truth: Mapping[str, Truth]) -> list[Read]:
    return [Read(study.readers[reader], part, place, film.film, truth[film.film], state.reading(film.id),
                 (film.width, film.height), film.views) for place, film in enumerate(study.lists[reader][part], 1)]


def located(read: Read) -> Located:
    """A reading of a forged film; `ValueError` for a real one."""
    mask = read.truth.mask
    if mask is None:
        raise ValueError("a real film has no forged region")
    if read.truth.scan:
        spots, truth = read.reading.spots, read.truth
        return Located(bool(spots), any(on_it(spot, truth) for spot in spots),
                       any(distance_mm(spot, truth) == 0 for spot in spots), 0.0)
    inside, best = False, 0.0
    for mark in read.reading.marks:
        x0, y0, x1, y1 = mark.box
        row, column = (min(int((a + b) / 2), side - 1) for (a, b), side in zip(((y0, y1), (x0, x1)), mask.shape,
                                                                              strict=True))
        inside |= bool(mask[row, column])
        best = max(best, _iou(mark, in_view(mark, mask, read.views)))
    return Located(bool(read.reading.marks), inside, best > 0, best)


def distance_mm(spot: Spot, truth: Truth) -> float:
    """From a mark's voxel to the nearest forged one, centre to centre; `ValueError` for a real scan."""
    if truth.mask is None or truth.box is None:
        raise ValueError("a real scan has no forged region")
    forged = np.argwhere(truth.mask)[:, ::-1] + np.array(truth.box[:3])
    steps = np.array(truth.to_mm)[:, :3]
    return float(np.sqrt((((forged - np.array(spot.at)) @ steps.T) ** 2).sum(1).min()))


def on_it(spot: Spot, truth: Truth) -> bool:
    """Whether a mark lies in what was forged, dilated by the study's margin; as `distance_mm`."""
    return distance_mm(spot, truth) <= truth.margin_mm + TINY


def view_of(mark: Mark, views: Sequence[View]) -> View | None:
    """The view of a pair in which a mark's middle lies, or the nearest; None of a film."""
    middle = (mark.box[0] + mark.box[2]) / 2
    return min(views, key=lambda view: max(view.left - middle, middle - view.right), default=None)


def in_view(mark: Mark, mask: npt.NDArray[np.bool_], views: Sequence[View]) -> npt.NDArray[np.bool_]:
    """What is true in the view of a pair that a mark is in; of a film all of it."""
    view = view_of(mark, views)
    if view is None:
        return mask
    made = np.zeros_like(mask)
    made[:, view.left:view.right] = mask[:, view.left:view.right]
    return made


def box_in(view: View, truth: Truth) -> tuple[int, int, int, int] | None:
    """What was forged in a view of a pair, as `Truth.box`; None where nothing was."""
    if truth.mask is None or not (part := truth.mask[:, view.left:view.right]).any():
        return None
    rows, columns = extent(part)
    return view.left + columns.start, rows.start, view.left + columns.stop, rows.stop


def _iou(mark: Mark, mask: npt.NDArray[np.bool_]) -> float:
    """Of the pixels whose centres a mark holds, counted within its box; a mark smaller than a pixel holds none."""
    x0, y0, x1, y1 = mark.box
    top, left = max(0, int(y0)), max(0, int(x0))
    part = mask[top:int(np.ceil(y1)), left:int(np.ceil(x1))]
    y, x = np.mgrid[top:top + part.shape[0], left:left + part.shape[1]] + 0.5
    held = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    if mark.shape == "ellipse":
        held &= ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1
    both = int(np.count_nonzero(held & part))
    return both / max(1, int(np.count_nonzero(held)) + int(np.count_nonzero(mask)) - both)


def results_of(study: Study, reader: int, state: State) -> list[PartResult]:
    """One reader's own answers beside the truth, for the pages of a closed study."""
    truth = read_truth(study.folder)
    made = []
    for part in PARTS:
        own = study.lists[reader][part]
        if not own:
            continue
        reads = _reads(study, reader, part, state, truth)
        rows = [FilmResult(film.id, read.answer or "–", str(read.reading.confidence or "–"), described(read.truth),
                           _marks(read)) for film, read in zip(own, reads, strict=True)]
        made.append(PartResult(TITLES[part], rows, _counts(reads)))
    return made


def described(truth: Truth) -> str:
    """`healthy`, `fake: a lesion put in`."""
    what = {"inject": ": a lesion put in", "remove": ": a lesion taken out"}.get(truth.action, "")
    return truth.kind + (what if truth.forged else "")


def _counts(reads: Sequence[Read]) -> list[str]:
    lines = []
    for kind in dict.fromkeys(described(read.truth) for read in reads):
        own = [read.answer for read in reads if described(read.truth) == kind]
        said = ", ".join(f"{own.count(word)} called {word}" for word in sorted({a for a in own if a}))
        lines.append(f"{len(own)} {kind}" + (f": {said}" if said else ": none answered"))
    return lines


def _marks(read: Read) -> str:
    count = len(read.reading.marks) + len(read.reading.spots)
    if not count:
        return "none"
    if not read.truth.forged:
        return f"{count}"
    found = located(read)
    return f"{count}, " + ("on what was altered" if found.touched or found.inside else "elsewhere")
