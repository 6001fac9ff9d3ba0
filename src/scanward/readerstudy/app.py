"""The pages of a study: a reader comes by link, reads the films, and never learns more than the part at hand asks."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi import Path as Number
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from scanward.errors import ScanwardError, UnreadableError
from scanward.readerstudy.folder import Shown, Study, read_truth, reader_of, secret_of, stamp_of
from scanward.readerstudy.log import MOST_MARKS, MOST_REMARK, MOST_SECONDS, Log, State, parts_of
from scanward.readerstudy.outcome import results_of
from scanward.readerstudy.outlined import outlined, outlined_scan
from scanward.readerstudy.protocol import CHOICES, NOUNS, PARTS, TELLING, Part
from scanward.report.slices import layout
from scanward.web.pages import HERE as SHARED
from scanward.web.pages import page as made_page
from scanward.web.security import new_session, secure
from scanward.web.volumes import WINDOWS, planes_of, slice_answer

HERE = Path(__file__).parent
SCRIPTS = {"keys.js": SHARED, "slices.js": SHARED, "planes.js": SHARED, "viewer.js": HERE, "films.js": HERE,
           "scans.js": HERE, "reading.js": HERE, "icon.svg": SHARED}
TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}
COOKIE = "reading"
GONE = "This study is closed; nothing is saved any more."
CLOSED = "This part is closed; its answers stay as they are."
OVERTAKEN = "This was answered in another window since; what you changed here is not saved. Reload the page."
NONE = "There is no such page."
FULL = "The server could not save this (its disk is full, perhaps). Keep this page open; it tries again."


class Mark(BaseModel):
    """A region that a reader marked, in pixels of the picture."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    shape: Literal["box", "ellipse"]
    box: tuple[float, float, float, float]

    @model_validator(mode="after")
    def _has_area(self) -> Mark:
        if not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("a mark needs an area")
        return self


class Spot(BaseModel):
    """A place that a reader marked in a scan: the voxel (x, y, z)."""

    model_config = ConfigDict(extra="forbid")
    shape: Literal["point"]
    at: tuple[int, int, int]
    rating: Annotated[int, Field(ge=1, le=5)]


class Answer(BaseModel):
    """All of what a reader has said of a film so far; a later one takes its place."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    answer: str | None = None
    confidence: Annotated[int, Field(ge=1, le=5)] | None = None
    marks: Annotated[list[Annotated[Mark | Spot, Field(discriminator="shape")]], Field(max_length=MOST_MARKS)] = []
    remark: Annotated[str, Field(max_length=MOST_REMARK)] = ""
    seconds: Annotated[float, Field(ge=0, le=10 * MOST_SECONDS)] = 0.0
    """For which the film was in view since the last save."""
    save: Annotated[str, Field(pattern=r"^[0-9a-zA-Z]{8,40}-[0-9]{1,9}$")]
    """The random name of the open page, and which of its saves this is; the same when a save is tried again."""
    known: Annotated[str, Field(max_length=64)] | None = None
    """The save of this film that there was when the page was opened."""


class Desk:
    """Where one reader sits: their films and their log."""

    def __init__(self, study: Study, reader: int) -> None:
        self.study, self.reader, self.name = study, reader, study.readers[reader]
        self.films = {film.id: film for part in PARTS for film in study.lists[reader][part]}
        self.log = Log(study.answers(reader), parts_of(study.lists[reader]))

    @property
    def state(self) -> State:
        return self.log.state

    def own(self, part: Part) -> tuple[Shown, ...]:
        return self.study.lists[self.reader][part]


class RequestError(ScanwardError):
    """An answer that is no page: a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def build(study: Study, *, https: bool = False) -> FastAPI:
    """The application of one study. Truth is read from the disk only once the study is closed."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    desks = [Desk(study, reader) for reader in range(len(study.readers))]
    _add_pages(app, study, desks)
    _add_reading(app, study, desks)
    _add_pictures(app, study, desks)
    _add_files(app)

    @app.exception_handler(RequestError)
    def refused(request: Request, error: RequestError) -> JSONResponse:
        return JSONResponse({"error": error.sentence}, error.status)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "This is no answer; reload the page and try again."}, 422)

    secure(app, cookie=COOKIE, secret=secret_of(study.folder), https=https)
    return app


def _add_pages(app: FastAPI, study: Study, desks: list[Desk]) -> None:
    def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return made_page(request, template, package=__package__, status=status, study=study.title,
                         shows=study.shows, noun=NOUNS[study.shows], **values)

    @app.get("/r/{token}")
    def enter(request: Request, token: str) -> HTMLResponse:
        reader = reader_of(study.folder, token)
        if reader is None:
            return page(request, "lost.html", 404)
        new_session(request)
        request.session.update(reader=reader, link=stamp_of(study.folder, reader))
        # No redirect: the cookie is SameSite=Strict, and after a link from a mail only a page of ours brings it back.
        return page(request, "enter.html")

    @app.get("/")
    def start(request: Request) -> HTMLResponse:
        desk = _desk(request, desks)
        if desk is None:
            return page(request, "lost.html", 401)
        if study.closed:
            return page(request, "results.html", user=desk.name, parts=results_of(study, desk.reader, desk.state))
        part = desk.state.part
        if part is None:
            return page(request, "thanks.html", user=desk.name)
        own = desk.own(part)
        return page(request, f"{part}.html", user=desk.name, number=_number(part), total=len(own),
                    missing=len(desk.state.missing(part)), begun=part in desk.state.at)

    @app.get("/read")
    def read(request: Request) -> Response:
        desk = _desk(request, desks)
        if desk is None or desk.state.part is None or study.closed:
            return RedirectResponse("/", 303)
        return page(request, "reading.html", user=desk.name, number=_number(desk.state.part))

    @app.post("/close/{number}")
    def close(request: Request, number: int) -> Response:
        desk = _asked(request, study, desks)
        part = desk.state.part
        if part is None or number != _number(part):
            return RedirectResponse("/", 303)
        if desk.state.missing(part):
            raise RequestError(409, "Some have no answer yet; go back and answer them.")
        _save(desk, {"kind": "close", "at": _now(), "part": part})
        return RedirectResponse("/", 303)


def _add_files(app: FastAPI) -> None:
    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name == "study.css":
            return Response(style(), media_type=TYPES[".css"])
        if name not in SCRIPTS:
            raise RequestError(404, NONE)
        path = SCRIPTS[name] / "static" / name
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])


def _add_reading(app: FastAPI, study: Study, desks: list[Desk]) -> None:
    @app.get("/api/part")
    def part_of(request: Request) -> dict[str, Any]:
        desk = _asked(request, study, desks)
        part = desk.state.part
        if part is None:
            raise RequestError(409, "You have answered everything; thank you.")
        return {"number": _number(part), "reader": desk.name, "at": desk.state.at.get(part),
                "noun": NOUNS[study.shows],
                "choices": [{"value": word, "key": word[0], "label": word.capitalize()} for word in CHOICES[part]],
                "films": [_public(film, desk.state) for film in desk.own(part)]}

    @app.put("/api/film/{name}")
    def answer(request: Request, name: str, given: Answer) -> dict[str, Any]:
        desk = _asked(request, study, desks)
        part = desk.state.parts.get(name)
        if part is None:
            raise RequestError(404, NONE)
        if part == desk.state.part:
            _check(given, desk.films[name], part)
            if _save(desk, {"kind": "reading", "at": _now(), "film": name, **given.model_dump(mode="json")}):
                return {"saved": True, "missing": len(desk.state.missing(part))}
        raise RequestError(409, OVERTAKEN if part == desk.state.part else CLOSED)


def _add_pictures(app: FastAPI, study: Study, desks: list[Desk]) -> None:
    def seen(request: Request, name: str) -> Path:
        desk = _desk(request, desks)
        known = desk.films.get(name) if desk else None
        if desk is None or known is None or not (study.closed or desk.state.parts[name] == desk.state.part):
            raise RequestError(404, NONE)
        return study.film(known.film)

    if study.shows == "scan":
        @app.get("/film/{name}/facts")
        def facts(request: Request, name: str) -> dict[str, Any]:
            path = seen(request, name)
            try:
                found = layout(path)
            except (OSError, IndexError, UnreadableError):
                raise RequestError(404, NONE) from None
            to_mm = [[-v for v in found.affine[0]], [-v for v in found.affine[1]], list(found.affine[2])]
            return {"base": f"/film/{name}", "shape": found.shape, "spacing": found.spacing, "windows": WINDOWS,
                    "planes": [asdict(plane) for plane in planes_of(found)], "to_mm": to_mm}

        @app.get("/film/{name}/volume/{z}")
        def one_slice(request: Request, name: str, z: Annotated[int, Number(ge=0)]) -> Response:
            made = slice_answer(request, seen(request, name), z)
            if made is None:
                raise RequestError(404, NONE)
            return made
    else:
        @app.get("/film/{name}.png")
        def film(request: Request, name: str) -> Response:
            return Response(seen(request, name).read_bytes(), media_type="image/png")

    @app.get("/result/{name}.png")
    def result(request: Request, name: str) -> Response:
        desk = _desk(request, desks)
        known = desk.films.get(name) if desk else None
        if desk is None or known is None or not study.closed:
            raise RequestError(404, NONE)
        path, truth, reading = study.film(known.film), read_truth(study.folder)[known.film], desk.state.reading(name)
        made = outlined_scan(path, truth, reading.spots) if study.shows == "scan" else \
            outlined(path, truth, reading.marks)
        return Response(made, media_type="image/png")


def _desk(request: Request, desks: list[Desk]) -> Desk | None:
    reader = request.session.get("reader")
    if not isinstance(reader, int) or not 0 <= reader < len(desks):
        return None
    desk = desks[reader]
    return desk if request.session.get("link") == stamp_of(desk.study.folder, reader) else None


def _asked(request: Request, study: Study, desks: list[Desk]) -> Desk:
    desk = _desk(request, desks)
    if desk is None:
        raise RequestError(401, "Your session has ended; open your link again.")
    if study.closed:
        raise RequestError(409, GONE)
    return desk


def _public(film: Shown, state: State) -> dict[str, Any]:
    reading = state.reading(film.id)
    return {"id": film.id, "width": film.width, "height": film.height, "answer": reading.answer,
            "confidence": reading.confidence, "remark": reading.remark,
            "views": [asdict(view) for view in film.views], "known": reading.save or None,
            "marks": [*map(asdict, reading.marks), *map(asdict, reading.spots)]}


def _check(given: Answer, film: Shown, part: Part) -> None:
    if given.answer is not None and given.answer not in CHOICES[part]:
        raise RequestError(422, "This is no answer; reload the page and try again.")
    size = (film.width, film.height, film.slices)
    for mark in given.marks:
        if isinstance(mark, Spot):
            lies = film.slices > 1 and all(0 <= v < side for v, side in zip(mark.at, size, strict=True))
        else:
            x0, y0, x1, y1 = mark.box
            lies = film.slices == 1 and min(x0, y0) >= 0 and x1 <= film.width and y1 <= film.height
        if not lies:
            raise RequestError(422, "A mark lies beyond the image; reload the page and try again.")


def _save(desk: Desk, event: dict[str, Any]) -> bool:
    try:
        return desk.log.append(event)
    except OSError:
        raise RequestError(507, FULL) from None


def _number(part: Part) -> int:
    """Readers know the parts by number: a name could tell what comes."""
    return PARTS.index(part) + 1


@cache
def style() -> str:
    """The shared style without the lines whose names would tell what the study is about, then the study's own."""
    shared = (SHARED / "static" / "scanward.css").read_text("utf-8").splitlines()
    return "\n".join(line for line in shared if not TELLING.search(line)) + "\n" + \
        (HERE / "static" / "study.css").read_text("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
