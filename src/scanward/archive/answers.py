"""What an archive's run keeps: a row an image or series, in Parquet files that are there whole or not at all.

```
OUT/run.json                       what was asked for; a run with other terms is refused
OUT/listing/NNNNNNNN.jsonl         the units of a part, in order; its first line says where the listing goes on
OUT/listing/complete               the listing has ended; how many parts and units it has
OUT/answers/part-NNNNNNNN.parquet  the answers of a part, in its order: the part is done if this is there
OUT/answers/part-NNNNNNNN.jsonl    those of a part that is not done yet, or is tried again
OUT/pictures/NN/UNIT.png           heat maps of alarms, written before the answers that speak of them
```
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.disk import sync_folder, whole_file
from scanward.errors import ArgumentError, MissingExtraError, UnreadableError

if TYPE_CHECKING:
    import pyarrow as pa

RUN, LISTING, ANSWERS, PICTURES = "run.json", "listing", "answers", "pictures"
COMPLETE = "complete"
ELSEWHERE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""What is wrong with a folder and no disk's room will mend."""


@dataclass(frozen=True)
class Answer:
    """A row: one image or series. Texts of headers and names of files are clean, and the attacker's choice."""

    unit: str
    """`Unit.id`."""
    path: str
    """As it was listed, for people: on one line, and text; of a series its first file."""
    files: int
    source: str
    label: str
    """`authentic`, `tampered`, `inconclusive` or `unscanned`; the last two of errors, too, as `scan` counts them."""
    modality: str | None = None
    score: float | None = None
    threshold: float | None = None
    reason: str = ""
    kinds: tuple[str, ...] = ()
    """Methods that called it tampered."""
    findings: str = "[]"
    """JSON, as in `Verdict.to_json()`."""
    evidence: str = "[]"
    """JSON: of each witness its method, label, score, threshold, conclusive, reason and facts."""
    error: str | None = None
    aside: bool = False
    """It ended its process, or took more of it than it may, at every try; `error` says so."""
    attempts: int = 1
    manufacturer: str | None = None
    model: str | None = None
    station: str | None = None
    institution: str | None = None
    study_date: datetime.date | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    """Of a series its first file's."""
    remade: str | None = None
    """`lossy` or `derived`, where the file says that it was compressed with loss or made of another image."""
    content: str | None = None
    """SHA-256 over the decoded values, 32 hexadecimal digits: two images of one content have the same."""
    slices: tuple[str, ...] | None = None
    """The same of each slice of a CT."""
    method: str = ""
    version: str = ""
    weights: str | None = None
    seconds: float = 0.0
    """By the clock, from the first byte to the answer."""
    peak_mb: float = 0.0
    """The largest memory that the process had meanwhile."""
    worker: str = ""
    judged_at: datetime.datetime | None = None
    """In UTC."""
    raw_path: str | None = None
    """The path as the file system has it, where `path` is not just that; undecodable bytes as `os.fsdecode` gives them.
    In Parquet it is bytes."""
    real_path: str | None = None
    """The same of the file itself, where `path` is a link to it or lies behind one."""


LATER = ("raw_path", "real_path")
"""Columns that the first version did not write: all of them may be null. They are bytes."""


@cache
def schema() -> pa.Schema:
    """The columns, in the order of `Answer`; `MissingExtraError` without pyarrow."""
    pa = arrow()
    text, number = pa.string(), pa.float32()
    kinds = {"files": pa.int32(), "attempts": pa.int8(), "aside": pa.bool_(),
             "kinds": pa.list_(text), "slices": pa.list_(text), "study_date": pa.date32(),
             "judged_at": pa.timestamp("us", "UTC"),
             **dict.fromkeys(LATER, pa.binary()), **dict.fromkeys(("score", "threshold", "seconds", "peak_mb"), number)}
    return pa.schema([pa.field(one.name, kinds.get(one.name, text), nullable="None" in str(one.type))
                      for one in dataclasses.fields(Answer)])


def arrow() -> Any:
    """pyarrow; `MissingExtraError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"An archive needs {missing.name}, which is not installed; install "
                                "scanward[archive].") from missing
    return pyarrow


def write_part(out: Path, number: int, answers: Sequence[Answer]) -> None:
    """The answers of a part, whole and on disk when it returns. `ArgumentError` where they cannot be written."""
    pa = arrow()
    table = table_of(answers)
    path = part_path(out, number)
    with whole_file(path) as file:
        pa.parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def table_of(answers: Sequence[Answer]) -> pa.Table:
    """Answers as Parquet takes them; raises for one that it does not."""
    rows = [dataclasses.asdict(one) for one in answers]
    for row in rows:
        row.update((name, os.fsencode(row[name])) for name in LATER if row[name] is not None)
    return arrow().Table.from_pylist(rows, schema())


def read_answers(out: Path, number: int) -> list[Answer]:
    """The answers of a part that is done, in its order. Raises `UnreadableError` where they cannot be read."""
    rows = columns_of(out, number, *schema().names)
    as_kept: dict[str, Callable[[Any], Any]] = {
        "kinds": tuple, "slices": tuple, **dict.fromkeys(LATER, os.fsdecode)}
    return [Answer(**{**row, **{name: row[name] and kept(row[name]) for name, kept in as_kept.items()}})
            for row in rows]


def columns_of(out: Path, number: int, *names: str) -> list[dict[str, Any]]:
    """Columns of the answers of a part that is done, a row each. Raises as `read_answers`."""
    path = part_path(out, number)
    try:
        there = arrow().parquet.read_schema(path).names
        later = [name for name in names if name in LATER and name not in there]
        wanted = [name for name in names if name not in later]
        found: list[dict[str, Any]] = arrow().parquet.read_table(path, columns=wanted).to_pylist()
        for row in found:
            row.update(dict.fromkeys(later))
        if found and set(found[0]) != set(names):
            raise ValueError("columns are missing")
    except Exception as error:  # pyarrow has errors of its own, and whatever it is, the file is not ours
        raise UnreadableError(f"{path} is damaged; remove it, and its images are judged again.") from error
    return found


def unwritten(out: Path, error: Exception) -> ArgumentError:
    """Of a run whose folder cannot be written any more."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    if getattr(error, "errno", None) in ELSEWHERE:
        return ArgumentError(f"{out} cannot be written ({why}); check the folder, or choose another.")
    return ArgumentError(f"{out} cannot be written ({why}); free some space, and the same command goes on.")


def part_path(out: Path, number: int) -> Path:
    """Where the answers of a part are, once it is done."""
    return out / ANSWERS / f"part-{number:08d}.parquet"


def picture_path(unit: str) -> Path:
    """Where in OUT the picture of an alarm is."""
    return Path(PICTURES, unit[:2], f"{unit}.png")
