"""The page of one study: its images in a viewer, what was found, and the review."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scanward.box import told
from scanward.delivery.state import of_study
from scanward.errors import ScanwardError
from scanward.formats.identity import class_name
from scanward.inbox import search
from scanward.inbox.index import SCORED
from scanward.inbox.record import seal_of
from scanward.review import worklist
from scanward.review.door import door_of, may, signed_in
from scanward.review.hanging import PLACES, Hanging, hanging, name_of
from scanward.review.links import elsewhere, others_of
from scanward.review.pages import page
from scanward.review.queue_page import events_of, lines, when_sent
from scanward.review.reviewing import save
from scanward.review.slices import layout_in
from scanward.review.worklist import LABELS, SEALS, STATES, filter_of
from scanward.web.security import client_of
from scanward.web.volumes import WINDOWS, Plane, planes_of

if TYPE_CHECKING:
    from scanward.inbox.record import FindingRecord, ImageRecord, Study

MEANINGS = {
    "tampered": "Something in this image does not fit the rest of it.",
    "inconclusive": "It cannot be told; the reason stands below.",
    "authentic": "No sign of tampering that the methods used here can see.",
    "unscanned": "No method was run on this image.",
}
EVENTS = {
    "objects.stored": "Objects came", "pull": "Objects fetched", "study.scanned": "Scanned",
    "study.failed": "Could not be scanned", "results.sent": "Results sent", "results.refused": "Results refused",
    "results.stored": "Results stored, commitment awaited",
    "hook.sent": "Webhook told", "hook.refused": "Webhook refused", "review": "Reviewed", "retry": "Tried again",
    "study.removed": "Removed"}
"""Words for what the audit log says of a study."""
DECIDED = {"accept": ("●", "Accepted"), "reject": ("⊘", "Rejected"), "comment": ("✎", "Commented")}
SAID = {"accept": "Saved: you accepted the result.", "reject": "Saved: you rejected the result.",
        "comment": "Saved: your comment."}
LEAST_HEAT = 0.01
"""Where the threshold's slider begins."""


@dataclass(frozen=True)
class Tab:
    """One of the study's images in the strip."""

    id: str
    name: str
    label: str
    symbol: str
    words: str
    score: float | None
    picture: bool


@dataclass(frozen=True)
class Place:
    """A finding in the list beside the viewer."""

    rank: int
    score: float | None
    method: str
    extent: str
    """In mm where the spacing is known."""
    centre: str


@dataclass(frozen=True)
class View:
    """The image in the viewer."""

    id: str
    image: ImageRecord
    label: str
    symbol: str
    words: str
    meaning: str
    score: float | None
    name: str
    viewer: str
    """`film`, `volume`, `hanging`, or empty where it has no picture to look into."""
    heat: bool
    """There is some to be looked at."""
    planes: tuple[Plane, ...]
    """Of a volume."""
    data: str
    """JSON for the viewer's script."""
    thumb: str | None
    weights: tuple[str, ...]
    findings: tuple[Place, ...]
    size: str
    seal: str
    """As `worklist.Row.seal`."""
    seal_symbol: str
    seal_words: str
    sealed_as: str
    """Name and time of its seal."""


router = APIRouter()


@router.get("/studies/{key}")
def study_page(request: Request, key: str, image: str = "", saved: str = "",
               user: str = Depends(signed_in)) -> Response:
    """The page; `image` names the one that is shown first."""
    study = _study(request, key)
    return _page(request, study, user, image, notice=SAID.get(saved, ""))


@router.post("/studies/{key}/review")
async def review_form(request: Request, key: str, user: str = Depends(may("decide"))) -> Response:
    """The review form of a browser without script."""
    from starlette.concurrency import run_in_threadpool

    study, form = _study(request, key), await request.form()
    given = {name: str(form.get(name, "")) for name in ("decision", "comment", "image", "who")}
    try:
        made = await run_in_threadpool(save, request, study, user, **given)
    except ScanwardError as error:
        return _page(request, study, user, given["image"], error=str(error), comment=given["comment"], status=422)
    wanted = filter_of(request).query()
    return RedirectResponse(f"/studies/{key}{wanted}{'&' if wanted else '?'}saved={made.review.decision}", 303)


@router.post("/studies/{key}/retry")
def retry(request: Request, key: str, user: str = Depends(may("retry"))) -> Response:
    """A study whose scan failed is tried anew; back to the worklist, where it is missing until it is done."""
    if not request.app.state.inbox.retry(key):
        raise HTTPException(404)
    request.app.state.audit("retry", user=user, address=client_of(request), key=key)
    return RedirectResponse(f"/{filter_of(request).query()}", 303)


def _study(request: Request, key: str) -> Study:
    study: Study | None = request.app.state.inbox.study(key)
    if study is None:
        raise HTTPException(404)
    return study


def _page(request: Request, study: Study, user: str, image_id: str, *, notice: str = "", error: str = "",
          comment: str = "", status: int = 200) -> Response:
    inbox, wanted, images = request.app.state.inbox, filter_of(request), study.record.images
    image = next((i for i in images if i.id == image_id), None) or worklist.worst_image(images)
    there = search.beside(inbox.index, wanted, study.key)
    events, hung = events_of(request, study.key), hanging(study)
    sent = lines(of_study(inbox.root, study.key), when_sent(study.key, events))
    history = [(made, *DECIDED[made.decision], _about(images, made.image))
               for made in reversed(worklist.reviews_of(inbox, study.key))]
    return page(
        request, "study.html", status=status, user=user, can_leave=not door_of(request).open,
        ask_name=door_of(request).open, wanted=wanted, study=study,
        row=worklist.row(inbox, study), tabs=_tabs(study),
        shown=_shown(study, image, hung if image_id == "" else None), hung=hung,
        history=history, states=STATES, notice=notice, error=error, comment=comment, events=events, event_words=EVENTS,
        others=others_of(inbox, study), elsewhere=elsewhere(request.app.state.viewer, study.record),
        passed=[(other.count, other.sop_class, class_name(other.sop_class)) for other in study.record.passed],
        deliveries=sent, next=there.next, previous=there.previous, place=there.place)


def _tabs(study: Study) -> list[Tab]:
    """The mammograms that have a place first, as they are hung."""
    tabs = [_tab(study, image, number) for number, image in enumerate(study.record.images, 1)]
    return sorted(tabs, key=lambda tab: PLACES.index(tab.name) if tab.name in PLACES else len(PLACES))


def _tab(study: Study, image: ImageRecord, number: int) -> Tab:
    return Tab(image.id, name_of(image, number), image.label, *LABELS[image.label], score=_score(image),
               picture=worklist.has_picture(study, image))


def _score(image: ImageRecord) -> float | None:
    """None where nobody vouches for one: a number would be read as an answer."""
    return image.score if image.label in SCORED and not image.error else None


def _about(images: Sequence[ImageRecord], image_id: str | None) -> str:
    """What a review is about."""
    if image_id is None:
        return "whole study"
    return next((name_of(i, n) for n, i in enumerate(images, 1) if i.id == image_id), "an earlier image")


def _shown(study: Study, image: ImageRecord | None, hung: Hanging | None) -> View | None:
    if image is None:
        return None
    folder = study.folder / "pictures" / image.id
    base = f"/pictures/{study.key}/{image.id}"
    volume = layout_in(folder)
    viewer = "hanging" if hung else "film" if (folder / "film.dzi").is_file() else "volume" if volume else ""
    planes = planes_of(volume) if volume else ()
    # Of an earlier version it is not known whether there is any.
    heat = image.label in SCORED if image.heat is None else image.heat >= LEAST_HEAT
    data = {"base": base, "findings": [f.box for f in image.findings], "spacing": image.spacing, "windows": WINDOWS,
            "shape": volume.shape if volume else image.shape, "planes": [asdict(one) for one in planes], "heat": heat}
    # Several weights' hashes are parted by blanks.
    weights = tuple((image.weights_sha256 or "").split())
    seal, facts = seal_of([image]), image.evidence or {}
    symbol, words = SEALS.get(seal, ("", ""))
    return View(
        image.id, image, image.label, *LABELS[image.label], meaning=MEANINGS[image.label], score=_score(image),
        name=name_of(image, study.record.images.index(image) + 1), viewer=viewer, heat=heat, planes=planes,
        data=json.dumps(data), weights=weights, size=_size(image),
        seal=seal, seal_symbol=symbol, seal_words=words,
        sealed_as=", ".join(str(facts[name]) for name in ("seal", "sealed") if name in facts),
        thumb=f"{base}/thumb.jpg" if worklist.has_picture(study, image) else None,
        findings=tuple(Place(n, f.score, f.method, *_where(f)) for n, f in enumerate(image.findings, 1)))


def _where(finding: FindingRecord) -> tuple[str, str]:
    """Extent and centre in words."""
    box, mm = finding.box, finding.box_mm
    half = len(box) // 2
    pixels = " × ".join(f"{b - a:.0f}" for a, b in zip(box[:half], box[half:], strict=True))
    x, y, *z = (math.floor((a + b) / 2) for a, b in zip(box[:half], box[half:], strict=True))
    extent = f"{pixels} px"
    if mm is not None:
        extent = " × ".join(f"{b - a:.1f}" for a, b in zip(mm[:half], mm[half:], strict=True)) + " mm"
    return extent, f"centre {told(z[0], y, x)}" if z else f"centre x {x}, y {y}"


def _size(image: ImageRecord) -> str:
    if image.shape is None:
        return ""
    z, y, x = image.shape
    words = f"{x} × {y} pixels" if z == 1 else f"{x} × {y} × {z} voxels"
    if image.spacing is not None:
        dz, dy, dx = image.spacing
        words += f", {dx:.3g} × {dy:.3g}" + ("" if z == 1 else f" × {dz:.3g}") + " mm each"
    return words
