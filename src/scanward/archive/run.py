"""An archive's run: from its listing to its answers, each once, through any kill."""

from __future__ import annotations

import datetime
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scanward.archive.answers import (
    RUN,
    Answer,
    arrow,
    columns_of,
    part_path,
    picture_path,
    unwritten,
)
from scanward.archive.listing import Lister, Progress, parts, progress_of
from scanward.archive.parts import Part, again
from scanward.archive.unit import Unit
from scanward.archive.work import Judged, Judging, Task, unjudged
from scanward.disk import held, read_json, whole_file, write_json
from scanward.errors import ArgumentError, ScanwardError, UnreadableError
from scanward.formats.guard import clean, shown
from scanward.judging.asked import asked_of
from scanward.judging.batch import Done
from scanward.judging.watched import SetAsideError, Watching

FORMAT, RETRIED = "scanward-archive", "retried"
IMAGE, LEAST = 11e6, 3
"""Bytes that take as long as what every image takes, however small (by the costs in docs/how-to/archive-at-scale.md: a
film of 1.8 MB takes 2.1 s, a series of 74 MB 13.7 s), and answers from which the rest can be told."""
ORDINARY = ("lost+found",)
"""What a file system puts into an empty folder of its own."""
ROUND = 1.0
"""Seconds between two looks at how far the listing is."""


@dataclass
class Counts:
    """Of a run, what earlier ones of the same folder did included."""

    labels: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    aside: int = 0
    """Of the errors, set aside."""
    cost: int = 0
    """Bytes of what is answered."""
    now: int = 0
    """Answered by this run, and `now_cost`, their bytes."""
    now_cost: int = 0
    listed: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    """Since this run began."""
    loading: float | None = None
    """Of these, what passed before the first image was begun; None until it is answered."""

    @property
    def images(self) -> int:
        """Answered."""
        return self.labels.total()

    @property
    def remaining(self) -> float | None:
        """Seconds, as long as images of their number and bytes took so far; None where nobody can tell yet."""
        if not self.listed.complete or self.now < LEAST:
            return None
        left = (self.listed.units - self.images) * IMAGE + self.listed.cost - self.cost
        return left * self.working / (self.now * IMAGE + self.now_cost)

    @property
    def working(self) -> float:
        """Seconds in which images were judged."""
        return max(0.0, self.seconds - self.loading) if self.loading is not None else 0.0

    def add(self, label: str, error: bool, aside: bool, cost: int) -> None:
        self.labels[label] += 1
        self.errors += error
        self.aside += aside
        self.cost += cost


class Run:
    """One at a time in a folder."""

    def __init__(self, out: Path, judging: Judging, retry: bool = False) -> None:
        """With `retry`, what ended in an error before is tried again, and what a run that was to do so left. Raises
        `ArgumentError` where the folder holds a run with other terms, is in use, or cannot be written."""
        arrow()
        self._out, self._archive, self._judging, self._began = out, judging.archive, judging, 0.0
        self._open: dict[int, Part] = {}
        self.counts = Counts()
        terms = self._terms()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = held(out, f"Another run is writing into {out}; wait for it, or choose another folder.")
        except OSError as error:
            raise unwritten(out, error) from error
        try:
            _check(out, terms)
            self._since = _retried(out, retry)
        except BaseException:
            os.close(self._lock)
            raise

    def _terms(self) -> dict[str, Any]:
        return {"source": self._archive.name, **self._archive.terms(), **asked_of(self._judging.terms(), None)}

    def go(self, runner: Watching, told: Callable[[Counts], None]) -> Counts:
        """Judges what has no answer yet; `told` hears again and again how far it is.

        Raises `ScanwardError` for what would befall every image, and where the folder cannot be written any more; the
        same run goes on from there.
        """
        lister = Lister(self._archive, self._out)
        self._began = time.monotonic()
        done = runner.run(self._judging, self._tasks(lister, told))
        try:
            for one in done:
                self._take(one)
                self._tell(told)
            if self._since is not None:
                _mark(self._out, None)
        finally:
            getattr(done, "close", lambda: None)()
            lister.close()
            os.close(self._lock)
        self.counts.listed = progress_of(self._out)
        return self.counts

    def _tell(self, told: Callable[[Counts], None]) -> None:
        before, self.counts.seconds = self.counts.seconds, time.monotonic() - self._began
        if int(self.counts.seconds / ROUND) > int(before / ROUND):
            if not self.counts.listed.complete:
                self.counts.listed = progress_of(self._out)
            told(self.counts)

    def _tasks(self, lister: Lister, told: Callable[[Counts], None]) -> Iterator[Task | None]:
        for found in parts(self._out, lister):
            self._tell(told)
            if found is None:
                yield None
                continue
            number, units = found
            if part_path(self._out, number).exists() and self._counted(number, units):
                continue
            part = self._open[number] = Part(self._out, number, units, self._since)
            for place, answer in part.answers.items():
                self._count(answer, units[place])
            for place in part.missing:
                if units[place].said:
                    self._keep(part, place, unjudged(units[place], self._archive))
                else:
                    yield Task(number, place, units[place])
            self._close(part)

    def _counted(self, number: int, units: list[Unit]) -> bool:
        """What an earlier run answered; False, and nothing is counted, where some of it is to be tried again."""
        rows = columns_of(self._out, number, "unit", "label", "error", "aside", "judged_at")
        if [row["unit"] for row in rows] != [unit.id for unit in units]:
            raise UnreadableError(f"{part_path(self._out, number)} belongs to another listing; begin anew in another "
                                  "folder.")
        if any(again(unit, row["error"], row["judged_at"], self._since) for row, unit in zip(rows, units, strict=True)):
            return False
        for row, unit in zip(rows, units, strict=True):
            self.counts.add(row["label"], row["error"] is not None, row["aside"], unit.cost)
        return True

    def _count(self, answer: Answer, unit: Unit) -> None:
        self.counts.add(answer.label, answer.error is not None, answer.aside, unit.cost)

    def _take(self, done: Done[Task, Judged]) -> None:
        """Keeps what a worker says, the picture before the answer."""
        task, error = done.item, done.error
        part = self._open.get(task.part)
        if part is None or task.number in part.answers:
            return  # a node that was lost, and came back
        if error is None:
            answer, picture = done.answer()
            if picture is not None:
                with whole_file(self._out / picture_path(answer.unit)) as file:
                    file.write(picture)
            answer = replace(answer, attempts=done.tries)
        else:
            if isinstance(error, ScanwardError) and not isinstance(error, SetAsideError):
                raise error
            answer = self._set_aside(task, error, done.tries)
        if self.counts.loading is None:
            self.counts.loading = max(0.0, time.monotonic() - self._began - answer.seconds)
        self.counts.now += 1
        self.counts.now_cost += task.unit.cost
        self._keep(part, task.number, answer)
        self._close(part)

    def _set_aside(self, task: Task, error: Exception, tries: int) -> Answer:
        why = str(error) if isinstance(error, ScanwardError) else \
            f"Internal error ({type(error).__name__}: {clean(error)}); please report it at the project's issue tracker."
        return replace(unjudged(task.unit, self._archive), error=why, aside=True, attempts=tries,
                       method=self._judging.method, judged_at=datetime.datetime.now(datetime.UTC))

    def _keep(self, part: Part, place: int, answer: Answer) -> None:
        try:
            new = part.add(place, answer)
        except OSError as error:
            raise unwritten(self._out, error) from error
        if new:
            self._count(answer, part.units[place])

    def _close(self, part: Part) -> None:
        if part.whole and part.number in self._open:
            part.close()
            del self._open[part.number]


def _check(out: Path, terms: dict[str, Any]) -> None:
    """Begins a run, or holds its terms against those that it began with."""
    path = out / RUN
    if not path.exists():
        try:
            foreign = sorted(name for name in os.listdir(out) if not name.startswith(".") and name not in ORDINARY)
            if foreign:
                raise ArgumentError(f"{shown(out / foreign[0])} belongs to something else; choose an empty folder, or "
                                    "one that is not there yet.")
            write_json(path, {"format": FORMAT, "terms": terms,
                              "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")})
        except OSError as error:
            raise unwritten(out, error) from error
        return
    found = read_json(path)
    before = found.get("terms")
    if found.get("format") != FORMAT or not isinstance(before, dict):
        raise ArgumentError(f"{path} belongs to something else and is not overwritten; choose another folder.")
    for name, value in terms.items():
        if before.get(name) != value:
            raise ArgumentError(f"{out} holds the answers of a run that differs in its {name}; choose another folder, "
                                "or the same options to go on.")


def _retried(out: Path, retry: bool) -> datetime.datetime | None:
    """Before when an answer has to be of which errors are to be tried again; None where none is. It stays on disk until
    all of them were."""
    with suppress(TypeError, ValueError, KeyError):
        began = datetime.datetime.fromisoformat(read_json(out / RUN)[RETRIED])
        if began.tzinfo is not None:
            return began
    if not retry:
        return None
    began = datetime.datetime.now(datetime.UTC)
    _mark(out, began)
    return began


def _mark(out: Path, began: datetime.datetime | None) -> None:
    found = {name: value for name, value in read_json(out / RUN).items() if name != RETRIED}
    try:
        write_json(out / RUN, found if began is None else {**found, RETRIED: began.isoformat()})
    except OSError as error:
        raise unwritten(out, error) from error
