"""Images to be sealed."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT, MG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2"
NUMBERS = np.random.default_rng(11)
VOLUME = NUMBERS.integers(0, 2500, (9, 64, 80)).astype(np.uint16)
FILM = NUMBERS.integers(0, 4096, (160, 120)).astype(np.uint16)


def made(pixels: np.ndarray, uid: str, **elements: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "P17", "Doe^Jane", "19600101", "F"
    data.StudyDate, data.AccessionNumber = "20260102", "A9"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.4"
    data.SOPInstanceUID, data.SamplesPerPixel, data.PhotometricInterpretation = uid, 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    return data


def ct_slice(z: int, pixels: np.ndarray | None = None, **elements: object) -> Dataset:
    plain = {"SOPClassUID": CT, "Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024,
             "PixelSpacing": [0.7, 0.6], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": z + 1,
             "ImagePositionPatient": [-20, -30, 2.5 * z]}
    return made(VOLUME[z] if pixels is None else pixels, f"1.2.5.{z}", **plain | elements)
