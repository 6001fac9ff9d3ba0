"""The answers of parts that are not done yet: kept as they come, and put into Parquet when the part has them all."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scanward.archive.answers import ANSWERS, Answer, part_path, read_answers, table_of, write_part
from scanward.archive.unit import Unit
from scanward.disk import Journal

_TIMES = {"study_date": datetime.date.fromisoformat, "judged_at": datetime.datetime.fromisoformat}
_LISTS = ("kinds", "slices")


class Part:
    """Each of its answers counts once: the first that is kept, or the last where it was tried again."""

    def __init__(self, out: Path, number: int, units: Sequence[Unit], since: datetime.datetime | None = None) -> None:
        """What an earlier run kept is read. What ended in an error before `since`, and might not do so again, counts as
        missing. Raises `OSError` and `UnreadableError` where that cannot be read."""
        self._out, self.number, self.units = out, number, units
        self._journal = Journal(out / ANSWERS / f"part-{number:08d}.jsonl", synced=False)
        self._places = {unit.id: place for place, unit in enumerate(units)}
        self.answers: dict[int, Answer] = {}
        if part_path(out, number).exists():
            self.answers = dict(enumerate(read_answers(out, number)))
        for value in self._journal.values():
            with suppress(TypeError, ValueError, KeyError, OverflowError):
                self._read(_answer(value))
        self.answers = {place: one for place, one in self.answers.items()
                        if not again(units[place], one.error, one.judged_at, since)}

    def _read(self, answer: Answer) -> None:
        """A line that is older than what is there was left behind by a kill."""
        place = self._places[answer.unit]
        before = self.answers.get(place)
        if before is None or (before.judged_at and answer.judged_at and answer.judged_at > before.judged_at):
            self.answers[place] = answer

    @property
    def missing(self) -> list[int]:
        """The places of units that have no answer."""
        return [place for place in range(len(self.units)) if place not in self.answers]

    @property
    def whole(self) -> bool:
        """Every unit has its answer."""
        return len(self.answers) == len(self.units)

    def add(self, place: int, answer: Answer) -> bool:
        """Keeps an answer; whether it is the first of its unit. Raises `OSError` where it cannot be written."""
        if place in self.answers:
            return False
        self._journal.append(json.dumps(dataclasses.asdict(answer), default=str).encode())
        self.answers[place] = answer
        return True

    def close(self) -> None:
        """Puts the answers, which must be all, in their place. Raises `ArgumentError` where they cannot be written."""
        write_part(self._out, self.number, [self.answers[place] for place in range(len(self.units))])
        self._journal.path.unlink(missing_ok=True)


def again(unit: Unit, error: str | None, judged_at: datetime.datetime | None, since: datetime.datetime | None) -> bool:
    """Whether an answer is to be given anew: an error before `since`, of what was looked at."""
    return since is not None and error is not None and not unit.said and judged_at is not None and judged_at < since


def _answer(value: dict[str, Any]) -> Answer:
    """Raises where it is none that can be kept."""
    times = {name: made(value[name]) for name, made in _TIMES.items() if value[name] is not None}
    lists = {name: tuple(value[name]) for name in _LISTS if value[name] is not None}
    found = Answer(**{**value, **times, **lists})
    table_of([found])
    return found
