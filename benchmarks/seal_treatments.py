"""Sealed images that nobody forged, after what may happen to them: how often one is `tampered`, or still known again.

Usage: python benchmarks/seal_treatments.py SERIES... [--slices 16] [--seed 0]

Of each series consecutive slabs are sealed, as they are and with what scanners pad, and treated. None of the treatments
is one of those that set the tolerance: noise is drawn anew, and JPEG 2000 comes from another encoder.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import jpeg_ls
import numpy as np
import numpy.typing as npt
import openjpeg.utils

from scanward.formats.content import read_content
from scanward.formats.sources import series_or_file
from scanward.metrics import wilson
from scanward.seals.consistent import held
from scanward.seals.reduced import Stored, reduced_of

Volume = npt.NDArray[np.generic]
PADDINGS = ("as it is", "round", "square")


def each(work: Callable[[npt.NDArray[np.float32]], Volume]) -> Callable[[Volume], Volume]:
    return lambda volume: np.stack([work(plane.astype(np.float32)) for plane in volume])


def jpeg2000(ratio: float) -> Callable[[Volume], Volume]:
    def one(plane: npt.NDArray[np.float32]) -> Volume:
        data = openjpeg.utils.encode_array(plane.astype(np.int16), compression_ratios=[ratio], codec_format=0,
                                           use_mct=False)
        return np.asarray(openjpeg.utils.decode(data))

    return each(one)


def jpegls(plane: npt.NDArray[np.float32]) -> Volume:
    low = plane.min()
    data = jpeg_ls.encode_array((plane - low).astype(np.uint16), lossy_error=2)
    return np.frombuffer(jpeg_ls.decode_buffer(data)[0], "<u2").reshape(plane.shape) + low


def half(down: int, up: int) -> Callable[[Volume], Volume]:
    def one(plane: npt.NDArray[np.float32]) -> Volume:
        height, width = plane.shape
        return np.rint(cv2.resize(cv2.resize(plane, (width // 2, height // 2), interpolation=down), (width, height),
                                  interpolation=up))

    return each(one)


def window(low: float, high: float) -> Callable[[Volume], Volume]:
    step = (high - low) / 255
    return lambda volume: (np.rint((np.clip(volume, low, high) - low) / step) * step + low).astype(np.float32)


def padded(volume: Volume, kind: str) -> Volume:
    """As scanners write what they did not reconstruct."""
    rows, columns = volume.shape[1:]
    y, x = np.ogrid[:rows, :columns]
    if kind == "round":
        outside = (y - rows / 2 + 0.5) ** 2 + (x - columns / 2 + 0.5) ** 2 > (min(rows, columns) / 2) ** 2
    elif kind == "square":
        outside = (np.minimum(y, rows - 1 - y) < 9) | (np.minimum(x, columns - 1 - x) < 9)
    else:
        return volume
    return np.where(outside, np.array(-2000, volume.dtype), volume)


def noise(sigma: float, seed: int) -> Callable[[Volume], Volume]:
    return lambda volume: np.rint(volume + np.random.default_rng(seed).normal(0, sigma, volume.shape))


def treatments(seed: int) -> dict[str, Callable[[Volume], Volume]]:
    ten = jpeg2000(10)
    return {
        "JPEG 2000 7:1": jpeg2000(7), "JPEG 2000 15:1": jpeg2000(15), "JPEG-LS near 2": each(jpegls),
        "8 bits, -1350 to 150 HU": window(-1350, 150), "8 bits, -1000 to 1000 HU": window(-1000, 1000),
        "half and back, linear": half(cv2.INTER_AREA, cv2.INTER_LINEAR),
        "half and back, cubic": half(cv2.INTER_LINEAR, cv2.INTER_CUBIC),
        "blur of .5": each(lambda plane: np.rint(cv2.GaussianBlur(plane, (0, 0), 0.5))),
        "noise of 10 HU": noise(10, seed),
        "blur of .5, JPEG 2000 10:1": lambda v: ten(each(lambda plane: cv2.GaussianBlur(plane, (0, 0), 0.5))(v)),
    }


def harsher() -> dict[str, Callable[[Volume], Volume]]:
    """What no seal allows for: the answer should be that it cannot be told."""
    return {
        "JPEG 2000 25:1": jpeg2000(25), "nearest half and back": half(cv2.INTER_NEAREST, cv2.INTER_LINEAR),
        "unsharp mask": each(lambda plane: plane + 0.5 * (plane - cv2.GaussianBlur(plane, (0, 0), 1.5))),
        "noise of 40 HU": noise(40, 1), "median of 3": each(lambda plane: cv2.medianBlur(plane, 3)),
        "moved by .3 pixels": each(lambda plane: cv2.warpAffine(plane, np.array([[1, 0, 0.3], [0, 1, 0.3]]),
                                                                plane.shape[::-1])),
        "times 1.05": lambda volume: volume.astype(np.float32) * np.float32(1.05),
    }


def slabs(path: Path, slices: int) -> Iterator[Stored]:
    content = read_content(series_or_file(path))
    whole = Stored(content.values, content.scale, content.steps, True)
    for start in range(0, len(content.values) - slices // 2, slices):
        yield dataclasses.replace(whole, values=content.values[start : start + slices])


def held_all(stored: Stored, seed: int, counts: dict[str, Counter[str]]) -> None:
    """Seal one slab, treat it in every way, and count what is said of it."""
    known = reduced_of(stored, np.random.default_rng(seed))
    for group, ways in (("allowed", treatments(seed)), ("not", harsher())):
        for name, treat in ways.items():
            answer = held(dataclasses.replace(stored, values=treat(stored.values), scale=((1.0, 0.0),)), known)
            kind = "consistent" if "consistent" in answer.reason else answer.label
            counts[f"{group}: {name}"][kind] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="+", type=Path)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--most", type=int, default=6, help="slabs of a series")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for path in given.series:
        for number, stored in zip(range(given.most), slabs(path, given.slices), strict=False):
            for kind in PADDINGS:
                held_all(dataclasses.replace(stored, values=padded(stored.values, kind)), given.seed + number, counts)
        print(f"{path.name}: done", file=sys.stderr, flush=True)
    print("| treatment | images | `tampered` | consistent | not to be told |\n|---|---|---|---|---|")
    for name, seen in counts.items():
        print(f"| {name} | {seen.total()} | {seen['tampered']} | {seen['consistent']} | {seen['inconclusive']} |")
    allowed = sum((seen for name, seen in counts.items() if name.startswith("allowed")), Counter())
    low, high = wilson(allowed["tampered"], allowed.total())
    print(f"\nallowed: {allowed['tampered']} of {allowed.total()} `tampered` (95 % interval {low:.4f} to {high:.4f}), "
          f"{allowed['consistent']} consistent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
