"""What occurs more than once in an archive, by the hashes of decoded values.

All hashes are gone through as numbers of 64 bits first; only what may be a repeat is then looked at by its whole hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scanward.archive.reading import Answers

Kind = Literal["studies", "copies", "uid", "slices"]
SHOWN = 8
"""Paths of what occurs more than once."""


@dataclass(frozen=True)
class Repeat:
    """Images of one content, of one UID, or series that share slices."""

    times: int
    """Images; series, where slices are shared."""
    studies: int
    paths: tuple[str, ...]
    """The first `SHOWN` by their names; of one UID one of each content."""
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
    """Images of one content in several studies, and those that occur more than once in a single one, or where no more
    than one study is named. Links to one file are that file."""
    rows = answers.rows(f"""
        WITH often AS (
            SELECT hash(content) AS h FROM answers WHERE content IS NOT NULL
            GROUP BY h HAVING min(hash(real_path)) <> max(hash(real_path))),
        files AS (
            SELECT content, study_uid, min(path) AS path, bool_or(label = 'tampered') AS alarm
            FROM answers WHERE content IS NOT NULL AND hash(content) IN (SELECT h FROM often)
            GROUP BY content, study_uid, real_path),
        found AS (
            SELECT content, count(*) AS n, count(DISTINCT study_uid) AS studies,
                   min(path, {SHOWN}) AS paths, count(*) FILTER (WHERE alarm) AS alarms
            FROM files GROUP BY content HAVING n > 1)
        SELECT studies > 1 AS a, n, studies, paths, alarms, 0, count(*) OVER parts, sum(n) OVER parts
        FROM found WINDOW parts AS (PARTITION BY studies > 1)
        QUALIFY row_number() OVER (PARTITION BY studies > 1 ORDER BY n, alarms DESC, content) <= {most}
        ORDER BY n, alarms DESC, content""")  # noqa: S608
    apart, together = ([row for row in rows if row[0] is several] for several in (True, False))
    return _repeats("studies", apart), _repeats("copies", together)


def of_one_uid(answers: Answers, most: int) -> Repeats:
    """Images of one SOP Instance UID whose pixels differ, which no two images may be. A series has its first file's UID
    and is left out; so is what says that it was compressed with loss, or was derived from one that does not say so, as
    scans forgive it, too: many programs keep the UID then."""
    rows = answers.rows(f"""
        WITH asked AS (
            SELECT sop_uid, content, remade, study_uid, real_path, path, label FROM answers
            WHERE files = 1 AND sop_uid IS NOT NULL AND content IS NOT NULL AND remade IS DISTINCT FROM 'lossy'),
        often AS (
            SELECT hash(sop_uid) AS h FROM asked GROUP BY h HAVING min(hash(content)) <> max(hash(content))),
        images AS (
            SELECT sop_uid, content, remade, study_uid, min(path) AS path, bool_or(label = 'tampered') AS alarm
            FROM asked WHERE hash(sop_uid) IN (SELECT h FROM often)
            GROUP BY sop_uid, content, remade, study_uid, real_path),
        meant AS (
            SELECT * FROM images
            QUALIFY remade IS NULL OR count(*) FILTER (WHERE remade IS NULL) OVER (PARTITION BY sop_uid) = 0),
        contents AS (SELECT sop_uid, min(path) AS path FROM meant GROUP BY sop_uid, content),
        paths AS (SELECT sop_uid, min(path, {SHOWN}) AS paths FROM contents GROUP BY sop_uid HAVING count(*) > 1),
        found AS (
            SELECT sop_uid, count(*) AS n, count(DISTINCT study_uid) AS studies,
                   count(*) FILTER (WHERE alarm) AS alarms
            FROM meant GROUP BY sop_uid)
        SELECT false, n, studies, paths, alarms, 0, count(*) OVER (), sum(n) OVER ()
        FROM found JOIN paths USING (sop_uid) ORDER BY n, alarms DESC, sop_uid LIMIT {most}""")  # noqa: S608
    return _repeats("uid", rows)


def of_slices(answers: Answers, most: int) -> Repeats:
    """Series that share slices, as the first and the last of those that share the same ones."""
    slices = "SELECT real_path AS file, unnest(slices) AS slice FROM answers WHERE slices IS NOT NULL"
    rows = answers.rows(f"""
        WITH often AS (
            SELECT hash(slice) AS h FROM ({slices}) GROUP BY h HAVING min(hash(file)) <> max(hash(file))),
        shared AS (
            SELECT slice, min(file) AS a, max(file) AS b, count(DISTINCT file) AS n
            FROM ({slices}) WHERE hash(slice) IN (SELECT h FROM often) GROUP BY slice HAVING n > 1),
        pairs AS (SELECT a, b, n, count(*) AS slices FROM shared GROUP BY ALL),
        totals AS (SELECT count(*) AS pairs, coalesce(sum(n), 0) AS series FROM pairs),
        few AS (SELECT * FROM pairs ORDER BY n, slices DESC, a, b LIMIT {most})
        SELECT true, n, 1 + (x.study_uid IS DISTINCT FROM y.study_uid)::INTEGER, [x.path, y.path],
               (x.label = 'tampered')::INTEGER + (y.label = 'tampered')::INTEGER, few.slices, pairs, series
        FROM few JOIN answers x ON x.real_path = few.a JOIN answers y ON y.real_path = few.b, totals
        WHERE x.slices IS NOT NULL AND y.slices IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY few.a, few.b, n, few.slices ORDER BY x.path, y.path) = 1
        ORDER BY n, few.slices DESC, few.a, few.b""")  # noqa: S608
    return _repeats("slices", rows)


def _repeats(kind: Kind, rows: Sequence[tuple[Any, ...]]) -> Repeats:
    shown = tuple(Repeat(n, studies, tuple(paths), alarms, shared)
                  for _, n, studies, paths, alarms, shared, *_ in rows)
    return Repeats(kind, shown, *(map(int, rows[0][6:8]) if rows else (0, 0)))
