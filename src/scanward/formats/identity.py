"""Whose a DICOM object is and what it belongs to: for a gateway, which sorts objects by their headers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.multival import MultiValue
from pydicom.uid import UID

from scanward.errors import ScanwardError, UnreadableError, UnsupportedError
from scanward.formats.dataset import meta_of
from scanward.formats.dicom import (
    CAPTURE,
    CT_CLASSES,
    MG_CLASSES,
    Header,
    modality_of,
    opened,
)
from scanward.formats.glance import first_elements
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.sources import Source
from scanward.formats.views import HANGING, laterality_of, view_of
from scanward.image import Modality

SCANNED = (*MG_CLASSES, *CT_CLASSES)
"""SOP classes that Scanward looks at."""
SENDER = "SendingApplicationEntityTitle"
ALSO = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDescription", "StudyDate",
        *HANGING)
SORTING = (0x00080016, 0x00080018, 0x00080060, 0x0020000D)
"""SOP class, SOP instance, modality, study: all that a node reads of what it is sent."""


@dataclass(frozen=True)
class Identity:
    """What a header says, each on one line and empty where it is absent."""

    sop_class: str
    sop_instance: str
    series: str
    study: str
    modality: str
    patient_id: str
    """With a digest where one line does not hold it as it is: it says whose other studies are shown."""
    accession: str
    description: str
    date: str
    """YYYYMMDD."""
    synthetic: bool
    issuer: str = ""
    """Who gave the Patient ID."""
    laterality: str = ""
    """Of a mammogram `R` or `L`, and `view`, one of `views.VIEWS`."""
    view: str = ""
    sender: str = ""
    """AE title that sent it to the gateway; empty of what was pulled, as the gateway writes both into the file."""

    @property
    def scanned(self) -> bool:
        """It is an image that Scanward looks at."""
        return looked_at(self.sop_class, self.modality)

    @property
    def film(self) -> bool:
        """It is a mammogram, whatever it says of its modality."""
        return self.scanned and self.sop_class not in CT_CLASSES


def class_name(sop_class: str) -> str:
    """The standard's words for a SOP class; the UID itself where it is none of the standard's."""
    return UID(sop_class).name


def looked_at(sop_class: str, modality: str) -> bool:
    """Whether it is an image that Scanward looks at."""
    return sop_class in SCANNED or (sop_class == CAPTURE and modality == "MG")


def identity_of(path: Path) -> Identity:
    """Of a DICOM file; `UnreadableError` where it is none, or names no study or instance."""
    with decoding(path), opened(path, ALSO) as (header, _), open_file(path) as file:
        found = _identity(header, clean(meta_of(file).get(SENDER, "")))
    for name, uid in (("StudyInstanceUID", found.study), ("SOPInstanceUID", found.sop_instance),
                      ("SOPClassUID", found.sop_class)):
        if not uid:
            raise UnreadableError(f"{shown(path)} has no {name}, so nobody can tell what it belongs to; export it "
                                  "again.")
    return found


def modality_in(source: Source) -> Modality | None:
    """What the header of a DICOM source says that it is, though its pixels may be past reading; None where it is silent
    or of no modality that Scanward knows."""
    path = source.paths[0]
    try:
        with decoding(path), opened(path, ()) as (header, _):
            return modality_of(header)
    except ScanwardError:
        return None


def digital_in(path: Path) -> bool:
    """Whether a file is DICOM that says by its SOP class that it is a digital mammogram; digitised films are Secondary
    Captures."""
    try:
        with decoding(path), opened(path, ()) as (header, _):
            return header.text("SOPClassUID") in MG_CLASSES
    except ScanwardError:
        return False


def of_others(source: Source) -> bool:
    """Whether a DICOM source says by its SOP class, one of the standard's for images, and by its modality that it is
    neither a mammogram nor a CT: ultrasound, say, or a Secondary Capture that names no modality."""
    path = source.paths[0]
    try:
        with decoding(path), opened(path, ()) as (header, _):
            kind = header.text("SOPClassUID") or header.media_class
            try:
                modality_of(header)
            except UnsupportedError:
                return " Image " in class_name(kind)
    except ScanwardError:
        pass
    return False


def _identity(header: Header, sender: str) -> Identity:
    date = header.text("StudyDate")
    return Identity(header.text("SOPClassUID"), header.text("SOPInstanceUID"), header.text("SeriesInstanceUID"),
                    header.text("StudyInstanceUID"), header.text("Modality"), _told_apart(header, "PatientID"),
                    header.text("AccessionNumber"), header.text("StudyDescription"),
                    date if len(date) == 8 and date.isdigit() else "", header.text("SyntheticData") == "YES",
                    _told_apart(header, "IssuerOfPatientID"), laterality_of(header), view_of(header), sender)


def _told_apart(header: Header, keyword: str) -> str:
    """The element on one line; with a digest where that leaves something out, so that no two that differ look alike."""
    value = header.value(keyword)
    said = "" if value is None else "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    line, whole = header.text(keyword), said.strip(" \0")
    if line == whole:
        return line
    return f"{clean(whole, 90)} #{hashlib.sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def head_in(stream: BinaryIO) -> bytes:
    """A file up to its data set, where the stream then stands; it says of no AE title that it sent it."""
    meta = meta_of(stream)
    length = stream.tell()
    if SENDER in meta:
        del meta[SENDER]
        return file_head(FileMetaDataset(meta))
    stream.seek(0)
    return stream.read(length)


def sort_of(stream: BinaryIO, syntax: str) -> tuple[str, str, str, str]:
    """SOP class, SOP instance, modality and study of an encoded data set without file meta information, each empty
    where it says none."""
    found = first_elements(stream, syntax, SORTING)
    return found[0], found[1], found[2], found[3]


def file_head(meta: FileMetaDataset) -> bytes:
    """What comes before the data set in a DICOM file: preamble, prefix and file meta information (PS3.10 7.1)."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_file_meta_info(stream, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + stream.getvalue()
