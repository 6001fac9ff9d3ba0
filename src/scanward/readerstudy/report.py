"""`scanward study report`: tables as text, and everything as files."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scanward.bench.readers import BLIND
from scanward.disk import whole_folder
from scanward.readerstudy import tables
from scanward.readerstudy.averages import Averages, averages, averages_table
from scanward.readerstudy.folder import Truth, read_study
from scanward.readerstudy.log import State
from scanward.readerstudy.outcome import (
    INJECTED,
    REMOVED,
    Read,
    box_in,
    collect,
    described,
    distance_mm,
    located,
    on_it,
    view_of,
)
from scanward.readerstudy.protocol import PARTS

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula where a cell begins with it."""
STYLE = ("body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1d21;"
         "background:#fff}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}th,td{text-align:"
         "left;padding:.35rem .8rem;border-bottom:1px solid #d5d9de;vertical-align:top}thead th{color:#555b63}"
         "td{font-variant-numeric:tabular-nums}")


def report(folder: Path, output: Path | None = None) -> str:
    """The report of a study as Markdown, finished or not; with `output` that folder gets it as `report.md` and
    `report.html`, its figures as `report.json`, and every answer and mark as CSV. Raises `InputError`, also where the
    folder holds a report."""
    study = read_study(folder)
    reads, states = collect(study)
    averaged = averages(reads)
    text = _text(study.title, reads, states, study.readers, study.closed, averaged)
    if output is not None:
        files = {"answers.csv": _csv(_answers(reads)), "marks.csv": _csv(_marks(reads)), "report.md": text,
                 "report.html": _html(text, study.title),
                 "report.json": json.dumps(_finite(_facts(reads, states, study.readers, averaged)), indent=1,
                                           ensure_ascii=False) + "\n"}
        with whole_folder(output, last="report.json", taken=tuple(files)) as draft:
            for name, content in files.items():
                (draft / name).write_text(content, "utf-8", newline="")
    return text


def _text(title: str, reads: Sequence[Read], states: Sequence[State], readers: Sequence[str], closed: bool,
          averaged: Averages | str) -> str:
    blind, opened = ([read for read in reads if read.part == part] for part in PARTS)
    scans = any(read.truth.scan for read in reads)
    used = [part for part in PARTS if any(read.part == part for read in reads)]
    parts = [f"# {title}", " ".join(_progress(reads, states, readers, closed)), "## Blind part: healthy or unhealthy?",
             tables.blind_table(blind)]
    for first, second, published in (("healthy", INJECTED, None if scans else BLIND), ("unhealthy", REMOVED, None)):
        if any(described(read.truth) == second for read in blind):
            parts += [f"Real {first} cases against fakes ({second.removeprefix('fake: ')}):",
                      tables.tests_table(tables.comparison(blind, first, second), published)]
    parts += [tables.readers_table(blind, "blind")]
    if opened:
        parts += ["## Open part: real or fake?", tables.open_table(opened), tables.readers_table(opened, "open")]
    parts += ["## Where the fakes were marked", tables.located_table(reads), "## Agreement",
              tables.agreement_table(reads, used), "## Averaged over readers", averages_table(averaged),
              _foot(reads[0].truth)]
    return "\n\n".join(parts) + "\n"


def _foot(truth: Truth) -> str:
    text = ("Intervals of rates are the wider of Wilson's and that of drawing patients with replacement; all others "
            "draw patients, those of κ cases. χ², Fisher and power take readings as independent, as the report does; "
            "several readings of one case are not, and the resampled difference allows for that. A fake of the blind "
            "part has no right answer. The AUC is of the answers with their sureness; where nobody said how sure, it "
            "is the mean of sensitivity and specificity. ")
    if not truth.scan:
        return text + "Bar-on 2020: four radiologists, 80 films each, then 21."
    return text + (f"A mark is on what was forged where its voxel lies within {truth.margin_mm:g} mm of a forged one, "
                   "centre to centre. AFROC: how often the best mark on what was forged is rated above every mark on "
                   "a scan with nothing to find; what is not marked is rated below all.")


def _progress(reads: Sequence[Read], states: Sequence[State], readers: Sequence[str], closed: bool) -> Iterator[str]:
    answered = sum(read.answer is not None for read in reads)
    yield f"{answered} of {len(reads)} readings by {len(readers)} reader{'s' * (len(readers) > 1)}."
    yield "The study is closed." if closed else "The study is still open."
    for name, state in zip(readers, states, strict=True):
        lacking = [(part, len(state.missing(part))) for part in PARTS if state.missing(part)]
        if lacking:
            yield f"{name} lacks " + " and ".join(f"{n} of the {part} part" for part, n in lacking) + "."
        if state.ignored:
            yield f"{state.ignored} damaged lines of {name}'s log were passed over."


def _facts(reads: Sequence[Read], states: Sequence[State], readers: Sequence[str],
           averaged: Averages | str) -> dict[str, Any]:
    """Everything in numbers: pooled, and of each reader."""
    groups = {"pooled": list(reads), **{name: [r for r in reads if r.reader == name] for name in readers}}
    found: dict[str, Any] = {"readings": len(reads), "answered": sum(r.answer is not None for r in reads), "groups": {}}
    for name, own in groups.items():
        blind, opened = ([r for r in own if r.part == part] for part in PARTS)
        confusion = tables.open_confusion(opened)
        found["groups"][name] = {
            "blind": {kind: tables.rates([r for r in blind if described(r.truth) == kind], "unhealthy")
                      for kind in tables.blind_counts(blind)},
            "injected": _compared(blind, "healthy", INJECTED), "removed": _compared(blind, "unhealthy", REMOVED),
            "open": {"tn": confusion.tn, "fp": confusion.fp, "fn": confusion.fn, "tp": confusion.tp,
                     **{rate: getattr(confusion, rate) for rate in ("npv", "ppv", "tnr", "tpr", "accuracy")}}}
    found["agreement"] = {part: asdict(tables.agreement(reads, part)) for part in PARTS}
    found["averages"] = {"error": averaged} if isinstance(averaged, str) else averaged.estimates()
    found["progress"] = {name: {part: {"missing": len(state.missing(part)), "closed": state.closed.get(part)}
                                for part in PARTS} for name, state in zip(readers, states, strict=True)}
    return found


def _compared(reads: Sequence[Read], first: str, second: str) -> dict[str, Any]:
    found = tables.comparison(reads, first, second)
    return {"error": found} if isinstance(found, str) else asdict(found)


def _answers(reads: Sequence[Read]) -> Iterator[dict[str, Any]]:
    for read in reads:
        yield {"reader": read.reader, "part": read.part, "place": read.place, "film": read.film,
               "source": read.truth.source, "patient": read.truth.patient, "kind": read.truth.kind,
               "action": read.truth.action, "method": read.truth.method,
               "size_mm": " ".join(map(str, size)) if isinstance(size := read.truth.size_mm, list) else size,
               "answer": read.answer, "right": {True: 1, False: 0, None: None}[read.right],
               "confidence": read.reading.confidence, "marks": len(read.reading.marks) + len(read.reading.spots),
               **_placed(read), "seconds": round(read.reading.seconds, 1),
               "changes": read.reading.changes, "first": read.reading.first, "last": read.reading.last,
               "remark": read.reading.remark}


def _placed(read: Read) -> dict[str, Any]:
    """Where the marks lie on what was forged; empty of a real one."""
    place = located(read) if read.truth.forged else None
    if read.truth.scan:
        away = [distance_mm(spot, read.truth) for spot in read.reading.spots] if place else []
        return {"in_it": int(place.touched) if place else None, "within_margin": int(place.inside) if place else None,
                "nearest_mm": round(min(away), 2) if away else None}
    return {"centre_inside": int(place.inside) if place else None, "touched": int(place.touched) if place else None,
            "iou": round(place.iou, 4) if place else None}


def _marks(reads: Sequence[Read]) -> Iterator[dict[str, Any]]:
    for read in reads:
        whose = {"reader": read.reader, "part": read.part, "film": read.film, "kind": read.truth.kind,
                 "answer": read.answer}
        for number, mark in enumerate(read.reading.marks, 1):
            view = view_of(mark, read.views)
            box = (read.truth.box if view is None else box_in(view, read.truth)) or (None,) * 4
            yield {**whose, "mark": number, "shape": mark.shape, **({"view": view.name} if view else {}),
                   **dict(zip(("x0", "y0", "x1", "y1"), mark.box, strict=True)),
                   "width": read.size[0], "height": read.size[1],
                   **dict(zip(("forged_x0", "forged_y0", "forged_x1", "forged_y1"), box, strict=True))}
        for number, spot in enumerate(read.reading.spots, 1):
            millimetres = np.array(read.truth.to_mm) @ np.array([*spot.at, 1.0])
            forged = read.truth.forged
            yield {**whose, "mark": number, **dict(zip(("x", "y", "z"), spot.at, strict=True)),
                   **{f"{axis}_mm": round(float(v), 2) for axis, v in zip("xyz", millimetres, strict=True)},
                   "rating": spot.rating, "away_mm": round(distance_mm(spot, read.truth), 2) if forged else None,
                   "on_it": int(on_it(spot, read.truth)) if forged else None,
                   **dict(zip(("forged_x0", "forged_y0", "forged_z0", "forged_x1", "forged_y1", "forged_z1"),
                              read.truth.box or (None,) * 6, strict=True))}


def _csv(rows: Iterator[dict[str, Any]]) -> str:
    found = list(rows)
    text = io.StringIO()
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in found)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _html(text: str, title: str) -> str:
    """The Markdown of `_text` as a page: headings, tables and paragraphs are all that it has."""
    parts = []
    for block in text.strip().split("\n\n"):
        if block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            parts.append(f"<h{level}>{html.escape(block.lstrip('# '))}</h{level}>")
        elif block.startswith("|"):
            head, _, *body = [[html.escape(cell.strip().replace(r"\|", "|")) for cell in line.strip("|").split(" | ")]
                              for line in block.splitlines()]
            parts.append("<table><thead><tr>" + "".join(f"<th>{c}</th>" for c in head) + "</tr></thead><tbody>" +
                         "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in body) +
                         "</tbody></table>")
        else:
            parts.append(f"<p>{html.escape(block)}</p>")
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\""
            f"width=device-width, initial-scale=1\"><title>{html.escape(title)}</title><style>{STYLE}</style></head>"
            f"<body>\n{chr(10).join(parts)}\n</body></html>\n")
