"""Where a scan's results go: table, JSON, folder, CSV and DICOM."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.cli.codes import CLEAN, ERROR, FOUND, UNSURE
from scanward.cli.csvfile import CsvFile
from scanward.cli.kept import fingerprint
from scanward.cli.output import OutputFolder, discard_if_empty, key_of, object_of, passed_object, prepare
from scanward.cli.table import Lines, Row, row_of
from scanward.cli.words import complain, counted, shown
from scanward.errors import InputError, ScanwardError
from scanward.image import Image
from scanward.judging.asked import asked_of
from scanward.judging.case import Terms
from scanward.judging.scan import Result
from scanward.report.jsonl import json_line
from scanward.verdict import Verdict

if TYPE_CHECKING:
    from scanward.formats import Source
    from scanward.formats.sources import Passed


@dataclass(frozen=True)
class Outlets:
    """What the user asked for."""

    as_json: bool = False
    folder: Path | None = None
    dicom: Path | None = None
    csv: Path | None = None
    quiet: bool = False


class Outlet:
    """Sends each result everywhere it was asked for, and remembers what the exit code needs."""

    def __init__(self, asked: Outlets, terms: Terms, record: Path | None) -> None:
        self._asked, self._terms = asked, terms
        self._csv = None if asked.csv is None else CsvFile(asked.csv)
        self._lines = None if asked.quiet or asked.as_json else Lines()
        self._dicom_is_new = asked.dicom is not None and not os.path.exists(asked.dicom)
        self._dicom = None if asked.dicom is None else prepare(asked.dicom)
        try:
            self._folder = None if asked.folder is None else OutputFolder(asked.folder, asked_of(terms, record))
        except InputError:
            self._discard_dicom()
            raise
        self._dicom_name = None if asked.dicom is None else os.path.realpath(asked.dicom)
        self._passed: Sequence[Passed] = ()
        self._unmeasured = 0
        self._keys: set[str] = set()
        self._sha256: str | None = None
        self._failed = False
        self._counts: Counter[str] = Counter()
        self._earlier = 0

    @property
    def code(self) -> int:
        """The exit code of what came in: an error counts before a finding, a finding before what cannot be told."""
        if self._failed:
            return ERROR
        return FOUND if self._counts["tampered"] else UNSURE if self._counts["inconclusive"] else CLEAN

    @property
    def done(self) -> str:
        """What is finished, after `close`, in words."""
        if self._folder is None:
            return counted(self._counts.total(), "image")
        done = counted(len(self._keys & self._folder.judged.keys()), "image")
        return f"{done}; what is finished is kept, and the same command goes on"

    def pass_over(self, passed: Sequence[Passed]) -> None:
        """What a search passed over, which is said everywhere."""
        self._passed = passed
        for one in passed:
            self._write(passed_object(one))
        if self._folder:
            self._folder.pass_over(passed)

    def earlier(self, source: Source) -> bool:
        """Tell what an earlier run found in the very same image; False where it has to be scanned."""
        if self._folder is None:
            return False
        key = key_of(source)
        self._keys.add(key)
        self._sha256 = fingerprint(source, self._terms)  # before it is read, or a change in between would go unseen
        found = self._folder.earlier(key, self._sha256, self._dicom_name)
        if found is None or found.row is None:
            return False
        self._earlier += 1
        self._tell(found.line, found.row)
        return True

    def scanned(self, result: Result, source: Source | None = None) -> None:
        """A result of this run, of the source that `earlier` was asked for; or what could not be searched."""
        line, row = object_of(result), row_of(result)
        written = self._dicom_name
        if result.error is not None:
            self._fail(result.error)
        elif self._dicom and result.image is not None and result.verdict is not None \
                and not self._write_dicom(result.image, result.verdict, self._dicom):
            written = "nowhere"
        if self._folder:
            key = os.path.realpath(result.path) if source is None else key_of(source)
            self._folder.add(result, key, self._sha256, written)
        self._tell(line, row)

    def _tell(self, line: dict[str, Any], row: Row | None) -> None:
        self._write(line)
        if "spacing" in line and line["spacing"] is None:
            self._unmeasured += 1
        if self._lines:
            self._lines.add(row)
        if row is not None:
            self._counts[row.label] += 1

    def _write(self, line: dict[str, Any]) -> None:
        if self._asked.as_json:
            print(json_line(line), end="", flush=True)
        if self._csv:
            self._csv.add(line)

    def _write_dicom(self, image: Image, verdict: Verdict, folder: Path) -> bool:
        from scanward.formats import derived
        from scanward.report.montage import summary

        try:
            derived.write_dicom(image, verdict, folder, overlay=summary(image, verdict))
        except InputError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: ScanwardError) -> None:
        self._failed = True
        complain(str(error))

    def _discard_dicom(self) -> None:
        if self._dicom and self._dicom_is_new:
            discard_if_empty(self._dicom)

    def close(self) -> None:
        """Finish everything, also after an interrupt."""
        report = self._folder.close() if self._folder else None
        if self._csv:
            self._csv.close()
        self._discard_dicom()
        if self._lines:
            self._lines.close(self._passed, self._unmeasured)
        if self._asked.quiet:
            return
        if self._earlier:
            print(f"Kept from before: {counted(self._earlier, 'image')}.", file=sys.stderr)
        if report:
            print(f"Report: {shown(str(report))}", file=sys.stderr)
