"""What a reader answered: a log that only grows, and the state that it replays to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scanward.disk import Journal
from scanward.readerstudy.folder import Shown
from scanward.readerstudy.protocol import CHOICES, PARTS, Part

MOST_SECONDS = 3600.0
"""Of one film between two saves: a page left open overnight is no reading time."""
MOST_MARKS, MOST_REMARK = 50, 4000
SHAPES = ("box", "ellipse")
POINT = "point"
SURE = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Mark:
    """A region that a reader marked."""

    shape: str
    """One of `SHAPES`."""
    box: tuple[float, float, float, float]
    """(x0, y0, x1, y1) in pixels of the picture, around the shape."""


@dataclass(frozen=True)
class Spot:
    """A place that a reader marked in a scan."""

    at: tuple[int, int, int]
    """(x, y, z) of the voxel."""
    rating: int
    """1 (hardly suspicious) to 5 (certain)."""
    shape: str = POINT


@dataclass
class Reading:
    """A reader's answer to one film, so far."""

    answer: str | None = None
    confidence: int | None = None
    """1 (guessing) to 5 (certain)."""
    marks: list[Mark] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    """Marks in a scan."""
    remark: str = ""
    seconds: float = 0.0
    """For which the film was in view."""
    changes: int = 0
    """How often an answer once given was turned round."""
    first: str = ""
    """When the film was first seen; ISO 8601."""
    last: str = ""
    save: str = ""
    """The page that the answer came from, and which of that page's saves it was."""

    def changed(self, event: Mapping[str, Any], part: Part) -> bool:
        """Whether an event says something else."""
        return any(getattr(self, name) != value for name, value in self._given(event, part).items())

    def take(self, event: Mapping[str, Any], part: Part) -> None:
        """What an event says, unless it is older: a page that is left sends all at once, and the last may come
        first."""
        (own, last), (page, turn) = _page(self.save), _page(str(event.get("save")))
        if page == own and turn < last:
            return
        if self.changed(event, part) or page == own:
            self.save = str(event.get("save"))
        given = self._given(event, part)
        self.changes += self.answer not in (None, given["answer"])
        for name, value in given.items():
            setattr(self, name, value)

    def _given(self, event: Mapping[str, Any], part: Part) -> dict[str, Any]:
        """What an event says, by the names here; one without an answer leaves the one that there is."""
        answer, confidence, marks = event.get("answer"), event.get("confidence"), event.get("marks")
        found = [_mark(one) for one in marks] if isinstance(marks, list) else []
        return {"answer": answer if answer in CHOICES[part] else self.answer,
                "confidence": confidence if confidence in SURE else None,
                "marks": [one for one in found if isinstance(one, Mark)],
                "spots": [one for one in found if isinstance(one, Spot)], "remark": str(event.get("remark") or "")}


@dataclass
class State:
    """Everything a reader did, replayed."""

    parts: Mapping[str, Part]
    """The part of each film, by the reader's own name for it."""
    readings: dict[str, Reading] = field(default_factory=dict)
    at: dict[Part, str] = field(default_factory=dict)
    """The film last looked at."""
    closed: dict[Part, str] = field(default_factory=dict)
    """When the reader closed a part."""
    saves: set[str] = field(default_factory=set)
    ignored: int = 0
    """Lines of the log that are none."""

    @property
    def part(self) -> Part | None:
        """The part that the reader is in; None at the end."""
        return next((part for part in PARTS if part not in self.closed and part in self.parts.values()), None)

    def reading(self, film: str) -> Reading:
        return self.readings.get(film) or Reading()

    def missing(self, part: Part) -> list[str]:
        """Films of a part without an answer."""
        return [film for film, of in self.parts.items() if of == part and self.reading(film).answer is None]

    def late(self, event: Mapping[str, Any]) -> bool:
        """Whether an answer to one of the films comes too late: its part is closed, or it would undo what another page
        has said of the film since the one that it comes from was opened."""
        part, reading, save = self.parts[event["film"]], self.reading(event["film"]), event["save"]
        overtaken = reading.save not in ("", event.get("known")) and _page(reading.save)[0] != _page(save)[0]
        return part in self.closed or (overtaken and save not in self.saves and reading.changed(event, part))

    def apply(self, event: object) -> None:
        """Take one line of the log into account. What is no event, or comes too late, is ignored."""
        if not isinstance(event, dict):
            self.ignored += 1
        elif event.get("kind") == "close" and event.get("part") in PARTS:
            self.closed.setdefault(event["part"], str(event.get("at", "")))
        elif event.get("kind") == "reading" and str(event.get("film")) in self.parts:
            self._read(event)
        else:
            self.ignored += 1

    def _read(self, event: dict[str, Any]) -> None:
        part = self.parts[event["film"]]
        if part in self.closed or str(event.get("save")) in self.saves:
            return
        self.saves.add(str(event.get("save")))
        reading = self.readings.setdefault(event["film"], Reading(first=str(event.get("at", ""))))
        seconds = event.get("seconds")
        reading.seconds += min(max(float(seconds), 0.0), MOST_SECONDS) if isinstance(seconds, int | float) else 0.0
        reading.take(event, part)
        reading.last = str(event.get("at", ""))
        self.at[part] = event["film"]


def parts_of(own: Mapping[Part, Sequence[Shown]]) -> dict[str, Part]:
    """The part of each film of a reader's list."""
    return {film.id: part for part in PARTS for film in own[part]}


def replay(lines: Iterable[bytes], parts: Mapping[str, Part]) -> State:
    """The state after the lines of a log."""
    state = State(parts)
    for line in lines:
        if line.strip():
            state.apply(_event(line))
    return state


def read_log(path: Path, parts: Mapping[str, Part]) -> State:
    """The state of a reader; a reader without a log has not begun."""
    return replay(Journal(path).lines(), parts)


class Log:
    """One reader's log, open for answers. Each is on the disk before it counts."""

    def __init__(self, path: Path, parts: Mapping[str, Part]) -> None:
        self._journal, self._lock = Journal(path, mode=0o600), threading.Lock()
        self.state = read_log(path, parts)

    def append(self, event: dict[str, Any]) -> bool:
        """Write one event and apply it; False, and nothing is written, for an answer that comes too late. `OSError`
        where the disk takes it not, and then it does not count."""
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        with self._lock:
            if event.get("film") in self.state.parts and self.state.late(event):
                return False
            self._journal.append(line)
            self.state.apply(event)
        return True


def _page(save: str) -> tuple[str, int]:
    """The page that a save came from, and which of its saves it was; earlier versions gave each save a name alone."""
    page, _, turn = save.rpartition("-")
    return (page, int(turn)) if page and turn.isascii() and turn.isdigit() else (save, 0)


def _mark(found: object) -> Mark | Spot | None:
    """None for what has no shape or no area; the pages let no such mark in, but a log may be damaged."""
    if not isinstance(found, dict):
        return None
    if found.get("shape") == POINT:
        at, rating = _numbers(found.get("at"), 3), found.get("rating")
        return Spot((int(at[0]), int(at[1]), int(at[2])), int(rating)) if at and rating in SURE else None
    box = _numbers(found.get("box"), 4)
    if not box or found.get("shape") not in SHAPES:
        return None
    x0, y0, x1, y1 = box
    return Mark(found["shape"], (x0, y0, x1, y1)) if x0 < x1 and y0 < y1 else None


def _numbers(found: object, count: int) -> list[Any] | None:
    good = isinstance(found, list) and len(found) == count and all(isinstance(v, int | float) for v in found)
    return found if good else None  # type: ignore[return-value]


def _event(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
