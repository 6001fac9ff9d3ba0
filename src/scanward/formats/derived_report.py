"""A verdict as a Structured Report by TID 1500."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from scanward.box import flat
from scanward.formats.codes import (
    ARTIFICIAL_INTELLIGENCE,
    DECISION,
    DECISIONS,
    DEVICE,
    MANUFACTURER,
    NO_UNITS,
    PROCEDURES,
    SCORE,
    TAMPERING,
    THRESHOLD,
    scheme,
)
from scanward.formats.reference import anonymous, derived_uid
from scanward.image import Image
from scanward.modality import traits
from scanward.regions import Line, outlines_of
from scanward.verdict import Finding, Verdict


@dataclass(frozen=True)
class Job:
    """What the objects of one verdict share."""

    references: list[Dataset]
    """To the source of each slice, in the slices' order, as `references_of` makes them."""
    image: Image
    verdict: Verdict
    stamp: str
    """Everything the objects' UIDs follow from, as one hexadecimal digest."""

    @classmethod
    def of(cls, references: list[Dataset], image: Image, verdict: Verdict) -> Job:
        """With its stamp. The pixels belong to that because a forger may keep the SOP Instance UIDs of what he
        alters."""
        pixels = hashlib.sha256(np.ascontiguousarray(image.pixels).data).hexdigest()
        parts = [*(str(one.SOPInstanceUID) for one in references), pixels, verdict.method, verdict.version,
                 str(verdict.weights_sha256), json.dumps(verdict.parameters, sort_keys=True, default=str)]
        return cls(references, image, verdict, hashlib.sha256(json.dumps(parts).encode()).hexdigest())

    @property
    def source(self) -> Dataset:
        """Whose patient and study the objects join."""
        return self.references[0]

    @property
    def bare(self) -> list[Dataset]:
        """The references without patient and study, for highdicom."""
        return [anonymous(one) for one in self.references]

    @property
    def volume(self) -> bool:
        return traits(self.image.modality).volume

    def uid(self, *parts: object) -> UID:
        return derived_uid(self.stamp, *parts)


def report(job: Job, series: dict[str, Any]) -> Dataset:
    """The document; `series` holds the keyword arguments that every highdicom object takes."""
    groups: list[Any] = [_image_group(job)]
    groups += [_finding_group(job, rank, finding) for rank, finding in enumerate(job.verdict.findings, 1)]
    return document(job.bare, groups, job.verdict.version, PROCEDURES[job.image.modality], series)


def document(evidence: list[Dataset], groups: list[Any], version: str, procedure: Code,
             series: dict[str, Any]) -> Dataset:
    """Measurement groups (highdicom's) as a document that this version of Scanward observed; otherwise as `report`."""
    from highdicom import sr

    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("scanward", version), name="Scanward", manufacturer_name=MANUFACTURER, model_name="scanward",
        serial_number=version or "unknown")
    device = sr.ObserverContext(sr.CodedConcept.from_code(DEVICE), attributes)
    content = sr.MeasurementReport(observation_context=sr.ObservationContext(observer_device_context=device),
                                   procedure_reported=procedure, imaging_measurements=groups)
    made: Dataset = sr.ComprehensiveSR(evidence=evidence, content=content[0], is_complete=True, **series)
    made.CodingSchemeIdentificationSequence = [scheme()]
    return made


def ascii_text(text: str, most: int) -> str:
    """Text that any specific character set of the source can hold, without DICOM's value separator."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:most]


def _parameters(verdict: Verdict) -> dict[str, str]:
    """What the algorithm identification says, in ASCII and within the length of DICOM's LO."""
    entries = {"method": verdict.method, "weights SHA-256": verdict.weights_sha256 or "none",
               **{str(k): json.dumps(v, default=str) for k, v in verdict.parameters.items()}}
    return {ascii_text(k, 64): ascii_text(v, 400) for k, v in entries.items()}


def _algorithm(job: Job) -> Any:
    from highdicom import sr

    return sr.AlgorithmIdentification(
        name=ascii_text(f"scanward {job.verdict.method}", 64), version=job.verdict.version or "unknown",
        parameters=[f"{k}: {v}" for k, v in _parameters(job.verdict).items()], family=ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER)


def _image_group(job: Job) -> Any:
    """The whole image's score, threshold and decision (TID 1501)."""
    from highdicom import sr

    verdict = job.verdict
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(job.uid("tracking", "image"), "Image"),
        finding_type=DECISION, algorithm_id=_algorithm(job),
        measurements=[sr.Measurement(SCORE, round(verdict.score, 6), NO_UNITS, referenced_coordinates=[_border(job)]),
                      sr.Measurement(THRESHOLD, round(verdict.threshold, 6), NO_UNITS)],
        qualitative_evaluations=[sr.QualitativeEvaluation(DECISION, DECISIONS[verdict.label])],
        source_images=[sr.SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID)
                       for one in job.references])


def _border(job: Job) -> Any:
    """The border of the film, or of the slice through the middle of the first finding, or of the series.

    OHIF 3.13 shows nothing of a report with a measurement group that names no coordinates.
    """
    from highdicom import sr

    depth, height, width = job.image.shape
    found = job.verdict.findings
    z = (found[0].box.z0 + found[0].box.z1 - 1) // 2 if found else depth // 2
    corners = closed(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    source = sr.SourceImageForRegion(job.references[z].SOPClassUID, job.references[z].SOPInstanceUID)
    return sr.CoordinatesForMeasurement(sr.GraphicTypeValues.POLYLINE, corners, source)


def _finding_group(job: Job, rank: int, finding: Finding) -> Any:
    """One finding's outline and score (TID 1410); of a volume its outline in every slice (TID 1411).

    The outlines are said here and not by a reference to the segmentation: a PACS may be sent the report alone, a
    finding whose heat stays below its method's threshold has no voxel there, and one segment holds all findings.
    """
    from highdicom import sr

    name = ascii_text(f"Finding {rank}" + (f" ({finding.method})" if finding.method else ""), 64)
    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(job.uid("tracking", rank, *flat(finding.box, not job.volume)),
                                                     name),
        "finding_type": TAMPERING, "algorithm_id": _algorithm(job),
        "measurements": [sr.Measurement(SCORE, round(finding.score, 6), NO_UNITS)]}
    regions = [sr.ImageRegion(
        sr.GraphicTypeValues.POLYLINE, closed(line),
        sr.SourceImageForRegion(job.references[z].SOPClassUID, job.references[z].SOPInstanceUID))
        for z, line in outlines_of(job.verdict, finding)]
    if job.volume:
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **shared)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=regions[0], **shared)


def closed(line: Line) -> npt.NDArray[np.float64]:
    """(n + 1, 2) column and row of a polyline whose last point repeats the first. In SCOORD the corner of the first
    pixel is (0, 0) and its centre (.5, .5) (PS3.3 C.18.6.1.2), as in `Line`."""
    return np.vstack([line, line[:1]])
