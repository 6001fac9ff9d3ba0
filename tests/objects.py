"""Small DICOM files: a mammogram, and a CT series."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MG_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def change(data: Dataset, elements: dict[str, Any]) -> None:
    """Replaces header elements; None removes them."""
    for keyword, value in elements.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)


def dicom_file(path: Path, **elements: Any) -> Path:
    """A small mammogram in a DICOM file; `elements` replace header elements, None removes them."""
    rows, columns = elements.pop("shape", (64, 48))
    seed = elements.pop("seed", 0)
    pixels = np.random.default_rng(seed).integers(0, 4096, (rows, columns), dtype=np.uint16)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = UID(MG_CLASS)
    # Fresh every time: tests share an Orthanc.
    data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID = (generate_uid() for _ in range(3))
    data.PatientName, data.PatientID, data.AccessionNumber = "Doe^Secret", "PID-4711", "ACC-1"
    data.PatientBirthDate, data.PatientSex, data.StudyID, data.ReferringPhysicianName = "19500101", "F", "1", ""
    data.StudyDate, data.StudyTime = time.strftime("%Y%m%d"), "120000"
    data.StudyDescription = "Screening of Doe"
    data.Modality, data.Manufacturer, data.BodyPartExamined = "MG", "Phantom", "BREAST"
    data.PatientOrientation = ["A", "F"]
    data.SeriesNumber, data.InstanceNumber, data.ImageType = 1, 1, ["ORIGINAL", "PRIMARY"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns, data.ImagerPixelSpacing = rows, columns, [0.1, 0.1]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    change(data, elements)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def ct_files(folder: Path, slices: int = 3, **elements: Any) -> list[Path]:
    """A small CT series, a file a slice, one millimetre apart."""
    study, series = generate_uid(), generate_uid()
    shared: dict[str, Any] = {
        "SOPClassUID": UID(CT_CLASS), "Modality": "CT", "BodyPartExamined": "CHEST", "StudyInstanceUID": study,
        "SeriesInstanceUID": series, "FrameOfReferenceUID": generate_uid(), "RescaleSlope": 1,
        "RescaleIntercept": -1024, "PixelSpacing": [0.7, 0.7], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SliceThickness": 1, "ImagerPixelSpacing": [0.7, 0.7], "shape": (64, 64)}  # fmt: skip
    return [dicom_file(folder / f"{z:04}.dcm", InstanceNumber=z + 1, ImagePositionPatient=[-20, -20, float(z)], seed=z,
                       **(shared | elements)) for z in range(slices)]


def axial_series(folder: Path, values: np.ndarray, mm: float, **elements: Any) -> Path:
    """HU (z, y, x), `mm` a voxel, as a CT series of someone, feet first; `elements` are set besides, those that are
    functions to what they make of a slice's number."""
    folder.mkdir(parents=True)
    for number, plane in enumerate(values):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.Modality, data.StudyInstanceUID, data.KVP = CT_CLASS, "CT", "1.2.3", "120"
        data.ImagePositionPatient, data.ImageOrientationPatient = [-150, -140, mm * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [mm, mm], 1, -1024
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = (plane + 1024).clip(0, 4095).astype(np.uint16).tobytes()
        data["PixelData"].VR = "OW"
        change(data, {keyword: value(number) if callable(value) else value for keyword, value in elements.items()})
        data.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder
