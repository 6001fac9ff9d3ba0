"""The audit trail, for auditors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from scanward.audit import trail
from scanward.review.door import door_of, may
from scanward.review.pages import page

PAGE = 100
"""Events a page."""
MOST_PAGES = 10_000
FIRST = ("time", "event", "outcome")
"""What has a column of its own."""
Number = Annotated[int, Query(ge=1, le=MOST_PAGES)]
router = APIRouter()


@router.get("/audit")
def audit(request: Request, number: Number = 1, user: str = Depends(may("audit"))) -> Response:
    """The newest events first; `number` is the page."""
    events, more = _events(request, number)
    return page(request, "audit.html", user=user, can_leave=not door_of(request).open, number=number, more=more,
                events=[(event, {k: v for k, v in event.items() if k not in FIRST}) for event in events])


@router.get("/api/audit")
def audit_json(request: Request, number: Number = 1, user: str = Depends(may("audit"))) -> Mapping[str, Any]:
    """Events of the audit log, the newest first; `number` is the page."""
    events, more = _events(request, number)
    return {"events": events, "more": more}


def _events(request: Request, number: int) -> tuple[list[dict[str, Any]], bool]:
    """A page, and whether there is another one."""
    path = request.app.state.trail
    if path is None:
        return [], False
    found = trail.newest(path, PAGE + 1, skip=(number - 1) * PAGE)
    return found[:PAGE], len(found) > PAGE
