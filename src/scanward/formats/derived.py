"""A verdict as DICOM objects for a PACS: Segmentation, Structured Report (TID 1500) and Secondary Capture.

All three join the source's patient and study as series of their own and refer to the source instance. Their UIDs
follow from the source, its pixels, the method, its weights and the version, so a second scan of the same image with
the same Scanward names the same objects instead of piling up new ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from scanward.box import flat
from scanward.disk import whole_file
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats.guard import clean, decoding, shown
from scanward.formats.reference import anonymous, derived_uid, identify, read_reference
from scanward.image import Image
from scanward.verdict import Finding, Verdict

Kind = Literal["seg", "sr", "sc"]

SCHEME = "99SCANWARD"
"""Our private coding scheme, for what neither SNOMED CT nor DICOM has a code for."""
TAMPERING = Code("SW001", SCHEME, "Suspected tampering")
SCORE = Code("SW002", SCHEME, "Image tampering score")
THRESHOLD = Code("SW003", SCHEME, "Decision threshold of tampering score")
DECISION = Code("SW004", SCHEME, "Image integrity decision")
DECISIONS = {
    "tampered": Code("SW005", SCHEME, "Tampered"),
    "authentic": Code("SW006", SCHEME, "Authentic: nothing found"),
    "inconclusive": Code("SW007", SCHEME, "Inconclusive"),
}
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
DEVICE = Code("121007", "DCM", "Device")
NO_UNITS = Code("1", "UCUM", "no units")

MANUFACTURER = "Scanward"
SERIES: dict[Kind, tuple[int, str]] = {
    "seg": (9101, "Scanward: suspected tampering (segmentation)"),
    "sr": (9102, "Scanward: integrity report"),
    "sc": (9103, "Scanward: heat map"),
}


@dataclass(frozen=True)
class _Job:
    """What the three objects share."""

    reference: Dataset
    """Of the source, as `read_reference` makes it."""
    bare: Dataset
    """The same without patient and study, for highdicom."""
    image: Image
    verdict: Verdict
    stamp: str
    """Everything the objects' UIDs follow from, as one hexadecimal digest."""

    def uid(self, *parts: object) -> UID:
        return derived_uid(self.stamp, *parts)

    def series(self, kind: Kind) -> dict[str, Any]:
        """The keyword arguments that every highdicom object takes."""
        number, description = SERIES[kind]
        return {
            "series_instance_uid": self.uid("series", kind),
            "series_number": number,
            "series_description": description,
            "sop_instance_uid": self.uid("instance", kind),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": "scanward",
            "software_versions": self.verdict.version or "unknown",
            "device_serial_number": "none",
        }


def write_dicom(image: Image, verdict: Verdict, folder: Path, *, overlay: npt.NDArray[np.uint8]) -> list[Path]:
    """Write SEG (only where something was found), SR and SC for an image that was read from a DICOM file.

    `overlay` is the heat map over the image, uint8 (y, x, 3), as `report.heat.overlay` makes it. The SEG has the
    source's rows and columns; a pixel is set where a method's heat reaches its own `heat_threshold` inside one of the
    findings. The source file is read again for its patient and study. Files are named after it and replace those of
    an earlier, equal scan. Returns the paths in the order SEG, SR, SC.

    Raises `ArgumentError` where the image did not come from a DICOM file or the folder cannot be written,
    `UnreadableError` where the file has changed since, and `UnsupportedError` where its header lacks what the
    objects must refer to, or the image is a volume.
    """
    if image.shape[0] != 1:
        raise UnsupportedError(f"{shown(image.name)} is a volume; DICOM results are made for single images only.")
    path, reference = _reference(image)
    job = _Job(reference, anonymous(reference), image, verdict, _stamp(reference, image, verdict))
    mask = finding_mask(verdict)
    with warnings.catch_warnings():
        # Sources break value rules (a patient's name without a caret) and their values are passed on as they are.
        warnings.simplefilter("ignore")
        try:
            made: dict[Kind, Dataset] = {"seg": _segmentation(job, mask)} if mask.any() else {}
            made["sr"] = _report(job)
            made["sc"] = _capture(job, overlay)
            encoded = {kind: _encoded(job, dataset) for kind, dataset in made.items()}
        except MemoryError:
            raise
        # pydicom and highdicom raise what their parts raise: a header of a new kind costs this image its objects, and
        # nothing else.
        except Exception as error:
            raise UnsupportedError(f"{shown(path)} has a header that DICOM results cannot refer to ({clean(error)}); "
                                   "use the HTML report instead.") from error
    stem = os.fsencode(path.stem)[:80].decode("utf-8", "ignore")
    return [_save(data, folder / f"{stem}-{job.stamp[:8]}-{kind}.dcm") for kind, data in encoded.items()]


def finding_mask(verdict: Verdict) -> npt.NDArray[np.bool_]:
    """(y, x), True where a method's heat reaches its own threshold inside one of the verdict's findings."""
    mask = np.zeros(verdict.heat.shape[1:], np.bool_)
    for finding in verdict.findings:
        region = finding.box.slices[1:]
        heats = [(e.heat[0], e.heat_threshold) for e in verdict.evidence if e.method == finding.method]
        for heat, threshold in heats or [(verdict.heat[0], verdict.threshold)]:
            # In float32, as the detector compared them: .3 as a double lies below .3 as a float.
            mask[region] |= heat[region] >= np.float32(threshold)
    return mask


def _reference(image: Image) -> tuple[Path, Dataset]:
    path = image.provenance.path
    if path is None or image.provenance.format not in ("", "dicom"):
        raise ArgumentError(f"{shown(image.name)} is not a DICOM file, so there is no study to write DICOM results "
                            "into; leave out --dicom or scan the DICOM original.")
    try:
        with decoding(path):
            reference = read_reference(path)
    except UnreadableError as error:
        raise UnreadableError(f"{shown(path)} can no longer be read; scan it again.") from error
    known = image.provenance.sop_instance_uid
    if known not in (None, reference.SOPInstanceUID) or (reference.Rows, reference.Columns) != image.shape[1:]:
        raise UnreadableError(f"{shown(path)} has changed since it was scanned; scan it again.")
    return path, reference


def _stamp(reference: Dataset, image: Image, verdict: Verdict) -> str:
    """The pixels belong to it because a forger may keep the SOP Instance UID of what he alters."""
    pixels = hashlib.sha256(np.ascontiguousarray(image.pixels).data).hexdigest()
    parts = [str(reference.SOPInstanceUID), pixels, verdict.method, verdict.version, str(verdict.weights_sha256),
             json.dumps(verdict.parameters, sort_keys=True, default=str)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _parameters(verdict: Verdict) -> dict[str, str]:
    """What the algorithm identification says, in ASCII and within the length of DICOM's LO."""
    entries = {"method": verdict.method, "weights SHA-256": verdict.weights_sha256 or "none",
               **{str(k): json.dumps(v, default=str) for k, v in verdict.parameters.items()}}
    return {_ascii(k, 64): _ascii(v, 400) for k, v in entries.items()}


def _segmentation(job: _Job, mask: npt.NDArray[np.bool_]) -> Dataset:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=_ascii(f"scanward {job.verdict.method}", 64), family=ARTIFICIAL_INTELLIGENCE,
        version=job.verdict.version or "unknown", source=MANUFACTURER)
    segment = hd.seg.SegmentDescription(
        segment_number=1, segment_label="Suspected tampering", segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=TAMPERING, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm, tracking_id="Suspected tampering", tracking_uid=job.uid("segment"))
    segmentation: Dataset = hd.seg.Segmentation(
        source_images=[job.bare], pixel_array=mask.astype(np.uint8)[None],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, segment_descriptions=[segment],
        content_label="TAMPERING", content_description="Regions that Scanward suspects of tampering",
        **job.series("seg"))
    # Type 2C in an image whose planes have no place in the patient; highdicom leaves it out.
    segmentation.PatientOrientation = job.reference.get("PatientOrientation", [])
    segmentation.CodingSchemeIdentificationSequence = [_scheme()]
    # highdicom draws it at random, and the same scan must give the same object.
    _replace_uid(segmentation, "DimensionOrganizationUID", job.uid("dimensions"))
    return segmentation


def _replace_uid(dataset: Dataset, keyword: str, uid: UID) -> None:
    for element in dataset.iterall():
        if element.keyword == keyword:
            element.value = uid


def _report(job: _Job) -> Dataset:
    from highdicom import sr

    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("scanward", job.verdict.version), name="Scanward", manufacturer_name=MANUFACTURER,
        model_name="scanward", serial_number=job.verdict.version or "unknown")
    device = sr.ObserverContext(sr.CodedConcept.from_code(DEVICE), attributes)
    groups: list[Any] = [_image_group(job)]
    groups += [_finding_group(job, rank, finding) for rank, finding in enumerate(job.verdict.findings, 1)]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=MAMMOGRAPHY, imaging_measurements=groups)
    report: Dataset = sr.ComprehensiveSR(evidence=[job.bare], content=content[0], is_complete=True,
                                         **job.series("sr"))
    report.CodingSchemeIdentificationSequence = [_scheme()]
    return report


def _scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Scanward private codes"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def _algorithm(job: _Job) -> Any:
    from highdicom import sr

    return sr.AlgorithmIdentification(
        name=_ascii(f"scanward {job.verdict.method}", 64), version=job.verdict.version or "unknown",
        parameters=[f"{k}: {v}" for k, v in _parameters(job.verdict).items()], family=ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER)


def _image_group(job: _Job) -> Any:
    """The whole image's score, threshold and decision (TID 1501)."""
    from highdicom import sr

    verdict, source = job.verdict, job.reference
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(job.uid("tracking", "image"), "Image"),
        finding_type=DECISION, algorithm_id=_algorithm(job),
        measurements=[sr.Measurement(SCORE, round(verdict.score, 6), NO_UNITS),
                      sr.Measurement(THRESHOLD, round(verdict.threshold, 6), NO_UNITS)],
        qualitative_evaluations=[sr.QualitativeEvaluation(DECISION, DECISIONS[verdict.label])],
        source_images=[sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)])


def _finding_group(job: _Job, rank: int, finding: Finding) -> Any:
    """One finding's outline and score (TID 1410)."""
    from highdicom import sr

    source = job.reference
    region = sr.ImageRegion(
        sr.GraphicTypeValues.POLYLINE, closed_outline(finding),
        sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID))
    name = _ascii(f"Finding {rank}" + (f" ({finding.method})" if finding.method else ""), 64)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(job.uid("tracking", rank, *flat(finding.box, True)), name),
        referenced_region=region, finding_type=TAMPERING, algorithm_id=_algorithm(job),
        measurements=[sr.Measurement(SCORE, round(finding.score, 6), NO_UNITS)])


def closed_outline(finding: Finding) -> npt.NDArray[np.float64]:
    """(n, 2) column and row of a polyline whose last point repeats the first.

    In SCOORD the corner of the first pixel is (0, 0) and its centre (.5, .5) (PS3.3 C.18.6.1.2), so the outline,
    which runs through pixel centres, moves by half a pixel. A finding without an outline gives its box.
    """
    if len(finding.outline) >= 3:
        points = np.array(finding.outline, np.float64) + 0.5
    else:
        _, y0, x0, _, y1, x1 = finding.box
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)
    return np.vstack([points, points[:1]])


def _capture(job: _Job, overlay: npt.NDArray[np.uint8]) -> Dataset:
    from highdicom.sc import SCImage

    source = job.reference
    capture: Dataset = SCImage(
        pixel_array=np.ascontiguousarray(overlay), photometric_interpretation="RGB", bits_allocated=8,
        coordinate_system="PATIENT", patient_orientation=("L", "F"), pixel_spacing=_spacing(job, overlay),
        study_instance_uid=source.StudyInstanceUID, **job.series("sc"))
    # highdicom insists on an orientation; a film need not have one, and Type 2C allows saying so.
    capture.PatientOrientation = source.get("PatientOrientation", [])
    capture.Laterality = source.get("Laterality", "")
    capture.DerivationDescription = "Suspected tampering shown as heat over the source image, for display only"
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    capture.SourceImageSequence = [item]
    if job.image.provenance.synthetic:
        capture.add_new(0x0008001C, "CS", "YES")
    return capture


def _spacing(job: _Job, overlay: npt.NDArray[np.uint8]) -> tuple[float, float] | None:
    if job.image.spacing is None:
        return None
    _, rows, columns = job.image.shape
    _, y, x = job.image.spacing
    return y * rows / overlay.shape[0], x * columns / overlay.shape[1]


def _encoded(job: _Job, dataset: Dataset) -> bytes:
    identify(dataset, job.reference)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _save(data: bytes, path: Path) -> Path:
    with whole_file(path) as file:
        file.write(data)
    return path


def _ascii(text: str, most: int) -> str:
    """Text that any specific character set of the source can hold, without DICOM's value separator."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:most]
