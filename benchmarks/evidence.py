"""Whether keyed evidence finds forgeries, raises no false alarm, and does no harm.

    python benchmarks/evidence.py forgeries     what `verify` says of forgeries, as they are and processed afterwards
    python benchmarks/evidence.py alarms        protected scans that nobody forged, through JPEG 2000
    python benchmarks/evidence.py treatments    what unforged scans are called after the same treatments
    python benchmarks/evidence.py fidelity      how little it changes, seconds, and whether it is undone

A forgery counts as undetected where it convinces the nodule judge and `verify` neither marks its place nor says that
the evidence is missing. Answers go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from ct_gan import ROUNDS, Stage, stage
from rich.console import Console
from rich.progress import track
from scipy import ndimage
from scipy.stats import gumbel_l
from skimage.metrics import structural_similarity

from scanward import methods
from scanward.bench import tables
from scanward.bench.judge import NoduleJudge, NoduleJudgeB
from scanward.bench.purify import PURIFICATIONS, jpeg2000
from scanward.datasets.chests import PARTS, SHARP, THIN, scan_of
from scanward.datasets.films import mias
from scanward.image import Image
from scanward.protectors.base import Protected
from scanward.protectors.seal import Answer, Record, unweave, verify, weave
from scanward.protectors.seal.pattern import Grid

Volume = npt.NDArray[np.float32]
Judge = NoduleJudge | NoduleJudgeB
KEY = bytes(range(32))
APART, NEAR = 45.0, 3.0
"""Millimetres between places that are forged at once, and within which one counts as found."""


AFTERWARDS = {name: PURIFICATIONS[name] for name in ("as it is", "JPEG 2000, 7:1", "blurred, σ .5", "blurred, σ 1",
                                                     "noise, 10 HU", "resampled")}


def smooth(place: Stage, host: Image, number: int) -> Image:
    """A smooth nodule added: the forgery that carries a pattern along."""
    lump = 700.0 * np.exp(-0.5 * (_away(host, place.centres[number]) / (0.3 * _mm(place, number))) ** 2)
    return dataclasses.replace(host, pixels=np.rint(host.pixels + lump).astype(np.float32))


def copied(place: Stage, host: Image, number: int) -> Image:
    """The ball there replaced by the one 25 mm further along the width."""
    step = round(25 / (host.spacing or (1.0,) * 3)[2])
    way = -step if place.centres[number][2] > host.shape[2] / 2 else step
    inside = _away(host, place.centres[number]) < max(5.0, 0.6 * _mm(place, number))
    return dataclasses.replace(host, pixels=np.where(inside, np.roll(host.pixels, way, 2), host.pixels))


def inpainted(place: Stage, host: Image, number: int) -> Image:
    """The ball there filled smoothly, under the scan's own spread of noise."""
    inside = _away(host, place.centres[number]) < max(5.0, 0.7 * _mm(place, number))
    z, y, x = np.nonzero(inside)
    box = np.s_[z.min():z.max() + 1, max(0, y.min() - 12):y.max() + 13, max(0, x.min() - 12):x.max() + 13]
    part, hole = host.pixels[box].copy(), inside[box]
    ring = ndimage.binary_dilation(hole, iterations=3) & ~hole
    noise = np.random.default_rng(number).normal(0, part[ring].std(), part.shape)
    pixels = host.pixels.copy()
    pixels[box] = np.where(hole, np.rint(np.median(part[ring]) + noise), part)
    return dataclasses.replace(host, pixels=pixels)


def _away(image: Image, centre: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    z, y, x = (((np.arange(n) - c) * s) ** 2
               for n, c, s in zip(image.shape, centre, image.spacing or (1.0,) * 3, strict=True))
    return np.sqrt(z[:, None, None] + y[:, None] + x)


def _mm(place: Stage, number: int) -> float:
    return place.real[number].diameter * place.real[number].voxel


def apart(place: Stage) -> list[int]:
    """Places of the stage that can be forged at once."""
    chosen: list[int] = []
    for number, centre in enumerate(place.centres):
        if all(np.linalg.norm((np.array(centre) - place.centres[other]) * (place.image.spacing or (1.0,) * 3)) > APART
               for other in chosen):
            chosen.append(number)
    return chosen


def forgeries(args: argparse.Namespace) -> None:
    """Each kind at all places of a scan at once: what it looks like to the judge, and what `verify` says of it."""
    rows: dict[tuple[str, str], list[tuple[bool, bool, bool, bool]]] = {}
    for name, kind, attackers in ROUNDS:
        place, judge = stage(args, name), kind()
        numbers = apart(place)
        ill = place.image
        for number in numbers:
            ill = dataclasses.replace(place.image, pixels=place.genuine(number, ill).pixels)
        ways: list[tuple[str, Image, bool, Callable[[Image, int], Image]]] = [
            ("a smooth nodule added", place.image, True, lambda host, n, p=place: smooth(p, host, n)),
            ("copied over it", ill, False, lambda host, n, p=place: copied(p, host, n)),
            ("inpainted", ill, False, lambda host, n, p=place: inpainted(p, host, n))]
        for attacker in attackers:
            inject, remove = methods.build(attacker, "attack"), methods.build(f"{attacker}-remove", "attack")
            ways += [(f"injected by {attacker}", place.image, True,
                      lambda host, n, p=place, a=inject: p.forged(a, n, host)),
                     (f"removed by {attacker}-remove", ill, False,
                      lambda host, n, p=place, a=remove: p.forged(a, n, host))]
        for label, host, wanted, way in track(ways, name, console=Console(stderr=True)):
            made = weave(host, KEY)
            forged = made.image
            for number in numbers:
                forged = way(forged, number)
            forged = dataclasses.replace(made.image, pixels=np.rint(forged.pixels))
            for after, process in AFTERWARDS.items():
                final = dataclasses.replace(made.image, pixels=process(forged.pixels).astype(np.float32))
                rows.setdefault((label, after), []).extend(_told(place, judge, numbers, final, made, wanted))
    body = [[label, after, _rate([row[0] for row in of]), _rate([row[1] for row in of]),
             _rate([row[2] for row in of]), _rate([row[3] for row in of])]
            for (label, after), of in rows.items()]
    every = [row for of in rows.values() for row in of]
    body.append(["all", "", *(_rate([row[column] for row in every]) for column in range(4))])
    print(tables.table(["forgery", "afterwards", "convinces the judge", "place marked within 3 mm",
                        "neither marked nor called inconclusive", "and convinces the judge"], body))


def _told(place: Stage, judge: Judge, numbers: list[int], final: Image, made: Protected[Record],
          wanted: bool) -> list[tuple[bool, bool, bool, bool]]:
    """Of each place: whether the judge is convinced, whether it is marked, and whether it passes."""
    answer = verify(final, KEY, made.record.salt, made.record)
    called = judge.of_cubes(torch.cat([place.cube(final, n) for n in numbers])) >= judge.threshold
    told = []
    for number, ill in zip(numbers, called, strict=True):
        marked = _marked(answer, final, place.centres[number])
        passes = not marked and answer.label != "inconclusive"
        told.append((bool(ill) == wanted, marked, passes, passes and bool(ill) == wanted))
    return told


def _marked(answer: Answer, image: Image, centre: tuple[float, float, float]) -> bool:
    """Whether an altered block lies within `NEAR` of the place."""
    return bool(((answer.map() == 1) & (_away(image, centre) <= NEAR)).any())


def alarms(args: argparse.Namespace) -> None:
    """Protected scans that nobody forged, lossless and through JPEG 2000, each under a key of its own."""
    body = []
    for name in (SHARP, THIN, *PARTS):
        image = scan_of(name, args.data)
        lossless: list[str] = []
        lossy: list[Answer] = []
        drift: list[float] = []
        for number in track(range(args.trials), name, console=Console(stderr=True)):
            key = number.to_bytes(32, "big")
            made = weave(image, key, number.to_bytes(16, "big"))
            lossless.append(verify(made.image, key, made.record.salt, made.record).label)
            final = dataclasses.replace(made.image, pixels=jpeg2000(made.image.pixels))
            lossy.append(verify(final, key, made.record.salt, made.record))
            drift.append(_drift(final, made.record))
        labels = [answer.label for answer in lossy]
        body.append([name, _rate([label == "authentic" for label in lossless]),
                     _rate([label != "tampered" for label in labels]),
                     _rate([label == "tampered" for label in labels]), f"{max(drift):.0f}",
                     _tail([answer.margin for answer in lossy])])
    print(tables.table(["scan", "lossless: authentic", "JPEG 2000, 7:1: no block marked", "called tampered",
                        "largest drift of a block's mean, HU", "weakest window's margin, deviations; chance of an "
                        "alarm a scan"], body))


def _tail(margins: list[float]) -> str:
    """Mean and least margin, and the chance of one below zero by a Gumbel distribution (of smallest values) through
    them, with its 97.5th percentile over resamples."""
    values, rng = np.array(margins), np.random.default_rng(0)

    def chance(some: npt.NDArray[np.float64]) -> float:
        return float(gumbel_l.cdf(0, *gumbel_l.fit(some)))

    high = np.percentile([chance(rng.choice(values, len(values))) for _ in range(200)], 97.5)
    return f"{values.mean():.1f}, at least {values.min():.1f}; {chance(values):.1e} (up to {high:.1e})"


def _rate(hits: list[bool]) -> str:
    return tables.rate(hits, [str(number) for number in range(len(hits))])


def treatments(args: argparse.Namespace) -> None:
    """Protected scans that nobody forged, after each of the treatments."""
    body = []
    for name in (SHARP, THIN, PARTS[0], "lidc-idri-0002"):
        made = weave(scan_of(name, args.data), KEY)
        for after, process in AFTERWARDS.items():
            final = dataclasses.replace(made.image, pixels=process(made.image.pixels).astype(np.float32))
            answer = verify(final, KEY, made.record.salt, made.record)
            body.append([name, after, answer.label, f"{answer.altered.sum()} of {answer.altered.size}"])
    print(tables.table(["scan", "afterwards", "answer", "blocks marked"], body))


def _drift(image: Image, record: Record) -> float:
    grid: Grid = record.grid
    return float(np.abs(grid.means(image.pixels) - (record.means * record.step + record.offset)).max())


def fidelity(args: argparse.Namespace) -> None:
    """Scans and films, before and after."""
    body = []
    films = [film.read() for film in mias("test", args.data)[:4]]
    for image in (*(scan_of(name, args.data) for name in (SHARP, THIN, *PARTS)), *films):
        started = time.perf_counter()
        made = weave(image, KEY)
        woven = time.perf_counter() - started
        started = time.perf_counter()
        label = verify(made.image, KEY, made.record.salt, made.record).label
        verified = time.perf_counter() - started
        again = np.array_equal(unweave(made.image, KEY, made.record).pixels, image.pixels)
        change = made.image.pixels - image.pixels
        full = 4096.0 if image.modality == "CT" else image.largest + 1
        middle = image.shape[0] // 2
        body.append([Path(image.name).name, " × ".join(map(str, image.shape)), f"{np.abs(change).max():.0f}",
                     f"{20 * np.log10(full / np.sqrt((change**2).mean())):.1f}",
                     f"{structural_similarity(image.pixels[middle], made.image.pixels[middle], data_range=full):.5f}",
                     f"{len(made.record.to_json(KEY)) / 1e6:.2f}", f"{woven:.1f}", f"{verified:.1f}",
                     f"{label}, {'undone exactly' if again else 'NOT UNDONE'}"])
    print(tables.table(["image", "size", "largest change", "PSNR, dB", "SSIM", "record, MB", "weave, s", "verify, s",
                        "verified"], body))


def main() -> None:
    """Parse the command line and run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["forgeries", "alarms", "treatments", "fidelity"])
    parser.add_argument("--places", type=int, default=60)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    {"forgeries": forgeries, "alarms": alarms, "treatments": treatments, "fidelity": fidelity}[args.table](args)


if __name__ == "__main__":
    main()
