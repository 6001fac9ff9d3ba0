"""Who is asked: detectors, which see pixels alone, the seal, and the file."""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from itertools import chain
from typing import Protocol

import numpy as np

from scanward import methods, protection, weights
from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.implant import shows_implant
from scanward.detectors.base import Detector, regions
from scanward.errors import InputError
from scanward.image import Modality
from scanward.judging.case import Case
from scanward.judging.site import Site
from scanward.judging.structure import File
from scanward.modality import MODALITIES, traits
from scanward.protectors.watermark import read
from scanward.seals.check import Checked
from scanward.seals.known import Known
from scanward.verdict import DOUBT, SEAL, WATERMARK, Evidence, Finding, untold

SEAL_SCORES = {"authentic": 0.0, "tampered": 1.0, "inconclusive": 0.0}
"""A seal gives an answer and no score."""

ALARM, STEP = 25.0, 5.0
"""How much likelier, as a logarithm, a place must be without the watermark than with it, to be called forged; and by
how much the score's own logit grows by one. The loudest authentic place of the training and validation scans comes to
21.8, in LIDC-IDRI-0013 after JPEG 2000."""

UNMARKED = "It was to carry the site's watermark and shows none: it was taken out, as by a filter, or never woven in."


class Witness(Protocol):
    """One who may be asked about a case."""

    def load(self) -> None:
        """As `Detector.load`."""
        ...

    def testify(self, case: Case) -> Evidence | None:
        """What it has to say; None where the case is none for it."""
        ...


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A detector: it is shown the image, and the site's thresholds are put on its answer."""

    detector: Detector

    def load(self) -> None:
        self.detector.load()

    def testify(self, case: Case) -> Evidence | None:
        if case.image.untested:
            return self._unseen(case, case.image.untested)
        evidence = self.detector.detect(case.image)
        if evidence.label == "tampered" and case.image.modality == "MG" and shows_implant(case.image.plane):
            return self._unseen(case, "a view with an implant, by its looks")
        return placed(evidence, case.site) if evidence.concerned else None

    def _unseen(self, case: Case, kind: str) -> Evidence:
        """Of an image of a kind that no detector was tested on."""
        return untold(self.detector.name, case.image.shape,
                      f"It is {kind}, and detectors were tested on no such images.",
                      weights_sha256=getattr(self.detector, "weights_sha256", None))


class Beside:
    """The seal that lies beside an image."""

    def load(self) -> None:
        """Nothing: it is arithmetic."""

    def testify(self, case: Case) -> Evidence | None:
        answer = case.checked
        if answer is None:
            return None
        if isinstance(answer, InputError):
            # A seal that is there and cannot be asked is no pass.
            return untold(SEAL, case.image.shape, str(answer))
        heat = np.zeros(case.image.shape, np.float32)
        for box in answer.boxes:
            heat[box.slices] = 1
        return Evidence(SEAL, SEAL_SCORES[answer.label], 0.5, heat, 0.5,
                        tuple(Finding(box, 1.0, method=SEAL) for box in answer.boxes),
                        conclusive=answer.label != "inconclusive", reason=answer.reason,
                        facts={"signer": answer.signer, "parts": {name: part.reason for name, part in answer.named},
                               **(answer.facts if isinstance(answer, Known) else {})})


class Seal:
    """What an earlier version wove into an image, held against its record."""

    def load(self) -> None:
        """Nothing: it is arithmetic."""

    def testify(self, case: Case) -> Evidence | None:
        checked = case.checked
        if checked is not None and not isinstance(checked, InputError) and checked.label == "authentic":
            return None  # the site's own seal counts before it, as for `verify`
        start = time.perf_counter()
        try:
            answer = None if case.seal is None else case.seal.verify(case.image)
        except InputError as error:
            # A seal that is there and cannot be read is no pass: that would be a way round it.
            return untold(SEAL, case.image.shape, str(error))
        if answer is None:
            return None
        return Evidence(SEAL, SEAL_SCORES[answer.label], 0.5, answer.heat(case.image.shape), 0.5,
                        tuple(Finding(box, 1.0, method=SEAL) for box in answer.boxes),
                        conclusive=answer.label != "inconclusive", reason=answer.reason,
                        seconds=time.perf_counter() - start, facts=protection.facts(answer))


class Watermarked:
    """The watermark that a CT carries under the site's key, found by its pixels alone."""

    def load(self) -> None:
        """Nothing: it is arithmetic."""

    def testify(self, case: Case) -> Evidence | None:
        image = case.image
        if case.key is None or image.modality != "CT" or image.spacing is None:
            return None
        start = time.perf_counter()
        lungs = lungs_alone(image)
        if not lungs.mask.any():
            return None
        found = read(image, lungs, case.key)
        if found is None:
            vouched = isinstance(case.checked, Checked) and case.checked.vouches
            missed = case.marked and not vouched
            return untold(WATERMARK, image.shape, UNMARKED, seconds=time.perf_counter() - start) if missed else None
        heat = (1 / (1 + np.exp(np.clip((ALARM - found.missing) / STEP, -50, 50)))).astype(np.float32)
        heat[np.isneginf(found.missing)] = 0
        score = float(heat.max())
        unsure = found.weak or (score < 0.5 and found.loose >= ALARM)
        alarm = score >= 0.5 and not unsure
        reason = ("The site's watermark is in this scan, and missing there, as where something was painted in or over."
                  if alarm else "The site's watermark is in this scan, and does not tell where it is missing, as where "
                  "it was processed, lost slices or was put together since it was marked." if unsure else "")
        return Evidence(WATERMARK, score, 0.5, heat, 0.5, regions(heat, 0.5, image, WATERMARK) if alarm else (),
                        conclusive=not unsure, reason=reason, seconds=time.perf_counter() - start,
                        facts={"strength": round(found.strength, 2), "shift": list(found.shift[::-1])})


def witnesses(method: str, modality: Modality) -> tuple[Witness, ...]:
    """Whom `method` calls for an image of a modality: the seal and detectors, and for the default the file;
    `ArgumentError` for an unknown name."""
    file = (File(),) if method == methods.DEFAULT else ()
    return Beside(), Seal(), Watermarked(), *file, *(Pixels(detector(name)) for name in names_of(method, modality))


def names_of(method: str = methods.DEFAULT, modality: Modality | None = None) -> tuple[str, ...]:
    """The detectors that `method` runs on images of a modality, or of any; `ArgumentError` unless it is the default or
    a detector."""
    row = None if method == methods.DEFAULT else methods.find(method, "detector")
    return tuple(name for one in ([modality] if modality else MODALITIES)
                 for name in (traits(one).detectors if row is None else [row.name] if row.modality == one else []))


@cache
def detector(name: str) -> Detector:
    """A detector by its name, built once a process."""
    built: Detector = methods.build(name, "detector")
    return built


def weights_of(method: str = methods.DEFAULT, modality: Modality | None = None) -> tuple[str, ...]:
    """SHA-256 of every file of weights that a method runs with, on images of a modality or of any."""
    return tuple(weights.entry(w).sha256 for name in names_of(method, modality)
                 for w in methods.find(name, "detector").weights)


def check_site(site: Site | None, method: str = methods.DEFAULT) -> None:
    """`ArgumentError` unless the method is known, and the site calibrated for its detectors of a modality, with these
    weights. A site may know one modality only."""
    names_of(method)
    if site is None:
        return
    called = [[detector(name) for name in names_of(method, modality)] for modality in MODALITIES]
    known = [some for some in called if any(one.name in site.thresholds for one in some)]
    for one in chain(*(known or called)):
        site.check(one.name, getattr(one, "weights_sha256", None))


def placed(evidence: Evidence, site: Site | None) -> Evidence:
    """Evidence on the site's thresholds, with the reason where it is neither."""
    if site is not None:
        shipped = evidence.label
        threshold, doubt = site.thresholds_of(evidence)
        evidence = dataclasses.replace(evidence, threshold=threshold, doubt=doubt)
        if shipped == "tampered" and evidence.label != "tampered":
            evidence = dataclasses.replace(evidence, findings=(), reason="")
    return dataclasses.replace(evidence, reason=DOUBT) if evidence.doubtful and not evidence.reason else evidence
