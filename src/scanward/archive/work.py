"""One unit judged: what a worker does, and what it says."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward import methods
from scanward.archive.ahead import Ahead
from scanward.archive.answers import Answer
from scanward.archive.fetching import sweep
from scanward.archive.unit import Archive, Unit
from scanward.detectors.ct_self_reference.kind import KINDS
from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.glance import origin_of
from scanward.formats.guard import clean, shown
from scanward.image import Image, Modality
from scanward.judging.case import Terms, check_marked
from scanward.judging.scan import Result, scan_source
from scanward.judging.site import Site
from scanward.judging.watched import memory_of
from scanward.judging.witnesses import detector, names_of
from scanward.protection import key_in
from scanward.report.heat import heat_png
from scanward.report.jsonl import plain
from scanward.seals.objects import Objects
from scanward.seals.trust import trust_from
from scanward.verdict import Evidence, Verdict
from scanward.version import __version__

LONGEST = 2000
"""Characters of a sentence that is kept."""


@dataclass(frozen=True)
class Task:
    """A unit, and its place in the listing."""

    part: int
    number: int
    unit: Unit


Judged = tuple[Answer, bytes | None]
"""An answer and, of an alarm, its picture as PNG."""


@dataclass(frozen=True)
class Judging:
    """What workers are to do: `MakeWork` of tasks. It is pickled."""

    archive: Archive
    method: str = methods.DEFAULT
    site: Site | None = None
    modality: Modality | None = None
    spacing: tuple[float, float] | None = None
    device: str = ""
    key: Path | None = None
    """The file of the site's key, which every process reads for itself, as it does the next two: the key goes
    nowhere."""
    certificates: tuple[Path, ...] = ()
    trust: Path | None = None
    marked: bool = False

    def terms(self) -> Terms:
        """Raises `InputError` where one of its files cannot be used."""
        key = None if self.key is None else key_in(self.key)
        check_marked(key, self.marked, "name --key, too")
        trust = trust_from(self.certificates, self.trust)
        return Terms(self.method, self.site, self.modality, self.spacing, key, trust=trust,
                     objects=Objects(standing=True), marked=self.marked)

    def __call__(self) -> Callable[[Task], Judged]:
        """The work; where the networks run is settled before they are loaded. Raises `WeightsError`."""
        if self.device:
            os.environ["SCANWARD_DEVICE"] = self.device
        sweep()
        for name in names_of(self.method, self.modality):
            detector(name).load()
        terms = self.terms()
        worker = f"{socket.gethostname()}:{os.getpid()}"
        if self.archive.distant:
            return Fetching(self.archive, terms, worker)
        return lambda task: judged(task.unit, self.archive, terms, worker)


class Fetching:
    """The work, where files are fetched: those of the next image while one is judged; as `Crew.work` has it."""

    def __init__(self, archive: Archive, terms: Terms, worker: str) -> None:
        self._archive, self._terms, self._worker = archive, terms, worker
        self._files = Ahead(archive)

    def __call__(self, task: Task) -> Judged:
        return judged(task.unit, self._archive, self._terms, self._worker, self._files.fetched)

    def ahead(self, task: Task | None) -> None:
        self._files.following = None if task is None else task.unit

    def close(self) -> None:
        self._files.close()


def judged(unit: Unit, archive: Archive, terms: Terms, worker: str,
           fetched: Callable[[Unit], AbstractContextManager[Source]] | None = None) -> Judged:
    """The answer of one unit, whose files `fetched` brings, or the archive itself."""
    start = time.perf_counter()
    _forget_peak()
    blank = replace(unjudged(unit, archive), method=terms.method)
    picture = None
    try:
        with (fetched or archive.fetched)(unit) as source:
            answer, picture = _answer(blank, scan_source(source, terms), source, [
                archive.address(replace(unit, parts=(part,))) for part in unit.parts])
    except InputError as error:
        answer = replace(blank, label="inconclusive", error=_kept(str(error)))
    now = datetime.datetime.now(datetime.UTC)
    return replace(answer, seconds=time.perf_counter() - start, peak_mb=_peak(), worker=worker, judged_at=now), picture


def unjudged(unit: Unit, archive: Archive) -> Answer:
    """What is known of a unit before anybody looks at it; all of the answer where the listing has it."""
    wrong, address = unit.said == "inconclusive", archive.address(unit)
    path, real = _kept(address), address if archive.distant else os.path.realpath(address)
    return Answer(unit.id, path, len(unit.parts), _kept(archive.name),
                  unit.said or "inconclusive", reason="" if wrong else _kept(unit.reason),
                  error=_kept(unit.reason) if wrong else None, attempts=1 if unit.said == "" else 0,
                  version=__version__, raw_path=None if path == address else address,
                  real_path=None if real == address else real)


def _answer(blank: Answer, result: Result, source: Source, addresses: list[str]) -> Judged:
    """`addresses` are those of the source's files, for people."""
    first = source.paths[0]

    def here(text: str) -> str:
        """What was fetched lies where nobody finds it later."""
        if str(first.parent) in text and str(first) != addresses[0]:
            for path, address in zip(source.paths, addresses, strict=True):
                text = text.replace(str(path), address)
            text = text.replace(str(first.parent), addresses[0])
        return _kept(text)

    origin = origin_of(first)
    blank = replace(
        blank, label=result.label, manufacturer=origin.manufacturer or None, model=origin.model or None,
        station=origin.station or None, institution=origin.institution or None, study_date=_date(origin.date),
        study_uid=origin.study or None, series_uid=origin.series or None, sop_uid=origin.sop_instance or None,
        modality=shown(origin.modality) or None, remade=origin.remade or None)
    if result.image is not None:
        content, slices = content_of(result.image)
        blank = replace(blank, content=content, slices=slices, modality=result.image.modality)
    verdict = result.verdict
    if verdict is None or result.image is None:
        why = here(str(result.error))
        return (replace(blank, reason=why) if result.label == "unscanned" else replace(blank, error=why)), None
    said = verdict.to_json()
    answer = replace(
        blank, modality=verdict.modality, score=verdict.score, threshold=verdict.threshold, reason=here(verdict.reason),
        kinds=kinds_of(verdict), findings=_json(said["findings"]),
        evidence=_json([_witness(one) for one in verdict.evidence]), method=verdict.method, version=verdict.version,
        weights=verdict.weights_sha256)
    return answer, heat_png(result.image, verdict) if verdict.label == "tampered" else None


def kinds_of(verdict: Verdict) -> tuple[str, ...]:
    """The methods that called it tampered, and what they say was done."""
    loud = [one for one in verdict.evidence if one.label == "tampered"]
    done = [kind for kind, words in KINDS.items() if any(words in one.reason for one in loud)]
    return tuple(dict.fromkeys([*(one.method for one in loud), *done]))


def _witness(one: Evidence) -> dict[str, Any]:
    return {"method": one.method, "label": one.label, "score": round(one.score, 6),
            "threshold": round(one.threshold, 6), "conclusive": one.conclusive, "reason": clean(one.reason, LONGEST),
            "facts": one.facts}


def content_of(image: Image) -> tuple[str, tuple[str, ...] | None]:
    """SHA-256 of the values, 32 hexadecimal digits, and of each slice of a volume; of an image of one slice both would
    be the same."""
    names = tuple(map(_digest, image.pixels))
    if image.modality != "CT":
        return names[0], None
    return names[0] if len(names) == 1 else hashlib.sha256("".join(names).encode()).hexdigest()[:32], names


def _digest(plane: npt.NDArray[np.float32]) -> str:
    found = hashlib.sha256(repr(plane.shape).encode())
    found.update(np.ascontiguousarray(plane).data)
    return found.hexdigest()[:32]


def _json(value: Any) -> str:
    return json.dumps(value, default=plain)


def _kept(text: str) -> str:
    """As Parquet takes it: on one line, and no lone surrogates."""
    line = shown(text)
    return line if len(line) <= LONGEST else line[:LONGEST - 3] + "..."


def _date(text: str) -> datetime.date | None:
    if re.fullmatch(r"[0-9]{8}", text):
        with suppress(ValueError):
            return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return None


def _forget_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> float:
    """MB that this process held at most since `_forget_peak`, what is shared with others included (Linux)."""
    with suppress(OSError, IndexError, ValueError), open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return memory_of(os.getpid())
