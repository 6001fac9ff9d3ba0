"""What programs may ask, as an OpenAPI document and as a page. Both are made of the routes, and ask for no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from scanward.review.door import COOKIE, door_of, signed_in
from scanward.review.pages import page
from scanward.version import __version__

SHOWN = ("/api/", "/pictures/", "/healthz", "/readyz", "/metrics")
"""Beginnings of the addresses that are for programs; the others are pages."""
OPEN = ("/healthz", "/readyz")
"""Ask for no login."""
TITLE = "Scanward"
WORDS = ("The session is a cookie. A program gets the form at /login, and posts name, password and the form's csrf "
         "there. What changes anything brings the csrf of any page in the header X-CSRF, also where nobody logs in.")
router = APIRouter()


@dataclass(frozen=True)
class Problem:
    """Why a request is refused."""

    error: str


@dataclass(frozen=True)
class Field:
    """A parameter, or a property of a schema, as the page shows it."""

    name: str
    kind: str
    where: str
    """`path`, `query` or `header`; empty of a property."""
    needed: bool
    words: str


@dataclass(frozen=True)
class Operation:
    """A request."""

    method: str
    path: str
    words: str
    parameters: tuple[Field, ...]
    body: str
    answers: tuple[tuple[str, str, str], ...]
    """Status, what it is, and words."""


@router.get("/api/openapi.json", responses={200: {"model": dict[str, Any]}})
def openapi_json(request: Request, user: str = Depends(signed_in)) -> Response:
    """This document, OpenAPI 3.1."""
    return JSONResponse(document(request.app))


@router.get("/api/docs", responses={200: {"content": {"text/html": {}}}})
def docs(request: Request, user: str = Depends(signed_in)) -> Response:
    """This document as a page."""
    made = document(request.app)
    operations = [_operation(method, path, one) for path, methods in made["paths"].items()
                  for method, one in methods.items()]
    schemas = {name: _fields(schema) for name, schema in made["components"]["schemas"].items()}
    return page(request, "api_docs.html", user=user, can_leave=not door_of(request).open, words=WORDS,
                operations=operations, schemas=schemas)


def document(app: FastAPI) -> dict[str, Any]:
    """Of the routes that are for programs."""
    if app.openapi_schema is None:
        made = get_openapi(title=TITLE, version=__version__, description=WORDS, routes=app.routes)
        made["paths"] = {path: {method: _said(path, one) for method, one in methods.items()}
                         for path, methods in sorted(made["paths"].items()) if path.startswith(SHOWN)}
        made["components"]["securitySchemes"] = {
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            "token": {"type": "http", "scheme": "bearer"}}
        made["components"]["schemas"] = _used(made)
        app.openapi_schema = made
    return app.openapi_schema


def _said(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """With what the app as a whole adds: logins, and one form for whatever is refused."""
    answers = {status: one for status, one in operation["responses"].items() if status != "422"}
    refused = {"401": "Nobody is logged in.", "403": "This account has no role that may do this."}
    if path not in OPEN:
        operation["security"] = [{"token": []}] if path == "/metrics" else [{"session": []}]
        if path == "/metrics":
            refused = {"401": "The token is missing or wrong.", "404": "The settings let nobody in, or not from there."}
        answers |= {status: _problem(words) for status, words in refused.items()}
    if "{" in path:
        answers["404"] = _problem("There is no such thing.")
    if "requestBody" in operation or any(
            one["in"] == "query" or one["schema"].get("type") == "integer" for one in operation.get("parameters", ())):
        answers["422"] = _problem("The request is not understood, or cannot be kept.")
    return {**operation, "responses": answers}


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _used(made: dict[str, Any]) -> dict[str, Any]:
    """The schemas that are spoken of, and those that these speak of."""
    there = {**made["components"].get("schemas", {}), "Problem": {
        "title": "Problem", "type": "object", "required": ["error"], "description": Problem.__doc__,
        "properties": {"error": {"type": "string"}}}}
    found: dict[str, Any] = {}
    wanted = sorted(_named(made["paths"]))
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = there[name]
            wanted += _named(there[name])
    return dict(sorted(found.items()))


def _named(value: Any) -> set[str]:
    """Schemas that are referred to."""
    if isinstance(value, dict):
        here = {str(value["$ref"]).rsplit("/", 1)[1]} if "$ref" in value else set()
        return here.union(*map(_named, value.values()))
    return set().union(*map(_named, value)) if isinstance(value, list) else set()


def _operation(method: str, path: str, said: dict[str, Any]) -> Operation:
    parameters = [Field(one["name"], _kind(one["schema"]), one["in"], one.get("required", False),
                        one.get("description", "")) for one in said.get("parameters", ())]
    answers = [(status, ", ".join(f"{kind}: {_kind(one.get('schema', {}))}".removesuffix(": anything")
                                  for kind, one in answer.get("content", {}).items()), answer["description"])
               for status, answer in sorted(said["responses"].items())]
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return Operation(method.upper(), path, said.get("description", "").replace("`", ""), tuple(parameters),
                     "" if body is None else _kind(body), tuple(answers))


def _fields(schema: dict[str, Any]) -> list[Field]:
    return [Field(name, _kind(one), "", name in schema.get("required", ()), one.get("description", ""))
            for name, one in schema.get("properties", {}).items()]


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "enum" in schema or "const" in schema:
        return " | ".join(f'"{one}"' for one in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
