"""Forgeries of sealed series, as they are and hidden under changes of the whole: what is said of them.

Usage: python benchmarks/seal_forgeries.py SERIES... [--slices 12] [--each 4]

Lesions added, taken away, copied, pasted from an earlier sealed version and from another scan, of 4 to 25 mm and 40 to
900 HU at random places (what changes less on average there is left to `seal_attacks.py`), and nodules whose excess is
taken back block by block (the attack that the woven pattern of earlier versions let through); each plain, under a
chessboard of 2 HU (which raised the tolerance of earlier versions), and through JPEG 2000 at 10:1. Slices swapped,
turned, taken out, doubled; headers and seals edited. `authentic` is a failure in every row.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from seal_attacks import ball
from seal_treatments import jpeg2000

from scanward.errors import InputError
from scanward.formats.content import Content, read_content
from scanward.formats.sources import series_or_file
from scanward.seals.check import check
from scanward.seals.record import Seal, from_json, seal_of
from scanward.seals.reduced import Reduced, Stored, reduced_of
from scanward.seals.signing import signer_of

Volume = npt.NDArray[np.float32]
SITE = signer_of(secrets.token_bytes(32))
LEAST = 40.0
"""HU that a forgery changes by on average, where it changes anything."""
BLOCK = (2, 8, 8)
"""Voxels of the blocks that the woven pattern of earlier versions had, about."""


def lesions(volume: Volume, steps: tuple[float, ...], other: Volume, earlier: Volume,
            draw: np.random.Generator) -> Iterator[tuple[str, Volume]]:
    """One forgery of each kind at a random place of the body."""
    body = np.argwhere(ndimage.uniform_filter(volume, (1, 9, 9)) > -900)
    at = tuple(float(v) for v in body[draw.integers(len(body))])
    mm, hu = float(draw.uniform(4, 25)), float(np.exp(draw.uniform(np.log(40), np.log(900))))
    mask = ball(volume.shape, steps, at, mm)
    yield "added", volume + hu * mask
    smooth = ndimage.median_filter(volume, (1, 15, 15))
    yield "removed", volume * (1 - mask) + (smooth - 60) * mask
    moved = tuple(int(v) for v in draw.integers([0, 20, 20], [1, 120, 120]))
    yield "copied", volume * (1 - mask) + np.roll(volume, moved, (0, 1, 2)) * mask
    yield "from an earlier version", volume * (1 - mask) + earlier * mask
    yield "from another scan", volume * (1 - mask) + other * mask
    yield "compensated in blocks", evened(volume, ball(volume.shape, steps, at, float(draw.uniform(4, 6))) * 800)


def evened(volume: Volume, added: Volume) -> Volume:
    """With a nodule whose excess every block takes back in the voxels that it does not touch."""
    forged = volume + added
    for start in zip(*(index.ravel() for index in np.indices(
            [-(-n // b) for n, b in zip(volume.shape, BLOCK, strict=True)])), strict=True):
        part = tuple(slice(s * b, (s + 1) * b) for s, b in zip(start, BLOCK, strict=True))
        free = added[part] < 30
        if added[part].max() > 1 and free.any():
            excess = (forged[part] - volume[part]).sum()
            forged[part] = np.where(free, np.maximum(forged[part] - excess / free.sum(), -1024), forged[part])
    return forged


HIDDEN: dict[str, Callable[[Volume], Volume]] = {
    "plain": np.rint, "chessboard of 2 HU": lambda v: np.rint(v + 4 * (np.indices(v.shape).sum(0) % 2) - 2),
    "JPEG 2000 10:1": lambda v: jpeg2000(10)(np.rint(v)),
}


def slices(content: Content) -> Iterator[tuple[str, Content]]:
    """The voxels that were sealed, in other places."""
    values, middle = content.values, len(content.values) // 2
    order = list(range(len(values)))
    order[middle], order[middle + 1] = order[middle + 1], order[middle]
    yield "slices swapped", dataclasses.replace(content, values=values[order])
    turned = values.copy()
    turned[middle] = values[middle, :, ::-1]
    yield "a slice turned", dataclasses.replace(content, values=turned)
    yield "all slices turned", dataclasses.replace(content, values=values[:, :, ::-1])
    keep = [n for n in range(len(values)) if n != middle]
    yield "a slice taken out", dataclasses.replace(
        content, values=values[keep], corners=tuple(content.corners[n] for n in keep),
        names=tuple(content.names[n] for n in keep))
    twice = values.copy()
    twice[middle] = values[middle + 1]
    yield "a slice doubled", dataclasses.replace(content, values=twice)


def headers(content: Content) -> Iterator[tuple[str, Content]]:
    """The voxels that were sealed, said to be another's or elsewhere."""
    name = {"PatientName": "Another^Name", "PatientID": "X"}
    yield "another patient", dataclasses.replace(content, identity=content.identity | name)
    y, x = content.spacing or (1.0, 1.0)
    yield "another spacing", dataclasses.replace(content, spacing=(y * 1.1, x * 1.1))
    yield "another slope", dataclasses.replace(content, scale=((1.05, 0.0),))
    moved = tuple((a, b, c + 5) for a, b, c in content.corners)
    yield "another position", dataclasses.replace(content, corners=moved)


def edits(text: str) -> Iterator[str]:
    """A seal with each of its fields altered."""
    whole = json.loads(text)
    for field, value in whole["body"].items():
        other = json.loads(text)
        other["body"][field] = value[::-1] if isinstance(value, str) and value != value[::-1] else \
            [*value, *value[:1]] if isinstance(value, list) and value else {"a": "b"} if isinstance(value, dict) else 7
        yield json.dumps(other)
    yield json.dumps(whole | {"signature": whole["signature"][::-1]})


def run(content: Content, other: Volume, each: int, seed: int, counts: dict[str, Counter[str]]) -> None:
    """All forgeries of one slab."""
    draw = np.random.default_rng(seed)
    seal, text = sealed(content)
    stored = Stored(content.values, content.scale, content.steps, True)
    copy = reduced_of(stored, draw)
    volume = np.stack(list(stored))
    earlier = np.rint(volume + ndimage.gaussian_filter(draw.normal(0, 800, volume.shape), (0, 3, 3))).astype(np.float32)
    steps = tuple(step or 1.0 for step in content.steps)
    for _ in range(each):
        for name, forged in lesions(volume, steps, other, earlier, draw):
            change = np.abs(forged - volume)
            if change[change > 1].mean() < LEAST:
                continue
            for under, hide in HIDDEN.items():
                values = hide(forged).clip(-32768, 32767).astype(np.int16)
                tell(f"{name}, {under}", dataclasses.replace(content, values=values, scale=((1.0, 0.0),)), seal, copy,
                     counts)
    mean = np.mean([np.rint(volume + draw.normal(0, 5, volume.shape)) for _ in range(8)], 0)
    added = 200 * ball(volume.shape, steps, tuple(n / 2 for n in volume.shape), 8)
    tell("added to the mean of eight versions", dataclasses.replace(
        content, values=np.rint(mean + added).astype(np.int16), scale=((1.0, 0.0),)), seal, copy, counts)
    for name, changed in (*slices(content), *headers(content)):
        tell(name, changed, seal, copy, counts)
    for edited in edits(text):
        try:
            from_json(edited, "edited")
            counts["a field of the seal edited"]["authentic"] += 1
        except InputError:
            counts["a field of the seal edited"]["refused"] += 1


def sealed(content: Content) -> tuple[Seal, str]:
    seal = seal_of(content, "series", "2026-01-01T00:00:00+00:00", SITE)
    return seal, seal.to_json(SITE)


def tell(name: str, content: Content, seal: Seal, copy: Reduced, counts: dict[str, Counter[str]]) -> None:
    answer = check(content, seal, [SITE.certificate], copy=lambda: copy)
    kind = "consistent" if "consistent with" in answer.reason else answer.label
    counts[name][kind] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", type=Path)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--each", type=int, default=4)
    given = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    contents = []
    for path in given.series:
        whole = read_content(series_or_file(path))
        start = max(0, (len(whole.values) - given.slices) // 2)
        part = slice(start, start + given.slices)
        contents.append(dataclasses.replace(whole, values=whole.values[part], corners=whole.corners[part],
                                            names=whole.names[part]))
    for number, content in enumerate(contents):
        other = contents[number - 1].values.astype(np.float32)
        fitting = np.resize(other, (len(content.values), *other.shape[1:]))
        run(content, fitting, given.each, number, counts)
        print(f"{given.series[number].name}: done", file=sys.stderr, flush=True)
    print("| attack | tries | `authentic` | consistent | `inconclusive` otherwise | `tampered` | refused |\n"
          "|---|---|---|---|---|---|---|")
    for name, seen in counts.items():
        print(f"| {name} | {seen.total()} | {seen['authentic']} | {seen['consistent']} | {seen['inconclusive']} | "
              f"{seen['tampered']} | {seen['refused']} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
