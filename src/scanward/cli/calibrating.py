"""`scanward calibrate`: authentic images in, a site file out."""

from __future__ import annotations

import json
import os
from pathlib import Path

from scanward.cli.codes import CLEAN, ERROR
from scanward.cli.scanning import Request, found_sources, one_result, progress_bar, terms_of
from scanward.cli.table import passed_over
from scanward.cli.words import complain, counted
from scanward.disk import check_free, whole_file
from scanward.errors import ArgumentError, InputError
from scanward.formats.sources import Passed
from scanward.judging.scan import calibrate
from scanward.judging.site import LEAST, check_rate, read_site


def check_site_file(path: Path) -> None:
    """`ArgumentError` where no site file can be written; an earlier one is replaced, and nothing else."""
    check_free(path.parent, ())
    if os.path.lexists(path):
        try:
            read_site(path)
        except InputError:
            raise ArgumentError(f"{path} exists and is no site file, and is not overwritten; choose another "
                                "name.") from None


def run_calibrate(paths: tuple[Path, ...], output: Path, false_alarms: float, modality: str | None,
                  spacing: str | None, quiet: bool, debug: bool) -> int:
    """Scan, fit, write; images that cannot be used are named, and the others are used."""
    request = Request(paths, modality=modality, spacing=spacing, quiet=quiet, debug=debug)
    terms = terms_of(request)
    check_rate(false_alarms)
    check_site_file(output)
    passed: list[Passed] = []
    sources, results = found_sources(request, passed)
    if not results and len(sources) < LEAST:
        raise ArgumentError(f"{counted(len(sources), 'authentic image')} cannot tell a threshold; give {LEAST} or "
                            "more.")
    with progress_bar(len(sources), quiet) as advance:
        for source in sources:
            advance(source.path)
            results.append(one_result(source, terms, debug))
    for result in results:
        if result.error is not None:
            complain(str(result.error))
    site = calibrate(results, false_alarms)
    with whole_file(output) as file:
        file.write((json.dumps(site.to_json(), indent=1) + "\n").encode())
    if not quiet:
        if passed:
            print(passed_over(passed))
        raised = sum(result.verdict is not None and result.verdict.label == "tampered" for result in results)
        print(f"{output}: from {counted(site.images, 'authentic image')}, of which {raised} raised an alarm before.")
    return ERROR if any(result.error for result in results) else CLEAN
