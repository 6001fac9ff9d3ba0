"""What watches the gateway asks here: whether it lives, whether it can work, and how much of what there is.

None of it names a patient, a study or a folder.
"""

from __future__ import annotations

import hmac
import ipaddress
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.requests import Request
from starlette.responses import Response

from scanward.delivery.webclient import secret
from scanward.errors import ArgumentError
from scanward.formats.guard import shown
from scanward.inbox.troubles import Trouble

if TYPE_CHECKING:
    from scanward.delivery.certificates import Certificates
    from scanward.settings import Monitoring

SHORTEST = 16
"""Characters of a token."""
router = APIRouter()


@dataclass(frozen=True)
class Answer:
    """Of `/readyz`."""

    ready: bool
    reasons: tuple[Trouble, ...]


@dataclass(frozen=True)
class Watched:
    """Who may ask for the metrics, and what they tell of beside the inbox."""

    settings: Monitoring
    certificates: Certificates | None = None

    def __post_init__(self) -> None:
        """Raises `ArgumentError` where the token cannot be read, or could be guessed."""
        if self.settings.token_file is not None and len(self.token) < SHORTEST:
            raise ArgumentError(f"{shown(self.settings.token_file)} has a token of less than {SHORTEST} characters; "
                                "make one with `openssl rand -hex 32`.")

    @property
    def token(self) -> str:
        return secret(self.settings.token_file)

    @property
    def open(self) -> bool:
        """Whether anybody may ask."""
        return self.settings.token_file is not None or bool(self.settings.allow)

    def lets_in(self, address: str) -> bool:
        """By where one asks from."""
        if not self.settings.allow:
            return True
        with suppress(ValueError):
            asked = ipaddress.ip_address(address)
            asked = getattr(asked, "ipv4_mapped", None) or asked
            return any(asked in ipaddress.ip_network(one) for one in self.settings.allow)
        return False

    def knows(self, authorization: str) -> bool:
        """By what one brings."""
        if self.settings.token_file is None:
            return True
        kind, _, given = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """200 as long as the process of the pages lives."""
    return PlainTextResponse("alive\n")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={status: {"model": Answer} for status in (200, 503)})
def readyz(request: Request) -> Response:
    """200 where objects are taken in and scanned, otherwise 503: `ready`, and `reasons`, each with `name` for machines
    and `sentence` for people."""
    reasons = request.app.state.ready.reasons()
    return JSONResponse({"ready": not reasons, "reasons": [asdict(one) for one in reasons]}, 503 if reasons else 200)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """What there is and what happened, as Prometheus takes it; for those whom the settings let in."""
    watched: Watched | None = request.app.state.watched
    if watched is None or not watched.open or not watched.lets_in(request.client.host if request.client else ""):
        raise HTTPException(404)
    if not watched.knows(request.headers.get("authorization", "")):
        return PlainTextResponse("A token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
    from scanward.review.metrics import exposition

    text, kind = exposition(request.app.state, watched.certificates)
    return Response(text, media_type=kind)
