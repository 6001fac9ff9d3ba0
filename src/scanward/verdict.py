"""`Verdict`: what a scan answers, with the findings and the evidence it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from scanward.box import Box, Millimetres, flat
from scanward.brief import brief
from scanward.image import Modality, Provenance

Label = Literal["tampered", "inconclusive", "authentic"]
LABELS: tuple[Label, ...] = get_args(Label)
StudyLabel = Literal["tampered", "inconclusive", "authentic", "unscanned"]
"""Of what came to a gateway, where an image may be one that no method looks at."""
STUDY_LABELS: tuple[StudyLabel, ...] = get_args(StudyLabel)
SEVERITY: tuple[StudyLabel, ...] = ("authentic", "unscanned", "inconclusive", "tampered")
"""Worse ones later: what nobody looked at is not called authentic."""
SYMBOLS: dict[StudyLabel, str] = {"tampered": "▲", "inconclusive": "?", "authentic": "✓", "unscanned": "–"}
"""Beside the words, for eyes that tell no colours apart."""
COLOURS: dict[Label, str] = {"tampered": "bold red", "authentic": "green", "inconclusive": "yellow"}
"""On a terminal; a page has a CSS class of the label's name."""
SEAL = "seal"
"""The method of evidence that a key gives."""
FILE = "file"
"""The method of evidence that files give beside their pixels."""
WATERMARK = "watermark"
"""The method of evidence that a site's watermark gives."""
BESIDE = (SEAL, FILE, WATERMARK)
"""What is no detector's."""
SYNTHETIC = "It is marked as synthetic data."
"""Of an image that says so; which is no evidence, as anyone can write it or take it away."""
DOUBT = "Something is less even than in most authentic images, but not enough for an alarm."
"""The reason where a score is neither."""


def worst(labels: Iterable[StudyLabel]) -> StudyLabel:
    """The one that counts of several; `unscanned` of none."""
    return max(labels, key=SEVERITY.index, default="unscanned")


@dataclass(frozen=True)
class Finding:
    """One region that a detector calls forged."""

    box: Box
    score: float
    """Largest heat inside the region, [0, 1]."""
    box_mm: Millimetres | None = None
    """None where the spacing is unknown."""
    outline: tuple[tuple[float, float], ...] = ()
    """Closed polygon of (x, y) pixel positions around the region, for reports and DICOM SR."""
    method: str = ""
    """The detector that found it."""

    __repr__ = brief


@dataclass(frozen=True, eq=False)
class Evidence:
    """One detector's answer: every method of the family returns this type and nothing else."""

    method: str
    score: float
    """Calibrated image score, [0, 1]."""
    threshold: float
    """Scores at or above it mean `tampered`; fixed on the validation split and kept in the manifest."""
    heat: npt.NDArray[np.float32]
    """(z, y, x), the image's own shape, [0, 1]; at or above `heat_threshold` a voxel belongs to a finding."""
    heat_threshold: float
    findings: tuple[Finding, ...] = ()
    conclusive: bool = True
    """False where the image gives the method nothing to judge (too small, no grain, no tissue), or too little for what
    would be an alarm."""
    reason: str = ""
    """One sentence on why it is not conclusive, or on what the finding shows (`copied from (x, y)`)."""
    weights_sha256: str | None = None
    seconds: float = 0.0
    engine: str = ""
    """What evaluated the network, and in which arithmetic; empty where there is none."""
    features: tuple[float, ...] = ()
    """The raw statistics that the score was made from, where a method has several; calibration reads them."""
    doubt: float | None = None
    """Scores from here to the threshold are neither. Known only of a site that was calibrated: what is unusual on one
    scanner is not on another."""
    facts: dict[str, Any] | None = None
    """What a witness has to say beside this, as JSON values."""
    concerned: bool = True
    """False where the image shows nothing that the method looks at, such as a CT without lungs: it says nothing."""

    __repr__ = brief

    @property
    def doubtful(self) -> bool:
        """The method could judge, and its score is neither."""
        return self.conclusive and self.doubt is not None and self.doubt <= self.score < self.threshold

    @property
    def label(self) -> Label:
        if not self.conclusive or self.doubtful:
            return "inconclusive"
        return "tampered" if self.score >= self.threshold else "authentic"


def untold(method: str, shape: tuple[int, ...], reason: str, *, threshold: float = 0.5, heat_threshold: float = 0.5,
           seconds: float = 0.0, weights_sha256: str | None = None, concerned: bool = True) -> Evidence:
    """Of a method that can say neither of an image of this shape (z, y, x): no alarm, and no pass."""
    return Evidence(method, 0.0, threshold, np.zeros(shape, np.float32), heat_threshold, conclusive=False,
                    reason=reason, seconds=seconds, weights_sha256=weights_sha256, concerned=concerned)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What Scanward says of one image."""

    score: float
    """[0, 1]."""
    threshold: float
    label: Label
    heat: npt.NDArray[np.float32]
    """(z, y, x), the image's own shape, [0, 1]."""
    findings: tuple[Finding, ...]
    evidence: tuple[Evidence, ...]
    """One entry a method that ran."""
    method: str
    """The method asked for."""
    modality: Modality
    provenance: Provenance = field(default_factory=Provenance)
    version: str = ""
    weights_sha256: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    file: dict[str, Any] | None = None
    """What the files say beside their pixels, odd or not, as JSON values; None where they say nothing."""

    __repr__ = brief

    @property
    def doubtful(self) -> bool:
        """Inconclusive for a score that is neither, and not for want of something to judge by."""
        return self.label == "inconclusive" and any(e.doubtful for e in self.evidence)

    @property
    def reason(self) -> str:
        """What the methods say of their answers, in sentences."""
        return " ".join(dict.fromkeys(e.reason for e in self.evidence if e.reason))

    @property
    def remarks(self) -> str:
        """What is odd about the files and weighs too little to be heard, in sentences."""
        if self.file is None or any(e.method == FILE for e in self.evidence):
            return ""
        return " ".join(fact["says"] for fact in self.file["facts"] if not fact["harmless"])

    def to_json(self) -> dict[str, Any]:
        """The object that `scanward scan --json` prints for this image."""
        planar = self.heat.shape[0] == 1
        return {
            "path": str(self.provenance.path) if self.provenance.path else None,
            "sop_instance_uid": self.provenance.sop_instance_uid,
            "modality": self.modality,
            "synthetic": self.provenance.synthetic,
            "label": self.label,
            "score": round(self.score, 6),
            "threshold": round(self.threshold, 6),
            "axes": "x, y" if planar else "x, y, z",
            "findings": [
                {
                    "box": flat(f.box, planar),
                    "centre": _point(f.box.centre, planar),
                    "corner": _point(f.box[:3], planar),
                    "box_mm": None if f.box_mm is None else [round(v, 3) for v in flat(f.box_mm, planar)],
                    "score": round(f.score, 6),
                    "method": f.method,
                }
                for f in self.findings
            ],
            "method": self.method,
            "reason": self.reason,
            "weights_sha256": self.weights_sha256,
            "version": self.version,
            "parameters": self.parameters,
            "seconds": round(self.seconds, 3),
            **{e.method: e.facts for e in self.evidence if e.facts is not None},
            **({} if self.file is None else {FILE: self.file}),
        }


def _point(place: Sequence[float], planar: bool) -> list[float]:
    """A place (z, y, x) as files hold it: [x, y] of a planar image, [x, y, z] of a volume."""
    return list(place[::-1])[:2 if planar else 3]
