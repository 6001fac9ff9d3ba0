"""From what witnesses say to one verdict: the only place where it is joined, whichever door an image came through.

Which label outranks which stands in `verdict.py`; what a missing or silent witness means stands in `combine`.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from scanward import methods
from scanward.errors import UnjudgedError, UnsupportedError
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.witnesses import names_of, witnesses
from scanward.modality import traits
from scanward.verdict import BESIDE, FILE, SEAL, Evidence, Finding, Label, Verdict
from scanward.version import __version__

MIDDLE = 0.5
"""Where a combined verdict puts every method's own threshold."""


def judge(case: Case, method: str = methods.DEFAULT) -> Verdict:
    """Ask every witness that `method` calls, and join what they say.

    Raises `UnsupportedError` where none of them has anything to say of such an image, `WeightsError` where weights are
    missing or altered.
    """
    start = time.perf_counter()
    image, called = case.image, witnesses(method, case.image.modality)
    for witness in called:
        witness.load()
    # Copy-move uses one core most of the time, and lets go of Python's lock in OpenCV and NumPy.
    with ThreadPoolExecutor(len(called)) as pool:
        said = tuple(e for e in pool.map(lambda witness: witness.testify(case), called) if e is not None)
    evidence = tuple(e for e in said if e.concerned)
    if not evidence and names_of(method, image.modality):
        raise _unjudged(image)
    if not evidence:
        raise UnsupportedError(f"{image.name} is a {traits(image.modality).noun}, and {method} judges none; leave out "
                               "--method.")
    seen = tuple(e for e in evidence if e.method not in BESIDE)
    verdict = combine(image, evidence) if method == methods.DEFAULT or seen != evidence else alone(image, evidence[0])
    hashes = dict.fromkeys(e.weights_sha256 for e in seen if e.weights_sha256)
    parameters = {"detectors": list(names_of(method, image.modality)),
                  "thresholds": {e.method: round(e.threshold, 6) for e in seen},
                  "engines": {e.method: e.engine for e in seen if e.engine},
                  "doubts": {e.method: round(e.doubt, 6) for e in seen if e.doubt is not None}}
    sealed = any(e.method == SEAL for e in evidence)
    asked = " + ".join(([SEAL] if sealed else []) + ([method] if seen or not sealed else []))
    file = next((e.facts for e in said if e.method == FILE), None)
    return dataclasses.replace(verdict, method=asked, version=__version__, weights_sha256=" ".join(hashes) or None,
                               parameters=parameters, seconds=time.perf_counter() - start, file=file)


def _unjudged(image: Image) -> UnjudgedError:
    row = traits(image.modality)
    if row.volume and image.shape[0] < row.slices:
        slices = "a single slice" if image.shape[0] == 1 else f"{image.shape[0]} slices"
        return UnjudgedError(f"{image.name} is {slices} of a {row.noun}, too few to tell whether they show "
                             f"{row.shows}, and detectors look at {row.shows} only; name the folder of the whole "
                             "series.")
    return UnjudgedError(f"{image.name} is a {row.noun} that shows no {row.shows}, and detectors look at {row.shows} "
                         "only; seal what else is to be trusted.")


def alone(image: Image, evidence: Evidence) -> Verdict:
    """The verdict of one witness, on its own scale."""
    findings = evidence.findings if evidence.label == "tampered" else ()
    return Verdict(evidence.score, evidence.threshold, evidence.label, evidence.heat, findings, (evidence,),
                   evidence.method, image.modality, image.provenance)


def combine(image: Image, evidence: tuple[Evidence, ...]) -> Verdict:
    """One verdict from several witnesses, each of whom may raise the alarm alone.

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
