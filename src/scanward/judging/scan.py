"""Reading and judging: one image, one source, or many."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scanward import formats, methods
from scanward.errors import ArgumentError, InputError
from scanward.formats import Source
from scanward.formats.identity import modality_in
from scanward.image import Image, Modality
from scanward.judging.case import Case, Terms, case_of, seal_of
from scanward.judging.judge import judge
from scanward.judging.site import Site, site_of
from scanward.judging.witnesses import check_site
from scanward.modality import traits
from scanward.protection import Record, Sealed, key_in, read_record
from scanward.verdict import SEAL, StudyLabel, Verdict


@dataclass(frozen=True)
class Result:
    """What became of one source: an image with its verdict, or the error that stopped it."""

    path: Path
    image: Image | None = None
    verdict: Verdict | None = None
    error: InputError | None = None
    unjudged: StudyLabel = "inconclusive"
    """What it counts as without a verdict."""

    @property
    def label(self) -> StudyLabel:
        """The verdict's or, where there is none, what the image counts as."""
        return self.verdict.label if self.verdict is not None else self.unjudged


def load(path: str | Path, *, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None) -> Image:
    """The one image in a file, or the one CT series in a folder.

    `modality` and `spacing` (millimetres a pixel, (y, x)) go before what the file says. Raises `InputError`.
    """
    return formats.read(path, modality=modality, spacing=spacing)


def scan(source: Image | str | Path, *, method: str = methods.DEFAULT, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None, site: Site | None = None, key: bytes | str | Path | None = None,
         record: Record | str | Path | None = None) -> Verdict:
    """Judge one image, or the image in a file.

    `method` is `default` (the detectors of the image's modality, combined by `judge.combine`) or the name of one
    detector, whose own scale then stands. `site` raises thresholds to what its own authentic images ask for. With
    `key`, 32 secret bytes or the file that `scanward key` made, the keyed evidence in the image is heard, too; its
    `record` is looked for beside a file where none is given, and must be given with an image in memory. `seconds` of
    the verdict includes reading.
    Raises `InputError` for what cannot be read or judged and `WeightsError` where weights are missing or altered.
    """
    start = time.perf_counter()
    check_site(site, method)
    master = None if key is None else key_in(key)
    if record is not None and master is None:
        raise ArgumentError("A record verifies nothing without the key that wrote it; give key=, too.")
    kept = read_record(Path(record), master) if isinstance(record, str | Path) and master is not None else record
    if isinstance(source, Image):
        if master is not None and kept is None:
            raise ArgumentError("No record can be looked for beside an image in memory; give record=, or its file.")
        case = Case(source, site)
    else:
        case = case_of(formats.one_source(Path(source)), Terms(method, site, modality, spacing, master))
    if isinstance(kept, Record) and master is not None:
        case = dataclasses.replace(case, seal=Sealed(master, kept.salt, kept), doubt="")
    return dataclasses.replace(judge(case, method), seconds=time.perf_counter() - start)


def scan_source(source: Source, terms: Terms | None = None) -> Result:
    """Judge one source that `formats.find` returned; what is wrong with its file is in the result, not raised.

    Errors that every file would meet (an unknown method, missing weights) are raised.
    """
    terms = terms or Terms()
    check_site(terms.site, terms.method)
    start, image = time.perf_counter(), None
    try:
        case = case_of(source, terms)
        image = case.image
        verdict = judge(case, terms.method)
        return Result(source.path, image, dataclasses.replace(verdict, seconds=time.perf_counter() - start))
    except InputError as error:
        return Result(source.path, image, error=error, unjudged=_unjudged(source, terms, image))


def _unjudged(source: Source, terms: Terms, image: Image | None) -> StudyLabel:
    """`unscanned` for what nobody would have looked at had it been sound, unless a seal says that it is one of ours."""
    modality = terms.modality or (image.modality if image else modality_in(source))
    try:
        sealed = seal_of(source, terms) is not None
    except InputError:
        sealed = True
    looked_at = modality is None or bool(traits(modality).detectors) or sealed
    return "inconclusive" if looked_at else "unscanned"


def scan_many(sources: Iterable[Source], *, method: str = methods.DEFAULT, modality: Modality | None = None,
              spacing: tuple[float, float] | None = None, site: Site | None = None,
              key: bytes | str | Path | None = None) -> Iterator[Result]:
    """`scan_source` over many, one at a time: an unusable file never stops the others. Arguments as for `scan`."""
    terms = Terms(method, site, modality, spacing, None if key is None else key_in(key))
    for source in sources:
        yield scan_source(source, terms)


def calibrate(results: Iterable[Result], false_alarms: float = 0.02) -> Site:
    """A site's thresholds from the verdicts of its authentic images; `ArgumentError` for fewer than ten that a
    detector could judge."""
    scores: dict[str, list[float]] = {}
    hashes: dict[str, str | None] = {}
    judged = [result.verdict for result in results if result.verdict is not None]
    for verdict in judged:
        for evidence in verdict.evidence:
            if evidence.method == SEAL:
                continue
            found = scores.setdefault(evidence.method, [])
            if evidence.conclusive:
                found.append(evidence.score)
                hashes[evidence.method] = evidence.weights_sha256
    return site_of(scores, hashes, len(judged), false_alarms)
