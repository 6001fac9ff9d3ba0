"""The folder that `scan -o` fills while results come in."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.cli.kept import Entry, Kept, cards_of
from scanward.cli.table import row_of
from scanward.cli.words import shown
from scanward.disk import held, whole_file
from scanward.errors import ArgumentError
from scanward.mark import is_marked
from scanward.report.jsonl import json_line

if TYPE_CHECKING:
    from scanward.formats import Source
    from scanward.formats.sources import Passed
    from scanward.judging.scan import Result

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

    def __init__(self, taken: Callable[[str], bool] = lambda name: False) -> None:
        self._taken: set[str] = set()
        self._elsewhere = taken

    def reserve(self, name: str) -> None:
        """A name that is not to be given."""
        self._taken.add(name.casefold())

    def take(self, path: Path) -> str:
        # Many file systems allow 255 bytes a name; the rest is for the suffix and a number.
        stem = os.fsdecode(os.fsencode(path.stem or path.name or "image")[:200])
        name, number = stem, 1
        while name.casefold() in self._taken or self._elsewhere(name):
            number += 1
            name = f"{stem}-{number}"
        self.reserve(name)
        return name


class OutputFolder:
    """Heat maps, `verdicts.jsonl` and what a later run goes on from appear as results come; `report.html` when it is
    closed.

    The report has at most `MOST_CARDS` images, tampered ones before others, and their pictures wait on the disk; every
    verdict is in `verdicts.jsonl`. Raises `ArgumentError` where the folder is not that of a scan with the same options,
    or another scan is writing into it.
    """

    def __init__(self, folder: Path, asked: dict[str, Any]) -> None:
        self._new = not os.path.exists(folder)
        self.folder = prepare(folder)
        self._lock = held(folder, f"Another scan is writing into {folder}; wait for it, or choose another folder.")
        self._kept = Kept(folder, asked)
        self._before = self._kept.latest()
        self._verdicts = folder / "verdicts.jsonl"
        self._names = Names(self._foreign)
        for entry in self._before.values():
            if entry.heat:
                self._names.reserve(entry.heat.removesuffix(HEAT_SUFFIX))
        self._waiting: list[Entry] = []
        self._cards = {"tampered": 0, "": 0}
        self.judged: dict[str, Entry] = {}
        """What has a verdict, once the folder is closed."""

    def _foreign(self, name: str) -> bool:
        """Whether a file of this name is there that no scan left."""
        path = self.folder / f"{name}{HEAT_SUFFIX}"
        try:
            return not is_marked(path.read_bytes()[:256], "png")
        except OSError:
            return path.is_symlink() or path.exists()

    def earlier(self, key: str, sha256: str | None, dicom: str | None) -> Entry | None:
        """The answer that an earlier run left of the very same image."""
        found = self._before.get(key)
        if found is None or sha256 is None or found.heat is None or (found.sha256, found.dicom) != (sha256, dicom):
            return None
        return found if (self.folder / Path(found.heat).name).is_file() else None

    def add(self, result: Result, key: str, sha256: str | None = None, dicom: str | None = None) -> None:
        """Write what belongs to one judged image; results without a verdict leave only a line with the error."""
        from scanward.report.heat import heat_png
        from scanward.report.html import Case, render_card

        if result.verdict is None or result.image is None:
            self._keep(Entry(key, object_of(result)))
            return
        before = self._before.get(key)
        heat = before.heat if before and before.heat else f"{self._names.take(result.path)}{HEAT_SUFFIX}"
        with whole_file(self.folder / heat) as file:
            file.write(heat_png(result.image, result.verdict))
        card = None
        if self._has_room(result.verdict.label):
            case = Case(shown(result.path.name), result.image, result.verdict)
            card = dataclasses.asdict(render_card(case))
        self._keep(Entry(key, object_of(result), row_of(result), sha256, heat, dicom, card), judged=True)

    def pass_over(self, passed: Sequence[Passed]) -> None:
        """Write down what a search passed over."""
        for one in passed:
            self._keep(Entry(os.path.realpath(one.path), passed_object(one)))

    def _keep(self, entry: Entry, judged: bool = False) -> None:
        """Errors alone make no file: they wait for the first verdict."""
        self._waiting.append(entry)
        if not (judged or self._kept.begun):
            return
        self._kept.add(*self._waiting)
        try:
            with self._verdicts.open("ab") as file:
                file.write(b"".join(map(_line, self._waiting)))
        except OSError as error:
            raise ArgumentError(f"{self._verdicts} cannot be written ({error.strerror}); choose another "
                                "folder.") from error
        self._waiting.clear()

    def _has_room(self, label: str) -> bool:
        kind = label if label == "tampered" else ""
        self._cards[kind] += 1
        return self._cards[kind] <= MOST_CARDS

    def close(self) -> Path | None:
        """Write the report of what is finished; its path, or None where nothing is."""
        entries = self._kept.latest()
        self.judged = {key: entry for key, entry in entries.items() if entry.row is not None}
        try:
            if not self.judged:
                if self._new:
                    discard_if_empty(self.folder)
                return None
            self._tidy(entries)
            return self._report(entries)
        finally:
            os.close(self._lock)

    def _tidy(self, entries: dict[str, Entry]) -> None:
        """Lines and heat maps of answers that later ones replaced go, and what a kill cut off is mended."""
        lines = b"".join(map(_line, entries.values()))
        if not self._verdicts.is_file() or self._verdicts.read_bytes() != lines:
            with whole_file(self._verdicts) as file:
                file.write(lines)
        live = {entry.heat for entry in entries.values()}
        for entry in self._kept.entries():
            if entry.heat and entry.heat not in live:
                (self.folder / Path(entry.heat).name).unlink(missing_ok=True)

    def _report(self, entries: dict[str, Entry]) -> Path:
        from scanward.report.html import write_report

        path = self.folder / "report.html"
        cards = cards_of(self._kept, MOST_CARDS)
        title = "Scanward report"
        if len(self.judged) > len(cards):
            title += f": {len(cards)} of {len(self.judged)} images; all are in verdicts.jsonl"
        unjudged = [entry for entry in entries.values() if entry.row is None]
        failed, passed = ([_named(entry.line) for entry in unjudged if ("error" in entry.line) is wanted]
                          for wanted in (True, False))
        return write_report(cards, path, title, failed=failed, passed=passed)


def _named(line: dict[str, Any]) -> tuple[str, str]:
    """A file's name and the reason, without the folder: a report says of no file where it lies."""
    path = Path(str(line["path"]))
    return shown(path.name), shown(str(line["reason"]).replace(str(path), path.name).replace(f"{path.parent}/", ""))


def _line(entry: Entry) -> bytes:
    return json_line(entry.line).encode()


def key_of(source: Source) -> str:
    """What tells one source from another: where it really lies."""
    return os.path.realpath(source.paths[0])


def object_of(result: Result) -> dict[str, Any]:
    """One JSON object: the verdict, or `path`, `label` and the reason, which `error` tells as one."""
    if result.verdict is not None:
        spacing = None if result.image is None or result.image.spacing is None else list(result.image.spacing[1:])
        return {**result.verdict.to_json(), "spacing": spacing}
    return {"path": str(result.path), "label": result.label, "reason": str(result.error), "error": str(result.error)}


def passed_object(one: Passed) -> dict[str, Any]:
    """One JSON object of what a search passed over."""
    return {"path": str(one.path), "label": "unscanned", "reason": one.reason}
