"""The worklist: which studies are shown, in which order, and what a line says."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ScanwardError
from scanward.inbox.troubles import troubles
from scanward.review import reviews
from scanward.review.door import door_of, signed_in
from scanward.review.pages import page
from scanward.verdict import SYMBOLS

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox, Study
    from scanward.inbox.record import ImageRecord

PAGE = 25
"""Studies a page."""
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
SEALS = {"tampered": "Not as sealed", "inconclusive": "Seal in doubt", "unsealed": "Not sealed",
         "authentic": "As sealed"}
"""What the gateway's seals say of an image, the worst first."""
MODALITIES = {"MG": "Mammography", "CT": "CT"}
COUNTS = {"incoming": "arriving", "working": "being scanned", "done": "done", "failed": "failed",
          "outgoing": "being sent"}


@dataclass(frozen=True)
class Filter:
    """Which studies are wanted; an empty text wants all. What makes no sense is taken as empty."""

    label: str = ""
    modality: str = ""
    review: str = ""
    since: str = ""
    """First day on which the study was received, `YYYY-MM-DD`, UTC."""
    until: str = ""
    """Last such day."""
    page: int = 1

    @staticmethod
    def of(request: Request) -> Filter:
        """From a request's query."""
        query = request.query_params
        number = query.get("page", "1")[:6]
        return Filter(
            _one_of(query.get("label"), LABELS), _one_of(query.get("modality"), MODALITIES),
            _one_of(query.get("review"), STATES), _day(query.get("since")), _day(query.get("until")),
            max(1, int(number)) if number.isdecimal() and number.isascii() else 1)

    @property
    def active(self) -> bool:
        return bool(self.query(page=1))

    def query(self, **changes: Any) -> str:
        """As a query string, with a leading `?` where there is anything to say."""
        pairs = {k: v for k, v in asdict(replace(self, **changes)).items() if v and (k, v) != ("page", 1)}
        return f"?{urlencode(pairs)}" if pairs else ""

    def takes(self, study: Study) -> bool:
        """Whether the study is wanted, but for its reviews."""
        received = (study.record.received or study.record.finished or "")[:10]
        return ((not self.label or label_of(study) == self.label)
                and (not self.modality or study.record.modality == self.modality)
                and (not self.since or received >= self.since)
                and (not self.until or "" < received <= self.until))


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
    seal_words: str


@dataclass(frozen=True)
class Listing:
    """A page of the worklist."""

    rows: tuple[Row, ...]
    total: int
    page: int
    pages: int


def listing(inbox: Inbox, wanted: Filter) -> Listing:
    """The page `wanted.page`, or the last where there are not so many."""
    studies = selected(inbox, wanted)
    pages = max(1, -(-len(studies) // PAGE))
    number = min(wanted.page, pages)
    shown = studies[(number - 1) * PAGE:number * PAGE]
    return Listing(tuple(row(inbox, study) for study in shown), len(studies), number, pages)


def selected(inbox: Inbox, wanted: Filter) -> list[Study]:
    """All wanted studies, newest first."""
    studies = [study for study in inbox.studies() if wanted.takes(study)]
    if wanted.review:
        studies = [s for s in studies if reviews.state(reviews_of(inbox, s.key)) == wanted.review]
    return studies


def row(inbox: Inbox, study: Study) -> Row:
    """What the worklist says of a study."""
    record, label, said = study.record, label_of(study), reviews_of(inbox, study.key)
    state, last = reviews.state(said), reviews.latest(said)
    worst, seal = worst_image(record.images), seal_of(record.images)
    return Row(
        key=study.key, label=label, symbol=LABELS[label][0], words=LABELS[label][1],
        score=record.score if label not in ("unscanned", "failed") else None,
        modality=record.modality or "", description=record.description or "",
        patient_id=record.patient_id or "", accession=record.accession or "",
        study_date=record.study_date or "", received=record.received or record.finished or "",
        images=len(record.images), thumb=worst.id if worst and has_picture(study, worst) else None,
        review=state, review_symbol=STATES[state][0], review_words=STATES[state][1],
        reviewer=last.who if last else "", error=record.error or "",
        seal=seal, seal_words=SEALS.get(seal, ""))


def label_of(study: Study) -> str:
    """One of `LABELS`."""
    return "failed" if study.state == "failed" else study.record.label


def worst_image(images: Sequence[ImageRecord]) -> ImageRecord | None:
    """The one to look at first: tampered before inconclusive before authentic, then by score."""
    order = list(LABELS)
    return min(images, default=None, key=lambda i: (order.index(i.label), -(i.score or 0.0)))


def seal_of(images: Sequence[ImageRecord]) -> str:
    """One of `SEALS`, the worst; empty where none is known."""
    said = [(image.evidence or {}).get("label") for image in images]
    return next((label for label in SEALS if label in said), "")


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
    inbox, wanted = request.app.state.inbox, Filter.of(request)
    shown = listing(inbox, wanted)
    return page(request, "worklist.html", user=user, can_leave=not door_of(request).open, wanted=wanted, listing=shown,
                counts=inbox.counts(), count_words=COUNTS, troubles=troubles(inbox), labels=LABELS, states=STATES,
                modalities=MODALITIES)
