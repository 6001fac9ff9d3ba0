"""The answers of an archive run, read by SQL: nothing else of the machine can be reached from it.

duckdb streams the Parquet files; what does not fit into `MEMORY` lies in a temporary folder meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scanward.archive.answers import ANSWERS, LATER, RUN, arrow, schema
from scanward.disk import read_json
from scanward.errors import ArgumentError, InputError, MissingExtraError, ScanwardError, UnreadableError
from scanward.formats.guard import clean, shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "512MB"
"""Of duckdb's own, at most."""
ROWS = 10_000
"""That are in memory at a time, of an answer without end."""
LOCKED = ("SET enable_external_access = false", "SET lock_configuration = true")
"""From then on no other file is read or written, by whatever function, and nobody takes that back."""


class Answers:
    """What was answered when this was made: what a run that goes on adds later is not seen.

    Raises `InputError` where `folder` holds no run, no answer or one that cannot be used, and `MissingExtraError`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files(folder)
        terms = read_json(folder / RUN).get("terms")
        self.terms: dict[str, Any] = terms if isinstance(terms, dict) else {}
        self._temporary = tempfile.TemporaryDirectory(prefix="scanward-")
        try:
            self._connection = _connection(self.files, Path(self._temporary.name))
        except BaseException:
            self._temporary.cleanup()
            raise

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._connection.close()
        self._temporary.cleanup()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of ours; `UnreadableError` where a file of answers is damaged."""
        import duckdb

        try:
            with _interruptible():
                return self._connection.execute(query, list(values)).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise _no_room(error) from error
        except duckdb.Error as error:
            raise self._damage() or error from error

    def asked(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of the columns and, as they are asked for, the rows of one query of the user's, which may only
        read `answers` and the files that it shows. Raises `InputError` where it is no such query or fails, also while
        rows are asked for."""
        import duckdb

        try:
            query.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError("--sql is no text in UTF-8; write it anew.") from error
        with self._explained(), _interruptible():
            statements = duckdb.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ArgumentError("--sql takes one select, describe or summarize, such as: select label, count(*) "
                                    "from answers group by label; a pivot needs its values (pivot answers on label in "
                                    "('tampered') using count(*)).")
            found = self._connection.execute(statements[0])
        return [column[0] for column in found.description or ()], self._rest(found)

    def _rest(self, found: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
        while True:
            with self._explained(), _interruptible():
                rows = found.fetchmany(ROWS)
            if not rows:
                return
            yield from rows

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What a user's query fails of, in duckdb's own first line."""
        import duckdb

        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise _no_room(error) from error
        except duckdb.Error as error:
            of_the_query = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException,
                            duckdb.PermissionException)
            damage = None if isinstance(error, of_the_query) else self._damage()
            raise damage or ArgumentError(f"--sql failed ({_line(error).rstrip('.')}); --sql 'describe answers' lists "
                                          "the columns there are.") from error

    def _damage(self) -> InputError | None:
        """The first file that cannot be read to its end, as an error."""
        pa = arrow()
        for path in self.files:
            try:
                with pa.parquet.ParquetFile(path) as file:
                    for _ in file.iter_batches(ROWS):
                        pass
            except (pa.ArrowException, OSError) as error:
                return _damaged(path, error)
        return None


def _files(folder: Path) -> list[Path]:
    """The files of answers there are; each is whole, since it came by a rename."""
    if not (folder / RUN).is_file():
        raise ArgumentError(f"{shown(folder)} holds no run of `scanward archive`; name the folder that it writes to.")
    found = sorted((folder / ANSWERS).glob("part-*.parquet"))
    if not found:
        raise ArgumentError(f"{shown(folder)} holds no answers yet; wait for the first batch, or start the run again.")
    return found


def _connection(files: Sequence[Path], temporary: Path) -> DuckDBPyConnection:
    """A database in memory whose view `answers` shows the files, and that can reach nothing else."""
    try:
        import duckdb
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"The report of an archive needs {missing.name}, which is not installed; install "
                                "scanward[archive].") from missing
    earlier = [path for path in files if _check(path)]
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    names = [str(path.resolve()) for path in files]
    try:
        for setting in (f"SET memory_limit = '{MEMORY}'", f"SET temp_directory = {_quoted(str(temporary))}",
                        "SET preserve_insertion_order = false", "SET python_enable_replacements = false",
                        "SET enable_progress_bar = false",
                        f"SET allowed_paths = {_listed(names)}"):
            connection.execute(setting)
        connection.execute(_view([str(path.resolve()) for path in files if path not in set(earlier)],
                                 [str(path.resolve()) for path in earlier]))
        for setting in LOCKED:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def _view(names: Sequence[str], earlier: Sequence[str]) -> str:
    """The view of files, and of those that lack the `LATER` columns. Paths that nothing is said of are as they stand.
    Times are without their zone, which is UTC: Python would ask for another package to read it."""
    parts = [f"SELECT *{more} FROM read_parquet({_listed(some)}, hive_partitioning = false)" for some, more in (  # noqa: S608
        (names, ""), (earlier, "".join(f", NULL::BLOB AS {name}" for name in LATER))) if some]
    return ("CREATE VIEW answers AS SELECT * REPLACE (make_timestamp(epoch_us(judged_at)) AS judged_at, "  # noqa: S608
            "coalesce(raw_path, encode(path)) AS raw_path, coalesce(real_path, raw_path, encode(path)) AS real_path) "
            f"FROM ({' UNION ALL BY NAME '.join(parts)})")


def _check(path: Path) -> bool:
    """Whether it is of an earlier version, without the `LATER` columns. Raises `UnreadableError` for a file that is not
    of Parquet or not of our columns."""
    pa = arrow()
    try:
        found = {field.name: field.type for field in pa.parquet.read_schema(path)}
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    earlier = not set(LATER) & set(found)
    wanted = {field.name: field.type for field in schema() if not (earlier and field.name in LATER)}
    if found != wanted:
        what = next((f"{name} is {found.get(name, 'missing')} where it has to be {kind}" for name, kind in
                     wanted.items() if found.get(name) != kind), "it has columns that are unknown here")
        raise UnreadableError(f"{shown(path)} was not written by this version of `scanward archive` ({what}); read it "
                              "with the version that wrote it, or run again into a new folder.")
    return earlier


def _damaged(path: Path, error: BaseException) -> UnreadableError:
    return UnreadableError(f"{shown(path)} is damaged ({_line(error).rstrip('.')}); delete it, and the same `scanward "
                           "archive` command judges its batch again.")


def _no_room(error: BaseException) -> ScanwardError:
    return ScanwardError(f"The answers could not be put in order ({_line(error).rstrip('.')}); free some space in the "
                         "folder for temporary files, or name another one in TMPDIR.")


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error


def _line(error: BaseException) -> str:
    """The first line of what a library says."""
    return clean(next(iter(str(error).splitlines()), type(error).__name__), 300)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(map(_quoted, names)) + "]"
