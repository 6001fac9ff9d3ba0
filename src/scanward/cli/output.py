"""The folder that `scan -o` fills while results come in."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.cli.words import shown
from scanward.disk import Journal, whole_file
from scanward.errors import ArgumentError
from scanward.report.jsonl import json_line

if TYPE_CHECKING:
    from scanward.judging.scan import Result
    from scanward.report.html import Card

HEAT_SUFFIX = ".heat.png"
MOST_CARDS = 200
"""Images in one report: it carries its pictures, and a page of thousands would open in no browser."""


def prepare(folder: Path) -> Path:
    """Make `folder` and prove that files can be written in it; `ArgumentError` otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (FileExistsError, NotADirectoryError):
        raise ArgumentError(f"{folder} cannot be the output folder because a file has that name; choose another "
                            "one.") from None
    except OSError as error:
        raise ArgumentError(f"The output folder {folder} cannot be written to ({error.strerror}); choose another "
                            "one.") from error


def discard_if_empty(folder: Path) -> None:
    """Take back a folder that `prepare` made and nothing was written into."""
    with suppress(OSError):
        folder.rmdir()


class Names:
    """Gives each result a file name of its own, also where two images in different folders share theirs."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: Path) -> str:
        # Many file systems allow 255 bytes a name; the rest is for the suffix and a number.
        stem = os.fsdecode(os.fsencode(path.stem or path.name or "image")[:200])
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return name


class OutputFolder:
    """Heat maps and `verdicts.jsonl` appear as results come; `report.html` when it is closed.

    Only rendered cards are kept for the report, at most `MOST_CARDS`, tampered images before others; so memory does
    not grow with the images. Every verdict is in `verdicts.jsonl`.
    """

    def __init__(self, folder: Path) -> None:
        self._new = not folder.exists()
        self.folder = prepare(folder)
        self._names = Names()
        self._verdicts = Journal(folder / "verdicts.jsonl", synced=False)
        self._begun = False
        self._errors: list[str] = []
        self._cards: list[Card] = []
        self._judged = 0

    def add(self, result: Result) -> None:
        """Write what belongs to one judged image; results without a verdict leave only a line with the error."""
        from scanward.report.heat import heat_png
        from scanward.report.html import Case, render_card

        if result.verdict is None or result.image is None:
            self._errors.append(line_of(result))
            if self._begun:
                self._write_lines()
            return
        with whole_file(self.folder / f"{self._names.take(result.path)}{HEAT_SUFFIX}") as file:
            file.write(heat_png(result.image, result.verdict))
        self._write_lines(line_of(result))
        self._judged += 1
        if self._make_room(result.verdict.label == "tampered"):
            self._cards.append(render_card(Case(shown(result.path.name), result.image, result.verdict)))

    def _write_lines(self, line: str = "") -> None:
        """Append the errors that wait, and `line`; errors alone make no file."""
        path = self._verdicts.path
        try:
            if not self._begun:
                path.write_bytes(b"")
                self._begun = True
            self._verdicts.append(*"".join([*self._errors, line]).encode().splitlines())
        except OSError as error:
            raise ArgumentError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
        self._errors.clear()

    def _make_room(self, tampered: bool) -> bool:
        """Whether the report takes one more card; a tampered image takes the place of the last that is not."""
        if len(self._cards) < MOST_CARDS:
            return True
        spare = next((i for i in reversed(range(MOST_CARDS)) if self._cards[i].label != "tampered"), None)
        if tampered and spare is not None:
            del self._cards[spare]
            return True
        return False

    def close(self) -> Path | None:
        """Write the report of what is finished; its path, or None where nothing is."""
        if not self._cards:
            if self._new:
                discard_if_empty(self.folder)
            return None
        from scanward.report.html import write_report

        path = self.folder / "report.html"
        title = "Scanward report"
        if self._judged > len(self._cards):
            title += f": {len(self._cards)} of {self._judged} images; all are in verdicts.jsonl"
        write_report(self._cards, path, title)
        return path


def line_of(result: Result) -> str:
    """One JSON object on one line, with its line end: the verdict, or `path` and `error`."""
    if result.verdict is not None:
        return json_line(result.verdict)
    return json.dumps({"path": str(result.path), "label": result.label, "error": str(result.error)}) + "\n"
