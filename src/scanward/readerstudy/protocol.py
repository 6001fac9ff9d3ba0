"""What a study is to show to whom: a small TOML file."""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import decoding, open_file, shown

Kind = Literal["fake", "healthy", "unhealthy"]
Part = Literal["blind", "open"]
Shows = Literal["film", "pair", "scan"]
"""What one case of a study is: a mammogram, the CC and MLO views of a breast, or a chest CT."""
KINDS: tuple[Kind, ...] = get_args(Kind)
PARTS: tuple[Part, ...] = get_args(Part)
CHOICES: dict[Part, tuple[str, str]] = {"blind": ("healthy", "unhealthy"), "open": ("real", "fake")}
"""What a reader may answer."""
NOUNS: dict[Shows, str] = {"film": "film", "pair": "case", "scan": "scan"}
"""Of a case, for readers."""
TITLES: dict[Shows, str] = {"film": "Reading of mammograms", "pair": "Reading of mammograms",
                            "scan": "Reading of chest CT"}
OTHERS: dict[Shows, tuple[str, ...]] = {"film": ("margin_mm",), "pair": ("margin_mm",), "scan": ("bits", "longest")}
"""Settings that a study which shows this has not."""
LARGEST = 1 << 20
MOST = 100_000
"""Cases of a kind in one part."""
TELLING = re.compile(r"fake|forge|tamper|manipulat|\bsynthetic|inject|inpaint|\bc?gan\b|genuine|authentic|scanward",
                     re.IGNORECASE)
"""Words that would tell a reader of the blind part what the study is about."""
KNOWN: dict[str, type | tuple[type, ...]] = {
    "title": str, "readers": list, "seed": int, "share": str, "open_share": (int, float), "patients": str, "bits": int,
    "longest": int, "margin_mm": (int, float), "films": dict, "blind": dict, "open": dict}
WORDS: dict[type | tuple[type, ...], str] = {str: "a text", list: "a list", int: "a whole number",
                                             (int, float): "a number", dict: "a table"}


@dataclass(frozen=True)
class Protocol:
    """A study before it is drawn."""

    readers: tuple[str, ...]
    films: Mapping[Kind, tuple[Path, ...]]
    """Files and folders of each kind; those of fakes as `inject` and `remove` write them."""
    title: str = TITLES["film"]
    """Readers see it."""
    seed: int = 0
    share: Literal["all", "allotted"] = "all"
    """Whether every reader sees every film, or the films are dealt out among them."""
    open_share: float = 0.2
    """The part of the films that the open part gets, of kinds that have no count."""
    counts: Mapping[Part, Mapping[Kind, int]] = field(default_factory=dict)
    patients: Path | None = None
    """A CSV table with the columns `film` (or `file`) and `patient`; of pairs also `case` and `view`, where DICOM
    headers do not say."""
    bits: int = 8
    """Of a pixel in what readers are shown: 8 or 16."""
    longest: int = 4096
    """Pixels of a film's longer side, at most."""
    shows: Shows = "film"
    margin_mm: float = 5.0
    """How far from a scan's forged voxels a mark still is on them."""


def read_protocol(path: Path, shows: Shows = "film") -> Protocol:
    """The protocol in a TOML file, of a study that shows this; paths in it begin at the file's folder. Raises
    `InputError`."""
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        try:
            found = tomllib.loads(data.decode()) if len(data) <= LARGEST else None
        except ValueError as error:
            raise UnreadableError(f"{shown(path)} is no TOML ({str(error).rstrip('.')}); mend it there.") from None
    if found is None:
        raise UnreadableError(f"{shown(path)} is too large for a protocol; name a small TOML file.")
    return _Draft(path, found, shows).protocol()


@dataclass(frozen=True)
class _Draft:
    """A protocol file's values, not yet believed."""

    path: Path
    found: dict[str, Any]
    shows: Shows

    def protocol(self) -> Protocol:
        for key, value in self.found.items():
            known = [name for name in KNOWN if name not in OTHERS[self.shows]]
            if key not in known:
                raise self._bad(f"{key!r} is no setting of such a study; those are {', '.join(known)}")
            if not isinstance(value, KNOWN[key]) or isinstance(value, bool):
                raise self._bad(f"{key} must be {WORDS[KNOWN[key]]}, not {reprlib.repr(value)}")
        made = Protocol(self._readers(), self._films(), self._title(), self._whole("seed", 0, 0, 2**63),
                        self._one_of("share", ("all", "allotted")), self._share(), self._counts(), self._table(),
                        int(self._one_of("bits", (8, 16))), self._whole("longest", 4096, 64, 8192), self.shows,
                        self._margin())
        return made

    def _bad(self, why: str) -> ArgumentError:
        return ArgumentError(f"{shown(self.path)}: {why}.")

    def _title(self) -> str:
        title = " ".join(self.found.get("title", TITLES[self.shows]).split())
        if TELLING.search(title):
            raise self._bad(f"readers see the title, and {title!r} would tell them what to look for; choose another")
        if not 0 < len(title) <= 120:
            raise self._bad("the title needs 1 to 120 letters")
        return title

    def _readers(self) -> tuple[str, ...]:
        names = self.found.get("readers", ["Reader 1"])
        names = [" ".join(n.split()) if isinstance(n, str) else "" for n in names]
        if not names or not all(0 < len(n) <= 80 and n.isprintable() for n in names) or len(set(names)) < len(names):
            raise self._bad('readers is a list of different names, as in ["Reader 1", "Reader 2"]')
        return tuple(names)

    def _films(self) -> dict[Kind, tuple[Path, ...]]:
        tables = self._kinds("films")
        made: dict[Kind, tuple[Path, ...]] = {}
        for kind, value in tables.items():
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
                raise self._bad(f"films.{kind} is a list of files and folders")
            made[kind] = tuple(self.path.parent / n for n in names)
        if "fake" not in made or len(made) < 2:
            raise self._bad("[films] names folders for fake, and for healthy, unhealthy or both")
        return made

    def _counts(self) -> dict[Part, dict[Kind, int]]:
        counts: dict[Part, dict[Kind, int]] = {}
        for part in PARTS:
            given = self._kinds(part)
            for kind, count in given.items():
                if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST:
                    raise self._bad(f"{part}.{kind} must be a whole number of {NOUNS[self.shows]}s from 0 to {MOST:,}, "
                                    f"not {reprlib.repr(count)}")
                if count and kind not in self.found.get("films", {}):
                    raise self._bad(f"{part}.{kind} asks for {count}, but films.{kind} names no folder")
            counts[part] = given
        return counts

    def _kinds(self, key: str) -> dict[Kind, Any]:
        table = self.found.get(key, {})
        for kind in table:
            if kind not in KINDS:
                raise self._bad(f"[{key}] knows {', '.join(KINDS)}, and not {shown(kind)}")
        return table

    def _share(self) -> float:
        share = float(self.found.get("open_share", Protocol.open_share))
        if not 0 <= share <= 1:
            raise self._bad("open_share must lie between 0 and 1")
        return share

    def _margin(self) -> float:
        margin = float(self.found.get("margin_mm", Protocol.margin_mm))
        if not 0 <= margin <= 50:
            raise self._bad("margin_mm must lie between 0 and 50")
        return margin

    def _table(self) -> Path | None:
        return self.path.parent / self.found["patients"] if "patients" in self.found else None

    def _one_of(self, key: str, allowed: tuple[Any, ...]) -> Any:
        value = self.found.get(key, allowed[0])
        if value not in allowed:
            raise self._bad(f"{key} must be {' or '.join(map(str, allowed))}, not {value!r}")
        return value

    def _whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self.found.get(key, default)
        if not low <= value <= high:
            raise self._bad(f"{key} must lie between {low} and {high}")
        return int(value)
