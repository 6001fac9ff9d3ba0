"""Where a study's page leads to: other studies of the patient, and the study in another viewer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from scanward.inbox import search
from scanward.review.worklist import LABELS

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox
    from scanward.inbox.record import Study, StudyRecord

MOST = 12
"""Other studies that are listed."""


@dataclass(frozen=True)
class Other:
    """Another study of the same patient."""

    key: str
    date: str
    """YYYYMMDD, or empty."""
    words: str
    """Its description, or its modality."""
    label: str
    symbol: str
    verdict: str


@dataclass(frozen=True)
class Others:
    """The newest of them."""

    studies: tuple[Other, ...]
    more: bool
    """There are others still."""


def others_of(inbox: Inbox, study: Study) -> Others:
    """Other studies here of the same Patient ID, given by the same issuer."""
    record = study.record
    keys = search.of_patient(inbox.index, record.patient_id or "", record.issuer or "", study.key, MOST + 1)
    found = [one for one in map(inbox.study, keys[:MOST]) if one is not None]
    return Others(tuple(Other(one.key, one.record.study_date or "", one.record.description or one.record.modality or "",
                              one.label, *LABELS[one.label]) for one in found), len(keys) > MOST)


def elsewhere(template: str, record: StudyRecord) -> str:
    """The study's address in another viewer; empty where none is set, or the study lacks what the address needs."""
    known = {"study": record.study_uid, "accession": record.accession, "patient": record.patient_id}
    names = re.findall(r"{(\w+)}", template)
    if not all(known[name] for name in names):
        return ""
    address = re.sub(r"{(\w+)}", lambda found: quote(known[found[1]] or "", safe=""), template)
    # Browsers take these for folders, and quoting does not change them: a header could lead to another page there.
    return "" if {".", ".."} & set(urlsplit(address).path.split("/")) else address
