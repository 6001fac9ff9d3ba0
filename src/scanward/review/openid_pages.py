"""To the OpenID Connect provider, and back."""

from __future__ import annotations

import logging

from fastapi import APIRouter, HTTPException
from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import ScanwardError
from scanward.review.access import Session
from scanward.review.door import Door, door_of, led_on, own
from scanward.review.openid import FLOW_LIFETIME, Person, Provider
from scanward.review.sign_in import asked, record
from scanward.review.tries import ADDRESS
from scanward.web.security import client_of

log = logging.getLogger("scanward.pages")
FLOW_COOKIE = "scanward-openid"
NAME_LIFETIME = 90 * 86_400
"""Seconds after the last sign-in for which a name stays one person's."""
router = APIRouter()


@router.get("/openid/start")
def start(request: Request, to: str = "/") -> Response:
    """To the provider. A link and no form: browsers hold a form's redirects to our own site."""
    door, provider = _provided(request)
    try:
        where, flow = provider.start(own(to))
    except ScanwardError as error:
        log.warning("%s: %s", provider.name, error)
        return asked(request, to, error=f"{provider.name} does not answer; try again later.", status=502)
    answer = RedirectResponse(where, 303)
    # Lax: it has to come along when the provider sends the browser back.
    answer.set_cookie(FLOW_COOKIE, flow, max_age=FLOW_LIFETIME, path="/openid", secure=door.https, httponly=True,
                      samesite="lax")
    return answer


@router.get("/openid")
def back(request: Request) -> Response:
    """Back from the provider, with a code for the ID token."""
    door, provider = _provided(request)
    address = client_of(request)
    wait = door.access.take(ADDRESS, address)
    try:
        if wait:
            raise ScanwardError("too many tries")
        person, to = provider.finish(request.cookies.get(FLOW_COOKIE, ""), request.query_params)
    except ScanwardError as error:
        log.warning("%s: %s", provider.name, error)
        record(request, door, "", f"OpenID Connect: {error}")
        return _without_flow(asked(request, "/", error=f"{provider.name} did not let you in; try again.", status=401))
    door.access.give_back(ADDRESS, address)
    if refused := _taken(door, person):
        record(request, door, person.name, refused, known=True)
        return _without_flow(asked(request, to, error=refused, status=403))
    door.begin(request, Session("openid", person.name, provider.stamp, person.roles))
    record(request, door, person.name, known=True)
    return _without_flow(led_on(to))


def _taken(door: Door, person: Person) -> str:
    """Why the person may not use this name; empty where they may. Reviews say a name, and it must be one person's."""
    if any(name.casefold() == person.name.casefold() for name in door.names()):
        return "There is a local account of your name; sign in with its password."
    if not door.access.own(person.name, person.subject, NAME_LIFETIME):
        return "Your name is that of somebody else here; ask an administrator."
    return ""


def _provided(request: Request) -> tuple[Door, Provider]:
    door = door_of(request)
    if door.provider is None:
        raise HTTPException(404)
    return door, door.provider


def _without_flow(answer: Response) -> Response:
    answer.delete_cookie(FLOW_COOKIE, path="/openid")
    return answer
