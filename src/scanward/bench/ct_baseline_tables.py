"""Markdown tables of yardsticks for forged CT beside the detector: whole scans as `scanward bench ct` counts them, and
slices as HexMIL counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scanward.bench.ct import DIAMETERS, STEPS, UNSEEN, Row
from scanward.bench.ct_baselines import Answer
from scanward.bench.ct_changes import CHOSEN_ON
from scanward.bench.ct_tables import level_at, peak
from scanward.bench.tables import estimate, rate, table
from scanward.detectors.ct_self_reference.detect import RIVAL
from scanward.metrics import auc_interval, mean_interval

TITLES = {
    "npr": "NPR, local statistic",
    "covariance": "residual covariance (Splicebuster)",
    "one-step": "one reverse step (BTD)",
    "hexmil": "HexMIL, trained here", "ct-self-reference": "ct-self-reference, loudest 7 mm",
}
JUDGED = "ct-self-reference, as it judges"


def report(answers: Mapping[str, Sequence[Answer]], judged: Sequence[Row] = ()) -> str:
    """Every table, one under the other; `judged` are the rows of `scanward bench ct`."""
    tested = {TITLES[name]: [one for one in some if one.row.item.scan not in CHOSEN_ON
                             and one.row.item.attack in ("", *UNSEEN)] for name, some in answers.items()}
    rows = {title: [one.row for one in some] for title, some in tested.items()}
    if judged:
        rows[JUDGED] = [row for row in judged if row.item.step == STEPS[0] and row.item.attack in ("", *UNSEEN)]
    return "\n\n".join([_scans(rows, tested), _found(rows), _slices(tested), _sizes(tested)])


def _scans(rows: Mapping[str, Sequence[Row]], answers: Mapping[str, Sequence[Answer]]) -> str:
    head = ("method", "forgeries", "scan AUC", f"scan AUC, loudest less {RIVAL}th loudest", "found at 1 a scan",
            "loudest place is it", "IoU", "AUC of the known place")
    body = []
    for title, some in rows.items():
        forged, calm = _parted(some)
        members = [row.item.scan for row in forged]
        body.append([
            title, str(len(forged)), _auc([row.score for row in forged], [row.score for row in calm], forged, calm),
            _auc([_lead(row) for row in forged], [_lead(row) for row in calm], forged, calm),
            rate(_hits(forged, calm), members),
            rate([bool(row.peaks) and row.peaks[0][1] for row in forged], members),
            estimate(*mean_interval([row.overlap for row in forged], members)), _place(answers.get(title, ()))])
    return table(head, body)


def _parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Forgeries, and the authentic scans that they were made in."""
    own = {row.item.scan for row in rows if row.item.attack}
    return [row for row in rows if row.item.attack], [row for row in rows if not row.item.attack
                                                      and row.item.scan in own]


def _lead(row: Row) -> float:
    """By how much the loudest place is louder than the fifth."""
    loud = [value for value, _ in row.peaks[:RIVAL]] + [0.0] * RIVAL
    return loud[0] - loud[RIVAL - 1]


def _auc(forged: Sequence[float], calm: Sequence[float], some: Sequence[Row], others: Sequence[Row]) -> str:
    scans = [row.item.scan for row in (*some, *others)]
    return estimate(*auc_interval([*forged, *calm], [True] * len(forged) + [False] * len(calm), scans))


def _hits(forged: Sequence[Row], calm: Sequence[Row]) -> list[bool]:
    """Whether each is found at one false finding a scan, of the scans that they were made in."""
    own = {row.item.scan for row in forged}
    level = level_at(1.0, [row for row in calm if row.item.scan in own])
    return [peak(row) > level for row in forged]


def _place(answers: Sequence[Answer]) -> str:
    """Forged places against the same places of the untouched scan."""
    known = [(one.row, one.places) for one in answers if one.places is not None]
    if not known:
        return "–"
    rows = [row for row, _ in known]
    return _auc([forged for _, (forged, _) in known], [calm for _, (_, calm) in known], rows, rows)


def _found(rows: Mapping[str, Sequence[Row]]) -> str:
    body = []
    for attack in UNSEEN:
        cells = []
        for some in rows.values():
            forged, calm = _parted(some)
            hits = _hits([row for row in forged if row.item.attack == attack], calm)
            cells.append(f"{sum(hits)}/{len(hits)}")
        body.append([attack, *cells])
    return table(("found at 1 a scan", *rows), body)


def _slices(answers: Mapping[str, Sequence[Answer]]) -> str:
    head = ("method", "forged slices", "AUC, authentic slices at the same depth", "AUC, authentic slices at any depth")
    return table(head, [[title, str(len(_forged(some))), _same(some), _any(some)] for title, some in answers.items()])


def _sizes(answers: Mapping[str, Sequence[Answer]]) -> str:
    body = []
    for mm in DIAMETERS:
        some = [[one for one in each if one.row.diameter in (0.0, mm)] for each in answers.values()]
        body.append([f"{mm:g} mm", *(_same(each) for each in some)])
    return table(("slice AUC, same depth", *answers), body)


def _forged(answers: Sequence[Answer]) -> list[tuple[str, float, int]]:
    """Scan, score and number of every forged slice."""
    return [(one.row.item.scan, one.slices[z - one.first], z) for one in answers if one.row.item.attack
            for z in one.depths if 0 <= z - one.first < len(one.slices)]


def _same(answers: Sequence[Answer]) -> str:
    calm = {one.row.item.scan: one for one in answers if not one.row.item.attack}
    forged = _forged(answers)
    others = [(scan, calm[scan].slices[z - calm[scan].first]) for scan, _, z in forged]
    return _slice_auc([(scan, score) for scan, score, _ in forged], others)


def _any(answers: Sequence[Answer]) -> str:
    others = [(one.row.item.scan, score) for one in answers if not one.row.item.attack for score in one.slices]
    return _slice_auc([(scan, score) for scan, score, _ in _forged(answers)], others)


def _slice_auc(forged: Sequence[tuple[str, float]], calm: Sequence[tuple[str, float]]) -> str:
    both = [*forged, *calm]
    if not forged or not calm:
        return "–"
    return estimate(*auc_interval([score for _, score in both], [True] * len(forged) + [False] * len(calm),
                                  [scan for scan, _ in both]))
