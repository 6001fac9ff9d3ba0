"""An archive's run: from its listing to its answers, each once, through any kill."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scanward.archive.answers import ANSWERS, RUN, SET_ASIDE, Answer, arrow, part_path, picture_path, unwritten
from scanward.archive.listing import Lister, Progress, parts, progress_of
from scanward.archive.parts import Part
from scanward.archive.unit import Unit
from scanward.archive.work import Judged, Judging, Task, unjudged
from scanward.disk import Journal, held, read_json, whole_file, write_json
from scanward.errors import ArgumentError, ScanwardError, UnreadableError
from scanward.formats.guard import clean
from scanward.judging.asked import asked_of
from scanward.judging.batch import Done
from scanward.judging.case import Terms
from scanward.judging.watched import SetAsideError, Watching

FORMAT = "scanward-archive"
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

    @property
    def images(self) -> int:
        """Answered."""
        return self.labels.total()

    @property
    def remaining(self) -> float | None:
        """Seconds, at the bytes a second so far; None where nobody can tell yet."""
        if not self.listed.complete or not self.now_cost:
            return None
        return (self.listed.cost - self.cost) * self.seconds / self.now_cost

    def add(self, label: str, error: bool, cost: int) -> None:
        self.labels[label] += 1
        self.errors += error
        self.cost += cost


class Run:
    """One at a time in a folder."""

    def __init__(self, out: Path, judging: Judging) -> None:
        """Raises `ArgumentError` where the folder holds a run with other terms, is in use, or cannot be written."""
        arrow()
        self._out, self._archive, self._judging = out, judging.archive, judging
        self._open: dict[int, Part] = {}
        self._aside = Journal(out / SET_ASIDE, synced=False)
        self.counts = Counts()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = held(out, f"Another run is writing into {out}; wait for it, or choose another folder.")
        except OSError as error:
            raise unwritten(out, error) from error
        try:
            _check(out, self._terms())
        except BaseException:
            os.close(self._lock)
            raise

    def _terms(self) -> dict[str, Any]:
        judging = self._judging
        terms = Terms(judging.method, judging.site, judging.modality, judging.spacing)
        return {"source": self._archive.name, **self._archive.terms(), **asked_of(terms, None)}

    def go(self, runner: Watching, told: Callable[[Counts], None]) -> Counts:
        """Judges what has no answer yet; `told` hears again and again how far it is.

        Raises `ScanwardError` for what would befall every image, and where the folder cannot be written any more; the
        same run goes on from there.
        """
        lister = Lister(self._archive, self._out)
        began = time.monotonic()
        done = runner.run(self._judging, self._tasks(lister, began, told))
        try:
            for one in done:
                self._take(one)
                self._tell(began, told)
        finally:
            getattr(done, "close", lambda: None)()
            lister.close()
            os.close(self._lock)
        self.counts.listed = progress_of(self._out)
        return self.counts

    def _tell(self, began: float, told: Callable[[Counts], None]) -> None:
        before, self.counts.seconds = self.counts.seconds, time.monotonic() - began
        if int(self.counts.seconds / ROUND) > int(before / ROUND):
            if not self.counts.listed.complete:
                self.counts.listed = progress_of(self._out)
            told(self.counts)

    def _tasks(self, lister: Lister, began: float, told: Callable[[Counts], None]) -> Iterator[Task | None]:
        for found in parts(self._out, lister):
            self._tell(began, told)
            if found is None:
                yield None
                continue
            number, units = found
            if part_path(self._out, number).exists():
                self._count(number, units)
                continue
            part = self._open[number] = Part(self._out, number, units)
            for place, answer in part.answers.items():
                self.counts.add(answer.label, answer.error is not None, units[place].cost)
            for place in part.missing:
                if units[place].said:
                    self._keep(part, place, unjudged(units[place], self._archive))
                else:
                    yield Task(number, place, units[place])
            self._close(part)

    def _count(self, number: int, units: list[Unit]) -> None:
        """What an earlier run answered."""
        path = part_path(self._out, number)
        try:
            table = arrow().parquet.read_table(path, columns=["label", "error"])
            labels, errors = (table.column(name).to_pylist() for name in ("label", "error"))
        except Exception as error:  # pyarrow has errors of its own, and whatever it is, the file is not ours
            raise UnreadableError(f"{path} is damaged; remove it, and its images are judged again.") from error
        if len(labels) != len(units):
            raise UnreadableError(f"{path} belongs to another listing; begin anew in another folder.")
        for label, wrong, unit in zip(labels, errors, units, strict=True):
            self.counts.add(label, wrong is not None, unit.cost)

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
        self.counts.now += 1
        self.counts.now_cost += task.unit.cost
        self._keep(part, task.number, answer)
        self._close(part)

    def _set_aside(self, task: Task, error: Exception, tries: int) -> Answer:
        why = str(error) if isinstance(error, ScanwardError) else \
            f"Internal error ({type(error).__name__}: {clean(error)}); please report it at the project's issue tracker."
        blank = unjudged(task.unit, self._archive)
        now = datetime.datetime.now(datetime.UTC)
        line = {"unit": task.unit.id, "path": blank.path, "attempts": tries, "reason": why,
                "at": now.isoformat(timespec="seconds")}
        try:
            self._aside.append(json.dumps(line).encode())
        except OSError as failed:
            raise unwritten(self._out, failed) from failed
        self.counts.aside += 1
        return replace(blank, error=why, attempts=tries, method=self._judging.method, judged_at=now)

    def _keep(self, part: Part, place: int, answer: Answer) -> None:
        try:
            new = part.add(place, answer)
        except OSError as error:
            raise unwritten(self._out, error) from error
        if new:
            self.counts.add(answer.label, answer.error is not None, part.units[place].cost)

    def _close(self, part: Part) -> None:
        if part.whole and part.number in self._open:
            part.close()
            del self._open[part.number]


def _check(out: Path, terms: dict[str, Any]) -> None:
    """Begins a run, or holds its terms against those that it began with."""
    path = out / RUN
    if not path.exists():
        if (out / ANSWERS).exists():
            raise ArgumentError(f"{out / ANSWERS} belongs to something else and is not overwritten; choose another "
                                "folder.")
        try:
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
