"""`scanward calibrate`: authentic images in, a site file out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from scanward.cli.codes import CLEAN, ERROR
from scanward.cli.scanning import Request, found_sources, one_result, progress_bar, terms_of
from scanward.cli.table import passed_over
from scanward.cli.words import complain, counted
from scanward.disk import check_free
from scanward.errors import ArgumentError, InputError
from scanward.formats.sources import Passed, Source
from scanward.judging.case import Terms
from scanward.judging.scan import calibrate
from scanward.judging.sight import IMAGES, SIZES_MM, forged_and_found, summed
from scanward.judging.site import LEAST, Sight, Site, check_rate, read_site
from scanward.metrics import wilson

LOSS = 0.05
"""Share of what was found before that may be missed before it is said."""


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
    site = dataclasses.replace(site, found=_looked(sources, site, terms, quiet))
    if sum(one.before for one in site.found) and not sum(one.now for one in site.found):
        raise ArgumentError(f"With these thresholds none of {sum(one.forged for one in site.found)} forgeries in the "
                            "images would be found; give more images, or a higher --false-alarms.")
    site.save(output)
    if not quiet:
        if passed:
            print(passed_over(passed))
        raised = sum(result.verdict is not None and result.verdict.label == "tampered" for result in results)
        print(f"{output}: from {counted(site.images, 'authentic image')}, of which {raised} raised an alarm before.")
        print("\n".join(_said(one) for one in site.found))
    lost = _lost(site.found)
    if lost > LOSS:
        complain(f"{output}: at these thresholds {lost:.0%} of the forgeries that were found before are missed; more "
                 "authentic images, or a higher --false-alarms, would leave more of them.")
    return ERROR if any(result.error for result in results) else CLEAN


def _looked(sources: Sequence[Source], site: Site, terms: Terms, quiet: bool) -> tuple[Sight, ...]:
    """What the site's thresholds still find in its own images."""
    found = []
    with progress_bar(min(len(sources), IMAGES) * len(SIZES_MM), quiet) as advance:
        for one in forged_and_found(sources, site, terms.modality, terms.spacing):
            advance(Path(f"forged, {one[0]:g} mm"))
            found.append(one)
    return summed(found)


def _said(one: Sight) -> str:
    low, high = wilson(one.now, one.forged)
    return (f"Of {one.forged} forgeries of {one.mm:g} mm in them {one.before} were found before, and {one.now} are "
            f"found now ({one.now / one.forged:.0%}; {low:.0%} to {high:.0%}).")


def _lost(found: Sequence[Sight]) -> float:
    """Share of what was found before."""
    before = sum(one.before for one in found)
    return 1 - sum(one.now for one in found) / before if before else 0.0
