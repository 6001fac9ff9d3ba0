"""Reading, judging and combining: the only place that puts the families together.

The command line and whatever serves Scanward elsewhere call these functions, so their answers cannot differ.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scanward import formats, methods, weights
from scanward.detectors.base import Detector
from scanward.errors import InputError, UnsupportedError
from scanward.image import Image, Modality
from scanward.site import Site, site_of
from scanward.verdict import DOUBT, Evidence, Finding, Label, Verdict
from scanward.version import __version__

if TYPE_CHECKING:
    from scanward.formats import Source

MIDDLE = 0.5
"""Where a combined verdict puts every method's own threshold."""


@dataclass(frozen=True)
class Result:
    """What became of one source: an image with its verdict, or the error that stopped it."""

    path: Path
    image: Image | None = None
    verdict: Verdict | None = None
    error: InputError | None = None


def load(path: str | Path, *, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None) -> Image:
    """The one image in a file, or the one CT series in a folder.

    `modality` and `spacing` (millimetres a pixel, (y, x)) go before what the file says. Raises `InputError`.
    """
    return formats.read(path, modality=modality, spacing=spacing)


def detectors(method: str = methods.DEFAULT) -> tuple[Detector, ...]:
    """The detectors that `method` runs, built once a process; `ArgumentError` for an unknown name."""
    names = methods.DEFAULT_DETECTORS if method == methods.DEFAULT else (method,)
    return tuple(_detector(name) for name in names)


@cache
def _detector(name: str) -> Detector:
    built: Detector = methods.build(name, "detector")
    return built


def check_method(method: str) -> None:
    """Raise `ArgumentError` with the known names unless `method` is the default or a detector."""
    if method != methods.DEFAULT:
        methods.find(method, "detector")


class Combined:
    """What a plain `scanward scan` answers, as one detector, for benches that run detectors."""

    name = methods.DEFAULT

    def load(self) -> None:
        """Load every detector."""
        for detector in detectors():
            detector.load()

    def detect(self, image: Image) -> Evidence:
        """The combined verdict as evidence."""
        verdict = scan(image)
        judged = verdict.label != "inconclusive" or verdict.doubtful
        return Evidence(self.name, verdict.score, verdict.threshold, verdict.heat, MIDDLE, verdict.findings, judged,
                        verdict.reason, verdict.weights_sha256, verdict.seconds)


def one_detector(method: str = methods.DEFAULT) -> Detector:
    """`method` as one detector."""
    return Combined() if method == methods.DEFAULT else _detector(method)


def thresholds(method: str = methods.DEFAULT) -> tuple[float, float]:
    """(image, heat) thresholds of a method, both fixed on the validation split."""
    names = methods.find(method, "detector").weights if method != methods.DEFAULT else ()
    if not names:
        return MIDDLE, MIDDLE
    settings = weights.entry(names[0]).settings
    return float(settings["threshold"]), float(settings["heat_threshold"])


def weights_of(method: str = methods.DEFAULT) -> tuple[str, ...]:
    """SHA-256 of every file of weights that a method runs with."""
    names = methods.DEFAULT_DETECTORS if method == methods.DEFAULT else (method,)
    return tuple(weights.entry(w).sha256 for name in names for w in methods.find(name, "detector").weights)


def check_site(site: Site | None, method: str = methods.DEFAULT) -> None:
    """`ArgumentError` unless the site was calibrated for every detector of `method` with the installed weights."""
    if site is not None:
        for detector in detectors(method):
            site.check(detector.name, getattr(detector, "weights_sha256", None))


def scan(source: Image | str | Path, *, method: str = methods.DEFAULT, modality: Modality | None = None,
         spacing: tuple[float, float] | None = None, site: Site | None = None) -> Verdict:
    """Judge one image, or the image in a file.

    `method` is `default` (every detector of `methods.DEFAULT_DETECTORS`, combined by `combine`) or the name of one
    detector, whose own scale then stands. `site` raises thresholds to what its own authentic images ask for. `seconds`
    of the verdict includes reading where a path is given.
    Raises `InputError` for what cannot be read or judged and `WeightsError` where weights are missing or altered.
    """
    start = time.perf_counter()
    check_method(method)
    check_site(site, method)
    image = source if isinstance(source, Image) else load(source, modality=modality, spacing=spacing)
    return _judge(image, method, start, site)


def scan_source(source: Source, *, method: str = methods.DEFAULT, modality: Modality | None = None,
                spacing: tuple[float, float] | None = None, site: Site | None = None) -> Result:
    """Judge one source that `formats.find` returned; what is wrong with its file is in the result, not raised.

    Errors that every file would meet (an unknown method, missing weights) are raised.
    """
    check_method(method)
    check_site(site, method)
    start = time.perf_counter()
    try:
        image = formats.read(source, modality=modality, spacing=spacing)
        return Result(source.path, image, _judge(image, method, start, site))
    except InputError as error:
        return Result(source.path, error=error)


def scan_many(sources: Iterable[Source], *, method: str = methods.DEFAULT, modality: Modality | None = None,
              spacing: tuple[float, float] | None = None, site: Site | None = None) -> Iterator[Result]:
    """`scan_source` over many, one at a time: an unusable file never stops the others."""
    for source in sources:
        yield scan_source(source, method=method, modality=modality, spacing=spacing, site=site)


def calibrate(results: Iterable[Result], false_alarms: float = 0.02) -> Site:
    """A site's thresholds from the verdicts of its authentic images; `ArgumentError` for fewer than ten that a
    detector could judge."""
    scores: dict[str, list[float]] = {}
    hashes: dict[str, str | None] = {}
    judged = [result.verdict for result in results if result.verdict is not None]
    for verdict in judged:
        for evidence in verdict.evidence:
            found = scores.setdefault(evidence.method, [])
            if evidence.conclusive:
                found.append(evidence.score)
                hashes[evidence.method] = evidence.weights_sha256
    return site_of(scores, hashes, len(judged), false_alarms)


def _judge(image: Image, method: str, start: float, site: Site | None) -> Verdict:
    names = methods.DEFAULT_DETECTORS if method == methods.DEFAULT else (method,)
    for name in names:
        if methods.find(name, "detector").modality != image.modality:
            kind = "a CT volume" if image.modality == "CT" else f"a {image.modality} image"
            raise UnsupportedError(f"{image.name} is {kind}; this version of scanward scans mammograms only.")
    chosen = detectors(method)
    for detector in chosen:
        detector.load()
    # Copy-move uses one core most of the time, and lets go of Python's lock in OpenCV and NumPy.
    with ThreadPoolExecutor(len(chosen)) as pool:
        evidence = tuple(pool.map(lambda detector: detector.detect(image), chosen))
    evidence = tuple(_placed(e, site) for e in evidence)
    verdict = combine(image, evidence) if method == methods.DEFAULT else _alone(image, evidence[0])
    hashes = dict.fromkeys(e.weights_sha256 for e in evidence if e.weights_sha256)
    parameters = {"detectors": list(names), "thresholds": {e.method: round(e.threshold, 6) for e in evidence},
                  "engines": {e.method: e.engine for e in evidence if e.engine},
                  "doubts": {e.method: round(e.doubt, 6) for e in evidence if e.doubt is not None}}
    return dataclasses.replace(verdict, method=method, version=__version__, weights_sha256=" ".join(hashes) or None,
                               parameters=parameters, seconds=time.perf_counter() - start)


def _placed(evidence: Evidence, site: Site | None) -> Evidence:
    """Evidence on the site's thresholds, with the reason where it is neither."""
    if site is not None:
        shipped = evidence.label
        threshold, doubt = site.thresholds_of(evidence)
        evidence = dataclasses.replace(evidence, threshold=threshold, doubt=doubt)
        if shipped == "tampered" and evidence.label != "tampered":
            evidence = dataclasses.replace(evidence, findings=(), reason="")
    return dataclasses.replace(evidence, reason=DOUBT) if evidence.doubtful and not evidence.reason else evidence


def _alone(image: Image, evidence: Evidence) -> Verdict:
    """The verdict of one method, on its own scale."""
    findings = evidence.findings if evidence.label == "tampered" else ()
    return Verdict(evidence.score, evidence.threshold, evidence.label, evidence.heat, findings, (evidence,),
                   evidence.method, image.modality, image.provenance)


def combine(image: Image, evidence: tuple[Evidence, ...]) -> Verdict:
    """One verdict from several methods, each of which may raise the alarm alone.

    Every score is stretched, piecewise linearly, so that its method's own threshold falls on .5; the verdict's score
    is the largest of them and its threshold .5. Heat likewise, voxel by voxel, with each method's `heat_threshold` on
    .5. Findings come from the methods that call the image tampered, strongest first; boxes of two methods stay apart
    even where they overlap. A method that is not conclusive cannot raise it; and since it did not look, nothing that
    the others left unsaid is called authentic: the verdict is then `inconclusive`. So it is where no method raises the
    alarm and one is in doubt.
    """
    heard = [e for e in evidence if e.conclusive]
    heat = np.zeros(image.shape, np.float32)
    findings: list[Finding] = []
    for one in heard:
        _raise_to(heat, one.heat, one.heat_threshold)
        if one.label == "tampered":
            findings += [dataclasses.replace(f, score=rescale(f.score, one.heat_threshold)) for f in one.findings]
    label: Label = "authentic" if all(e.label == "authentic" for e in evidence) else "inconclusive"
    if any(e.label == "tampered" for e in heard):
        label = "tampered"
    score = max((rescale(e.score, e.threshold) for e in heard), default=0.0)
    return Verdict(score, MIDDLE, label, heat, tuple(sorted(findings, key=lambda f: -f.score)), evidence,
                   methods.DEFAULT, image.modality, image.provenance)


def rescale(value: float, threshold: float) -> float:
    """`value` in [0, 1] on the scale where `threshold` is .5; monotone, and exactly .5 at the threshold."""
    return float(_stretch(np.array([value], np.float64), threshold)[0])


def _stretch(values: npt.NDArray[np.floating], threshold: float) -> npt.NDArray[np.floating]:
    low = MIDDLE * (values / threshold) if threshold > 0 else np.zeros_like(values)
    high = MIDDLE + MIDDLE * ((values - threshold) / (1 - threshold)) if threshold < 1 else np.full_like(values, MIDDLE)
    return np.clip(np.where(values >= threshold, high, low), 0, 1)


def _raise_to(heat: npt.NDArray[np.float32], other: npt.NDArray[np.float32], threshold: float,
              rows: int = 64) -> None:
    """`heat = max(heat, other stretched)`, in place and in bands that fit a processor's cache."""
    if heat.shape != other.shape:
        raise ValueError(f"a detector's heat is {other.shape} where the image is {heat.shape}")
    level = float(np.float32(threshold))
    for z in range(heat.shape[0]):
        for y in range(0, heat.shape[1], rows):
            band = heat[z, y:y + rows]
            part = other[z, y:y + rows]
            if part.any():
                np.maximum(band, part if level == MIDDLE else _stretch(part, level), out=band)
