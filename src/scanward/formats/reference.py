"""What an object derived from a DICOM file takes over from it, cleaned of what would make the new object invalid."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

KEPT = ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
        "Rows", "Columns", "StudyDescription", "PatientAge", "IssuerOfPatientID", "PatientOrientation", "Laterality",
        "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
"""Taken over where the source has them."""
TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
          "StudyTime", "ReferringPhysicianName")
"""Must be there, and may be empty."""
STRICT = frozenset({"PatientBirthDate", "StudyDate", "StudyTime", "PatientAge", "LossyImageCompressionRatio"})
"""Left empty where the value breaks its own form; identifying text is kept as it is, since a PACS matches on it."""
TERMS = {"PatientSex": ("M", "F", "O"), "Laterality": ("L", "R"), "LossyImageCompression": ("00", "01")}
"""The only values of some attributes."""
ORIENTATION = frozenset("APRLHF")


def reference_of(source: Dataset) -> Dataset:
    """A small data set that stands for `source` where highdicom asks for a source image.

    It has no frame of reference: a projection has no plane in the patient's coordinates, and without one highdicom
    aligns a segmentation with the source's pixel grid.
    """
    reference = Dataset()
    with warnings.catch_warnings():
        # Reading a value checks it; what is wrong with the source is not the user's to mend here.
        warnings.simplefilter("ignore")
        for keyword in KEPT:
            value = _value(source, keyword)
            if value not in (None, ""):
                setattr(reference, keyword, value)
        for keyword in TYPE_2:
            value = _value(source, keyword)
            setattr(reference, keyword, "" if value is None else value)
    return reference


def _value(source: Dataset, keyword: str) -> Any:
    value = source.get(keyword)
    if value in (None, "", []):
        return None
    if keyword in STRICT and not _valid(keyword, value):
        return None
    if keyword in TERMS and value not in TERMS[keyword]:
        return None
    return _orientation(value) if keyword == "PatientOrientation" else value


def _valid(keyword: str, value: Any) -> bool:
    tag = tag_for_keyword(keyword)
    try:
        DataElement(tag or 0, dictionary_VR(keyword), value, validation_mode=2)
    except (ValueError, TypeError):
        return False
    return True


def _orientation(value: Any) -> list[str] | None:
    """Row and column direction where they are made of DICOM's letters; CBIS-DDSM writes the view there."""
    parts = [value] if isinstance(value, str) else [str(v) for v in value]
    if len(parts) != 2 or not all(p and set(p) <= ORIENTATION for p in parts):
        return None
    return parts


def derived_uid(*parts: object) -> UID:
    """A UID under 2.25 (PS3.5 B.2) that follows from `parts`: a name-based, version 8 UUID of their SHA-256."""
    digest = bytearray(hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")
