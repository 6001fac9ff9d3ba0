"""What waits: studies that arrive or are scanned, and what is on its way to others or was refused by them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scanward.audit.events import Event, of_study
from scanward.delivery import state
from scanward.delivery.state import SHELVES, Delivery, Shelf, listed, names
from scanward.errors import InputError
from scanward.inbox.record import KEY
from scanward.inbox.search import PAGE
from scanward.review.door import door_of, may, signed_in
from scanward.review.pages import page
from scanward.web.security import client_of

if TYPE_CHECKING:
    from scanward.inbox.folders import Inbox

SHOWN = {"studies": "Studies under way", "refused": "Refused", "waiting": "Waiting", "sent": "Sent"}
MARKS = {"refused": ("✕", "Refused"), "waiting": ("◷", "Waiting to be sent"),
         "stored": ("◑", "Stored, commitment awaited"), "sent": ("✓", "Sent"),
         "committed": ("✓✓", "Sent and committed")}
"""Symbol and words of a delivery's state."""
GONE = ("sent", "committed")
UNDER_WAY = {"incoming": ("↓", "Arriving"), "working": ("◌", "Being scanned")}
WHAT = {"results": "Results", "hooks": "Webhook"}
"""Words for the queues."""
SENT = {"results": "results.sent", "hooks": "hook.sent"}
"""What the audit log calls it."""


@dataclass(frozen=True)
class UnderWay:
    """A study that is not done."""

    key: str
    state: str
    """One of `UNDER_WAY`."""
    objects: int
    patient_id: str
    accession: str
    description: str
    modality: str
    since: str
    """ISO-8601, UTC, of its last change."""
    attempts: int
    why: str
    """Why it is tried again."""


@dataclass(frozen=True)
class Deliveries:
    """A page of what goes out."""

    state: Shelf
    total: int
    rows: tuple[Delivery, ...]


@dataclass(frozen=True)
class Line:
    """A delivery in a list."""

    made: Delivery
    symbol: str
    words: str
    what: str
    added: str
    """ISO-8601, UTC; empty where it is not known, like `next` and `sent`."""
    next: str
    sent: str


About = tuple[str, str, str]
"""A study's key, an event, and a destination."""
router = APIRouter()


@router.get("/queue")
def queue_page(request: Request, show: str = "", number: int = 1, again: str = "",
               user: str = Depends(signed_in)) -> Response:
    """The page: one of `SHOWN`, `PAGE` entries at a time."""
    inbox, shelf = request.app.state.inbox, show if show in SHOWN else "studies"
    counts = {"studies": len(_keys(inbox)), **state.counts(inbox.root)}
    pages = max(1, -(-counts[shelf] // PAGE))
    number = min(max(number, 1), pages)
    cut = slice((number - 1) * PAGE, number * PAGE)
    studies = _studies(inbox, cut) if shelf == "studies" else []
    made = listed(inbox.root, _shelf(shelf), cut=cut) if shelf in SHELVES else []
    sent: dict[About, list[str]] = {}
    for key in {one.key for one in made if one.state in GONE and one.key}:
        sent |= when_sent(key, events_of(request, key))
    return page(request, "queue.html", user=user, can_leave=not door_of(request).open, show=shelf, shown=SHOWN,
                counts=counts, studies=studies, deliveries=lines(made, sent), number=number, pages=pages,
                under_way=UNDER_WAY, notice="It waits to be sent again." if again else "")


@router.get("/api/deliveries", responses={200: {"model": Deliveries}})
def list_deliveries(request: Request, state: str = "waiting", key: str = "", page: int = 1,
                    user: str = Depends(signed_in)) -> dict[str, Any]:
    """What waits, was refused or was sent (`state`), 25 a page; of one study where `key` names it."""
    root, wanted = request.app.state.inbox.root, _shelf(state)
    key, first = key if KEY.fullmatch(key) else "", (max(page, 1) - 1) * PAGE
    rows = listed(root, wanted, key, slice(first, first + PAGE))
    return {"state": wanted, "total": len(names(root, wanted, key)), "rows": [asdict(one) for one in rows]}


@router.post("/deliveries/{queue}/{identifier}/retry")
async def retry_delivery(request: Request, queue: str, identifier: str, user: str = Depends(may("retry"))) -> Response:
    """What was refused is sent again; back to the study whose page asked, or to the queue."""
    from starlette.concurrency import run_in_threadpool

    form = await request.form()
    root, key = request.app.state.inbox.root, str(form.get("study", ""))
    made = state.delivery(root, queue, identifier, "refused") if queue in state.QUEUES else None
    if made is None or not await run_in_threadpool(state.again, root, queue, identifier):
        raise HTTPException(404)
    request.app.state.audit("retry", user=user, address=client_of(request), key=made.key or None, destination=made.to)
    return RedirectResponse(f"/studies/{key}" if KEY.fullmatch(key) else "/queue?show=refused&again=yes", 303)


def lines(made: Sequence[Delivery], sent: Mapping[About, list[str]]) -> list[Line]:
    """As lists show them; `sent` says when, as `when_sent` has it. Both have the newest first; where the log has not as
    many times as the list has deliveries, none is shown rather than another's."""
    abouts = [(one.key, SENT[one.queue], one.to) if one.state in GONE else None for one in made]
    wanted = Counter(abouts)
    times = {about: iter(moments) for about, moments in sent.items() if len(moments) == wanted[about]}
    return [Line(one, *MARKS[one.state], WHAT[one.queue], _moment(one.added), _moment(one.next),
                 next(times[about]) if about in times else "") for one, about in zip(made, abouts, strict=True)]


def events_of(request: Request, key: str) -> list[Event]:
    """What the audit log says of a study, the newest first; nothing where there is no log."""
    log: Path | None = request.app.state.trail
    return [] if log is None else of_study(request.app.state.inbox.index, log, key)


def when_sent(key: str, events: Sequence[Event]) -> dict[About, list[str]]:
    """The times at which something of a study went out, the newest first."""
    found: dict[About, list[str]] = {}
    for one in events:
        found.setdefault((key, one.event, one.facts.get("destination", "")), []).append(one.moment)
    return found


def _studies(inbox: Inbox, cut: slice) -> list[UnderWay]:
    found = (under_way(inbox, place, key) for place, key in _keys(inbox)[cut])
    return [one for one in found if one is not None]


def under_way(inbox: Inbox, place: str, key: str) -> UnderWay | None:
    """A study in `incoming` or `working`; None where it has just gone on."""
    from scanward.disk import read_json
    from scanward.formats.identity import identity_of
    from scanward.inbox.folders import JOB, OBJECTS
    from scanward.inbox.record import JobRecord

    folder = inbox.root / place / key
    try:
        names = sorted(entry.name for entry in os.scandir(folder / OBJECTS) if not entry.name.startswith("."))
        changed = (folder / OBJECTS).stat().st_mtime
    except OSError:
        return None
    job, first = JobRecord.from_json(read_json(folder / JOB)), None
    for name in names[:1]:
        with suppress(InputError, OSError):
            first = identity_of(folder / OBJECTS / name)
    said = (first.patient_id, first.accession, first.description, first.modality) if first else ("", "", "", "")
    return UnderWay(key, place, len(names), *said, _moment(changed), job.attempts, job.error or "")


def _shelf(text: str) -> Shelf:
    return next((one for one in SHELVES if one == text), "waiting")


def _keys(inbox: Inbox) -> list[tuple[str, str]]:
    """Studies that are not done, those that are worked on first."""
    return [(place, key) for place in ("working", "incoming") for key in sorted(os.listdir(inbox.root / place))
            if KEY.fullmatch(key)]


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
    except (ValueError, OverflowError, OSError):
        return ""
