"""The tables of `scanward bench protection`; each answer is kept, so that an interrupted bench goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from scanward import weights
from scanward.bench.likeness import Likeness, harm, likeness
from scanward.bench.perceptual import NAME
from scanward.bench.protection import (
    AT_HOME,
    INJECTORS,
    LOCAL,
    PROTECTORS,
    REMOVERS,
    SCAN,
    WHITE_BOX,
    Chest,
    Guarded,
    Protect,
    called,
    chests,
    forged,
    guarded,
    near,
    protections,
    successes,
)
from scanward.bench.purify import PURIFICATIONS
from scanward.bench.tables import rate, table
from scanward.disk import Journal
from scanward.methods import build, find
from scanward.version import __version__

PUBLISHED = {
    ("whole", "protected"): ((169.5, 27.95, .170, .983), (194.9, 21.70, .383, .945)),
    ("whole", "tampered"): ((198.3, 21.24, .226, .970), (233.8, 21.47, .391, .981)),
    ("square", "protected"): ((50.6, 26.68, .372, .992), (66.1, 18.85, .342, .972)),
    ("square", "tampered"): ((84.3, 11.29, .591, .740), (79.5, 18.51, .346, .866))}
"""RMSE, PSNR, LPIPS and SSIM of MITS-GAN and of TAFIM (Pasqualino et al. 2024, tables 1 and 2)."""
TAMPERER = WHITE_BOX[0]


@dataclass
class Bench:
    """One run, over so many places a drawing; over `part` of the scan's slices (first, last), where that is given."""

    places: int
    data: Path | None
    keep: Path
    part: tuple[int, int] | None = None
    _made: dict[str, list[Guarded]] = field(default_factory=dict)

    @cached_property
    def chests(self) -> list[Chest]:
        """The drawings."""
        return chests(self.places, self.data, self.part)

    @cached_property
    def protections(self) -> dict[str, Protect]:
        """The columns."""
        return protections()

    def guarded(self, name: str) -> list[Guarded]:
        """Every drawing under one protection, made once: the published generator takes minutes a scan."""
        if name not in self._made:
            self._made[name] = guarded(self.chests, self.protections[name], everywhere=name not in LOCAL)
        return self._made[name]

    def kept(self, key: list[str], compute: Callable[[], Any]) -> Any:
        """An answer from an earlier run of the same version and weights, or computed and kept; JSON values.

        `key` says what is asked: the table, the protection, and what else, such as the attacker.
        """
        used = [(weights.entry(name).sha256, weights.entry(name).settings) for name in _weights_of(key)]
        name = hashlib.sha256(json.dumps([__version__, SCAN, self.places, self.part, used, key]).encode()).hexdigest()
        known = dict(Journal(self.keep).values())
        if name not in known:
            known[name] = compute()
            Journal(self.keep).append(json.dumps([name, known[name]]).encode())
        return known[name]

    def success(self) -> str:
        """Every attacker against every protection."""
        body = []
        for name in self.protections:
            row = [name]
            for attacker in (*INJECTORS, *REMOVERS):
                row.append(self._rate(name, attacker, "as it is"))
            body.append(row)
        kinds = {**dict.fromkeys(WHITE_BOX, " (white-box)"), **dict.fromkeys(AT_HOME, " (trained on this scan)")}
        head = [f"{attacker}{kinds.get(attacker, '')}" for attacker in (*INJECTORS, *REMOVERS)]
        return table(["protection", *head], body)

    def purified(self) -> str:
        """The white-box attackers after each clean-up of the protected, and of the unprotected scan."""
        names = ["none", *(name for name in self.protections if name.startswith("ours"))]
        body = [[way, *(self._rate(name, attacker, way) for attacker in WHITE_BOX for name in names)]
                for way in PURIFICATIONS]
        return table(["clean-up", *(f"{attacker}, {name}" for attacker in WHITE_BOX for name in names)], body)

    def _rate(self, name: str, attacker: str, purify: str) -> str:
        hits = self.kept(["success", name, attacker, purify],
                         lambda: [hit for one in self.guarded(name) for hit in successes(one, attacker, purify)])
        return rate(hits, self.owners)

    def likeness(self) -> str:
        """MITS-GAN's two tables, the published columns beside ours."""
        body = []
        for (part, pair), columns in PUBLISHED.items():
            for name, figures in zip(("MITS-GAN, published figures", "TAFIM, published figures"), columns, strict=True):
                body.append([f"{part}: real – {pair}", name, *map(str, figures), "–"])
            for name in self.protections:
                made = self.kept(["likeness", name, part, pair], partial(self._alike, name, part, pair))
                body.append([f"{part}: real – {pair}", name, f"{made[0]:.1f}", f"{made[1]:.2f}", f"{made[2]:.3f}",
                             f"{made[3]:.4f}", f"{made[4]:.0f}"])
        return table(["pair", "protection", "RMSE, HU", "PSNR, dB", f"{NAME} (published: LPIPS)", "SSIM",
                      "largest change, HU"], body)

    def _alike(self, name: str, part: str, pair: str) -> list[float]:
        return list(astuple(Likeness.mean([_alike(one, part, pair) for one in self.guarded(name)])))

    def harm(self) -> str:
        """Statistics of the lungs, and what the judge says of real nodules and healthy places."""
        body = []
        for name in self.protections:
            made = self.kept(["harm", name], partial(self._harm, name))
            ill, well = (self.kept(["judge", name, which], partial(self._judged, name, which))
                         for which in ("ill", "well"))
            body.append([name, f"{made[0]:+.2f}", *(f"{value:.3f}" for value in made[1:]), rate(ill, self.owners),
                         rate(well, self.owners)])
        return table(["protection", "mean HU in lung, change", "deviation, ratio", "noise power, ratio",
                      "of high frequencies, ratio", "overlap of lung masks", "real nodules called nodules",
                      "healthy places called nodules"], body)

    def _harm(self, name: str) -> list[float]:
        made = [astuple(harm(one.chest.well, one.well)) for one in self.guarded(name)]
        return [sum(column) / len(made) for column in zip(*made, strict=True)]

    def _judged(self, name: str, which: str) -> list[bool]:
        return [hit for one in self.guarded(name)
                for hit in called(near(getattr(one, which), site) for site in one.chest.sites)]

    @cached_property
    def owners(self) -> list[str]:
        """Of every place the patient whose nodule lies there."""
        return [site.nodule.patient for chest in self.chests for site in chest.sites]


TABLES: dict[str, Callable[[Bench], str]] = {
    "success": Bench.success, "purified": Bench.purified, "likeness": Bench.likeness, "harm": Bench.harm}


def _alike(one: Guarded, part: str, pair: str) -> Likeness:
    """A chest's likeness: the whole scan through its places' slices, or the squares about its places."""
    sites, real = one.chest.sites, one.chest.well
    if part == "whole" and pair == "protected":
        return likeness(real.pixels, one.well.pixels, sorted({round(site.centre[0]) for site in sites}))
    attack = build(TAMPERER, "attack", noise="gaussian")
    if part == "whole":
        pixels = one.well.pixels.copy()
        for site in sites:
            made, centre = forged(one.well, site, attack)
            start = [round(c - d) for c, d in zip(site.centre, centre, strict=True)]
            box = tuple(slice(s, s + n) for s, n in zip(start, made.shape, strict=True))
            pixels[box] += made.pixels - one.well.pixels[box]
        return likeness(real.pixels, pixels, sorted({round(site.centre[0]) for site in sites}))
    found = []
    for site in sites:
        before, centre = near(real, site)
        after = near(one.well, site)[0] if pair == "protected" else forged(one.well, site, attack)[0]
        box = tuple(slice(max(0, round(c - 16 / s)), round(c + 16 / s) + 1)
                    for c, s in zip(centre, real.spacing or (1.0,) * 3, strict=True))
        found.append(likeness(before.pixels[box], after.pixels[box], [round(centre[0]) - box[0].start]))
    return Likeness.mean(found)


def _weights_of(key: list[str]) -> list[str]:
    """The weights that an answer depends on."""
    attackers = [name for name in key[2:] if name in (*INJECTORS, *REMOVERS)] or [TAMPERER]
    rows = [find(name, "attack") for name in attackers]
    if key[1] in PROTECTORS:
        rows.append(find(PROTECTORS[key[1]], "protector"))
    return ["nodule-judge", *(name for row in rows for name in row.weights)]
