"""Markdown tables of the CT bench: every rate with its counts and a 95 % interval, which resamples scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scanward.bench.ct import DIAMETERS, STEPS, TRAINED, UNSEEN, Row
from scanward.bench.tables import estimate, rate, table
from scanward.detectors.ct_self_reference.kind import KINDS
from scanward.metrics import auc_interval, mean_interval

ALLOWED = (0.5, 1.0, 2.0)
"""False findings a scan."""
HEAD = ("scans", "image AUC", "called tampered", *(f"found at {k:g} a scan" for k in ALLOWED), "loudest place is it",
        "IoU")


def report(rows: Sequence[Row]) -> str:
    """Every table, one under the other."""
    calm = [row for row in rows if not row.item.attack and row.item.step == STEPS[0]]
    forged = [row for row in rows if row.item.attack]
    unseen = [row for row in forged if row.item.attack in UNSEEN]
    by_attack = {name: [row for row in forged if row.item.attack == name] for name in (*UNSEEN, *TRAINED)}
    by_attack["mean of those never trained on"] = unseen
    by_scan = {scan: [row for row in unseen if row.item.scan == scan]
               for scan in dict.fromkeys(row.item.scan for row in forged)}
    by_size = {f"{mm:g} mm": [row for row in unseen if row.diameter == mm] for mm in DIAMETERS}
    parts = [("attack", by_attack), ("scan, attackers never trained on", by_scan),
             ("diameter, attackers never trained on", by_size)]
    figures = [_figures(name, groups, calm) for name, groups in parts]
    return "\n\n".join([*figures, authentic(rows), kinds(rows), _cost(rows)])


def _figures(name: str, groups: dict[str, list[Row]], calm: Sequence[Row]) -> str:
    body = [[title, *_line(rows, calm)] for title, rows in groups.items() if rows]
    return table((name, *HEAD), body)


def _line(rows: Sequence[Row], calm: Sequence[Row]) -> list[str]:
    """The cells of a group against the authentic scans of its own scanners."""
    own = {row.item.scan for row in rows}
    against = [row for row in calm if row.item.scan in own]
    members = [row.item.scan for row in rows]
    both = [*rows, *against]
    score = estimate(*auc_interval([row.score for row in both], [bool(row.item.attack) for row in both],
                                   [row.item.scan for row in both]))
    found = [rate([peak(row) > level_at(k, calm) for row in rows], members) for k in ALLOWED]
    return [str(len(own)), score, rate([row.label == "tampered" for row in rows], members), *found,
            rate([bool(row.peaks) and row.peaks[0][1] for row in rows], members),
            estimate(*mean_interval([row.overlap for row in rows], members))]


def left_out(makers: Mapping[str, Mapping[str, Sequence[Row]]], shipped: Sequence[Row]) -> str:
    """Of each maker, by network: what it makes of that maker's scans; the `shipped` rows of the same images where they
    are known. Below, of each forgery whether both networks found it."""
    body, pairs = [], []
    for maker, networks in makers.items():
        asked = {row.item for rows in networks.values() for row in rows}
        if not asked:
            continue
        known = {**networks, "as shipped": [row for row in shipped if row.item in asked]}
        for name, rows in known.items():
            if {row.item for row in rows} == asked:
                calm, forged = _parted(rows)
                body.append([maker, name, *_line(forged, calm),
                             rate([row.label == "tampered" for row in calm], [row.item.scan for row in calm])])
        pairs.append([maker, *_both(list(networks.values()))])
    heads = (("scans of", "trained on", *HEAD, "authentic scans that alarm"),
             ("found at 1 a scan, in scans of", "by both", "by that of all makers", "by that without", "by neither"))
    return "\n\n".join(table(head, rows) for head, rows in zip(heads, (body, pairs), strict=True))


def _parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Authentic ones, and forged ones."""
    return [row for row in rows if not row.item.attack], [row for row in rows if row.item.attack]


def _both(networks: Sequence[Sequence[Row]]) -> list[str]:
    """How many forgeries two networks find at one false finding a scan: both, the first, the second, none."""
    found = []
    for rows in networks:
        calm, forged = _parted(rows)
        found.append({row.item: peak(row) > level_at(1.0, calm) for row in forged})
    first, second = found
    pairs = [(first[item], second[item]) for item in first]
    return [str(pairs.count(pair)) for pair in ((True, True), (True, False), (False, True), (False, False))]


def level_at(allowed: float, calm: Sequence[Row]) -> float:
    """The heat above which authentic scans have no more than so many false findings each, on average."""
    loud = sorted((value for row in calm for value, _ in row.peaks), reverse=True)
    number = int(np.floor(allowed * len(calm)))
    return loud[number] if number < len(loud) else 0.0


def peak(row: Row) -> float:
    """How loud the place of the forgery is; 0 where it is no peak."""
    return next((value for value, inside in row.peaks if inside), 0.0)


def authentic(rows: Sequence[Row]) -> str:
    """Labels of authentic scans, as they are and after each step."""
    calm = [row for row in rows if not row.item.attack]
    scans = list(dict.fromkeys(row.item.scan for row in calm))
    said = {(row.item.scan, row.item.step): f"{row.label} ({row.score:.3f})" for row in calm}
    return table(("authentic scan", *STEPS),
                 [[scan, *(said.get((scan, step), "–") for step in STEPS)] for scan in scans])


def kinds(rows: Sequence[Row]) -> str:
    """Of forgeries that were called tampered, whether the reason names what was done."""
    body = []
    for true in KINDS:
        ours = [row for row in rows if row.item.attack and row.label == "tampered"
                and (row.item.attack.endswith("-remove")) == (true == "taken away")]
        said = [next((kind for kind, words in KINDS.items() if words in row.reason), "") for row in ours]
        body.append([true, str(len(ours)), str(said.count(true)), str(len(said) - said.count(true) - said.count("")),
                     str(said.count(""))])
    return table(("what was done", "called tampered", "said", "something else said", "not said"), body)


def _cost(rows: Sequence[Row]) -> str:
    calm = [row for row in rows if not row.item.attack and row.item.step == STEPS[0]]
    return table(("scan", "seconds to judge"), [[row.item.scan, f"{row.seconds:.1f}"] for row in calm])
