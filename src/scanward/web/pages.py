"""Pages made of templates. The review pages and the reader study share the base page, its style and its script."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.version import __version__
from scanward.web.security import STATIC, csrf_token

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse
    from jinja2 import Environment
    from starlette.requests import Request

HERE = Path(__file__).parent


def add_static(app: FastAPI) -> None:
    """Serve the style, the scripts and the vendored viewers under `/static/`."""
    from starlette.staticfiles import StaticFiles

    app.mount(STATIC.rstrip("/"), StaticFiles(directory=HERE / "static"), name="static")


def page(request: Request, template: str, /, *, package: str = "scanward.web", status: int = 200,
         user: str | None = None, **values: Any) -> HTMLResponse:
    """A template of `package` (or of this one: `base.html`) as a page.

    Every template knows `csrf`, `user` (who is signed in; links to the account and out show where `can_leave` is given
    and true), `may` (the rights that `request.state.rights` names), `version`, and the filters `day`, `moment`
    and `score`.
    """
    from fastapi.responses import HTMLResponse

    known: dict[str, Any] = {"csrf": csrf_token(request), "user": user, "version": __version__, "can_leave": False,
                             "may": getattr(request.state, "rights", frozenset())}
    text = environment(package).get_template(template).render(**(known | values))
    return HTMLResponse(text.encode("utf-8", "replace"), status)


@cache
def environment(package: str) -> Environment:
    """Templates of `package`, then those of this one. Everything is escaped; an unknown value is an error."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "scanward.web"))]
    made = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)
    made.filters |= {"day": day, "moment": moment, "score": score}
    return made


def day(text: object) -> str:
    """`20260131` as `2026-01-31`; what is no such date stays as it is."""
    given = str(text or "")
    return f"{given[:4]}-{given[4:6]}-{given[6:]}" if len(given) == 8 and given.isdigit() else given


def moment(text: object) -> str:
    """An ISO-8601 instant as `2026-01-31 14:05 UTC`; what is none stays as it is."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text or "")
    if when.tzinfo is not None:
        when = when.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def score(value: object) -> str:
    """A score in [0, 1] to two places, never rounded up to a 1.00 that it is not; a dash where there is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{min(value, 0.99) if value < 1 else value:.2f}"
