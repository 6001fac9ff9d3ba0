"""How many digital films it takes: one network per number of them, trained alike and judged on digital films of
validation.

    python benchmarks/learning_curve.py runs/bank-1700 --begin WEIGHTS.safetensors [--steps 250] [-o runs/curve]

The bank is the first of `scanward train self-reference --preset digital`; each network goes on from WEIGHTS on it, but
for the digital films beyond its number. Needs the data (--data or SCANWARD_DATA). Goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from scanward.bench.measure import Row, run
from scanward.bench.protocol import ATTACKS, controls, forgeries
from scanward.bench.tables import alarms, image_auc, pointing, table
from scanward.datasets.films import Film, digital, mias
from scanward.detectors.self_reference import SelfReference
from scanward.detectors.self_reference.network import SelfReferenceNet
from scanward.training.bank import Bank, Pool, pool_of
from scanward.training.loop import Schedule, fit
from scanward.training.self_reference import PRESETS, arrays_of, batch, loss_of

COUNTS = (0, 5, 15, 44)


def without_most(pool: Pool, digital_films: Iterable[str], count: int) -> Pool:
    """The pairs that are not of digital films, or of one of the first `count` in a fixed, drawn order."""
    left_out = np.random.default_rng(0).permutation(sorted(digital_films))[count:].tolist()
    return [(bank, i) for bank, i in pool if bank.about[i]["film"] not in left_out]


def trained(pool: Pool, begin: Path, steps: int, out: Path) -> dict[str, np.ndarray]:
    net = SelfReferenceNet()
    net.load_state_dict({key: torch.from_numpy(values) for key, values in load_file(begin).items()}, strict=False)
    fit(net, lambda model, rng: loss_of(model, *batch(pool, PRESETS["digital"], [], rng)), Schedule(steps, 6e-4),
        out.with_suffix(".ckpt"), seed=1, resume=True, title=out.name, frozen_norms=True)
    return arrays_of(net)


def judged(arrays: dict[str, np.ndarray], films: list[Film], masses: list[Film], keep: Path) -> list[str]:
    items = [*controls(films, (("none", 0.0),)), *forgeries(films, ATTACKS)]
    rows: list[Row] = run(partial(SelfReference, arrays, {}), items, films, keep=keep, workers=2, title=keep.stem,
                          donors=masses)
    forged = [row for row in rows if row.item.attack]
    loudest = max(row.score for row in rows if not row.item.attack)
    return [image_auc(rows), alarms(forged, float(np.nextafter(loudest, 2))), pointing(forged)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--begin", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/curve"))
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    films, masses = digital("val", asked.data), mias("val", asked.data)
    pool, ours = pool_of(Bank(asked.bank)), {film.name for film in digital("train", asked.data)}
    names = {bank.about[i]["film"] for bank, i in pool} & ours
    lines = []
    for count in asked.counts:
        some = without_most(pool, names, count)
        label = f"digital-{count}"
        arrays = trained(some, asked.begin, asked.steps, asked.output / label)
        line = [str(count), str(len(some)), *judged(arrays, films, masses, asked.output / f"{label}.jsonl")]
        lines.append(line)
        print(" | ".join(line), flush=True)
    print(table(["digital films", "pairs", "AUC", "above the loudest authentic film", "pointing"], lines))


if __name__ == "__main__":
    main()
