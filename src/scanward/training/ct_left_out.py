"""`scanward bench ct leave-one-out`: each maker's scanners judged by a network that was trained without them.

Two networks of the same short recipe judge the same forgeries: one was trained and calibrated on all that there is, the
other on what is left without the maker: none of its scans, no variant of them, none of their tissue in other scans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from rich.console import Console
from rich.progress import track
from safetensors.numpy import load_file

from scanward.bench.ct import Row, added, judged, kept
from scanward.bench.ct_changes import authentic, changes, wanted
from scanward.datasets.films import data_folder
from scanward.datasets.thorax import MAKERS, SCANS, Scan, place_of, read, scans
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.disk import read_json, write_json
from scanward.errors import UnreadableError
from scanward.judging.case import Case
from scanward.judging.judge import alone
from scanward.training.ct_bank import Bank
from scanward.training.ct_calibrate import settings_of
from scanward.training.ct_self_reference import FILE, PRESETS, banks_of, fit_network
from scanward.verdict import Verdict

ALL, WITHOUT = "all makers", "without this one"
SETTINGS = "settings.json"


@dataclass(frozen=True)
class LeftOut:
    """What two networks made of the same images of one maker's scanners."""

    maker: str
    rows: dict[str, list[Row]]
    """By network, `ALL` and `WITHOUT`."""


def outcomes(data: Path | None, out: Path, preset: str = "ablation",
             makers: Sequence[str] = MAKERS) -> Iterator[LeftOut]:
    """One maker after the other, of whose scans there are some to test on; `UnreadableError`, before anything is
    trained, where there are none of any. Whatever is finished under `out` is used again."""
    tested = {row.maker for row in SCANS if row.split == "test" and place_of(row.name, data)}
    if not tested.intersection(makers):
        raise UnreadableError(f"{data_folder(data)} holds no chest CT of the split test, in ct or ct-more; name the "
                              "data folder with --data or SCANWARD_DATA.")
    networks = Networks(data, out, preset)
    for maker in (one for one in makers if one in tested):
        made = {ALL: networks.without(""), WITHOUT: networks.without(maker)}
        yield LeftOut(maker, {name: _rows(maker, folder, data, out) for name, folder in made.items()})


class Networks:
    """Trained where they are asked for; scans are read only if one has to be."""

    def __init__(self, data: Path | None, out: Path, preset: str) -> None:
        self.data, self.out, self.preset = data, out, PRESETS[preset]

    @cached_property
    def known(self) -> list[Scan]:
        """What all of them together are trained on."""
        return list(scans("train", self.data))

    @cached_property
    def held(self) -> list[Scan]:
        """What thresholds are chosen on."""
        return list(scans("val", self.data))

    @cached_property
    def banks(self) -> list[Bank]:
        """Of all scans; each network takes the windows that it may see."""
        return banks_of(self.out / "banks", self.known, self.preset)

    def without(self, maker: str) -> Path:
        """The folder of a network that was trained and calibrated without a maker's scans; with all, where none is
        named."""
        folder = self.out / (f"no-{maker.lower()}" if maker else "all")
        if not (folder / SETTINGS).is_file():
            known, others = ([scan for scan in every if not maker or scan.maker != maker]
                             for every in (self.known, self.held))
            arrays = fit_network(self.banks, known, self.preset, folder)
            settings = settings_of(partial(CtSelfReference, arrays), others, folder / "val.json", self.preset.counts)
            write_json(folder / SETTINGS, settings)
        return folder


def _rows(maker: str, folder: Path, data: Path | None, out: Path) -> list[Row]:
    """What a network makes of a maker's authentic scans, and of forgeries in them by attackers that none was trained
    on."""
    made_by = hashlib.sha256((folder / FILE).read_bytes() + (folder / SETTINGS).read_bytes()).hexdigest()[:8]
    keep = folder / f"{maker.lower()}-{made_by}.jsonl"
    detector = CtSelfReference(load_file(folder / FILE), read_json(folder / SETTINGS))
    done = {row.item: row for row in kept(keep)}
    rows: list[Row] = []
    for row in (one for one in SCANS if one.split == "test" and one.maker == maker):
        for scan in read(row, data):
            every = [authentic(scan), *changes(wanted(row), scan, out / "changes", data)]
            for change in track(every, f"{maker}, {row.name}", console=Console(stderr=True)):
                if change.item not in done:
                    image = change.applied(scan.image) if change.item.attack else scan.image
                    made = judged(change.item, image, change.mask(image.shape), change.diameter,
                                  partial(_verdict, detector))
                    done[change.item] = added(keep, made)
                rows.append(done[change.item])
    return rows


def _verdict(detector: CtSelfReference, case: Case) -> Verdict:
    return alone(case.image, detector.detect(case.image))
