"""`scanward archive report`: the page of a run, or the answer to a query of the user's."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from scanward.archive.answers import ANSWERS, LISTING, PICTURES, RUN
from scanward.archive.reading import Answers
from scanward.archive.report import NAME, check_page, write_archive_report
from scanward.cli.codes import CLEAN
from scanward.cli.csvfile import cell
from scanward.cli.words import busy, shown
from scanward.disk import whole_file
from scanward.errors import ArgumentError

PRINTED = 1000
"""Rows of a table, which needs all of them at once to be drawn."""
FEW, GAP = 8, "  "
"""Columns of a table that goes to no terminal, and what is between two."""


def run_archive_report(folder: Path, output: Path | None, sql: str | None, csv_file: Path | None, quiet: bool) -> int:
    """Write the page; or with `sql` print a table, or write it as CSV. `InputError` for what cannot be used."""
    if sql is None:
        if csv_file is not None:
            raise ArgumentError("--csv says where the answer of --sql goes; give --sql, too.")
        page = folder / NAME if output is None else output
        _check_apart(page, folder)
        check_page(page)
        with Answers(folder) as answers, busy("reading the answers", quiet):
            said = write_archive_report(answers, page)
        if not quiet:
            print(said)
            print(f"Report: {shown(str(page))}", file=sys.stderr)
        return CLEAN
    if output is not None:
        raise ArgumentError("-o says where the page goes, and --sql asks for none; give --csv FILE for a file.")
    if csv_file is not None:
        _check_apart(csv_file, folder)
        if csv_file.exists():
            raise ArgumentError(f"{csv_file} exists already and is not overwritten; choose another name.")
    with Answers(folder) as answers:
        names, rows = answers.asked(sql)
        if csv_file is None:
            _print(names, rows)
        else:
            _write(names, rows, csv_file)
    return CLEAN


def _check_apart(path: Path, folder: Path) -> None:
    """Raises `ArgumentError` for what would lie among the run's own files, where the run looks for its answers."""
    whole = Path(os.path.realpath(path))
    if any(whole.is_relative_to(os.path.realpath(folder / name)) for name in (RUN, LISTING, ANSWERS, PICTURES)):
        raise ArgumentError(f"{shown(str(path))} would lie among the run's own files; choose another folder.")


def _print(names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """A table; or, where a terminal is too narrow for it or elsewhere it has more than `FEW` columns, a line for each
    column of each row. No line is broken: what is in it can be found and copied."""
    heads = [shown(name) for name in names]
    cells = [[shown(_text(value)) for value in row] for row in islice(rows, PRINTED)]
    widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    fits = sum(widths) + len(GAP) * (len(widths) - 1) <= Console().width if sys.stdout.isatty() else len(heads) <= FEW
    if fits or len(heads) == 1:
        for line in (heads, *cells):
            print(GAP.join(map(_padded, line, widths)).rstrip())
    else:
        margin = max(map(cell_len, heads))
        for number, line in enumerate(cells):
            print("\n" * (number > 0) + "\n".join(
                f"{_padded(head, margin)}{GAP}{text}".rstrip() for head, text in zip(heads, line, strict=True)))
    if next(rows, None) is not None:
        print(f"Only the first {PRINTED} rows are printed; --csv FILE writes all.", file=sys.stderr)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _write(names: list[str], rows: Iterator[tuple[Any, ...]], path: Path) -> None:
    with whole_file(path, replace=False) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        writer = csv.writer(text)
        for row in chain([tuple(names)], rows):
            writer.writerow([cell(value if isinstance(value, str | int | float) else _text(value)) for value in row])
        text.detach()


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
