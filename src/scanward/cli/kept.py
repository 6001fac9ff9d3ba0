"""What a scan into a folder keeps of each image, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.cli.table import Row
from scanward.disk import Journal
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.report.jsonl import plain

if TYPE_CHECKING:
    from scanward.formats import Source
    from scanward.judging.case import Terms
    from scanward.report.html import Card

RESUME = "resume.jsonl"
DETACHED = (".mhd", ".mha")
"""Files whose voxels may lie in another file: they are always scanned again."""


@dataclass(frozen=True)
class Entry:
    """What became of one image, or of what could not be scanned."""

    key: str
    """Where it really lies."""
    line: dict[str, Any]
    """Its object in `verdicts.jsonl`."""
    row: Row | None = None
    """None without a verdict."""
    sha256: str | None = None
    """Of what the verdict was made from; None where it is not kept."""
    heat: str | None = None
    """The heat map's file name."""
    dicom: str | None = None
    """The folder into which its DICOM results were written."""
    card: dict[str, Any] | None = None
    """What the report shows, where it has room."""


def fingerprint(source: Source, terms: Terms) -> str | None:
    """SHA-256 of everything that an image's verdict is made from; None where that cannot be told."""
    if source.path.name.lower().endswith(DETACHED):
        return None
    from scanward.protection.records import mark_beside
    from scanward.seals.finding import named_seals, other_seals
    from scanward.seals.objects import objects_of

    try:
        records = () if terms.key is None else tuple(terms.shelf(source))
    except InputError:
        return None
    sha = hashlib.sha256()
    try:
        heard = terms.key is not None or terms.trust is not None
        seals = (*named_seals(source), *other_seals(source), *objects_of(source, None, terms.objects)) if heard else ()
        for path in (*source.paths, *records, *seals, *filter(None, (mark_beside(source),))):
            if not path.is_file():  # a pipe never ends
                return None
            with path.open("rb") as file:
                sha.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return sha.hexdigest()


class Kept:
    """The journal of a folder: first what was asked, then an entry a line; of two with one key the later counts."""

    def __init__(self, folder: Path, asked: dict[str, Any]) -> None:
        """`ArgumentError` where the folder holds something else: a scan with other options, or files of that name."""
        self.path = folder / RESUME
        self._asked = asked
        self._journal = Journal(self.path, synced=False)
        self.begun = self.path.is_symlink() or (self.path.exists() and self.path.stat().st_size > 0)
        if not self.begun:
            for name in ("verdicts.jsonl", "report.html"):
                if (folder / name).exists() or (folder / name).is_symlink():
                    raise ArgumentError(f"{folder / name} belongs to something else and is not overwritten; choose "
                                        "another folder.")
            return
        before = self._first()
        for name, value in asked.items():
            if before.get(name) != value:
                raise ArgumentError(f"{folder} holds the results of a scan that differs in its {name}; choose another "
                                    "folder, or the same options to go on.")

    def _first(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                line = file.readline()
            found, self.begun = json.loads(line)["asked"], line.endswith(b"\n")
        except OSError as error:
            raise UnreadableError(f"{self.path} cannot be read ({error.strerror}); choose another folder.") from None
        except (ValueError, RecursionError, TypeError, KeyError):
            found = None
        if not isinstance(found, dict):
            raise ArgumentError(f"{self.path} belongs to something else and is not overwritten; choose another folder.")
        return found

    def add(self, *entries: Entry) -> None:
        """Keep entries; `ArgumentError` where they cannot be written."""
        first = [] if self.begun else [{"asked": self._asked}]
        lines = [json.dumps(one, default=plain).encode() for one in (*first, *map(dataclasses.asdict, entries))]
        try:
            self._journal.append(*lines)
        except OSError as error:
            raise ArgumentError(f"{self.path} cannot be written ({error.strerror}); free some space or choose another "
                                "folder.") from error
        self.begun = True

    def entries(self, *, cards: bool = False) -> Iterator[Entry]:
        """All of them as they came, from the disk, so that memory does not grow with the pictures; of cards only the
        label, unless they are asked for."""
        if not self.begun:
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return  # cut short, and the next entry takes its place
                try:
                    found = json.loads(line)
                    if not cards and found["card"] is not None:
                        found["card"] = {"label": found["card"]["label"]}
                    row = found["row"]
                    yield Entry(**{**found, "row": None if row is None else Row(**row)})
                except (ValueError, RecursionError, TypeError, KeyError):
                    continue  # the first line

    def latest(self) -> dict[str, Entry]:
        """The entry of each key that counts, without its card."""
        return {entry.key: entry for entry in self.entries()}


def cards_of(kept: Kept, most: int) -> list[Card]:
    """The report's cards: tampered images before others, at most so many."""
    from scanward.report.html import Card

    last = {entry.key: (number, entry.card) for number, entry in enumerate(kept.entries())}
    able = sorted((card["label"] != "tampered", number) for number, card in last.values() if card is not None)
    chosen = {number for _, number in able[:most]}
    return [Card(**entry.card) for number, entry in enumerate(kept.entries(cards=True))
            if number in chosen and entry.card is not None]
