"""`scanward bench`: protocols run over the films they were frozen on, tables and curves written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scanward import __version__, methods, pipeline, weights
from scanward.atomic import whole_file
from scanward.bench import tables
from scanward.bench.confusion import Confusion
from scanward.bench.films import Film, mias
from scanward.bench.mammography import PROTOCOLS, items_of
from scanward.bench.measure import run
from scanward.bench.outcome import Estimate, Outcome, confusion_table, figures_table, mean_of
from scanward.bench.plots import curves
from scanward.cli.codes import CLEAN
from scanward.cli.output import prepare
from scanward.errors import ArgumentError, MissingExtraError

LEFT_OUT = "leave-one-out"
"""The one protocol that trains networks first (an hour and more), and is run only where it is named."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    protocols: tuple[str, ...]
    methods: tuple[str, ...]
    data: Path | None
    output: Path
    workers: int


def run_bench(request: Request) -> int:
    """Run the protocols, one after the other; answers are kept, so that an interrupted bench goes on."""
    chosen = request.protocols or tuple(PROTOCOLS)
    for name in chosen:
        if name not in (*PROTOCOLS, LEFT_OUT):
            raise ArgumentError(f"No mammography protocol is called {name!r}; choose from: "
                                f"{', '.join((*PROTOCOLS, LEFT_OUT))}.")
    for method in request.methods:
        pipeline.check_method(method)
    if request.workers < 1:
        raise ArgumentError("--workers takes 1 or more.")
    films = mias("test", request.data)
    prepare(request.output)
    for protocol in chosen:
        parts: list[str] = []
        report: dict[str, Any] = {"protocol": protocol, "version": __version__, "methods": {}}
        for method in request.methods if protocol != LEFT_OUT else (methods.DEFAULT,):
            outcomes = _outcomes(protocol, method, films, request)
            parts.append(_markdown(protocol, method, outcomes))
            report["methods"][method] = {"weights_sha256": list(pipeline.weights_of(method)),
                                         "groups": [outcome.to_json() for outcome in outcomes]}
            curves(outcomes, f"{protocol}, {method}", request.output / f"{protocol}-{method}.png")
        report["attacks"] = _attack_weights(protocol) if protocol != LEFT_OUT else {}
        _write(request.output / f"{protocol}.md", "\n".join(parts))
        _write(request.output / f"{protocol}.json", json.dumps(report, indent=1))
        print("\n".join(parts), flush=True)
    return CLEAN


def _outcomes(protocol: str, method: str, films: list[Film], request: Request) -> list[Outcome]:
    if protocol == LEFT_OUT:
        return _left_out(request)
    groups = PROTOCOLS[protocol]
    items = {group.title: items_of(protocol, group, films) for group in groups}
    every = list(dict.fromkeys(item for some in items.values() for item in some))
    made_by = "".join(sha[:6] for sha in (*pipeline.weights_of(method), *_attack_weights(protocol).values()))
    rows = run(partial(pipeline.one_detector, method), every, films, workers=request.workers,
               keep=request.output / "answers" / f"{protocol}-{method}-{made_by}.jsonl", title=f"{protocol}, {method}")
    by_item = {row.item: row for row in rows}
    image, heat = pipeline.thresholds(method)
    return [Outcome(group.title, tuple(by_item[item] for item in items[group.title]), image, heat, group.published)
            for group in groups]


def _left_out(request: Request) -> list[Outcome]:
    try:
        from scanward.training.left_out import outcomes
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"Leaving families out needs {missing.name}, which is not installed; install "
                                "scanward[train].") from missing
    return list(outcomes(request.data, request.output / LEFT_OUT, request.workers))


def _attack_weights(protocol: str) -> dict[str, str]:
    names = {attack.split()[0] for group in PROTOCOLS[protocol] for attack in group.attacks}
    return {name: weights.entry(name).sha256 for name in sorted(names) if methods.find(name, "attack").weights}


def _markdown(protocol: str, method: str, outcomes: list[Outcome]) -> str:
    figures: dict[str, dict[str, Estimate]] = {outcome.title: outcome.figures() for outcome in outcomes}
    if len(outcomes) > 1:
        figures["mean over the groups"] = mean_of(outcomes)
    parts = [f"## {protocol}, {method}", "", figures_table(figures), ""]
    parts += ["False alarms per 1,000 authentic images, and detections:", "", _counts_table(outcomes), ""]
    for outcome in outcomes:
        if outcome.published:
            parts += [f"{outcome.title}:", "", confusion_table(outcome), ""]
    return "\n".join(parts)


def _counts_table(outcomes: list[Outcome]) -> str:
    body = []
    for outcome in outcomes:
        counts: Confusion = outcome.confusion
        owners = tables.groups(outcome.rows)
        called = [(row, who, row.conclusive and row.score >= outcome.threshold)
                  for row, who in zip(outcome.rows, owners, strict=True)]
        found = [(hit, who) for row, who, hit in called if row.item.attack]
        calm = counts.fp + counts.tn
        low, high = outcome.to_json()["false alarms per 1000"][1:]
        body.append([outcome.title, tables.rate([hit for hit, _ in found], [who for _, who in found]),
                     f"{1000 * counts.fp / max(1, calm):.0f} ({counts.fp}/{calm}; {low:.0f}–{high:.0f})"])
    return tables.table(["group", "detected", "false alarms per 1,000"], body)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())
