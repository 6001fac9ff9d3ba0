"""Verdicts as JSON, one object a line, in a file that is valid whenever the program stops."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from scanward.disk import whole_file
from scanward.errors import ArgumentError
from scanward.verdict import Verdict


def json_line(verdict: Verdict) -> str:
    """`verdict.to_json()` on one line, with its line end, in ASCII."""
    return json.dumps(verdict.to_json(), allow_nan=False, default=str) + "\n"


def append_jsonl(path: Path, verdict: Verdict) -> None:
    """Add one verdict; the line is handed to the system in a single write, so an interrupt leaves no half of it.

    Raises `ArgumentError` where the file cannot be written.
    """
    data = json_line(verdict).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error


def write_jsonl(path: Path, verdicts: Iterable[Verdict]) -> Path:
    """Write all verdicts, replacing the file when the last of them is in; the path."""
    with whole_file(path) as file:
        for verdict in verdicts:
            file.write(json_line(verdict).encode())
    return path
