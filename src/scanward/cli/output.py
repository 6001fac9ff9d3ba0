"""The folder that `scan -o` fills while results come in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from scanward.atomic import whole_file
from scanward.errors import ArgumentError

if TYPE_CHECKING:
    from scanward.pipeline import Result
    from scanward.report.html import Card

HEAT_SUFFIX = ".heat.png"


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

    Only a rendered card of each image is kept for the report, so memory does not grow with full-size pixels.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = prepare(folder)
        self._names = Names()
        self._lines: IO[str] | None = None
        self._cards: list[Card] = []

    def add(self, result: Result) -> None:
        """Write what belongs to one judged image; results without a verdict leave only a line with the error."""
        from scanward.report.html import Case, render_card

        if self._lines is None:
            self._lines = open(self.folder / "verdicts.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        self._lines.write(line_of(result) + "\n")
        self._lines.flush()
        if result.verdict is None or result.image is None:
            return
        from scanward.report.heat import heat_png

        with whole_file(self.folder / f"{self._names.take(result.path)}{HEAT_SUFFIX}") as file:
            file.write(heat_png(result.image, result.verdict))
        self._cards.append(render_card(Case(result.path.name, result.image, result.verdict)))

    def close(self) -> Path | None:
        """Write the report of what is finished; its path, or None where nothing is."""
        if self._lines is not None:
            self._lines.close()
        if not self._cards:
            return None
        from scanward.report.html import write_report

        path = self.folder / "report.html"
        write_report(self._cards, path, "Scanward report")
        return path


def line_of(result: Result) -> str:
    """One JSON object on one line: the verdict, or `path` and `error`."""
    if result.verdict is not None:
        return json.dumps(result.verdict.to_json(), allow_nan=False)
    return json.dumps({"path": str(result.path), "error": str(result.error)})
