"""What a person said of a verdict, as a DICOM Structured Report beside the source in its study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from scanward.disk import whole_file
from scanward.errors import ArgumentError, InputError
from scanward.formats.codes import DECISION, DECISIONS, MANUFACTURER, NO_UNITS, SCHEME, SCORE, scheme
from scanward.formats.guard import clean, decoding
from scanward.formats.reference import (
    UNICODE,
    anonymous,
    check_one,
    derived_uid,
    encoded,
    identify,
    read_reference,
    referring,
)
from scanward.version import __version__

REVIEW = Code("SW010", SCHEME, "Review of image integrity decision")
OUTCOME = Code("SW011", SCHEME, "Outcome of review")
OUTCOMES = {
    "accept": Code("SW012", SCHEME, "Accepted: the reviewer agrees"),
    "reject": Code("SW013", SCHEME, "Rejected: the reviewer disagrees"),
    "comment": Code("SW014", SCHEME, "Comment only"),
}
COMMENT = Code("121106", "DCM", "Comment")
SOURCE = Code("121112", "DCM", "Source of Measurement")
PERSON = Code("121006", "DCM", "Person")
NUMBER, DESCRIPTION = 9104, "Scanward: review"


@dataclass(frozen=True)
class Opinion:
    """A review, and the answer that it is about."""

    who: str
    when: datetime
    decision: Literal["accept", "reject", "comment"]
    comment: str = ""
    label: str = ""
    """The verdict's, where there is one."""
    score: float | None = None


def write_review(sources: Sequence[Path], opinion: Opinion, folder: Path) -> Path:
    """Write the review of the images in `sources` (DICOM files of one study, at least one) as an Enhanced SR into
    `folder`; the path, named after the object's UID.

    UIDs and content follow from the sources and the opinion alone: writing it again gives the same object. Raises
    `ArgumentError` without a source or where the folder cannot be written, `UnreadableError` where no source can be
    read and `UnsupportedError` where no header has what a report must refer to.
    """
    if not sources:
        raise ArgumentError("A review needs the images that it is about; none is left of the study.")
    references = _references(sources)
    when = opinion.when.astimezone(UTC)
    check_one(sources[0].parent, references, "StudyInstanceUID", "several studies")
    parts = [sorted(str(r.SOPInstanceUID) for r in references), opinion.who, when.isoformat(), opinion.decision,
             opinion.comment]
    stamp = hashlib.sha256(json.dumps(["review", *parts]).encode()).hexdigest()
    with referring(sources[0], "a review", "export it again"):
        made = encoded(_report(references, opinion, when, stamp))
    path = folder / f"review-{stamp[:24]}.dcm"
    with whole_file(path) as file:
        file.write(made)
    return path


def _references(paths: Sequence[Path]) -> list[Dataset]:
    """Of those that can be referred to: one odd image must not cost the review of the others."""
    found, errors = [], []
    for path in paths:
        try:
            with decoding(path):
                found.append(read_reference(path))
        except InputError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _report(references: list[Dataset], opinion: Opinion, when: datetime, stamp: str) -> Dataset:
    from highdicom.sr import EnhancedSR

    report: Dataset = EnhancedSR(
        evidence=[anonymous(one) for one in references], content=_content(references, opinion), is_complete=True,
        is_final=True,
        series_instance_uid=derived_uid(references[0].StudyInstanceUID, "scanward review series"),
        series_number=NUMBER, series_description=DESCRIPTION, sop_instance_uid=derived_uid(stamp, "instance"),
        instance_number=int(stamp[:6], 16) + 1, manufacturer=MANUFACTURER, manufacturer_model_name="scanward",
        software_versions=__version__, device_serial_number="none")
    identify(report, references[0])
    report.SpecificCharacterSet = UNICODE  # reviewers write in their own language
    for keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if keyword in report:
            setattr(report, keyword, f"{when:%Y%m%d}")
    for keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if keyword in report:
            setattr(report, keyword, f"{when:%H%M%S}.{when.microsecond:06d}")
    for equipment in report.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = f"{when:%Y%m%d%H%M%S}+0000"
    report.TimezoneOffsetFromUTC = "+0000"
    report.CodingSchemeIdentificationSequence = [scheme()]
    return report


def _content(references: list[Dataset], opinion: Opinion) -> Dataset:
    from highdicom import sr

    contains = sr.RelationshipTypeValues.CONTAINS
    root = sr.ContainerContentItem(name=REVIEW)
    observer = sr.ObserverContext(
        sr.CodedConcept.from_code(PERSON),
        sr.PersonObserverIdentifyingAttributes(_person(opinion.who), login_name=_words(opinion.who)[:64]))
    items: list[Any] = [*observer]
    items.append(sr.CodeContentItem(OUTCOME, OUTCOMES[opinion.decision], contains))
    if opinion.label in DECISIONS:
        items.append(sr.CodeContentItem(DECISION, DECISIONS[opinion.label], contains))
    if opinion.score is not None:
        items.append(sr.NumContentItem(SCORE, round(opinion.score, 6), NO_UNITS, relationship_type=contains))
    if opinion.comment:
        items.append(sr.TextContentItem(COMMENT, _words(opinion.comment), contains))
    for reference in references:
        items.append(sr.ImageContentItem(SOURCE, UID(reference.SOPClassUID), UID(reference.SOPInstanceUID),
                                         relationship_type=contains))
    root.ContentSequence = sr.ContentSequence(items, is_root=False)
    return root


def _person(name: str) -> str:
    """A login name as the family name of a person."""
    plain = "".join(" " if c in "^=\\" else c for c in clean(name, 64)).strip()
    return f"{plain or 'unknown'}^"


def _words(text: str) -> str:
    """Text without control characters but line ends."""
    return "\r\n".join("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
