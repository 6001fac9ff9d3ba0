"""The answers of parts that are not done yet: kept as they come, and put into Parquet when the part has them all."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scanward.archive.answers import ANSWERS, Answer, write_part
from scanward.archive.unit import Unit
from scanward.disk import Journal

_TIMES = {"study_date": datetime.date.fromisoformat, "judged_at": datetime.datetime.fromisoformat}
_LISTS = ("kinds", "slices")


class Part:
    """Each of its answers counts once: the first that is kept."""

    def __init__(self, out: Path, number: int, units: Sequence[Unit]) -> None:
        """What an earlier run kept is read. Raises `OSError` where that cannot be."""
        self._out, self.number, self.units = out, number, units
        self._journal = Journal(out / ANSWERS / f"part-{number:08d}.jsonl", synced=False)
        self._places = {unit.id: place for place, unit in enumerate(units)}
        self.answers: dict[int, Answer] = {}
        for value in self._journal.values():
            with suppress(TypeError, ValueError, KeyError):
                answer = _read(value)
                self.answers.setdefault(self._places[answer.unit], answer)

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


def _read(value: dict[str, Any]) -> Answer:
    times = {name: made(value[name]) for name, made in _TIMES.items() if value[name] is not None}
    lists = {name: tuple(value[name]) for name in _LISTS if value[name] is not None}
    return Answer(**{**value, **times, **lists})
