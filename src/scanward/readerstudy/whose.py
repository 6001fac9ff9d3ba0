"""Whose a film or scan is: its patient, and of two views which belong together."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from scanward.errors import UnreadableError
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.whose import Whose, said_by
from scanward.formats.write_volume import ENDINGS

LARGEST = 1 << 24
"""Bytes of a table of patients."""


def whose(original: Path, image: Path, rows: Mapping[str, Whose]) -> Whose:
    """From the table, by the original's name with or without its ending, and where that is silent from the DICOM header
    of the file `image`; otherwise each original has a patient of its own."""
    stems = [original.name[:-len(end)] for end in ENDINGS if original.name.endswith(end)]
    row = next((rows[name] for name in (original.name, original.stem, *stems) if name in rows), Whose())
    said = said_by(image)
    return Whose(row.patient or said.patient or os.path.realpath(original), row.case or said.case,
                 row.view or said.view, said.side)


def table(path: Path | None) -> dict[str, Whose]:
    """Of each film named in a CSV table, what it says; `UnreadableError` for what is no such table."""
    if path is None:
        return {}
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    column = next((name for name in ("film", "file") if rows and name in rows[0]), None)
    if column is None or "patient" not in rows[0] or len(data) > LARGEST:
        raise UnreadableError(f"{shown(path)} is no table of patients; it needs the columns film (or file) and "
                              "patient.")
    return {str(row[column]): Whose(f"patient {row['patient']}", row.get("case") or "", (row.get("view") or "").upper())
            for row in rows if row[column] and row["patient"]}
