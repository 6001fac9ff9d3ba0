"""The worklist: which studies are shown, in which order, and what a line says."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ScanwardError
from scanward.inbox import reviews, search
from scanward.inbox.index import SCORED, SORTS
from scanward.inbox.record import seal_of
from scanward.inbox.search import LONGEST, NEWEST, Filter
from scanward.inbox.troubles import troubles
from scanward.review.door import door_of, signed_in
from scanward.review.pages import page
from scanward.verdict import SYMBOLS

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox
    from scanward.inbox.record import ImageRecord, Study

LABELS = {
    "tampered": (SYMBOLS["tampered"], "Tampered"),
    "inconclusive": (SYMBOLS["inconclusive"], "Inconclusive"),
    "authentic": (SYMBOLS["authentic"], "Nothing found"),
    "unscanned": (SYMBOLS["unscanned"], "Not scanned"),
    "failed": ("✕", "Failed"),
}
"""Symbol and words; a failed study has no label of its own."""
STATES = {
    "unreviewed": ("○", "Not reviewed"),
    "accepted": ("●", "Accepted"),
    "rejected": ("⊘", "Rejected"),
    "mixed": ("◐", "Mixed"),
}
SEALS = {
    "tampered": ("▲", "Not as sealed"),
    "inconclusive": ("?", "Seal in doubt"),
    "unsealed": ("□", "Not sealed"),
    "consistent": ("◧", "Seal: consistent"),
    "authentic": ("■", "Seal: exact"),
}
"""Symbol and words of what the gateway's seals say: `record.SEALS`."""
DONE = {"done": "Scanned", "failed": "Failed"}
MODALITIES = {"MG": "Mammography", "CT": "CT"}
COLUMNS = {"result": "Result", "score": "Score", "description": "Study", "patient": "Patient", "received": "Received"}
"""Of the list, which it is sorted by."""
ORDERS = {"finished": "Scanned", **COLUMNS, "accession": "Accession", "date": "Study date"}
DOWN = ("score", "received")
"""Columns of which the largest comes first when they are chosen."""
COUNTS = {"incoming": "arriving", "working": "being scanned", "done": "done", "failed": "failed",
          "outgoing": "being sent"}


@dataclass(frozen=True)
class Row:
    """A line of the worklist."""

    key: str
    label: str
    symbol: str
    words: str
    score: float | None
    modality: str
    description: str
    patient_id: str
    accession: str
    study_date: str
    received: str
    images: int
    thumb: str | None
    """The id of the image that is shown."""
    review: str
    review_symbol: str
    review_words: str
    reviewer: str
    error: str
    seal: str
    """One of `SEALS`, the worst of its images'; empty where the gateway keeps none."""
    seal_symbol: str
    seal_words: str
    state: str
    """One of `DONE`."""
    study_uid: str


@dataclass(frozen=True)
class Listing:
    """A page of the worklist."""

    rows: tuple[Row, ...]
    total: int
    page: int
    pages: int
    next: str
    """`cursor` of the page after it; empty on the last."""


def filter_of(request: Request) -> Filter:
    """From a request's query; what makes no sense is taken as empty."""
    query = request.query_params
    number, sort = query.get("page", "1")[:6], query.get("sort", "")
    return Filter(
        " ".join(query.get("q", "")[:LONGEST].split()), _one_of(query.get("label"), LABELS),
        _one_of(query.get("modality"), MODALITIES), _one_of(query.get("review"), STATES),
        _one_of(query.get("state"), DONE), _one_of(query.get("seal"), SEALS), _day(query.get("since")),
        _day(query.get("until")), sort if sort.removeprefix("-") in SORTS else NEWEST,
        max(1, int(number)) if number.isdecimal() and number.isascii() else 1)


def listing(inbox: Inbox, wanted: Filter, cursor: str = "") -> Listing:
    """The page that `search.found` finds. What it says of each study is read from the study's folder."""
    found = search.found(inbox.index, wanted, cursor)
    shown = [study for study in map(inbox.study, found.keys) if study is not None]
    return Listing(tuple(row(inbox, study) for study in shown), found.total, found.page, found.pages, found.next)


def row(inbox: Inbox, study: Study) -> Row:
    """What the worklist says of a study."""
    record, label, said = study.record, study.label, reviews_of(inbox, study.key)
    state, last = reviews.state(said), reviews.latest(said)
    worst, seal = worst_image(record.images), seal_of(record.images)
    symbol, words = SEALS.get(seal, ("", ""))
    return Row(
        key=study.key, label=label, symbol=LABELS[label][0], words=LABELS[label][1],
        score=record.score if label in SCORED else None,
        modality=record.modality or "", description=record.description or "",
        patient_id=record.patient_id or "", accession=record.accession or "",
        study_date=record.study_date or "", received=record.received or record.finished or "",
        images=len(record.images), thumb=worst.id if worst and has_picture(study, worst) else None,
        review=state, review_symbol=STATES[state][0], review_words=STATES[state][1],
        reviewer=last.who if last else "", error=record.error or "",
        seal=seal, seal_symbol=symbol, seal_words=words,
        state=study.state, study_uid=record.study_uid or "")


def worst_image(images: Sequence[ImageRecord]) -> ImageRecord | None:
    """The one to look at first: tampered before inconclusive before authentic, then by score."""
    order = list(LABELS)
    return min(images, default=None, key=lambda i: (order.index(i.label), -(i.score or 0.0)))


def has_picture(study: Study, image: ImageRecord) -> bool:
    return (study.folder / "pictures" / image.id / "thumb.jpg").is_file()


def reviews_of(inbox: Inbox, key: str) -> tuple[reviews.Review, ...]:
    """None where they cannot be read: a page about studies must not fail for one file."""
    try:
        return reviews.read(reviews.path_of(inbox.root, key))
    except ScanwardError:
        return ()


def _one_of(value: str | None, known: Container[str]) -> str:
    return value if value is not None and value in known else ""


def _day(value: str | None) -> str:
    try:
        return date.fromisoformat(value or "").isoformat()
    except ValueError:
        return ""


router = APIRouter()


@router.get("/")
def worklist(request: Request, user: str = Depends(signed_in)) -> Response:
    """The page."""
    inbox, wanted = request.app.state.inbox, filter_of(request)
    shown = listing(inbox, wanted)
    return page(request, "worklist.html", user=user, can_leave=not door_of(request).open, wanted=wanted, listing=shown,
                counts=inbox.counts(), count_words=COUNTS, troubles=troubles(inbox), labels=LABELS, states=STATES,
                modalities=MODALITIES, seals=SEALS, done=DONE, longest=LONGEST, columns=COLUMNS,
                orders=ORDERS, falling=DOWN)
