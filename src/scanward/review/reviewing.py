"""Saving a review: on disk first, then as a DICOM report for the PACS."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request

from scanward.errors import ArgumentError, ScanwardError
from scanward.inbox import reviews
from scanward.inbox.reviews import Review
from scanward.review.door import door_of
from scanward.web.security import client_of

if TYPE_CHECKING:
    from scanward.inbox.record import Study

log = logging.getLogger("scanward.pages")


@dataclass(frozen=True)
class Saved:
    """A review that is on disk."""

    review: Review
    report: str
    """What became of the DICOM report: empty where it was made, else a sentence."""


def save(request: Request, study: Study, user: str, decision: str, comment: str, image: str = "",
         who: str = "") -> Saved:
    """Keep a review of now. `who` counts only where nobody signs in.

    Raises `ArgumentError` where it is none, or cannot be written. A report that cannot be made or sent does not undo
    the review.
    """
    if image and all(image != i.id for i in study.record.images):
        raise ArgumentError("The study has no such image any more; reload the page and try again.")
    name = user
    if door_of(request).open:
        name = who.strip() or user
        if not name:
            raise ArgumentError("Say who you are: enter your name above the buttons.")
    made = reviews.review(name, decision, comment, image or None)
    root = request.app.state.inbox.root
    with request.app.state.inbox.index.changing(study.key):
        reviews.append(reviews.path_of(root, study.key), made)
    if door_of(request).open:
        request.session["user"] = made.who
    request.app.state.audit(
        "review", user=made.who, address=client_of(request), key=study.key, decision=made.decision, image=made.image,
        study_uid=study.record.study_uid, patient_id=study.record.patient_id)
    try:
        path = _report(root, study, made)
        if request.app.state.send is not None:
            request.app.state.send([path])
    except (ScanwardError, OSError) as error:
        log.warning("the review of study %s is kept, but no report of it is sent: %s", study.key, error)
        return Saved(made, "The review is saved, but no DICOM report of it could be sent.")
    return Saved(made, "")


def _report(root: Path, study: Study, made: Review) -> Path:
    """The review as a DICOM report, about the middle object of each image that it is about."""
    from scanward.formats.reviewed import Opinion, write_review

    images = [i for i in study.record.images if made.image in (None, i.id)]
    paths = [study.folder / i.files[len(i.files) // 2] for i in images if i.files]
    if not paths:
        paths = sorted((study.folder / "objects").glob("*.dcm"))[:1]
    about = images[0] if made.image is not None else study.record
    opinion = Opinion(made.who, datetime.fromisoformat(made.when), made.decision, made.comment, about.label,
                      None if about.label == "unscanned" else about.score)
    return write_review(paths, opinion, root / "reviews" / study.key)
