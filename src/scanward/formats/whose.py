"""Of whom a file says that it is, and of two views which belong together; nothing heavy is imported for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scanward.formats.guard import decoding

PAIR = ("CC", "MLO")
"""The two views of a breast that are read together, in the order in which they hang."""


@dataclass(frozen=True)
class Whose:
    """What is known of an image; empty where nothing is."""

    patient: str = ""
    case: str = ""
    """The same for both views of a breast."""
    view: str = ""
    """`CC` or `MLO`."""
    side: str = ""
    """`R` or `L`."""
    study: str = ""


def said_by(path: Path) -> Whose:
    """What a DICOM header says; nothing of another file. Raises `InputError` for what cannot be opened."""
    from scanward.formats.dicom import opened
    from scanward.formats.key_object import is_dicom
    from scanward.formats.views import HANGING, laterality_of, view_of

    with decoding(path):
        if not is_dicom(path):
            return Whose()
        with opened(path, ("PatientID", "StudyInstanceUID", *HANGING)) as (header, _):
            patient, study, side = header.text("PatientID"), header.text("StudyInstanceUID"), laterality_of(header)
            return Whose(f"patient {patient}" if patient else "", f"{study} {side}" if study and side else "",
                         view_of(header), side, study)
