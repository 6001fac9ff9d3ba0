"""What came of a study: each reading beside the truth, and where the marks lie on what was forged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError
from scanward.formats.guard import shown
from scanward.readerstudy.folder import Study, Truth, read_truth
from scanward.readerstudy.log import Mark, Reading, State, parts_of, read_log
from scanward.readerstudy.protocol import PARTS, Part
from scanward.report.heat import EDGE, FOUND, TRUTH, png

INJECTED, REMOVED = "fake: a lesion put in", "fake: a lesion taken out"
"""What `described` says of forgeries."""
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
    """The centre of a mark lies in it."""
    touched: bool
    """A mark overlaps it: IoU > 0."""
    iou: float
    """The largest of a mark's."""


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
    for number, name in enumerate(study.readers):
        own = study.lists[number]
        state = read_log(study.answers(number), parts_of(own))
        states.append(state)
        reads += [Read(name, part, place, film.film, truth[film.film], state.reading(film.id),
                       (film.width, film.height)) for part in PARTS for place, film in enumerate(own[part], 1)]
    return reads, states


def located(read: Read) -> Located:
    """A reading of a forged film; `ValueError` for a real one."""
    mask = read.truth.mask
    if mask is None:
        raise ValueError("a real film has no forged region")
    inside, best = False, 0.0
    for mark in read.reading.marks:
        x0, y0, x1, y1 = mark.box
        row, column = (min(int((a + b) / 2), side - 1) for (a, b), side in zip(((y0, y1), (x0, x1)), mask.shape,
                                                                              strict=True))
        inside |= bool(mask[row, column])
        best = max(best, _iou(mark, mask))
    return Located(bool(read.reading.marks), inside, best > 0, best)


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
    return both / (int(np.count_nonzero(held)) + int(np.count_nonzero(mask)) - both)


def results_of(study: Study, reader: int, state: State) -> list[PartResult]:
    """One reader's own answers beside the truth, for the pages of a closed study."""
    truth = read_truth(study.folder)
    made = []
    for part in PARTS:
        own = study.lists[reader][part]
        if not own:
            continue
        reads = [Read(study.readers[reader], part, i, film.film, truth[film.film], state.reading(film.id),
                      (film.width, film.height)) for i, film in enumerate(own, 1)]
        rows = [FilmResult(film.id, read.answer or "–", str(read.reading.confidence or "–"), described(read.truth),
                           _marks(read)) for film, read in zip(own, reads, strict=True)]
        made.append(PartResult(TITLES[part], rows, _counts(reads)))
    return made


def outlined(picture: Path, truth: Truth, marks: Sequence[Mark]) -> bytes:
    """A film of a closed study as PNG, with the forged region outlined in white and the reader's marks in blue."""
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise UnreadableError(f"{shown(picture)} is damaged; take it from a copy.")
    made = np.dstack([np.asarray(grey, np.uint8)] * 3)
    thick = max(2, max(grey.shape) // 500)
    if truth.mask is not None:
        around, _ = cv2.findContours(truth.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(made, around, -1, EDGE, thick + 2)
        cv2.drawContours(made, around, -1, TRUTH, thick)
    for mark in marks:
        x0, y0, x1, y1 = (round(v) for v in mark.box)
        for colour, width in ((EDGE, thick + 2), (FOUND, thick)):
            if mark.shape == "box":
                cv2.rectangle(made, (x0, y0), (x1, y1), colour, width)
            else:
                cv2.ellipse(made, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360,
                            colour, width)
    return png(np.asarray(made, np.uint8))


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
    if not read.reading.marks:
        return "none"
    if not read.truth.forged:
        return f"{len(read.reading.marks)}"
    return f"{len(read.reading.marks)}, " + ("on what was altered" if located(read).touched else "elsewhere")
