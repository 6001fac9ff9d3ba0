"""What an object derived from a DICOM file takes over from it, cleaned of what would make the new object invalid."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pydicom.charset import STAND_ALONE_ENCODINGS, convert_encodings, python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import DA, TM, DSfloat, PersonName

from scanward.errors import UnsupportedError
from scanward.formats.dicom import opened
from scanward.formats.guard import clean, shown, unwarned

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""What a derived object refers to; nothing can be derived without them."""
IMAGE = ("Modality", "PatientOrientation", "Laterality", "LossyImageCompression", "LossyImageCompressionRatio",
         "LossyImageCompressionMethod")
"""Of the image, taken over where the source has them."""
TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
          "StudyTime", "ReferringPhysicianName")
"""Of patient and study; must be there, and may be empty."""
FRAME = "FrameOfReferenceUID"
PLANE = (FRAME, "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness",
         "SpacingBetweenSlices")
"""Of a slice that has its place in the patient."""
OPTIONAL = ("StudyDescription", "PatientAge", "IssuerOfPatientID")
"""Of patient and study, taken over where the source has them."""
TERMS = {"PatientSex": ("M", "F", "O"), "Laterality": ("L", "R"), "LossyImageCompression": ("00", "01")}
"""The only values of some attributes."""
SEVERAL = frozenset({"PatientOrientation", "LossyImageCompressionRatio", "LossyImageCompressionMethod"})
"""Those of more than one value; where another has several, nobody can tell which one counts."""
ORIENTATION = frozenset("APRLHF")
UNICODE = "ISO_IR 192"


def read_reference(path: Path, *, placed: bool = False) -> Dataset:
    """`reference_of` a DICOM file, read as the image's reader reads it, and of one that is `placed` its frame of
    reference. Raises what that raises (see `decoding`), and `UnsupportedError` where the file lacks a UID that is
    needed to refer to it."""
    needed = (*UIDS, FRAME) if placed else UIDS
    with opened(path, (*needed, *IMAGE, *TYPE_2, *OPTIONAL, "SpecificCharacterSet")) as (header, _):
        reference = reference_of(header.data)
        reference.Rows, reference.Columns = header.whole("Rows", 0), header.whole("Columns", 0)
        frame = _values(header.data, FRAME, True) if placed else []
    if frame:
        reference.FrameOfReferenceUID = frame[0]
    missing = [keyword for keyword in needed if keyword not in reference]
    if missing:
        raise UnsupportedError(f"{shown(path)} has no usable {missing[0]}, so no DICOM object can refer to it; export "
                               "it again.")
    return reference


def reference_of(source: Dataset) -> Dataset:
    """A small data set that stands for `source` where a new object needs its image, patient and study.

    It holds only values that are valid by themselves and that its own character set can write: a header may hold
    anything, and one value that no library takes must not cost the whole object. Of UIDs digits and dots are enough,
    since a PACS matches on them. It has no frame of reference: a projection has no plane in the patient's coordinates,
    and for a slice `read_reference` adds it.
    """
    reference = Dataset()
    with unwarned:
        # Reading a value checks it; what is wrong with the source is not the user's to mend here.
        charset, known = _charset(source)
        source.set_original_encoding(source.original_encoding[0], source.original_encoding[1],
                                     convert_encodings(list(charset)))
        texts = {keyword: values for keyword in (*UIDS, *IMAGE, *TYPE_2, *OPTIONAL)
                 if (values := _values(source, keyword, known))}
        if _written(texts, charset) != texts:
            charset = [UNICODE]
            texts = {keyword: values for keyword, values in _written(texts, charset).items()
                     if texts[keyword] == values}
        for keyword in TYPE_2:
            setattr(reference, keyword, "")
        for keyword, values in texts.items():
            setattr(reference, keyword, values if keyword in SEVERAL else values[0])
        if any(charset):
            reference.SpecificCharacterSet = charset
    return reference


def anonymous(reference: Dataset) -> Dataset:
    """`reference` for a library that checks what it copies: the image with an empty patient and study."""
    bare = Dataset()
    for keyword in (*UIDS, *IMAGE, *PLANE, "Rows", "Columns"):
        if keyword in reference:
            bare[keyword] = reference[keyword]
    for keyword in TYPE_2:
        setattr(bare, keyword, "")
    return bare


def identify(made: Dataset, reference: Dataset) -> None:
    """Give a new object the patient, study and character set of `reference`."""
    for keyword in ("SpecificCharacterSet", *TYPE_2, *OPTIONAL):
        if keyword in reference:
            made[keyword] = reference[keyword]


def _charset(source: Dataset) -> tuple[list[str], bool]:
    """The defined terms of the source's character sets, common slips (`ISO IR 100`) read as what they mean; and
    whether all were known."""
    try:
        given = source.get("SpecificCharacterSet") or ""
        terms = [given] if isinstance(given, str) else [str(term) for term in given]
    except Exception:  # as in `_values`
        return [""], False
    terms = [re.sub(r"^ISO[^A-Z0-9]?2022[^A-Z0-9]?IR[^A-Z0-9]?", "ISO 2022 IR ", term.strip().upper())
             for term in terms]
    terms = [re.sub(r"^ISO[^A-Z0-9]?IR[^A-Z0-9]?", "ISO_IR ", term) for term in terms]
    found = ["" if term in ("ISO_IR 6", "ISO 2022 IR 6") else term for term in terms if term in python_encoding]
    if len(found) > 1 and found[0] in STAND_ALONE_ENCODINGS:
        found = found[:1]
    elif len(found) > 1:  # with code extensions each set has its name of ISO 2022, and some have none
        found = [term.replace("ISO_IR ", "ISO 2022 IR ") for term in found if term not in STAND_ALONE_ENCODINGS]
    return (found or [""]), len(found) == len(terms)


def _values(source: Dataset, keyword: str, known: bool) -> list[str]:
    """The values of an element, each a text that is valid for it; none where one is not."""
    tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
    try:
        found = source[keyword].value if keyword in source else ""
        parts = list(found) if isinstance(found, MultiValue) else [found]
        if not all(isinstance(part, str | PersonName | DSfloat) for part in parts):
            return []
        texts = [str(part).strip() for part in parts]
        if vr != "UI":
            DataElement(tag or 0, vr, texts if len(texts) > 1 else texts[0], validation_mode=RAISE)
        fits = (len(texts) == 1 or keyword in SEVERAL) and _fits(keyword, vr, texts)
    # pydicom raises what its parts raise on a hostile value, and whatever it is, the value cannot be had.
    except Exception:
        return []
    readable = all(text and text.isprintable() and "\ufffd" not in text and "\\" not in text
                   and (known or text.isascii()) for text in texts)
    return texts if fits and readable else []


def _fits(keyword: str, vr: str, texts: list[str]) -> bool:
    """What an element asks of its values besides what pydicom checks of its VR."""
    if vr == "UI":
        return re.fullmatch(r"[0-9]+(\.[0-9]+)*", texts[0]) is not None and len(texts[0]) <= 64
    if vr in ("DA", "TM"):  # pydicom lets ranges pass, which queries have, and the 31st of February
        return (DA if vr == "DA" else TM)(texts[0]) is not None
    if keyword == "PatientOrientation":  # CBIS-DDSM writes the view there
        return len(texts) == 2 and all(set(text) <= ORIENTATION for text in texts)
    return keyword not in TERMS or texts[0] in TERMS[keyword]


def _written(texts: dict[str, list[str]], charset: list[str]) -> dict[str, list[str]]:
    """What is read of `texts` after they were written in a character set."""
    found = {}
    for keyword, values in texts.items():
        data = Dataset()
        data.SpecificCharacterSet = charset
        try:
            setattr(data, keyword, values if keyword in SEVERAL else values[0])
            stream = DicomBytesIO()
            stream.is_little_endian, stream.is_implicit_VR = True, False
            write_dataset(stream, data)
            stream.seek(0)
            read: Any = read_dataset(cast(Any, stream), False, True)[keyword].value
        except (ValueError, LookupError):
            continue
        found[keyword] = [str(one) for one in read] if isinstance(read, MultiValue) else [str(read)]
    return found


@contextmanager
def referring(path: Path, what: str, mend: str) -> Iterator[None]:
    """Where `what` refers to `path` is made. Sources break value rules (a patient's name without a caret), and their
    values are passed on as they are. pydicom and highdicom raise what their parts raise: a header of a new kind costs
    this object, `UnsupportedError`, and nothing else."""
    with unwarned:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            raise UnsupportedError(f"{shown(path)} has a header that {what} cannot refer to ({clean(error)}); "
                                   f"{mend}.") from error


def check_one(path: Path, references: Sequence[Dataset], keyword: str, several: str) -> None:
    """`UnsupportedError` where images of several studies or series, as `keyword` says, were to have one object."""
    if len({one[keyword].value for one in references}) > 1:
        raise UnsupportedError(f"{shown(path)} mixes images of {several}, and a DICOM object refers to one; keep the "
                               "others apart.")


def pointer(one: Dataset) -> Dataset:
    """The item that refers to an image."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    return item


def encoded(dataset: Dataset) -> bytes:
    """The bytes of an object's file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def derived_uid(*parts: object) -> UID:
    """A UID under 2.25 (PS3.5 B.2) that follows from `parts`: a name-based, version 8 UUID of their SHA-256."""
    digest = bytearray(hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")
