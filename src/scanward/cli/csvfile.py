"""`scan --csv`: a row an image, for spreadsheets."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from scanward.disk import whole_file
from scanward.errors import ArgumentError

COLUMNS = ("path", "label", "score", "threshold", "findings", "strongest_box", "reason", "method", "modality",
           "sop_instance_uid", "seconds", "version")
HEAD = ",".join(COLUMNS)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins with one of these, a spreadsheet would compute; and a file's name is anybody's choice."""


class CsvFile:
    """A file that is written, whole, when it is closed."""

    def __init__(self, path: Path) -> None:
        """`ArgumentError` where something else has that name, or the folder is missing."""
        try:
            with path.open("rb") as file:
                ours = file.read(len(HEAD)) == HEAD.encode()
        except FileNotFoundError:
            ours = not path.is_symlink()
        except OSError as error:
            raise ArgumentError(f"{path} cannot be written ({error.strerror}); choose another name.") from None
        if not ours:
            raise ArgumentError(f"{path} exists already and is not overwritten; choose another name.")
        if not path.parent.is_dir():
            raise ArgumentError(f"{path.parent} is no folder; make it, or choose another one for {path.name}.")
        self._path, self._rows = path, [HEAD.split(",")]

    def add(self, line: dict[str, Any]) -> None:
        """One object of `--json`."""
        boxes = [finding["box"] for finding in line.get("findings", ())]
        values = {**line, "findings": len(boxes) if "findings" in line else None,
                  "strongest_box": " ".join(map(str, boxes[0])) if boxes else None}
        self._rows.append([cell(values.get(name)) for name in COLUMNS])

    def close(self) -> None:
        """Write everything."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows(self._rows)
        with whole_file(self._path) as file:
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def cell(value: object) -> str:
    """A value as a cell that no spreadsheet computes."""
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
