"""The page of an archive run, which needs nothing else; of a run that is over or still goes on."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scanward.archive import figures, repeats
from scanward.archive.answers import picture_path
from scanward.archive.figures import Group, Groups
from scanward.archive.listing import progress_of
from scanward.archive.oddities import oddities
from scanward.archive.reading import Answers
from scanward.disk import plain_file
from scanward.errors import ArgumentError
from scanward.formats.guard import clean, shown
from scanward.report.heat import jpeg
from scanward.report.page import picture_uri, write_page
from scanward.verdict import SYMBOLS

NAME, TITLE = "report.html", "Archive report"
HEAD = 1 << 12
"""Bytes of a page within which its title stands."""
WORST, SEEN = 100, 12
"""Alarms with their pictures, and how many of them are seen before somebody asks for the others."""
LISTED, ABOVE = 50, 10
"""Rows of a list of files, and of one of groups above the others."""
NAMED = 4
"""Ways to be odd that the first lines name."""
SIDE = 420
"""Pixels of a picture's longer side."""
LARGEST = 1 << 26
"""Pixels of a picture that is opened."""
COMPARED = 30
"""Judged images from which a group's interval counts for the scale that intervals are drawn on."""
FEW = 3
"""Alarms of different contents from which a group is held against the others."""
LONGEST = 240
"""Characters of a text that is the attacker's choice."""


@dataclass(frozen=True)
class Table:
    """Alarms by something."""

    name: str
    title: str
    heads: tuple[str, ...]
    groups: Groups
    note: str = ""

    @property
    def scale(self) -> float:
        """The share that the drawn intervals end at."""
        return max((g.high for g in self.groups.shown if g.judged >= COMPARED), default=1.0) or 1.0

    def above(self, group: Group) -> bool:
        """Whether it has alarms of several contents, and all of its interval lies above the others' share; never of
        kinds, which count no contents."""
        others = self.groups.judged - group.judged
        return others > 0 and group.cases >= FEW and group.low > (self.groups.alarms - group.alarms) / others


@dataclass(frozen=True)
class First:
    """What somebody has to look at first, as counts; empty of what there is none of."""

    judged: int
    cases: int
    """Alarms of different contents."""
    proofs: int
    above: tuple[tuple[str, str], ...]
    """Groups above the others: of which table, and their names."""
    one_uid: int
    apart: int
    slices: int


def check_page(path: Path) -> None:
    """Raises `ArgumentError` where something other than a page of an archive has that name."""
    if not os.path.lexists(path):
        return
    ours = False
    with suppress(OSError), plain_file(path) as file:
        ours = f"<title>{TITLE}</title>".encode() in file.read(HEAD)
    if not ours:
        raise ArgumentError(f"{shown(path)} exists already, is no page of an archive and is not overwritten; choose "
                            "another name with -o.")


def write_archive_report(answers: Answers, path: Path) -> str:
    """Write the page to `path`, whole or not at all; one sentence of what it says.

    Texts of headers and names of files are cut, cleaned and escaped in it: they are the attacker's. Raises `InputError`
    where answers are damaged or the page cannot be written.
    """
    rows, pace, listed = figures.counts(answers), figures.pace(answers), progress_of(answers.folder)
    total = {name: sum(getattr(row, name) for row in rows)
             for name in ("images", "tampered", "inconclusive", "authentic", "unscanned", "errors")}
    left = max(0, listed.units - total["images"])
    apart, same = repeats.of_content(answers, LISTED)
    tables, one_uid, aside = _tables(answers), repeats.of_one_uid(answers, LISTED), figures.set_aside(answers, LISTED)
    slices, odd = repeats.of_slices(answers, LISTED), oddities(answers, LISTED)
    above = ((table.name, _name(group)) for table in tables for group in table.groups.shown if table.above(group))
    first = First(tables[0].groups.judged, *figures.cases_and_proofs(answers), tuple(islice(above, ABOVE)),
                  one_uid.count, apart.count, slices.count)
    write_page(
        path, files("scanward.archive").joinpath("report.template.html"), title=TITLE,
        source=clean(answers.terms.get("source", ""), LONGEST), method=clean(answers.terms.get("method", "")),
        listed=listed, left=left, counts=rows, total=total, symbols=SYMBOLS, tables=tables, first=first, seen=SEEN,
        alarms=[_alarm(answers.folder, row) for row in figures.worst(answers, WORST)],
        repeats=(one_uid, apart, slices, same), odd=odd, named=NAMED,
        errors=[(clean(what, LONGEST), label, n, clean(first, LONGEST))
                for what, label, n, first in figures.errors(answers, LISTED)],
        unscanned=figures.unscanned(answers, LISTED),
        aside=aside, costs=figures.costs(answers), pace=pace,
        rate=None if pace is None or not pace.seconds else total["images"] / pace.seconds, rate_of=figures.rate_of,
        clean=lambda text: clean(text, LONGEST), percent=percent, share=share, duration=duration)
    return (f"{total['images']:,} of {listed.units:,} images listed{'' if listed.complete else ' so far'} are "
            f"answered: {total['tampered']:,} tampered, {total['inconclusive']:,} inconclusive, "
            f"{total['authentic']:,} authentic, {total['unscanned']:,} unscanned; "
            f"{total['errors']:,} error{'' if total['errors'] == 1 else 's'}"
            + (f"; {odd.count:,} odd by header or file." if odd.count else "."))


def _tables(answers: Answers) -> tuple[Table, ...]:
    return (
        Table("scanner", "Alarms by scanner", ("Manufacturer", "Model"),
              figures.by(answers, "manufacturer", "model")),
        Table("site", "Alarms by site", ("Institution", "Station"), figures.by(answers, "institution", "station")),
        Table("month", "Alarms by month of study", ("Month",),
              figures.by(answers, "strftime(study_date, '%Y-%m')", months=True)),
        Table("kind", "Alarms by what raised them", ("Witness",), figures.by_kind(answers),
              "An image that several called tampered counts for each of them."))


def _name(group: Group) -> str:
    return " ".join(name for name in group.names if name != figures.UNSAID) or figures.UNSAID


def _alarm(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    cleaned = {key: clean(value, LONGEST) for key, value in row.items() if isinstance(value, str)}
    where = (row["manufacturer"], row["model"], row["institution"], row["station"])
    return {**row, **cleaned, "kinds": ", ".join(clean(kind) for kind in row["kinds"]),
            "where": " · ".join(clean(text) for text in where if text),
            "name": clean("/".join(Path(row["path"]).parts[-2:])),
            "picture": _picture(folder / picture_path(row["unit"]))}


def _picture(path: Path) -> tuple[str, int, int] | None:
    """A PNG as a data URI of at most `SIDE` pixels, its width and its height; None where there is none."""
    with suppress(OSError, struct.error, cv2.error, ValueError), plain_file(path) as file:
        data = file.read()
        width, height = struct.unpack(">II", data[16:24])  # of IHDR, which comes first
        if not 0 < width * height <= LARGEST:
            return None
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            return None
        scale = min(1.0, SIDE / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return picture_uri(jpeg(small.astype(np.uint8, copy=False))), *size
    return None


def percent(value: float) -> str:
    """`0.46`, `12.3`: a share in per cent."""
    return f"{100 * value:.2f}" if value < 0.0995 else f"{100 * value:.1f}"


def share(group: Group) -> str:
    """`0.46 % (0.41–0.52)`."""
    if group.share is None:
        return "–"
    return f"{percent(group.share)} % ({percent(group.low)}–{percent(group.high)})"


def duration(seconds: float) -> str:
    """`12 s`, `3.4 minutes`, `2.5 hours`, `3.1 days`."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"
