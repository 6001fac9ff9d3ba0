"""What people said of studies: one JSON object a line in `ROOT/reviews/KEY.jsonl`, only ever added to."""

from __future__ import annotations

import csv
import errno
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from scanward.disk import Journal
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import clean, shown
from scanward.inbox.record import StudyRecord

Decision = Literal["accept", "reject", "comment"]
State = Literal["unreviewed", "accepted", "rejected", "mixed"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
LONGEST_NAME, LONGEST_COMMENT = 64, 2000
COLUMNS = ("study", "study_uid", "patient_id", "accession", "study_date", "modality", "label", "score", "when", "who",
           "decision", "image", "sop_instance_uid", "comment")
"""Of the CSV."""


@dataclass(frozen=True)
class Review:
    """What one person said of a study, or of one of its images."""

    when: str
    """ISO-8601, UTC."""
    who: str
    decision: Decision
    """`accept`: the answer is right; `reject`: it is not; `comment`: neither."""
    comment: str = ""
    image: str | None = None
    """The id of the image, None for the whole study."""


def review(who: str, decision: str, comment: str = "", image: str | None = None, *,
           when: datetime | None = None) -> Review:
    """A review of now, cleaned of control characters.

    Raises `ArgumentError` where nobody is named, the decision is none, the comment is too long, or is missing where
    it is all there is.
    """
    name, words = clean(who, LONGEST_NAME + 1), _text(comment)
    if not name or len(name) > LONGEST_NAME:
        raise ArgumentError(f"A review needs the reviewer's name, of at most {LONGEST_NAME} characters.")
    if decision not in DECISIONS:
        raise ArgumentError("A review must accept, reject or comment.")
    if len(words) > LONGEST_COMMENT:
        raise ArgumentError(f"A comment may have {LONGEST_COMMENT} characters; shorten it.")
    if decision == "comment" and not words:
        raise ArgumentError("A comment needs some words.")
    now = (when or datetime.now(UTC)).astimezone(UTC)
    return Review(now.isoformat(timespec="milliseconds"), name, decision, words, image)


def path_of(root: Path, key: str) -> Path:
    """Where the reviews of the study `key` lie."""
    return root / "reviews" / f"{key}.jsonl"


def append(path: Path, made: Review) -> None:
    """Add one review, which is safely on disk when this returns.

    Raises `ArgumentError` where it cannot be written; a half-written line is never read.
    """
    try:
        Journal(path).append(json.dumps(asdict(made), sort_keys=True).encode())
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ArgumentError(f"{shown(path)} cannot be written ({why}); free some space and try again.") from error


def read(path: Path) -> tuple[Review, ...]:
    """All reviews in the order they were made; none where there is no file. Lines that are no review are left out.

    Raises `UnreadableError` where the file is there and cannot be read.
    """
    try:
        values = Journal(path).values()
    except OSError as error:
        raise UnreadableError(f"{shown(path)} cannot be read ({error.strerror}); check its owner.") from error
    return tuple(made for value in values if (made := _review(value)) is not None)


def latest(reviews: Sequence[Review]) -> Review | None:
    """The last that accepts or rejects."""
    return next((r for r in reversed(reviews) if r.decision != "comment"), None)


def state(reviews: Sequence[Review]) -> State:
    """What the study's reviews come to: the last decision of the whole study, and of single images after it."""
    last: dict[str | None, Decision] = {}
    for made in reviews:
        if made.decision == "comment":
            continue
        if made.image is None:
            last.clear()
        last[made.image] = made.decision
    if not last:
        return "unreviewed"
    if len(set(last.values())) > 1:
        return "mixed"
    return "accepted" if "accept" in last.values() else "rejected"


def csv_text(studies: Iterable[tuple[StudyRecord, Sequence[Review]]]) -> str:
    """A CSV with a line a review, of studies and their reviews; safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for study, reviews in studies:
        images = {image.id: image for image in study.images}
        for made in reviews:
            image = images.get(made.image or "")
            about = image or study
            row = [study.key, study.study_uid, study.patient_id, study.accession, study.study_date, about.modality,
                   about.label, about.score, made.when, made.who, made.decision, made.image,
                   image.sop_instance_uid if image else "", made.comment]
            writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    start = text.lstrip()[:1]
    return f"'{text}" if text[:1] in ("\t", "\r", "\n") or (start and start in "=+-@|＝＋－＠") else text


def _text(comment: str) -> str:
    """Line ends as `\\n`; other control and direction characters as blanks."""
    lines = str(comment)[:20 * LONGEST_COMMENT].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", line)).rstrip()
                     for line in lines).strip()


def _review(data: Any) -> Review | None:
    if not isinstance(data, dict) or data.get("decision") not in DECISIONS:
        return None
    texts = [data.get("when"), data.get("who"), data.get("comment", "")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(data.get("image"), str | None):
        return None
    return Review(texts[0], texts[1], data["decision"], texts[2], data.get("image"))
