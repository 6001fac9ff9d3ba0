"""What an archive's answers come to: counts, alarms by group, what occurs twice, and what it took.

An image counts as judged where a verdict was given: tampered, authentic or inconclusive, and no error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanward.archive.reading import Answers
from scanward.formats.guard import clean
from scanward.metrics import wilson
from scanward.verdict import FILE, SEAL

UNSAID = "not said"
JUDGED = "(error IS NULL AND label <> 'unscanned')"
ALARM = "(label = 'tampered')"
PROOF = f"list_has_any(kinds, ['{SEAL}', '{FILE}'])"
"""Raised by witnesses whose alarm is no likelihood."""
STUDY = "hash(coalesce(study_uid, unit))"
"""What says of no study is one of its own."""
CASE = "coalesce(content, unit)"
"""Images of one content are one case; what has none is one of its own."""
MOST = 50
"""Groups of a table: header values are the attacker's, who may have as many as there are images."""
NAMED = 8
"""Files of one reason for which nobody looked at them."""
PAUSE = 600
"""Seconds without an answer after which a run counts as paused."""


@dataclass(frozen=True)
class Group:
    """The images of one scanner, site, month or kind of finding."""

    names: tuple[str, ...]
    images: int
    judged: int
    alarms: int
    inconclusive: int
    low: float
    """95 % interval of alarms / judged."""
    high: float
    cases: int = 0
    """Alarms of different contents: copies are one."""

    @property
    def share(self) -> float | None:
        return self.alarms / self.judged if self.judged else None


@dataclass(frozen=True)
class Groups:
    """The groups with the most alarms, and what became of the others together."""

    shown: tuple[Group, ...]
    count: int
    alarms: int
    judged: int

    @property
    def others(self) -> tuple[int, int, int]:
        """Groups that are not shown, their alarms, and their judged images."""
        return (self.count - len(self.shown), self.alarms - sum(g.alarms for g in self.shown),
                self.judged - sum(g.judged for g in self.shown))


@dataclass(frozen=True)
class Count:
    """Of one modality; errors are among inconclusive and unscanned, too."""

    modality: str
    images: int
    tampered: int
    inconclusive: int
    authentic: int
    unscanned: int
    errors: int


@dataclass(frozen=True)
class Cost:
    """What the images of one modality took; seconds of the process that judged, by the clock."""

    modality: str
    images: int
    seconds: float
    mean: float
    median: float
    most_of_twenty: float
    """19 of 20 took no longer."""
    longest: float
    peak_mb: float


@dataclass(frozen=True)
class Pace:
    """How fast a run was, without its pauses."""

    first: str
    last: str
    """ISO 8601, UTC."""
    seconds: float
    """With answers no further apart than `PAUSE`."""
    pauses: int
    workers: int


def interval(sums: Sequence[float]) -> tuple[float, float]:
    """95 % interval of K / N from sums over studies: their number m, N = Σn, K = Σk, Σn², Σnk, Σk².

    Wilson's with the effective size N / d, where d ≥ 1 is the design effect of the ratio estimator (Kish 1965; Dean and
    Pagano 2015): images of one study are alike. Where nothing or all was an alarm, d is unknown and m studies count.
    """
    m, n, k, nn, nk, kk = sums
    if not n:
        return 0.0, 1.0
    share = k / n
    if share in (0.0, 1.0) or m < 2:
        effect = n / m
    else:
        between = m / (m - 1) * max(0.0, kk - 2 * share * nk + share * share * nn) / n
        effect = min(n, max(1.0, between / (share * (1 - share))))
    return wilson(k / effect, n / effect)


def by(answers: Answers, *columns: str, months: bool = False) -> Groups:
    """Groups by the text of columns of ours, those with the most alarms first, or months in their order."""
    parts = ", ".join(f"{column} AS c{i}" for i, column in enumerate(columns))
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    same = " AND ".join(f"cases.c{i} IS NOT DISTINCT FROM groups.c{i}" for i in range(len(columns)))
    rows = answers.rows(f"""
        WITH studies AS (
            SELECT {parts}, {STUDY} AS study, count(*) AS images, count(*) FILTER {where(JUDGED)} AS n,
                   count(*) FILTER {where(ALARM)} AS k,
                   count(*) FILTER {where(f"{JUDGED} AND label = 'inconclusive'")} AS u
            FROM answers GROUP BY ALL),
        groups AS (
            SELECT {names}, sum(images) AS images, sum(u) AS unsure, count(*) FILTER (WHERE n > 0) AS m, sum(n) AS n,
                   sum(k) AS k, sum(n * n) AS nn, sum(n * k) AS nk, sum(k * k) AS kk
            FROM studies GROUP BY {names}),
        cases AS (SELECT {parts}, count(DISTINCT {CASE}) AS d FROM answers WHERE {ALARM} GROUP BY ALL)
        SELECT images, unsure, m, n, k, nn, nk, kk, count(*) OVER (), sum(k) OVER (), sum(n) OVER (),
               coalesce((SELECT any_value(d) FROM cases WHERE {same}), 0), {names}
        FROM groups ORDER BY k DESC, n DESC, {names} LIMIT {MOST}""")  # noqa: S608
    if months:
        rows.sort(key=lambda row: (row[12] is None, str(row[12])))
    return Groups(tuple(_group(row[0], row[1], row[2:8], row[12:], row[11]) for row in rows), *_totals(rows))


def by_kind(answers: Answers) -> Groups:
    """Alarms by the method that raised them, of all images that were judged; one image may have several."""
    m, n, nn, images, unsure = map(_number, answers.rows(f"""
        SELECT count(*) FILTER (WHERE n > 0), sum(n), sum(n * n), sum(images), sum(u) FROM (
            SELECT {STUDY} AS study, count(*) AS images, count(*) FILTER {where(JUDGED)} AS n,
                   count(*) FILTER {where(f"{JUDGED} AND label = 'inconclusive'")} AS u
            FROM answers GROUP BY study)""")[0])  # noqa: S608
    rows = answers.rows(f"""
        WITH alarms AS (SELECT {STUDY} AS study, unnest(list_distinct(kinds)) AS kind FROM answers WHERE {ALARM}),
        sizes AS (SELECT {STUDY} AS study, count(*) AS n FROM answers
                  WHERE {JUDGED} AND {STUDY} IN (SELECT study FROM alarms) GROUP BY 1),
        counted AS (SELECT kind, study, count(*) AS k FROM alarms GROUP BY ALL)
        SELECT sum(k), sum(k * n), sum(k * k), kind FROM counted JOIN sizes USING (study)
        GROUP BY kind ORDER BY 1 DESC, kind""")  # noqa: S608
    groups = tuple(_group(images, unsure, (m, n, k, nn, nk, kk), (kind,)) for k, nk, kk, kind in rows)
    return Groups(groups[:MOST], len(groups), sum(group.alarms for group in groups), int(n))


def counts(answers: Answers) -> list[Count]:
    """A row a modality."""
    labels = ", ".join(f"count(*) FILTER {where(f'label = {label!r}')}"
                       for label in ("tampered", "inconclusive", "authentic", "unscanned"))
    return [Count(_named(row[0]), *row[1:]) for row in answers.rows(
        f"SELECT modality, count(*), {labels}, count(error) FROM answers GROUP BY modality "  # noqa: S608
        "ORDER BY count(*) DESC, modality")]


def worst(answers: Answers, most: int) -> list[dict[str, Any]]:
    """The alarms that are proof, then those with the highest scores."""
    names = ("unit", "path", "files", "score", "threshold", "reason", "kinds", "modality", "manufacturer", "model",
             "institution", "station", "study_date")
    return [dict(zip(names, row, strict=True)) for row in answers.rows(
        f"SELECT {', '.join(names)} FROM answers WHERE {ALARM} ORDER BY {PROOF} DESC, score DESC NULLS LAST, unit "  # noqa: S608
        f"LIMIT {most}")]


def cases_and_proofs(answers: Answers) -> tuple[int, int]:
    """Alarms of different contents, and alarms that are proof."""
    row = answers.rows(f"SELECT count(DISTINCT {CASE}), count(*) FILTER {where(PROOF)} FROM answers WHERE {ALARM}")[0]  # noqa: S608
    return int(row[0]), int(row[1])


def errors(answers: Answers, most: int) -> list[tuple[str, str, int, str]]:
    """What could not be judged, most frequent first: the sentence without the file's name, what it counts as, how
    often, and one of the files."""
    return answers.rows(f"""
        SELECT replace(error, path, '…') AS what, label, count(*) AS n, min(path) FROM answers
        WHERE error IS NOT NULL GROUP BY ALL ORDER BY n DESC, what LIMIT {most}""")  # type: ignore[return-value]  # noqa: S608


def unscanned(answers: Answers, most: int) -> tuple[list[tuple[str, int, list[str]]], int]:
    """What nobody looked at and is no error, most frequent first: the reason without the file's name, how often, and
    the first `NAMED` of the files; and how many there are in all."""
    rows = answers.rows(f"""
        SELECT replace(reason, path, '…') AS what, count(*) AS n, min(path, {NAMED}), sum(n) OVER () FROM answers
        WHERE error IS NULL AND label = 'unscanned' GROUP BY what ORDER BY n DESC, what LIMIT {most}""")  # noqa: S608
    return [(row[0], row[1], row[2]) for row in rows], int(rows[0][3]) if rows else 0


def set_aside(answers: Answers, most: int) -> tuple[list[dict[str, Any]], int]:
    """The first of the images that were set aside, and how many are."""
    rows = answers.rows(f"""
        SELECT path, attempts, error, count(*) OVER () FROM answers WHERE aside
        ORDER BY path, unit LIMIT {most}""")  # noqa: S608
    return [{"path": row[0], "attempts": row[1], "reason": row[2]} for row in rows], int(rows[0][3]) if rows else 0


def costs(answers: Answers) -> list[Cost]:
    """A row a modality."""
    return [Cost(_named(row[0]), *row[1:]) for row in answers.rows(
        "SELECT modality, count(*), sum(seconds), avg(seconds), approx_quantile(seconds, 0.5), "
        "approx_quantile(seconds, 0.95), max(seconds), max(peak_mb) FROM answers GROUP BY modality ORDER BY 3 DESC")]


def pace(answers: Answers) -> Pace | None:
    """None where no answer says when it was given."""
    first, last, seconds, pauses, workers = answers.rows(f"""
        WITH times AS (SELECT DISTINCT epoch(judged_at)::BIGINT AS t FROM answers WHERE judged_at IS NOT NULL),
        gaps AS (SELECT t, t - lag(t) OVER (ORDER BY t) AS gap FROM times)
        SELECT strftime(make_timestamp(min(t) * 1000000), '%Y-%m-%d %H:%M'),
               strftime(make_timestamp(max(t) * 1000000), '%Y-%m-%d %H:%M'),
               coalesce(sum(gap) FILTER (WHERE gap <= {PAUSE}), 0), count(*) FILTER (WHERE gap > {PAUSE}),
               (SELECT count(DISTINCT worker) FROM answers) FROM gaps""")[0]  # noqa: S608
    return None if first is None else Pace(first, last, float(seconds), int(pauses), int(workers))


def rate_of(a_second: float, what: str = "") -> str:
    """`2.03 images a second`, `40.50 images a minute`: in the unit in which there is one or more, if there is."""
    name, times = next(((name, times) for name, times in (("second", 1), ("minute", 60)) if a_second * times >= 1),
                       ("hour", 3600))
    return f"{a_second * times:,.2f} {what}{' ' if what else ''}a{'n' * (name == 'hour')} {name}"


def where(condition: str) -> str:
    return f"(WHERE {condition})"


def _group(images: float, unsure: float, sums: Sequence[Any], names: Sequence[str | None],
           cases: int = 0) -> Group:
    m, n, k, nn, nk, kk = map(_number, sums)
    low, high = interval((m, n, k, nn, nk, kk))
    return Group(tuple(map(_named, names)), int(images), int(n), int(k), int(unsure), low, high, int(cases))


def _named(text: str | None) -> str:
    """A text of the files', for people."""
    return clean(text or "", 80) or UNSAID


def _totals(rows: Sequence[tuple[Any, ...]]) -> tuple[int, int, int]:
    return (int(rows[0][8]), int(rows[0][9]), int(rows[0][10])) if rows else (0, 0, 0)


def _number(value: Any) -> float:
    return 0.0 if value is None or not math.isfinite(value) else float(value)
