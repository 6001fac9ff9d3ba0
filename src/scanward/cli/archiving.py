"""`scanward archive SOURCE -o OUT`: what is printed on the way, and the exit code."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.archive.figures import rate_of
from scanward.archive.places import archive_of
from scanward.archive.run import Counts, Run
from scanward.archive.unit import Login
from scanward.archive.work import Judging
from scanward.cli.codes import CLEAN, ERROR, FOUND, INTERRUPTED, UNSURE
from scanward.cli.scanning import parse_modality, parse_spacing
from scanward.cli.words import complain, counted, shown
from scanward.errors import ArgumentError
from scanward.judging.site import read_site
from scanward.judging.watched import Limits, Watched, cores
from scanward.judging.witnesses import check_site
from scanward.verdict import SEVERITY

if TYPE_CHECKING:
    from scanward.judging.watched import Watching

EVERY = 60.0
"""Seconds between two lines where stderr is no terminal."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, unchecked."""

    source: str
    output: Path
    workers: int | None = None
    ray: str | None = None
    method: str = "default"
    modality: str | None = None
    spacing: str | None = None
    site: Path | None = None
    seconds: float = 900
    memory: float = 8192
    user: str = ""
    password_file: Path | None = None
    authority: Path | None = None
    quiet: bool = False
    retry: bool = False
    key: Path | None = None
    certificates: tuple[Path, ...] = ()
    trust: Path | None = None
    marked: bool = False


def run_archive(request: Request) -> int:
    """Judge the archive and return the exit code."""
    site = None if request.site is None else read_site(request.site)
    check_site(site, request.method)
    archive = archive_of(request.source, Login(request.user, request.password_file, request.authority), request.output)
    sealed = request.key is not None or request.certificates or request.trust is not None
    if sealed and archive.distant:
        raise ArgumentError("--key, --certificate and --trust are for folders and lists, where seals lie beside the "
                            "images; leave them out.")
    judging = Judging(archive, request.method, site, parse_modality(request.modality), parse_spacing(request.spacing),
                      os.environ.get("SCANWARD_DEVICE", ""), request.key and request.key.absolute(),
                      tuple(path.absolute() for path in request.certificates),
                      request.trust and request.trust.absolute(), request.marked)
    runner = runner_of(request)
    run = Run(request.output, judging, request.retry)
    told = Told(request.quiet)
    interrupted = False
    with told:
        try:
            run.go(runner, told)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        complain(f"Interrupted after {counted(run.counts.images, 'image')}; what is finished is kept, and the same "
                 "command goes on.")
        return INTERRUPTED
    if not request.quiet:
        print(summary(run.counts))
        if run.counts.errors:
            print("The report says what is wrong; --retry tries errors again, for what was set aside or not "
                  "reached.", file=sys.stderr)
        print(f"Its report: scanward archive report {shown(str(request.output))}", file=sys.stderr)
    return code_of(run.counts)


def runner_of(request: Request) -> Watching:
    """Who judges."""
    limits = Limits(request.seconds, request.memory)
    if request.ray is None:
        return Watched(request.workers or cores(), limits)
    from scanward.judging.cluster import Cluster

    return Cluster(request.ray, request.workers, limits, lambda task: task.unit.cost)


def code_of(counts: Counts) -> int:
    """As of a scan, of all answers in the folder."""
    if counts.errors:
        return ERROR
    return FOUND if counts.labels["tampered"] else UNSURE if counts.labels["inconclusive"] else CLEAN


def summary(counts: Counts) -> str:
    """What came of it, in one line."""
    labels = ", ".join(f"{counts.labels[label]:,} {label}" for label in reversed(SEVERITY) if counts.labels[label])
    wrong = f" {counted(counts.errors, 'error')}, {counts.aside} set aside." if counts.errors else ""
    return f"{counts.images:,} image{'s' * (counts.images != 1)}{': ' + labels if labels else ''}.{wrong}"


def line_of(counts: Counts) -> str:
    """How far it is."""
    listed = f"{counts.listed.units:,}" + ("" if counts.listed.complete else " listed so far")
    rate = f"{rate_of(counts.now / counts.working)}, " if counts.working else ""
    left = counts.remaining
    return (f"{counts.images:,} of {listed}, {rate}"
            f"{'about ' + _span(left) + ' left, ' if left else ''}{counted(counts.labels['tampered'], 'alarm')}, "
            f"{counted(counts.errors, 'error')}")


def _span(seconds: float) -> str:
    minutes = int(seconds / 60 + 0.5)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


class Told:
    """Progress on stderr: a line that changes on a terminal, one a minute elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._last = quiet, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._written = False

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if self._quiet or (not self._terminal and now - self._last < EVERY):
            return
        self._last = now
        kept = 0 if self._written else counts.images - counts.now
        if kept:
            print(f"{counted(kept, 'answer')} kept from before.", file=sys.stderr, flush=True)
        self._written = True
        if self._terminal:
            print(f"\r{line_of(counts)}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line_of(counts), file=sys.stderr, flush=True)

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._written:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
