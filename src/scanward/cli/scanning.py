"""`scanward scan` and `scanward demo`: the loop over images, and everything that is printed or written on the way."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scanward import formats
from scanward.cli.codes import CLEAN, ERROR, FOUND, INTERRUPTED
from scanward.cli.output import HEAT_SUFFIX, OutputFolder, discard_if_empty, line_of, prepare
from scanward.cli.table import Lines
from scanward.cli.words import complain, counted, shown
from scanward.errors import ArgumentError, InputError, ScanwardError
from scanward.image import Image, Modality
from scanward.judging.case import Terms
from scanward.judging.scan import Result, scan_source
from scanward.judging.site import read_site
from scanward.judging.witnesses import check_site
from scanward.protection import beside, key_in, read_record
from scanward.verdict import Verdict

if TYPE_CHECKING:
    from scanward.formats import Source


@dataclass(frozen=True)
class Request:
    """What the user asked `scanward scan` for, unchecked."""

    paths: tuple[Path, ...]
    as_json: bool = False
    output: Path | None = None
    dicom: Path | None = None
    method: str = "default"
    modality: str | None = None
    spacing: str | None = None
    quiet: bool = False
    debug: bool = False
    site: Path | None = None
    key: Path | None = None
    record: Path | None = None


def parse_modality(text: str | None) -> Modality | None:
    """`MG` or `CT` in either case, or None; `ArgumentError` for anything else."""
    if text is None:
        return None
    for known in get_args(Modality):
        if text.upper() == known:
            return known  # type: ignore[no-any-return]
    raise ArgumentError(f"--modality {text!r} is not one of {', '.join(get_args(Modality))}.")


def parse_spacing(text: str | None) -> tuple[float, float] | None:
    """`0.05` or `0.05x0.06` (row x column) as (y, x) millimetres; `ArgumentError` otherwise."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in re.split(r"[x×,]", text)]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(n) and 0 < n <= 100 for n in numbers):
        raise ArgumentError(f"--spacing {text!r} is not a spacing in millimetres; write 0.05, or 0.05x0.05.")
    return numbers[0], numbers[-1]


def run_scan(request: Request) -> int:
    """Scan everything that was asked for and return the exit code."""
    terms = terms_of(request)
    outlet = Outlet(request)
    code = CLEAN
    try:
        sources, unusable = found_sources(request)
        if request.record is not None and len(sources) > 1:
            raise ArgumentError(f"--record belongs to one image, and {counted(len(sources), 'image')} were found; name "
                                "that one alone.")
        for result in unusable:
            outlet.result(result)
        with progress_bar(len(sources), request.quiet) as advance:
            for source in sources:
                advance(source.path)
                outlet.result(one_result(source, terms, request.debug))
    except KeyboardInterrupt:
        complain(f"Interrupted after {counted(outlet.done, 'image')}; what is finished is kept.")
        code = INTERRUPTED
    finally:
        outlet.close()
    if code == INTERRUPTED:
        return code
    return ERROR if outlet.failed else FOUND if outlet.found else CLEAN


def terms_of(request: Request) -> Terms:
    """What was asked for, checked: `InputError` for an option's value that cannot be used."""
    site = None if request.site is None else read_site(request.site)
    try:
        check_site(site, request.method)
    except ArgumentError as error:
        raise (error if site is None else ArgumentError(f"{request.site}: {error}")) from None
    key, record = None if request.key is None else key_in(request.key), request.record
    if record is not None:
        if key is None:
            raise ArgumentError("--record verifies nothing without the key that wrote it; name --key, too.")
        read_record(record, key)
    return Terms(request.method, site, parse_modality(request.modality), parse_spacing(request.spacing), key,
                 beside if record is None else lambda source: {record: True})


def found_sources(request: Request) -> tuple[list[Source], list[Result]]:
    """What the arguments name, each once; and for each argument that names nothing its error."""
    sources: dict[tuple[Path, ...], Source] = {}
    unusable: list[Result] = []
    for argument in request.paths:
        found, errors = formats.find([argument])
        unusable += [Result(argument, error=error) for error in errors]
        for source in found:
            if not _own_output(source.path, request.output):
                sources.setdefault(tuple(path.resolve() for path in source.paths), source)
    return list(sources.values()), unusable


def one_result(source: Source, terms: Terms, debug: bool) -> Result:
    """`scan_source`, and where it trips over a fault of ours, that as the result's error."""
    try:
        return scan_source(source, terms)
    except ScanwardError:
        raise
    except Exception as error:
        if debug:
            raise
        # One file that trips over a fault of ours must not cost the user the other files' answers.
        return Result(source.path, error=InputError(
            f"{source.path}: internal error ({type(error).__name__}: {error}); please report it, with what `--debug` "
            "prints, at the project's issue tracker."))


def _own_output(path: Path, output: Path | None) -> bool:
    """True for a picture that an earlier run into the same folder wrote."""
    return output is not None and path.name.endswith(HEAT_SUFFIX) and path.resolve().parent == output.resolve()


class Outlet:
    """Sends each result everywhere it was asked for, and remembers what the exit code needs."""

    def __init__(self, request: Request) -> None:
        self._json = request.as_json
        self._lines = None if request.quiet or request.as_json else Lines()
        self._folder = None if request.output is None else OutputFolder(request.output)
        self._dicom_is_new = request.dicom is not None and not request.dicom.exists()
        self._dicom = None if request.dicom is None else prepare(request.dicom)
        self._quiet = request.quiet
        self.failed = self.found = False
        self.done = 0

    def result(self, result: Result) -> None:
        if self._json:
            print(line_of(result), end="", flush=True)
        if self._lines:
            self._lines.add(result)
        if self._folder:
            self._folder.add(result)
        if result.error is not None:
            self._fail(result.error)
            return
        self.done += 1
        self.found = self.found or (result.verdict is not None and result.verdict.label == "tampered")
        if self._dicom and result.image is not None and result.verdict is not None:
            self._write_dicom(result.image, result.verdict, self._dicom)

    def _write_dicom(self, image: Image, verdict: Verdict, folder: Path) -> None:
        from scanward.formats import derived
        from scanward.report.heat import overlay

        try:
            derived.write_dicom(image, verdict, folder, overlay=overlay(image, verdict))
        except InputError as error:
            self._fail(error)

    def _fail(self, error: ScanwardError) -> None:
        self.failed = True
        complain(str(error))

    def close(self) -> None:
        report = self._folder.close() if self._folder else None
        if self._dicom and self._dicom_is_new:
            discard_if_empty(self._dicom)
        if self._lines:
            self._lines.close()
        if report and not self._quiet:
            print(f"Report: {shown(str(report))}", file=sys.stderr)


class Advance:
    """Moves the bar on; called with the path that is scanned next."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)
        self._started = False

    def __call__(self, path: Path) -> None:
        if self._started:
            self._bar.advance(self._task)
        self._started = True
        self._bar.update(self._task, description=shown(path.name)[:40])


@contextmanager
def progress_bar(total: int, quiet: bool) -> Iterator[Advance]:
    """A bar on stderr while that is a terminal, gone when the work is done."""
    console = Console(stderr=True)
    bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                   TimeElapsedColumn(), console=console, transient=True,
                   redirect_stdout=sys.stdout.isatty(), redirect_stderr=True,
                   disable=quiet or not console.is_terminal)
    with bar:
        yield Advance(bar, total)


def run_demo(folder: Path) -> None:
    """Make the demo, print its table, and say where the report is."""
    from scanward.demo import films_folder, run

    films_folder()  # before anything is written: without the films there is no demo
    lines = Lines()
    with progress_bar(4, quiet=False) as advance:
        report = run(prepare(folder), lines.add, advance)
    lines.close()
    print(f"Report: {shown(str(report))}")
