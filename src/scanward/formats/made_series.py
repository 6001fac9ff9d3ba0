"""A CT series of an image that came from no file, such as a phantom: nobody's, and marked as synthetic data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from scanward.disk import whole_folder
from scanward.formats.altered_dicom import SYNTHETIC
from scanward.formats.reference import derived_uid
from scanward.formats.write import Mark, refuse_existing, write_companion
from scanward.image import AIR, Image, digest
from scanward.version import __version__

BITS = 12
"""That a voxel is stored in, from `AIR` upwards."""


def write_made_series(image: Image, folder: Path, *, description: str) -> Path:
    """Write a CT of known spacing, whole HU from -1024 to 3071, as a series of slices, lowest first, into `folder`,
    with `folder.name + ".scanward.json"` beside it. The same image and words make the same bytes. Returns `folder`.

    Raises `ArgumentError` where something has its name, or its companion's, already.
    """
    refuse_existing(folder)
    mark = Mark(description, True)
    write_companion(folder, mark, "dicom", altered=False)
    names = [f"{number:04d}.dcm" for number in range(1, image.shape[0] + 1)]
    series = _series(image, mark)
    with whole_folder(folder, last=names[-1]) as draft:
        for z, name in enumerate(names):
            (draft / name).write_bytes(_slice(image, z, series))
    return folder


def _series(image: Image, mark: Mark) -> dict[str, Any]:
    """What all slices say, by keyword."""
    z, y, x = image.spacing or (1.0, 1.0, 1.0)
    made = digest(image), mark.text
    uids = {f"{level}UID": derived_uid("made", level, *made)
            for level in ("StudyInstance", "SeriesInstance", "FrameOfReference")}
    empty = dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
                           "ReferringPhysicianName", "AcquisitionNumber", "KVP", "PositionReferenceIndicator",
                           "ContentDate", "ContentTime"))
    return {
        **empty, **uids, "SOPClassUID": CTImageStorage, "Modality": "CT", "ImageType": ["DERIVED", "PRIMARY", "AXIAL"],
        "DerivationDescription": mark.text, "SeriesDescription": mark.description[:64],
        "PatientName": "PHANTOM^SYNTHESISED", "PatientID": "SCANWARD-PHANTOM", "Manufacturer": "Scanward",
        "ManufacturerModelName": "synthesised phantom", "SoftwareVersions": __version__, "SeriesNumber": 1,
        "BodyPartExamined": "CHEST", "PatientPosition": "HFS", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [y, x], "SliceThickness": z, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "Rows": image.shape[1], "Columns": image.shape[2], "BitsAllocated": 16, "BitsStored": BITS, "HighBit": BITS - 1,
        "PixelRepresentation": 0, "RescaleIntercept": int(AIR), "RescaleSlope": 1, "RescaleType": "HU"}


def _slice(image: Image, z: int, series: dict[str, Any]) -> bytes:
    """The bytes of one file."""
    data = Dataset()
    for keyword, value in series.items():
        setattr(data, keyword, value)
    data.add_new(SYNTHETIC, "CS", "YES")
    data.InstanceNumber = z + 1
    data.SOPInstanceUID = derived_uid("made", series["SeriesInstanceUID"], z)
    middle = [(n - 1) / 2 * step for n, step in zip(image.shape, image.spacing or (1.0,) * 3, strict=True)]
    data.ImagePositionPatient = [round(-middle[2], 6), round(-middle[1], 6),
                                 round(z * (image.spacing or (1.0,))[0] - middle[0], 6)]
    stored = np.clip(image.pixels[z] - AIR, 0, 2**BITS - 1)
    data.add_new(0x7FE00010, "OW", stored.astype("<u2").tobytes())
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()
