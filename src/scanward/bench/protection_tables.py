"""The tables of `scanward bench protection`; each answer is kept, so that an interrupted bench goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
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
Key = tuple[str, ...]
"""What is asked: the table, the protection, and what else, such as the attacker."""


@dataclass
class Bench:
    """One run, over so many places a drawing of each scan; over `part` of the scans' slices (first, last), where that
    is given."""

    places: int
    data: Path | None
    keep: Path
    part: tuple[int, int] | None = None
    scans: tuple[str, ...] = (SCAN,)
    _drawn: tuple[str, list[Chest]] = ("", [])
    _made: dict[str, list[Guarded]] = field(default_factory=dict)

    def chests(self, scan: str) -> list[Chest]:
        """The drawings in one scan, held until those of another are asked for: they take gigabytes."""
        if self._drawn[0] != scan:
            self._made = {}
            self._drawn = scan, chests(self.places, self.data, self.part, scan)
        return self._drawn[1]

    @cached_property
    def protections(self) -> dict[str, Protect]:
        """The columns."""
        return protections()

    def guarded(self, scan: str, name: str) -> list[Guarded]:
        """Every drawing under one protection, made once a scan: the published generator takes minutes."""
        drawn = self.chests(scan)
        if name not in self._made:
            self._made[name] = guarded(drawn, self.protections[name], everywhere=name not in LOCAL)
        return self._made[name]

    def kept(self, scan: str, key: Key, compute: Callable[[], Any]) -> Any:
        """An answer from an earlier run of the same version and weights, or computed and kept; JSON values.
        """
        used = [(weights.entry(name).sha256, weights.entry(name).settings) for name in _weights_of(key)]
        name = hashlib.sha256(json.dumps([__version__, scan, self.places, self.part, used, key]).encode()).hexdigest()
        known = dict(Journal(self.keep).values())
        if name not in known:
            known[name] = compute()
            Journal(self.keep).append(json.dumps([name, known[name]]).encode())
        return known[name]

    def success(self) -> str:
        """Every attacker against every protection."""
        attackers = (*INJECTORS, *REMOVERS)
        asked = [("success", name, attacker, "as it is") for name in self.protections for attacker in attackers]
        rates = self._rates(asked)
        kinds = dict.fromkeys(WHITE_BOX, " (white-box)")
        if self.scans == (SCAN,):
            kinds |= dict.fromkeys(AT_HOME, " (trained on this scan)")
        head = [f"{attacker}{kinds.get(attacker, '')}" for attacker in attackers]
        return table(["protection", *head], [
            [name, *(rates["success", name, attacker, "as it is"] for attacker in attackers)]
            for name in self.protections])

    def purified(self) -> str:
        """The white-box attackers after each clean-up of the protected, and of the unprotected scan."""
        names = ["none", *(name for name in self.protections if name.startswith("ours"))]
        columns = [(name, attacker) for attacker in WHITE_BOX for name in names]
        rates = self._rates([("success", *column, way) for way in PURIFICATIONS for column in columns])
        return table(["clean-up", *(f"{attacker}, {name}" for name, attacker in columns)],
                     [[way, *(rates["success", *column, way] for column in columns)] for way in PURIFICATIONS])

    def likeness(self) -> str:
        """MITS-GAN's two tables, the published columns beside ours."""
        made = self._each([("likeness", name, *pair) for pair in PUBLISHED for name in self.protections])
        body = []
        for (part, pair), columns in PUBLISHED.items():
            for name, figures in zip(("MITS-GAN, published figures", "TAFIM, published figures"), columns, strict=True):
                body.append([f"{part}: real – {pair}", name, *map(str, figures), "–"])
            for name in self.protections:
                mean = Likeness.mean([Likeness(*row) for row in made["likeness", name, part, pair]])
                body.append([f"{part}: real – {pair}", name, f"{mean.rmse:.1f}", f"{mean.psnr:.2f}",
                             f"{mean.perceptual:.3f}", f"{mean.ssim:.4f}", f"{mean.largest:.0f}"])
        return table(["pair", "protection", "RMSE, HU", "PSNR, dB", f"{NAME} (published: LPIPS)", "SSIM",
                      "largest change, HU"], body)

    def harm(self) -> str:
        """Statistics of the lungs, and what the judge says of real nodules and healthy places."""
        made = self._each([key for name in self.protections for key in (
            ("harm", name), ("judge", name, "ill"), ("judge", name, "well"))])
        body = []
        for name in self.protections:
            mean, *ratios = (sum(column) / len(column) for column in zip(*made["harm", name], strict=True))
            body.append([name, f"{mean:+.2f}", *(f"{value:.3f}" for value in ratios),
                         *(self._rate(made["judge", name, which]) for which in ("ill", "well"))])
        return table(["protection", "mean HU in lung, change", "deviation, ratio", "noise power, ratio",
                      "of high frequencies, ratio", "overlap of lung masks", "real nodules called nodules",
                      "healthy places called nodules"], body)

    def _each(self, asked: Sequence[Key]) -> dict[Key, list[list[Any]]]:
        """Of every question the scans' answers; scan by scan, since drawings of one alone fit into memory."""
        made: dict[Key, list[list[Any]]] = {key: [] for key in asked}
        for scan in self.scans:
            for key in asked:
                made[key].append(self.kept(scan, key, partial(ANSWERS[key[0]], self, scan, *key[1:])))
        return made

    def _rates(self, asked: Sequence[Key]) -> dict[Key, str]:
        return {key: self._rate(found) for key, found in self._each(asked).items()}

    def _rate(self, found: list[list[bool]]) -> str:
        """The share of places with a yes, of each scan's. The interval resamples scans or, of one alone, the patients
        whose nodules lie at its places."""
        if len(self.scans) > 1:
            owners = [scan for scan, hits in zip(self.scans, found, strict=True) for _ in hits]
        else:
            owners = [site.nodule.patient for chest in self.chests(self.scans[0]) for site in chest.sites]
        return rate([hit for hits in found for hit in hits], owners)

    def _successes(self, scan: str, name: str, attacker: str, purify: str) -> list[bool]:
        return [hit for one in self.guarded(scan, name) for hit in successes(one, attacker, purify)]

    def _alike(self, scan: str, name: str, part: str, pair: str) -> list[float]:
        return list(astuple(Likeness.mean([_alike(one, part, pair) for one in self.guarded(scan, name)])))

    def _harm(self, scan: str, name: str) -> list[float]:
        made = [astuple(harm(one.chest.well, one.well)) for one in self.guarded(scan, name)]
        return [sum(column) / len(made) for column in zip(*made, strict=True)]

    def _judged(self, scan: str, name: str, which: str) -> list[bool]:
        return [hit for one in self.guarded(scan, name)
                for hit in called(near(getattr(one, which), site) for site in one.chest.sites)]


TABLES: dict[str, Callable[[Bench], str]] = {
    "success": Bench.success, "purified": Bench.purified, "likeness": Bench.likeness, "harm": Bench.harm}
ANSWERS: dict[str, Callable[..., list[Any]]] = {
    "success": Bench._successes, "likeness": Bench._alike, "harm": Bench._harm, "judge": Bench._judged}
"""How a question is answered, by its first word; of a bench, a scan, and the rest of the question."""


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


def _weights_of(key: Key) -> list[str]:
    """The weights that an answer depends on."""
    attackers = [name for name in key[2:] if name in (*INJECTORS, *REMOVERS)] or [TAMPERER]
    rows = [find(name, "attack") for name in attackers]
    if key[1] in PROTECTORS:
        rows.append(find(PROTECTORS[key[1]], "protector"))
    return ["nodule-judge", *(name for row in rows for name in row.weights)]
