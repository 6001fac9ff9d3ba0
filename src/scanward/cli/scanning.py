"""`scanward scan` and `scanward demo`: the loop over images, and everything that is printed or written on the way."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scanward import formats, methods
from scanward.cli.codes import INTERRUPTED
from scanward.cli.outlet import Outlet, Outlets
from scanward.cli.output import prepare
from scanward.cli.sealing import trusted
from scanward.cli.table import Lines, row_of
from scanward.cli.words import complain, counted, shown
from scanward.errors import ArgumentError, InputError, ScanwardError
from scanward.image import Modality
from scanward.judging.case import Terms, check_marked
from scanward.judging.scan import Result, scan_source
from scanward.judging.seen import Seen
from scanward.judging.site import read_site
from scanward.judging.witnesses import check_site
from scanward.protection import beside, key_in, read_record
from scanward.seals.objects import Objects

if TYPE_CHECKING:
    from scanward.formats import Source
    from scanward.formats.sources import Passed


log = logging.getLogger(__name__)


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
    csv: Path | None = None
    certificates: tuple[Path, ...] = ()
    trust: Path | None = None
    marked: bool = False


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
    outlet = Outlet(Outlets(request.as_json, request.output, request.dicom, request.csv, request.quiet), terms,
                    request.record)
    interrupted = False
    try:
        passed: list[Passed] = []
        sources, unusable = found_sources(request, passed)
        if request.record is not None and len(sources) > 1:
            raise ArgumentError(f"--record belongs to one image, and {counted(len(sources), 'image')} were found; name "
                                "that one alone.")
        if terms.seen is not None:
            terms.seen.expect(sources, terms.modality)
        outlet.pass_over(passed)
        for result in unusable:
            outlet.scanned(result)
        with progress_bar(len(sources), request.quiet) as advance:
            for source in sources:
                advance(source.path)
                if not outlet.earlier(source):
                    outlet.scanned(one_result(source, terms, request.debug), source)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        outlet.close()
    if interrupted:
        complain(f"Interrupted after {outlet.done}.")
        return INTERRUPTED
    return outlet.code


def terms_of(request: Request) -> Terms:
    """What was asked for, checked: `InputError` for an option's value that cannot be used."""
    site = None if request.site is None else read_site(request.site)
    try:
        check_site(site, request.method)
    except ArgumentError as error:
        raise (error if site is None else ArgumentError(f"{request.site}: {error}")) from None
    key, record = None if request.key is None else key_in(request.key), request.record
    check_marked(key, request.marked, "name --key, too")
    if record is not None:
        if key is None:
            raise ArgumentError("--record verifies nothing without the key that wrote it; name --key, too.")
        read_record(record, key)
    return Terms(request.method, site, parse_modality(request.modality), parse_spacing(request.spacing), key,
                 beside if record is None else lambda source: {record: True},
                 trusted(None, request.certificates, request.trust), Objects(request.paths),
                 seen=Seen() if request.method == methods.DEFAULT else None, marked=request.marked)


def found_sources(request: Request, passed: list[Passed]) -> tuple[list[Source], list[Result]]:
    """What the arguments name, each once; and for each argument that names nothing its error. What a search passed
    over, and no other argument names, is added to `passed`."""
    sources: dict[tuple[str, ...], Source] = {}
    unusable: list[Result] = []
    over: list[Passed] = []
    for argument in request.paths:
        found, errors = formats.find([argument], passed=over)
        unusable += [Result(argument, error=error) for error in errors]
        for source in found:
            sources.setdefault(tuple(os.path.realpath(path) for path in source.paths), source)
    named = {path for paths in sources for path in paths}
    passed += {real: one for one in over if (real := os.path.realpath(one.path)) not in named}.values()
    log.info("%s found", counted(len(sources), "image"))
    return list(sources.values()), unusable


def one_result(source: Source, terms: Terms, debug: bool) -> Result:
    """`scan_source`, and where it trips over a fault of ours, that as the result's error."""
    log.info("scanning %s", shown(str(source.path)))
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
    from scanward.demo import IMAGES, check_output, films_folder, run

    films_folder()  # before anything is written: without the films there is no demo
    check_output(folder)
    lines = Lines()
    with progress_bar(IMAGES, quiet=False) as advance:
        report = run(prepare(folder), lambda result: lines.add(row_of(result)), advance)
    lines.close()
    print(f"Report: {shown(str(report))}")
