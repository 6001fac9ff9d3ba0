"""The API's document: it says of every route what is so, and of nothing else."""

import dataclasses
import re
from pathlib import Path

import pytest
import web_studies
from web_people import client, sign_in, token

from scanward.box import Box
from scanward.inbox.search import Filter
from scanward.inbox.troubles import Trouble, tell
from scanward.review import accounts
from scanward.review.health import Watched
from scanward.settings import Monitoring

ROOMS = Path(__file__).parents[2] / "src" / "scanward" / "review"
PROGRAMS = ("/api/", "/pictures/", "/healthz", "/readyz", "/metrics")


@pytest.fixture
def key(inbox):
    """A study with a film and its finding, and with a CT."""
    return web_studies.put(inbox.root, "one", images=((web_studies.film(200, 160), "tampered",
                                                       (Box(0, 10, 10, 1, 40, 40),)),
                                                      (web_studies.chest(), "authentic", ())))


@pytest.fixture
def http(inbox, key):
    made = client(inbox, watched=Watched(Monitoring(allow=("192.0.2.7",))))
    made.post(f"/api/studies/{key}/reviews", headers={"X-CSRF": token(made, "/")},
              json={"decision": "accept", "who": "roe"})
    return made


@pytest.fixture
def made(http):
    return http.get("/api/openapi.json").json()


def fits(value, schema, made, where="answer"):
    """Raises where a value is not what its schema says, or has what the schema does not speak of."""
    if "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        tried = []
        for one in schema["anyOf"]:
            try:
                return fits(value, one, made, where)
            except AssertionError as error:
                tried.append(error)
        raise AssertionError(tried)
    kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool, "null": type(None), "array": list,
             "object": dict}
    if "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), (where, value, schema)
    assert value in schema.get("enum", [value]), (where, value)
    if isinstance(value, list):
        for one in value:
            fits(one, schema["items"], made, f"{where}[]")
    if isinstance(value, dict) and schema.keys() & {"properties", "additionalProperties"}:
        known, more = schema.get("properties", {}), schema.get("additionalProperties", False)
        assert set(schema.get("required", ())) <= value.keys(), where
        for name, one in value.items():
            assert name in known or more, f"{where} does not speak of {name}"
            fits(one, known.get(name, more if isinstance(more, dict) else {}), made, f"{where}.{name}")
    return None


def test_it_speaks_of_every_route_for_programs_and_of_no_other(made):
    written = set()
    for path in ROOMS.glob("*.py"):
        for method, where in re.findall(r'^@router\.(\w+)\("([^"]+)"', path.read_text(), re.M):
            if where.startswith(PROGRAMS) and method != "head":  # HTTP's own
                written.add((method, re.sub(r":path\}", "}", where)))
    said = {(method, path) for path, methods in made["paths"].items() for method in methods}
    assert said == written and len(said) > 10
    assert made["openapi"].startswith("3.")


def asked(path, key, film="1" * 16, chest="1" * 16):
    """The address with everything filled in."""
    path = path.replace("{image}", chest if "{z}" in path else film)
    return path.replace("{key}", key).replace("{name}", "thumb.jpg").replace("{z}", "0")


def test_every_answer_is_of_the_kind_and_the_form_that_it_says(http, made, inbox, key):
    tell(inbox, [Trouble("worker.dies", "It died.")])
    parcel = inbox.root / "outgoing" / f"{key}-pacs-{'a' * 32}"
    parcel.mkdir()
    (parcel / "to.json").write_text('{"to": "pacs", "tries": 1, "next": 1.0, "error": "", "added": 1.0}')
    images = [one["id"] for one in http.get(f"/api/studies/{key}").json()["images"]]
    checked = []
    for path, methods in made["paths"].items():
        if "get" in methods:
            answer = http.get(asked(path, key, *images))
            said = methods["get"]["responses"][str(answer.status_code)]
            kind = answer.headers["content-type"].split(";")[0]
            assert kind in said["content"], path
            assert answer.status_code == (503 if path == "/readyz" else 200), path
            if kind == "application/json":
                fits(answer.json(), said["content"][kind]["schema"], made, path)
                checked.append(path)
    assert {"/api/studies", "/api/studies/{key}", "/api/deliveries", "/api/troubles", "/readyz"} <= set(checked)


def test_a_review_is_posted_and_refused_as_it_says(http, made, key):
    said = made["paths"]["/api/studies/{key}/reviews"]["post"]
    assert [one["name"] for one in said["parameters"]] == ["key", "X-CSRF"]
    csrf = {"X-CSRF": token(http, "/")}
    body = made["components"]["schemas"]["Body"]
    for posted, status in (({"decision": "accept", "who": "roe"}, 201), ({"decision": "dunno", "who": "roe"}, 422),
                           ({"decisions": "accept"}, 422)):
        answer = http.post(f"/api/studies/{key}/reviews", headers=csrf, json=posted)
        assert answer.status_code == status
        fits(answer.json(), said["responses"][str(status)]["content"]["application/json"]["schema"], made)
        assert status == 422 or posted.keys() <= body["properties"].keys()


def test_what_needs_a_login_says_so(inbox, users, key):
    http = client(inbox, users)
    for path in ("/api/openapi.json", "/api/docs"):
        assert http.get(path).status_code == 401
    sign_in(http)
    made = http.get("/api/openapi.json").json()
    stranger = client(inbox, users, watched=Watched(Monitoring(allow=("192.0.2.7",))))
    for path, methods in made["paths"].items():
        for method, said in methods.items():
            answer = stranger.get(asked(path, key)) if method == "get" else stranger.post(
                asked(path, key), json={"decision": "accept"}, headers={"X-CSRF": token(stranger)})
            wanted = said.get("security") == [{"session": []}]
            assert (answer.status_code == 401) == wanted, path
            if wanted:
                fits(answer.json(), said["responses"]["401"]["content"]["application/json"]["schema"], made)


def test_an_auditor_hears_403_where_it_is_said(inbox, tmp_path, key):
    path = tmp_path / "users.json"
    accounts.add_user(path, "dpo", "a long enough password", ("administrator",))
    http = client(inbox, path)
    sign_in(http, "dpo", "a long enough password")
    said = http.get("/api/openapi.json").json()["paths"]["/api/audit"]["get"]["responses"]
    assert http.get("/api/audit").status_code == 403 and "403" in said


def test_the_filters_are_those_that_there_are(made):
    for path, more in (("/api/studies", {"cursor"}), ("/api/reviews.csv", set())):
        names = {one["name"] for one in made["paths"][path]["get"]["parameters"]}
        assert names == {field.name for field in dataclasses.fields(Filter)} | more


def test_the_page_shows_all_of_it_and_asks_nobody_else(http, made):
    page = http.get("/api/docs").text
    for path, methods in made["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page
    for name in made["components"]["schemas"]:
        assert f"<h2>{name}</h2>" in page
    assert re.findall(r'(?:src|href)="(?![/#])[^"]*"', page) == []
    assert "<script>" not in page
