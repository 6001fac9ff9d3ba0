"""A verdict as DICOM objects for a PACS: Segmentation, Structured Report (TID 1500) and Secondary Capture.

All three join the source's patient and study as series of their own and refer to the source's instances. Their UIDs
follow from these, the pixels, the method, its weights and the version, so a second scan of the same image with the same
Scanward names the same objects instead of piling up new ones.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from scanward.disk import whole_file
from scanward.formats.codes import ARTIFICIAL_INTELLIGENCE, MANUFACTURER, SPATIAL_CONCEPT, TAMPERING, scheme
from scanward.formats.derived_report import Job, ascii_text, report
from scanward.formats.derived_source import references_of
from scanward.formats.reference import encoded, identify, pointer, referring
from scanward.image import Image
from scanward.regions import mask_of
from scanward.verdict import Verdict

Kind = Literal["seg", "sr", "sc"]

SERIES: dict[Kind, tuple[int, str]] = {
    "seg": (9101, "Scanward: suspected tampering (segmentation)"),
    "sr": (9102, "Scanward: integrity report"),
    "sc": (9103, "Scanward: heat map"),
}


def _series(job: Job, kind: Kind) -> dict[str, Any]:
    """The keyword arguments that every highdicom object takes."""
    number, description = SERIES[kind]
    return {
        "series_instance_uid": job.uid("series", kind),
        "series_number": number,
        "series_description": description,
        "sop_instance_uid": job.uid("instance", kind),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "scanward",
        "software_versions": job.verdict.version or "unknown",
        "device_serial_number": "none",
    }


def write_dicom(image: Image, verdict: Verdict, folder: Path, *, overlay: npt.NDArray[np.uint8]) -> list[Path]:
    """Write SEG (only where something was found), SR and SC for a film, or a CT series of a file a slice, that was read
    from DICOM files.

    `overlay` is what the SC shows, uint8 (y, x, 3): the heat map over a film, or a montage of a series, as
    `report.montage.summary` makes it. The SEG has the source's rows and columns, and of a series a frame for each slice
    with a finding; a voxel is set where a method's heat reaches its own `heat_threshold` inside one of the findings.
    The sources are read again for their patient and study. Files are named after the image's path and replace those of
    an earlier, equal scan. Returns the paths in the order SEG, SR, SC.

    Raises `ArgumentError` where the image did not come from DICOM files or the folder cannot be written,
    `UnreadableError` where a file has changed since, and `UnsupportedError` where a header lacks what the objects must
    refer to, or the image is a single CT slice or an enhanced CT.
    """
    path, references = references_of(image)
    job = Job.of(references, image, verdict)
    mask = mask_of(verdict)
    with referring(path, "DICOM results", "use the HTML report instead"):
        made: dict[Kind, Dataset] = {"seg": _segmentation(job, mask)} if mask.any() else {}
        made["sr"] = report(job, _series(job, "sr"))
        made["sc"] = _capture(job, overlay)
        for dataset in made.values():
            identify(dataset, job.source)
        files = {kind: encoded(dataset) for kind, dataset in made.items()}
    name = (path.resolve().name or "series") if job.volume else path.stem
    stem = os.fsencode(name)[:80].decode("utf-8", "ignore")
    return [_save(data, folder / f"{stem}-{job.stamp[:8]}-{kind}.dcm") for kind, data in files.items()]


def _segmentation(job: Job, mask: npt.NDArray[np.bool_]) -> Dataset:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=ascii_text(f"scanward {job.verdict.method}", 64), family=ARTIFICIAL_INTELLIGENCE,
        version=job.verdict.version or "unknown", source=MANUFACTURER)
    segment = hd.seg.SegmentDescription(
        segment_number=1, segment_label="Suspected tampering", segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=TAMPERING, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm, tracking_id="Suspected tampering", tracking_uid=job.uid("segment"))
    segmentation: Dataset = hd.seg.Segmentation(
        source_images=job.bare, pixel_array=mask.view(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, segment_descriptions=[segment],
        content_label="TAMPERING", content_description="Regions that Scanward suspects of tampering",
        **_series(job, "seg"))
    if not job.volume:
        # Type 2C in an image whose planes have no place in the patient; highdicom leaves it out.
        segmentation.PatientOrientation = job.source.get("PatientOrientation", [])
    segmentation.CodingSchemeIdentificationSequence = [scheme()]
    # highdicom draws it at random, and the same scan must give the same object.
    _replace_uid(segmentation, "DimensionOrganizationUID", job.uid("dimensions"))
    return segmentation


def _replace_uid(dataset: Dataset, keyword: str, uid: UID) -> None:
    for element in dataset.iterall():
        if element.keyword == keyword:
            element.value = uid


def _capture(job: Job, overlay: npt.NDArray[np.uint8]) -> Dataset:
    from highdicom.sc import SCImage

    source = job.source
    capture: Dataset = SCImage(
        pixel_array=np.ascontiguousarray(overlay), photometric_interpretation="RGB", bits_allocated=8,
        coordinate_system="PATIENT", patient_orientation=("L", "F"), pixel_spacing=_spacing(job, overlay),
        study_instance_uid=source.StudyInstanceUID, **_series(job, "sc"))
    # highdicom insists on an orientation; a film need not have one, and Type 2C allows saying so.
    capture.PatientOrientation = [] if job.volume else source.get("PatientOrientation", [])
    capture.Laterality = source.get("Laterality", "")
    capture.DerivationDescription = "Suspected tampering shown as heat over the source image, for display only"
    capture.SourceImageSequence = [pointer(one) for one in job.references]
    if job.image.provenance.synthetic:
        capture.add_new(0x0008001C, "CS", "YES")
    return capture


def _spacing(job: Job, overlay: npt.NDArray[np.uint8]) -> tuple[float, float] | None:
    """Of a montage none: a distance from one slice to the next is none in the patient."""
    if job.image.spacing is None or job.volume:
        return None
    _, rows, columns = job.image.shape
    _, y, x = job.image.spacing
    return y * rows / overlay.shape[0], x * columns / overlay.shape[1]


def _save(data: bytes, path: Path) -> Path:
    with whole_file(path) as file:
        file.write(data)
    return path
