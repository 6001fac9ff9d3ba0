"""The same for programs: JSON under `/api`, and the pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ArgumentError, ScanwardError
from scanward.inbox import reviews, search
from scanward.inbox.record import ID, StudyRecord
from scanward.inbox.reviews import Review, State
from scanward.inbox.troubles import troubles
from scanward.review import worklist
from scanward.review.door import may, signed_in
from scanward.review.reviewing import save
from scanward.review.slices import file_in
from scanward.review.worklist import filter_of
from scanward.web.security import client_of

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox
    from scanward.inbox.record import Study

PICTURE = re.compile(r"thumb\.jpg|(?:film|heat)\.dzi|film_files/\d{1,2}/\d{1,4}_\d{1,4}\.jpg|"
                     r"heat_files/\d{1,2}/\d{1,4}_\d{1,4}\.png|(?:volume|heat)\.nii\.gz", re.ASCII)
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".dzi": "application/xml", ".gz": "application/gzip"}


class Body(BaseModel):
    """A review as it is posted."""

    model_config = ConfigDict(extra="forbid")

    decision: str
    comment: str = ""
    image: str | None = None
    """The id of the image, None for the whole study."""
    who: str = ""
    """Counts only where nobody signs in."""


@dataclass(frozen=True)
class StudyAnswer(StudyRecord):
    """All that is known of a study; what is not known is left out."""

    state: Literal["done", "failed"] = "done"
    review: State = "unreviewed"
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True)
class ReviewAnswer(Review):
    """A review that is kept."""

    report: str = ""
    """Why no DICOM report of it was sent, a sentence."""
    state: State = "unreviewed"
    """What all reviews of the study come to."""


NARROWED: dict[str, Any] = {"parameters": [
    {"name": name, "in": "query", "required": False, "description": words,
     "schema": {"type": "integer" if name == "page" else "string"}} for name, words in (
        ("q", "Words, each of which stands in patient ID, accession, description, Study Instance UID or study date."),
        ("label", "tampered, failed, inconclusive, unscanned or authentic."), ("modality", "MG or CT."),
        ("review", "unreviewed, accepted, rejected or mixed."), ("state", "done or failed."),
        ("seal", "tampered, inconclusive, unsealed, consistent or authentic."),
        ("since", "First day on which a study was received, YYYY-MM-DD, UTC."), ("until", "Last such day."),
        ("sort", "finished, received, result, score, description, patient, accession or date; - before it turns it "
                 "round."), ("page", "Which page, from 1."))]}
"""What `Filter` takes, of which the routes say nothing."""
router = APIRouter(dependencies=[Depends(signed_in)])


@router.get("/api/studies", responses={200: {"model": worklist.Listing}}, openapi_extra=NARROWED)
def list_studies(request: Request, cursor: str = "") -> Response:
    """A page of the worklist. `cursor` is `next` of the page before."""
    try:
        found = worklist.listing(request.app.state.inbox, filter_of(request), cursor)
    except ArgumentError as error:
        return JSONResponse({"error": str(error)}, 422)
    return JSONResponse(asdict(found))


@router.get("/api/studies/{key}", responses={200: {"model": StudyAnswer}})
def one_study(request: Request, key: str) -> dict[str, Any]:
    """All that is known of a study, with its reviews."""
    study = _study(request, key)
    said = worklist.reviews_of(request.app.state.inbox, key)
    return {**study.record.to_json(), "state": study.state, "review": reviews.state(said),
            "reviews": [asdict(r) for r in said]}


@router.post("/api/studies/{key}/reviews", status_code=201, responses={201: {"model": ReviewAnswer}},
             openapi_extra={"parameters": [{"name": "X-CSRF", "in": "header", "required": True,
                                            "schema": {"type": "string"}}]})
def post_review(request: Request, key: str, body: Body, user: str = Depends(may("decide"))) -> Response:
    """Keep a review; 422 with a sentence where it cannot be."""
    study = _study(request, key)
    try:
        made = save(request, study, user, body.decision, body.comment, body.image or "", body.who)
    except ScanwardError as error:
        return JSONResponse({"error": str(error)}, 422)
    said = worklist.reviews_of(request.app.state.inbox, key)
    return JSONResponse({**asdict(made.review), "report": made.report, "state": reviews.state(said)}, 201)


@router.get("/api/counts")
def counts(request: Request) -> dict[str, int]:
    """How many studies are in which folder of the inbox."""
    found: dict[str, int] = request.app.state.inbox.counts()
    return found


@router.get("/api/troubles")
def list_troubles(request: Request) -> list[dict[str, str]]:
    """What is wrong with the gateway: `name` for machines, `sentence` for people; empty where all is well."""
    return [asdict(one) for one in troubles(request.app.state.inbox)]


@router.get("/api/reviews.csv", openapi_extra=NARROWED, response_class=PlainTextResponse,
            responses={200: {"content": {"text/csv": {}}}})
def reviews_csv(request: Request, user: str = Depends(may("export"))) -> Response:
    """A line a review, of the studies that fit the filters, as the worklist takes them."""
    text = reviews.csv_text(_reviewed(request.app.state.inbox, search.every(request.app.state.inbox.index,
                                                                            filter_of(request))))
    request.app.state.audit("export", user=user, address=client_of(request))
    # With a byte order mark spreadsheets take it for what it is.
    return Response("\ufeff" + text, media_type="text/csv; charset=utf-8",
                    headers={"Content-Disposition": 'attachment; filename="scanward-reviews.csv"'})


@router.get("/pictures/{key}/{image}/{name:path}", response_class=FileResponse,
            responses={200: {"content": {kind: {} for kind in TYPES.values()}}})
def picture(request: Request, key: str, image: str, name: str) -> Response:
    """A thumbnail, a tile, a pyramid's description or a volume."""
    study = _study(request, key)
    if not ID.fullmatch(image) or not PICTURE.fullmatch(name):
        raise HTTPException(404)
    try:
        path = file_in(study.folder / "pictures" / image, name)
    except OSError:
        raise HTTPException(404) from None
    return FileResponse(path, media_type=TYPES[path.suffix])


def _reviewed(inbox: Inbox, keys: list[str]) -> Iterator[tuple[StudyRecord, tuple[reviews.Review, ...]]]:
    """Of these studies those that anybody reviewed; no other's folder is read."""
    for key in keys:
        said = worklist.reviews_of(inbox, key)
        study = inbox.study(key) if said else None
        if study is not None:
            yield study.record, said


def _study(request: Request, key: str) -> Study:
    study: Study | None = request.app.state.inbox.study(key)
    if study is None:
        raise HTTPException(404)
    return study
