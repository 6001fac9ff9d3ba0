"""A seal as a DICOM object: a Key Object Selection document of the sealed images' own study (PS3.3, A.35.4), which a
PACS keeps beside them and gives out with them. The seal itself lies in a private element, packed with gzip.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from scanward.errors import ScanwardError, UnreadableError
from scanward.formats.dataset import EXPLICIT_LITTLE
from scanward.formats.dicom import opened
from scanward.formats.elements import NATIVE, read_elements, signable
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.reference import check_one, derived_uid, encoded, identify, pointer, read_reference, referring
from scanward.formats.sniff import HEAD, kind_in
from scanward.version import __version__

CLASS = str(KeyObjectSelectionDocumentStorage)
COMPLETE = "113034", "Complete Acquisition Content"
SIGNED = "113035", "Signed Complete Acquisition Content"
"""What its title says where it carries a DICOM signature."""
DESCRIPTION = "113012", "Key Object Description"
GROUP, CREATOR, SEAL = 0x0099, "SCANWARD", 0x01
SERIES_NUMBER, SERIES_NAME = 9104, "Scanward: seals"
LARGEST = 1 << 26
"""Bytes of an object."""
LARGEST_SEAL = 1 << 23
"""Bytes of a seal, in a file of its own, or unpacked from an object."""


@dataclass(frozen=True)
class KeyObject:
    """An object that holds a seal."""

    path: Path
    instances: frozenset[str]
    """SOP Instance UIDs of the images that it refers to."""
    series: frozenset[str]
    """Of these, the Series Instance UIDs."""


def write_key_object(paths: Sequence[Path], seal: str, made: datetime.datetime, *, signed: bool) -> bytes:
    """The file of an object with a seal of the images in `paths`, `made` then; `signed` where a DICOM signature will be
    added.

    Raises as `read_reference`, and `UnsupportedError` where the images are of several studies.
    """
    known = [_reference(path) for path in paths]
    macs = [_mac(path) for path in paths]
    check_one(paths[0].parent, known, "StudyInstanceUID", "several studies")
    with referring(paths[0], "a seal in a DICOM object", "keep the seal's file with it"):
        return encoded(_object(known, macs, seal, made, signed))


def _object(known: Sequence[Dataset], macs: Sequence[Dataset | None], seal: str, made: datetime.datetime,
            signed: bool) -> Dataset:
    first, data = known[0], Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CLASS, derived_uid("seal", seal)
    data.InstanceCreationDate = data.ContentDate = data.SeriesDate = f"{made:%Y%m%d}"
    data.InstanceCreationTime = data.ContentTime = data.SeriesTime = f"{made:%H%M%S}"
    data.Modality, data.SeriesNumber, data.SeriesDescription = "KO", SERIES_NUMBER, SERIES_NAME
    data.SeriesInstanceUID, data.InstanceNumber = derived_uid("seals", first.StudyInstanceUID, seal), 1
    data.StudyInstanceUID = first.StudyInstanceUID
    data.ReferencedPerformedProcedureStepSequence = []
    data.Manufacturer, data.ManufacturerModelName = "Scanward", "scanward"
    data.DeviceSerialNumber, data.SoftwareVersions = "none", __version__
    data.CurrentRequestedProcedureEvidenceSequence = [_evidence(known, macs)]
    _content(data, known, SIGNED if signed else COMPLETE)
    packed = gzip.compress(seal.encode(), mtime=0)
    data.private_block(GROUP, CREATOR, create=True).add_new(SEAL, "OB", packed + b"\0" * (len(packed) % 2))
    identify(data, first)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


def _reference(path: Path) -> Dataset:
    with decoding(path):
        return read_reference(path)


def _mac(path: Path) -> Dataset | None:
    """What holds a file's every element that can be signed, for whoever has no Scanward; None where they cannot be
    told apart."""
    try:
        with decoding(path):
            file = read_elements(path)
    except ScanwardError:
        return None
    held = tuple(one for one in file.elements if signable(one))
    engine = hashlib.sha256()
    for chunk in file.stream(held):
        engine.update(chunk)
    item = Dataset()
    item.MACCalculationTransferSyntaxUID = EXPLICIT_LITTLE if file.syntax in NATIVE else file.syntax
    item.MACAlgorithm, item.DataElementsSigned, item.MAC = "SHA256", [one.tag for one in held], engine.digest()
    return item


def _evidence(known: Sequence[Dataset], macs: Sequence[Dataset | None]) -> Dataset:
    """The images by study and series."""
    series: dict[str, list[Dataset]] = {}
    for one, mac in zip(known, macs, strict=True):
        item = pointer(one)
        if mac is not None:
            item.ReferencedSOPInstanceMACSequence = [mac]
        series.setdefault(one.SeriesInstanceUID, []).append(item)
    evidence = Dataset()
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = known[0].StudyInstanceUID, []
    for uid, pointers in series.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedSOPSequence = uid, pointers
        evidence.ReferencedSeriesSequence.append(item)
    return evidence


def _content(data: Dataset, known: Sequence[Dataset], title: tuple[str, str]) -> None:
    """The document: its title, a sentence, and the images (TID 2010)."""
    data.ValueType, data.ContinuityOfContent = "CONTAINER", "SEPARATE"
    data.ConceptNameCodeSequence = [_code(title)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    data.ContentTemplateSequence = [template]
    text = Dataset()
    text.RelationshipType, text.ValueType, text.ConceptNameCodeSequence = "CONTAINS", "TEXT", [_code(DESCRIPTION)]
    text.TextValue = "Seal of these images: any later change of them shows. Verify with scanward."
    data.ContentSequence = [text]
    for one in known:
        item = Dataset()
        item.RelationshipType, item.ValueType, item.ReferencedSOPSequence = "CONTAINS", "IMAGE", [pointer(one)]
        data.ContentSequence.append(item)


def _code(code: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator, (item.CodeValue, item.CodeMeaning) = "DCM", code
    return item


def read_key_object(path: Path) -> KeyObject | None:
    """The object in a file; None for anything else, and for what cannot be read: whoever has no seal says so."""
    try:
        with decoding(path):
            data = _data(path)
            return None if data is None or not _packed(data) else KeyObject(path, *_referred(data))
    except ScanwardError:
        return None


def seal_in(path: Path) -> str | None:
    """The seal's file as an object holds it; None for a file of another kind, `UnreadableError` where it is damaged."""
    with decoding(path):
        data = _data(path)
        packed = b"" if data is None else _packed(data)
        if not packed:
            return None
        engine = zlib.decompressobj(wbits=31)
        with suppress(zlib.error):
            found = engine.decompress(packed, LARGEST_SEAL)
            if engine.eof:
                return found.decode("utf-8", "replace")
    raise UnreadableError(f"{shown(path)} holds a damaged seal; fetch it again from where it was kept.")


def _data(path: Path) -> Dataset | None:
    with open_file(path) as file:
        head = file.read(HEAD)
        if CLASS.encode() not in head:
            return None
        whole = head + file.read(LARGEST)
    data = pydicom.dcmread(io.BytesIO(whole), force=True)
    return data if len(whole) <= LARGEST and data.get("SOPClassUID") == CLASS else None


def _packed(data: Dataset) -> bytes:
    try:
        found = data.private_block(GROUP, CREATOR)[SEAL].value
    except KeyError:
        return b""
    return found if isinstance(found, bytes) else b""


def _referred(data: Dataset) -> tuple[frozenset[str], frozenset[str]]:
    series = [one for study in _items(data, "CurrentRequestedProcedureEvidenceSequence")
              for one in _items(study, "ReferencedSeriesSequence")]
    instances = (one.get("ReferencedSOPInstanceUID") for part in series
                 for one in _items(part, "ReferencedSOPSequence"))
    return (frozenset(clean(uid) for uid in instances if uid),
            frozenset(clean(one.get("SeriesInstanceUID")) for one in series if one.get("SeriesInstanceUID")))


def _items(data: Dataset, keyword: str) -> list[Any]:
    return list(data.get(keyword) or [])


def is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file, by its first bytes."""
    with decoding(path):
        return kind_in(path) == "dicom"


def uids_of(path: Path) -> tuple[str, str]:
    """SOP Instance UID and Series Instance UID of a DICOM file, empty where it is none or does not say them."""
    try:
        with decoding(path), opened(path) as (header, _):
            return header.text("SOPInstanceUID"), header.text("SeriesInstanceUID")
    except ScanwardError:
        return "", ""
