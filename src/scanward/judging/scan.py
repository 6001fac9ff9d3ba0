"""Reading and judging: one image, one source, or many."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scanward import formats, methods
from scanward.arguments import PathLike, number_of, path_of, refused
from scanward.brief import brief
from scanward.errors import ArgumentError, InputError, UnjudgedError
from scanward.formats import Source
from scanward.formats.guard import check_arguments
from scanward.formats.identity import modality_in, of_others
from scanward.formats.reader import Given, image_in
from scanward.formats.sources import TAKES, named
from scanward.image import Image, Modality
from scanward.judging.case import Case, Terms, case_of, check_marked, checked_of, seal_of
from scanward.judging.judge import judge
from scanward.judging.seen import Seen
from scanward.judging.site import Site, check_rate, site_of
from scanward.judging.witnesses import check_site
from scanward.modality import traits
from scanward.protection import Key, Record, key_in, seal_for
from scanward.seals.trust import Trust, read_trust
from scanward.verdict import BESIDE, StudyLabel, Verdict


@dataclass(frozen=True)
class Result:
    """What became of one source: an image with its verdict, or the error that stopped it."""

    path: Path
    image: Image | None = None
    verdict: Verdict | None = None
    error: InputError | None = None
    unjudged: StudyLabel = "inconclusive"
    """What it counts as without a verdict."""

    __repr__ = brief

    @property
    def label(self) -> StudyLabel:
        """The verdict's or, where there is none, what the image counts as."""
        return self.verdict.label if self.verdict is not None else self.unjudged


def load(path: Given, *, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None) -> Image:
    """The one image in a file, or the one image or CT series in a folder; or an array of values, (y, x) of a mammogram,
    (z, y, x) of a CT in HU, which is taken as the same values in an NPY file are. An `Image` is given back as it is.

    `modality`, `MG` or `CT`, and `spacing`, (y, x) in millimetres a pixel, go before what the file says. Raises
    `InputError` for what cannot be read, or is no image.
    """
    return image_in(path, modality, spacing)


def scan(source: Given, *, method: str = methods.DEFAULT, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None, site: Site | None = None, key: Key | None = None,
         record: Record | PathLike | None = None, trust: Trust | PathLike | None = None,
         marked: bool = False) -> Verdict:
    """Judge one image: a path, what `find` found, an array as `load` takes it, or an `Image`.

    `method` is `default` (the detectors of the image's modality, combined by `judge.combine`) or the name of one
    detector, whose own scale then stands. `modality` and `spacing` are as for `load`. `site` raises thresholds to what
    its own authentic images ask for. With `key`, 32 secret bytes or the file that `make_key` made, the keyed evidence
    in the image is heard, too; its `record` is looked for beside a file where none is given, and must be given with an
    image in memory. Seals beside a file count that were made with `key` or are of `trust`, a `Trust` or the file of
    one. With `marked` a chest CT that shows no watermark of `key` is `inconclusive`, unless a seal vouches for every
    voxel. `seconds` of the verdict includes reading.
    Raises `InputError` for what cannot be read or judged and `WeightsError` where weights are missing or altered.
    """
    start = time.perf_counter()
    terms = _terms(method, modality, spacing, site, key, trust, marked)
    if isinstance(source, Image | np.ndarray):
        image, found = image_in(source, modality, spacing), None
    else:
        found = source if isinstance(source, Source) else formats.one_source(path_of(source, "source", TAKES))
        image = formats.read(found, modality=modality, spacing=spacing)
    seal = None
    if terms.key is not None:
        seal = seal_for(found, terms.key, record)
    elif record is not None:
        raise ArgumentError("A record verifies nothing without the key that wrote it; give key=, too.")
    checked = None if found is None else checked_of(found, terms)
    verdict = judge(Case(image, site, seal, checked, found, key=terms.key, marked=terms.marked), method)
    return dataclasses.replace(verdict, seconds=time.perf_counter() - start)


def _terms(method: str, modality: Modality | None, spacing: tuple[float, float] | None, site: Site | None,
           key: Key | None, trust: Trust | PathLike | None, marked: bool) -> Terms:
    """What was asked for, checked."""
    if not isinstance(method, str):
        raise refused("method", "the name of a method", method)
    if site is not None and not isinstance(site, Site):
        raise refused("site", "a Site, which scanward.read_site reads", site)
    check_arguments(modality, spacing)
    check_site(site, method)
    if trust is not None and not isinstance(trust, Trust):
        trust = read_trust(path_of(trust, "trust", "a Trust or the path of a trust file"))
    secret = None if key is None else key_in(key)
    check_marked(secret, marked, "give key=, too")
    return Terms(method, site, modality, spacing, secret, trust=trust, marked=marked)


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
        return Result(source.path, image, error=error, unjudged=_unjudged(source, terms, image, error))


def _unjudged(source: Source, terms: Terms, image: Image | None, error: InputError) -> StudyLabel:
    """`unscanned` for what nobody looks at, or would have had it been sound, unless a seal says that it is one of
    ours."""
    if isinstance(error, UnjudgedError):
        return "unscanned"
    modality = terms.modality or (image.modality if image else modality_in(source))
    seal = seal_of(source, terms)
    of_ours = bool(traits(modality).detectors) if modality else not of_others(source)
    looked_at = of_ours or (seal is not None and seal.claimed)
    looked_at = looked_at or (terms.known is not None and image is None)  # it might be known by its pixels
    return "inconclusive" if looked_at else "unscanned"


def scan_many(sources: Iterable[Source | PathLike] | PathLike, *, method: str = methods.DEFAULT,
              modality: Modality | None = None, spacing: tuple[float, float] | None = None, site: Site | None = None,
              key: Key | None = None, trust: Trust | PathLike | None = None, marked: bool = False) -> Iterator[Result]:
    """Judge many, one at a time as results are asked for: files, folders to search, globs, and what `find` found.

    An unusable file never stops the others: its result holds the error. Other arguments are as for `scan`; what is
    wrong with them is raised at once.
    """
    terms = _terms(method, modality, spacing, site, key, trust, marked)
    return _scanned(named(sources), dataclasses.replace(terms, seen=Seen()))


def _scanned(sources: Iterable[Source | Path], terms: Terms) -> Iterator[Result]:
    for one in sources:
        found, errors = formats.find([one])
        if terms.seen is not None:
            terms.seen.expect(found, terms.modality)
        for source in found:
            yield scan_source(source, terms)
        for error in errors:
            yield Result(Path(str(one)), error=error)


def calibrate(results: Iterable[Result], false_alarms: float = 0.02) -> Site:
    """A site's thresholds from what `scan_many` said of its authentic images, with the default method and no site.

    `false_alarms` is the rate, above 0 and below 0.5, that each detector is to keep to. Raises `ArgumentError` for
    fewer than ten images that a detector could judge. Copies of one image count once.
    """
    check_rate(number_of(false_alarms, "false_alarms"))
    scores: dict[str, list[float]] = {}
    hashes: dict[str, str | None] = {}
    judged: list[Verdict] = []
    known: set[tuple[float, ...]] = set()
    if not isinstance(results, Iterable):
        raise refused("results", "what scanward.scan_many gives", results)
    for result in results:
        if not isinstance(result, Result):
            raise refused("results", "what scanward.scan_many gives", result)
        if result.verdict is None:
            continue
        seen = _seen(result.verdict)
        if not seen or seen not in known:
            known.add(seen)
            judged.append(result.verdict)
    for verdict in judged:
        for evidence in verdict.evidence:
            if evidence.method in BESIDE:
                continue
            found = scores.setdefault(evidence.method, [])
            if evidence.conclusive:
                found.append(evidence.score)
                hashes[evidence.method] = evidence.weights_sha256
    return site_of(scores, hashes, len(judged), false_alarms)


def _seen(verdict: Verdict) -> tuple[float, ...]:
    """What a detector saw, to the last bit: another copy of an image tells no more of a site. Empty where that is not
    known."""
    return tuple(value for evidence in verdict.evidence if evidence.method not in BESIDE for value in evidence.features)
