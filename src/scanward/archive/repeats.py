"""What occurs more than once in an archive, by the hashes of decoded values.

All hashes are gone through as numbers of 64 bits first; only what may be a repeat is then looked at by its whole hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scanward.archive.reading import Answers

Kind = Literal["studies", "copies", "uid", "slices"]


@dataclass(frozen=True)
class Repeat:
    """Images of one content, of one UID, or series that share slices."""

    times: int
    """Images; series, where slices are shared."""
    studies: int
    first: str
    """The paths of two of them, the first and last by their names."""
    last: str
    alarms: int
    """Of them; of the two that are named, where slices are shared."""
    shared: int = 0
    """Slices that just these series share."""


@dataclass(frozen=True)
class Repeats:
    """Those with the fewest images first: what only two studies share was copied from one to the other, what many
    share is a test image, or empty."""

    kind: Kind
    shown: tuple[Repeat, ...]
    count: int
    images: int


def of_content(answers: Answers, most: int) -> tuple[Repeats, Repeats]:
    """Images of one content in several studies, and those that occur more than once in a single one."""
    rows = _same(answers, "content", "unit", most, "true", "content IS NOT NULL")
    apart, together = ([row for row in rows if row[0] is several] for several in (True, False))
    return _repeats("studies", apart), _repeats("copies", together)


def of_one_uid(answers: Answers, most: int) -> Repeats:
    """Images of one SOP Instance UID whose pixels differ, which no two images may be. A series has its first file's UID
    and is left out."""
    return _repeats("uid", _same(answers, "sop_uid", "content", most, "false",
                                 "files = 1 AND sop_uid IS NOT NULL AND content IS NOT NULL"))


def _same(answers: Answers, same: str, other: str, most: int, apart: str, among: str) -> list[tuple[Any, ...]]:
    """Rows of what has one `same` and more than one `other`; those of several studies apart where `apart` is true."""
    return answers.rows(f"""
        WITH often AS (
            SELECT hash({same}) AS h FROM answers WHERE {among}
            GROUP BY h HAVING min(hash({other})) <> max(hash({other}))),
        found AS (
            SELECT {same} AS same, count(*) AS n, count(DISTINCT coalesce(study_uid, unit)) AS studies,
                   min(path) AS first, max(path) AS last, count(*) FILTER (WHERE label = 'tampered') AS alarms
            FROM answers WHERE {among} AND hash({same}) IN (SELECT h FROM often)
            GROUP BY {same} HAVING count(DISTINCT {other}) > 1)
        SELECT {apart} AND studies > 1 AS a, n, studies, first, last, alarms, 0, count(*) OVER parts, sum(n) OVER parts
        FROM found WINDOW parts AS (PARTITION BY {apart} AND studies > 1)
        QUALIFY row_number() OVER (PARTITION BY {apart} AND studies > 1 ORDER BY n, alarms DESC, same) <= {most}
        ORDER BY n, alarms DESC, same""")  # noqa: S608


def of_slices(answers: Answers, most: int) -> Repeats:
    """Series that share slices, as the first and the last of those that share the same ones."""
    slices = "SELECT unit, unnest(slices) AS slice FROM answers WHERE slices IS NOT NULL"
    rows = answers.rows(f"""
        WITH often AS (
            SELECT hash(slice) AS h FROM ({slices}) GROUP BY h HAVING min(hash(unit)) <> max(hash(unit))),
        shared AS (
            SELECT slice, min(unit) AS a, max(unit) AS b, count(DISTINCT unit) AS n
            FROM ({slices}) WHERE hash(slice) IN (SELECT h FROM often) GROUP BY slice HAVING n > 1),
        pairs AS (SELECT a, b, n, count(*) AS slices FROM shared GROUP BY ALL),
        totals AS (SELECT count(*) AS pairs, coalesce(sum(n), 0) AS series FROM pairs),
        few AS (SELECT * FROM pairs ORDER BY n, slices DESC, a, b LIMIT {most})
        SELECT true, n, 1 + (x.study_uid IS DISTINCT FROM y.study_uid)::INTEGER, x.path, y.path,
               (x.label = 'tampered')::INTEGER + (y.label = 'tampered')::INTEGER, few.slices, pairs, series
        FROM few JOIN answers x ON x.unit = few.a JOIN answers y ON y.unit = few.b, totals
        ORDER BY n, few.slices DESC, few.a, few.b""")  # noqa: S608
    return _repeats("slices", rows)


def _repeats(kind: Kind, rows: Sequence[tuple[Any, ...]]) -> Repeats:
    return Repeats(kind, tuple(Repeat(*row[1:7]) for row in rows), *(map(int, rows[0][7:9]) if rows else (0, 0)))
