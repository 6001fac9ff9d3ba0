"""A CT series on disk, of slices with noise of their own, and changes to some of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

COUNT, SIDE = 12, 96
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def stack(folder: Path, seed: int = 0, **elements: object) -> list[Path]:
    """Writes it, as a scanner would: nothing in it is odd. Files by slice; another seed is another patient."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ends = [cv2.resize(rng.normal(0, 200, (6, 6)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for _ in range(2)]
    paths = []
    for z in range(COUNT):
        plane = 1000 + ends[0] + (ends[1] - ends[0]) * z / COUNT + rng.normal(0, 25, (SIDE, SIDE))
        plane[:10], plane[:, :10], plane[:, -10:] = (rng.normal(24, 6, part.shape) for part in (
            plane[:10], plane[:, :10], plane[:, -10:]))
        path = folder / f"{z:03d}.dcm"
        _slice(z, seed, np.clip(plane.round(), 0, 4095).astype(np.uint16), elements).save_as(path)
        paths.append(path)
    return paths


def _slice(z: int, seed: int, values: np.ndarray, elements: dict[str, object]) -> Dataset:
    root = f"1.2.840.113619.2.55.{seed + 1}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CT_CLASS
    meta.MediaStorageSOPInstanceUID = f"{root}.3.{z + 1}"
    meta.ImplementationClassUID, meta.ImplementationVersionName = "1.2.840.113619.6.80", "LightSpeed"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    said = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SOPClassUID": CT_CLASS,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "StudyInstanceUID": f"{root}.1",
        "SeriesInstanceUID": f"{root}.2", "Modality": "CT", "Manufacturer": "GE MEDICAL SYSTEMS",
        "PatientName": f"Doe^{seed}", "PatientID": str(seed), "PatientBirthDate": "19500101", "PatientSex": "O",
        "PatientAge": "070Y", "StudyDate": "20200601", "StudyTime": "101500", "AcquisitionDate": "20200601",
        "AcquisitionTime": f"1016{z:02d}", "AccessionNumber": "", "ReferringPhysicianName": "", "StudyID": "1",
        "SeriesNumber": 2, "InstanceNumber": z + 1, "KVP": 120, "ConvolutionKernel": "STANDARD",
        "ReconstructionDiameter": 0.7 * SIDE, "PixelSpacing": [0.7, 0.7], "SliceLocation": 2.5 * z,
        "ImagePositionPatient": [-30, -30, 2.5 * z], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": SIDE, "Columns": SIDE,
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": -1024,
        "RescaleSlope": 1, "LargestImagePixelValue": int(values.max()),
    } | elements  # fmt: skip
    for keyword, value in said.items():
        setattr(data, keyword, value)
    data["LargestImagePixelValue"].VR = "US"
    data.private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(1, "LO", "GE_GENESIS")
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW"
    return data


def change(paths: list[Path], act: Callable[[Dataset], object]) -> None:
    """Reads, changes and saves, with pydicom."""
    for path in paths:
        data = pydicom.dcmread(path)
        act(data)
        data.save_as(path)


def repaint(data: Dataset, values: np.ndarray) -> None:
    """Other pixels, and nothing else."""
    data.PixelData = values.astype(np.uint16).tobytes()
    data["PixelData"].VR = "OW"
