"""Whether forgeries in watermarked chest CTs are found where those in plain ones are not, and what a watermark costs.

    python benchmarks/watermark.py judge SCAN... --keep DIR     forge, clean up, judge; rows go to DIR/rows.jsonl
    python benchmarks/watermark.py table --keep DIR             the same as Markdown
    python benchmarks/watermark.py harm SCAN... [--picture DIR] PSNR, noise, lungs, real nodules; pictures

The forgeries are those of `scanward bench ct`; in a marked scan the forger sees the marked scan alone, forges it and
cleans the whole of it up. Each is judged from the slices and pixels about it, everything else being the authentic
scan's through the same clean-up, with its reference and its expectations. `judge` needs the data (--data or
SCANWARD_DATA).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from purifier import loaded
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import inside
from scanward.bench import tables
from scanward.bench.ct import DIAMETERS, UNSEEN, Item
from scanward.bench.ct_changes import Change, changes
from scanward.bench.protection import called, chests, guarded, near
from scanward.bench.purify import PURIFICATIONS, Purify
from scanward.datasets.thorax import SCANS, Scan, read
from scanward.detectors.ct_self_reference.detect import (
    RIVAL,
    WINDOWS_MM,
    CtSelfReference,
    dense_logits,
    image_score,
    peaks,
    pooled,
)
from scanward.detectors.ct_self_reference.reference import measure
from scanward.disk import Journal
from scanward.image import Image
from scanward.metrics import auc_interval
from scanward.modality import traits
from scanward.protectors.watermark import Watermark
from scanward.protectors.watermark.measure import Expected, prediction_of, sums
from scanward.protectors.watermark.planes import key_for, planes_at
from scanward.protectors.watermark.read import missing_in, start_in
from scanward.report.heat import to_grey
from scanward.tiles import widened

KEY = b"a key for the bench, no secret!!"
ABOUT_MM = 14.0
"""About a forgery, what is judged anew."""
PLACES = 20
"""Of each of two drawings of a scan, where real nodules are planted."""
LEARNED = "learned purifier"
"""That of `benchmarks/purifier.py`, as a clean-up."""
DETECTOR = ("as it is", "JPEG 2000, 7:1", LEARNED)
"""Clean-ups after which the detector is asked, too."""
Volume = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclasses.dataclass
class Peaks:
    """A map's local maxima in an authentic scan, loudest first."""

    values: npt.NDArray[np.float32]
    places: npt.NDArray[np.intp]

    def beside(self, box: Box) -> npt.NDArray[np.float32]:
        """Those outside of a box."""
        inside = np.all([(self.places[:, n] >= part.start) & (self.places[:, n] < part.stop)
                         for n, part in enumerate(box)], 0)
        return self.values[~inside]


def peaks_in(values: Volume, spacing: tuple[float, float, float]) -> Peaks:
    """Of a map (z, y / 2, x / 2)."""
    found, places = peaks(np.where(np.isfinite(values), values, -99), spacing, 40)
    return Peaks(np.asarray(found), np.asarray(places).reshape(-1, 3))


class ByDetector:
    """The shipped detector's maps: mean logits at each of its windows."""

    name = "detector"

    def __init__(self, scan: Scan, pixels: Volume) -> None:
        self.made, self.scan = CtSelfReference(), scan
        reference = measure(pixels, scan.lungs, scan.image.spacing or (1.0,) * 3)
        if reference is None:
            raise SystemExit(f"{scan.name} is without noise.")
        self.reference = reference
        self.logits = self._logits(pixels, scan)
        self.peaks = [peaks_in(one, self.spacing) for one in self._maps(self.logits)]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Of the scan."""
        return self.scan.image.spacing or (1.0, 1.0, 1.0)

    def _logits(self, pixels: Volume, scan: Scan) -> Volume:
        return dense_logits(dataclasses.replace(scan.image, pixels=pixels), scan.lungs, self.reference, self.made.infer)

    def _maps(self, logits: Volume) -> list[Volume]:
        return [np.where(np.isfinite(logits), pooled(logits, self.spacing, side), -np.inf) for side in WINDOWS_MM]

    def score(self, loudest: Sequence[npt.NDArray[np.float32]]) -> float:
        """Of the image, from the peaks at each window."""
        features: list[float] = []
        for values in loudest:
            ranked = np.concatenate([np.sort(values)[::-1], np.full(RIVAL, -6.0)])
            features += [float(ranked[0]), float(ranked[0] - ranked[RIVAL - 1])]
        return image_score(tuple(features), self.made._weights[1])

    def anew(self, pixels: Volume, box: Box, small: Box) -> list[Volume]:
        """The maps of a box of the scan; `small` is the same box of the maps."""
        mask, step = np.zeros_like(self.scan.lungs.mask), self.scan.lungs.step
        part = (box[0], *(slice(int(one.start / s), int(np.ceil(one.stop / s)))
                          for one, s in zip(box[1:], step[1:], strict=True)))
        mask[part] = self.scan.lungs.mask[part]
        if not mask.any():
            return self._maps(self.logits[small])
        lungs = dataclasses.replace(self.scan.lungs, mask=mask)
        new = self._logits(pixels, dataclasses.replace(self.scan, lungs=lungs))[small]
        return self._maps(np.where(np.isfinite(new), new, self.logits[small]))


class ByWatermark:
    """The watermark's map."""

    name = "watermark"

    def __init__(self, scan: Scan, pixels: Volume) -> None:
        self.scan, self.spacing = scan, scan.image.spacing or (1.0, 1.0, 1.0)
        self.window = tuple(slice(0, n // 2 * 2) for n in scan.image.shape[1:])
        self.slices = range(scan.image.shape[0])
        how = prediction_of(pixels, scan.lungs)
        key = key_for(KEY)
        found = None if how is None else start_in(pixels, scan.lungs, self.spacing, how, key)
        self.there = how is not None and found is not None
        if how is None or found is None:
            return
        self.sums_in = partial(sums, planes=partial(planes_at, key, *found), how=how, lungs=scan.lungs,
                               spacing=self.spacing)
        self.seen = self.sums_in(pixels, window=self.window, slices=self.slices)
        self.expected = Expected(self.seen)
        missing, self.scatter = missing_in(self.seen, self.expected(self.seen), self.spacing)
        self.peaks = [peaks_in(missing, self.spacing)]

    def score(self, loudest: Sequence[npt.NDArray[np.float32]]) -> float:
        """The loudest place."""
        return float(loudest[0].max(initial=-99.0))

    def anew(self, pixels: Volume, box: Box, small: Box) -> list[Volume]:
        """The map of a box of the scan; `small` is the same box of the maps."""
        new = self.sums_in(pixels, window=box[1:], slices=range(box[0].start, box[0].stop))
        return [missing_in(new, self.expected(new), self.spacing, self.scatter)[0]]


Side = ByDetector | ByWatermark


def about(box: Sequence[slice], image: Image) -> tuple[Box, Box]:
    """A forgery's box and `ABOUT_MM` about it, from even pixels to even ones; and the same of maps."""
    wide = [widened(part, int(np.ceil(ABOUT_MM / step)), side)
            for part, step, side in zip(box, image.spacing or (1.0,) * 3, image.shape, strict=True)]
    rows, columns = (slice(one.start // 2 * 2, min(one.stop + one.stop % 2, side // 2 * 2))
                     for one, side in zip(wide[1:], image.shape[1:], strict=True))
    small = (wide[0], slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2))
    return (wide[0], rows, columns), small


def answer(side: Side, pixels: Volume, change: Change) -> dict[str, float]:
    """What one who judges makes of a forged scan: its score, the loudest place in the forgery by the first two maps."""
    box, small = about(change.box, side.scan.image)
    truth = change.mask(side.scan.image.shape)[box]
    near = ndimage.binary_dilation(truth[:, ::2, ::2], iterations=2)
    loudest, hits = [], []
    for new, known in zip(side.anew(pixels, box, small), side.peaks, strict=True):
        found = peaks_in(new, side.spacing)
        others = found.values[~near[tuple(found.places.T)]]
        hits.append(float(new[near].max(initial=-99.0)))
        loudest.append(np.concatenate([[hits[-1]], others, known.beside(small)]))
    return {"score": side.score(loudest), "hit": hits[0], "loudest": float(hits[0] >= loudest[0].max())}


def cleaned(change: Change, scan: Scan, base: Volume, purify: Purify) -> Volume:
    """The forged scan through a clean-up, which none of those used here carries from slice to slice."""
    made, slices = base.copy(), scan.image.pixels[change.box[0]].copy()
    slices[:, change.box[1], change.box[2]] = change.values
    made[change.box[0]] = purify(slices)
    return made


def judge(args: argparse.Namespace) -> None:
    """Rows of scans, plain and marked."""
    journal = args.keep / "rows.jsonl"
    args.keep.mkdir(parents=True, exist_ok=True)
    ways = {step: PURIFICATIONS[step] for step in args.steps}
    if args.purifier:
        ways[LEARNED] = loaded(args.purifier)
    done = {(r["scan"], r["epsilon"], r["step"]) for r in rows_in(journal)}
    for row in (one for one in SCANS if one.name in args.scans):
        scan = next(iter(read(row, args.data)))
        for epsilon in args.epsilons:
            image = scan.image if not epsilon else Watermark(epsilon=epsilon, key=KEY).protect(scan.image)
            marked = Scan(scan.name, image, scan.lungs)
            items = [Item(scan.name, attack, n) for attack in UNSEEN if attack not in row.known_to
                     for n in range(len(DIAMETERS))]
            forged = list(changes(items, marked, args.keep / f"{epsilon:g}", args.data))
            for step, purify in ways.items():
                if (scan.name, epsilon, step) not in done and (epsilon or step in DETECTOR):
                    for made in judged(marked, forged, epsilon, step, purify):
                        Journal(journal).append(json.dumps(made).encode())


def judged(scan: Scan, forged: Sequence[Change], epsilon: float, step: str, purify: Purify) -> list[dict[str, Any]]:
    """Of the authentic scan and of its forgeries, through a clean-up."""
    base = purify(scan.image.pixels)
    sides: list[Side] = [ByDetector(scan, base)] if step in DETECTOR else []
    if epsilon and (mark := ByWatermark(scan, base)).there:
        sides.append(mark)
    head = {"scan": scan.name, "epsilon": epsilon, "step": step}
    made = [{**head, "attack": "", "diameter": 0.0, **{side.name: {
        "score": side.score([one.values for one in side.peaks]),
        "peaks": side.peaks[0].values[:8].tolist()} for side in sides}}]
    for change in track(forged, f"{scan.name}, {epsilon:g} HU, {step}", console=Console(stderr=True)):
        pixels = cleaned(change, scan, base, purify)
        made.append({**head, "attack": change.item.attack, "diameter": change.diameter,
                     **{side.name: answer(side, pixels, change) for side in sides}})
    return made


def rows_in(journal: Path) -> list[dict[str, Any]]:
    """What was judged before."""
    return list(Journal(journal).values()) if journal.is_file() else []


def found_at_one(rows: Sequence[dict[str, Any]], name: str) -> tuple[list[bool], list[str], list[dict[str, Any]]]:
    """Which forgeries are louder than all but one authentic place a scan, whose scan each is, and their rows."""
    authentic = [row for row in rows if not row["attack"] and name in row]
    values = sorted((value for row in authentic for value in row[name]["peaks"]), reverse=True)
    limit = values[len(authentic)] if len(values) > len(authentic) else -99.0
    forged = [row for row in rows if row["attack"] and name in row]
    return [row[name]["hit"] > limit for row in forged], [row["scan"] for row in forged], forged


def either_at_one(rows: Sequence[dict[str, Any]]) -> tuple[list[bool], list[str]]:
    """The same of the two together, each allowed half of it."""
    authentic, limits = [row for row in rows if not row["attack"]], {}
    for name in ("detector", "watermark"):
        values = sorted((value for row in authentic for value in row.get(name, {"peaks": []})["peaks"]), reverse=True)
        limits[name] = values[len(authentic) // 2] if values else 0.0
    forged = [row for row in rows if row["attack"]]
    return [any(row[name]["hit"] > limits[name] for name in limits if name in row) for row in forged], [
        row["scan"] for row in forged]


def shown(args: argparse.Namespace) -> None:
    """Markdown: one line a bound, clean-up and judge; then by attack and by diameter."""
    groups: dict[tuple[float, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows_in(args.keep / "rows.jsonl"):
        groups[row["epsilon"], row["step"]].append(row)
    body, kinds = [], []
    for (epsilon, step), rows in groups.items():
        for name in ("detector", "watermark"):
            hits, owners, forged = found_at_one(rows, name)
            if not hits:
                continue
            authentic = [row for row in rows if not row["attack"] and name in row]
            score = [row[name]["score"] for row in (*authentic, *forged)]
            label = [False] * len(authentic) + [True] * len(forged)
            scans = [row["scan"] for row in (*authentic, *forged)]
            body.append([f"{epsilon:g} HU" if epsilon else "plain", step, name,
                         tables.estimate(*auc_interval(score, label, scans)), tables.rate(hits, owners),
                         tables.rate([row[name]["loudest"] > 0 for row in forged], owners),
                         ", ".join(f"{row[name]['score']:.2f}" for row in authentic)])
            if step == "as it is":
                kinds += [[f"{epsilon:g} HU" if epsilon else "plain", name, what, *(
                    f"{sum(part)}/{len(part)}" for size in (None, *DIAMETERS) for part in [[
                        hit for hit, row in zip(hits, forged, strict=True)
                        if (what in ("all", row["attack"])) and size in (None, row["diameter"])]])]
                    for what in ("all", *UNSEEN)]
        if all("watermark" in row and "detector" in row for row in rows):
            body.append([f"{epsilon:g} HU", step, "either, at half each", "–", tables.rate(*either_at_one(rows)), "–",
                         "–"])
    print(tables.table(["scan", "clean-up", "asked", "AUC of scans", "found at 1 false finding a scan",
                        "loudest place is it", "authentic scans' scores"], body), end="\n\n")
    print(tables.table(["scan", "asked", "attack", "found", *(f"{size:g} mm" for size in DIAMETERS)], kinds))


def harm(args: argparse.Namespace) -> None:
    """What a watermark does to scans."""
    body = []
    for row in (one for one in SCANS if one.name in args.scans):
        scan = next(iter(read(row, args.data)))
        for epsilon in args.epsilons:
            made = Watermark(epsilon=epsilon, key=KEY).protect(scan.image)
            slices = np.flatnonzero(scan.lungs.mask.any((1, 2)))
            lung = np.stack([inside(scan.lungs, int(z), scan.image.shape[1:]) for z in slices])
            change = (made.pixels - scan.image.pixels)[slices]
            before, after = (grain_of(image.pixels[slices], lung) for image in (scan.image, made))
            again = lungs_alone(made).mask
            dice = 2 * (again & scan.lungs.mask).sum() / (again.sum() + scan.lungs.mask.sum())
            rmse = float(np.sqrt(np.square(made.pixels - scan.image.pixels, dtype=np.float64).mean()))
            body.append([scan.name, f"{epsilon:g}", f"{np.abs(change).max():g}", f"{rmse:.2f}",
                         f"{20 * np.log10(4096 / rmse):.1f}", f"{change[lung].std():.1f}",
                         f"{before:.1f}", f"{after:.1f}", f"{change[lung].mean():+.2f}", f"{dice:.4f}"])
            body[-1] += calls(scan.name, Watermark(epsilon=epsilon, key=KEY), args.data)
            if args.picture:
                pictured(scan, made, args.picture / f"{scan.name}-{epsilon:g}.png")
    print(tables.table(["scan", "at most, HU", "largest change", "RMSE, HU", "PSNR, dB (4096 HU)", "in the lungs, HU",
                        "noise in the lungs before", "after", "mean of the change there", "lung mask, Dice",
                        "real nodules called nodules", "healthy places called nodules"], body))


def calls(name: str, protector: Watermark, data: Path | None) -> list[str]:
    """What the nodule judge calls a nodule of real ones of other patients, planted before the scan was marked, and of
    healthy places: in the plain scan, and in the marked one."""
    found = guarded(chests(PLACES, data, scan=name), protector.protect, everywhere=True)
    made = []
    for which in ("ill", "well"):
        plain, marked = (sum(sum(called(near(getattr(side(one), which), site) for site in one.chest.sites))
                             for one in found) for side in (lambda one: one.chest, lambda one: one))
        made.append(f"{plain} and {marked} of {sum(len(one.chest.sites) for one in found)}")
    return made


def grain_of(pixels: Volume, lung: npt.NDArray[np.bool_]) -> float:
    """Noise of lung, HU: the median over places of the deviation within 7×7 pixels, less what is smooth there."""
    fine = pixels - ndimage.gaussian_filter(pixels, (0, 2, 2))
    square = ndimage.uniform_filter(np.square(fine), (0, 7, 7))
    return float(np.sqrt(np.median(square[lung])))


def pictured(scan: Scan, made: Image, path: Path) -> None:
    """The middle slice in the lung window: plain, marked, and the change about grey, four times over."""
    z = int(scan.lungs.mask.sum((1, 2)).argmax())
    grey = [to_grey(image.pixels[z], *(traits("CT").window or (0, 1))) for image in (scan.image, made)]
    change = np.clip(128 + 4 * (made.pixels[z] - scan.image.pixels[z]), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.hstack([*grey, change]))


def main() -> None:
    """Parse the command line and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("judge", judge), ("table", shown), ("harm", harm)):
        kind = kinds.add_parser(name)
        kind.set_defaults(run=run)
        if run is not shown:
            kind.add_argument("scans", nargs="+")
            kind.add_argument("--epsilons", nargs="+", type=float, default=[0.0, 16.0] if run is judge else [16.0])
            kind.add_argument("--data", type=Path)
        if run is judge:
            kind.add_argument("--steps", nargs="*", choices=PURIFICATIONS, default=list(PURIFICATIONS))
            kind.add_argument("--purifier", type=Path, help=f"a file of benchmarks/purifier.py, as one more: {LEARNED}")
        if run is harm:
            kind.add_argument("--picture", type=Path)
        else:
            kind.add_argument("--keep", type=Path, required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
