"""Who may do what: every route before every role, accounts as administrators see them, and the trail."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import web_studies
from fastapi.routing import APIRoute
from web_people import NAME, PASSWORD, client, sign_in, token
from web_studies import Client

from scanward.audit import trail
from scanward.audit.trail import Audit
from scanward.review import accounts
from scanward.roles import ROLES
from scanward.settings import Audit as AuditSettings

EVERYBODY, NOBODY = set(ROLES), set()
BEFORE_SIGN_IN = {("GET", "/login"), ("POST", "/login"), ("POST", "/login/code"), ("POST", "/logout"),
                  ("GET", "/openid"), ("GET", "/openid/start")}
FOR_MACHINES = {("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/readyz"), ("HEAD", "/readyz"), ("GET", "/metrics")}
"""Whom these let in is not by role: test_health.py."""
TABLE = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/studies/{key}"): EVERYBODY,
    ("POST", "/studies/{key}/review"): {"reviewer"},
    ("POST", "/studies/{key}/retry"): {"administrator"},
    ("GET", "/queue"): EVERYBODY,
    ("GET", "/api/deliveries"): EVERYBODY,
    ("POST", "/deliveries/{queue}/{identifier}/retry"): {"administrator"},
    ("GET", "/api/studies"): EVERYBODY,
    ("GET", "/api/studies/{key}"): EVERYBODY,
    ("POST", "/api/studies/{key}/reviews"): {"reviewer"},
    ("GET", "/api/counts"): EVERYBODY,
    ("GET", "/api/troubles"): EVERYBODY,
    ("GET", "/api/openapi.json"): EVERYBODY,
    ("GET", "/api/docs"): EVERYBODY,
    ("GET", "/api/reviews.csv"): {"reviewer", "auditor"},
    ("GET", "/pictures/{key}/{image}/{name:path}"): EVERYBODY,
    ("GET", "/pictures/{key}/{image}/volume/{z}"): EVERYBODY,
    ("GET", "/account"): EVERYBODY,
    ("POST", "/account/second-factor"): EVERYBODY,
    ("GET", "/accounts"): {"administrator"},
    ("POST", "/accounts"): {"administrator"},
    ("GET", "/audit"): {"auditor"},
    ("GET", "/api/audit"): {"auditor"},
}
FACTS = {"key": web_studies.key_of("film"), "image": f"{1:016x}", "name:path": "thumb.jpg", "z": "0",
         "queue": "outgoing", "identifier": "nobody"}


@pytest.fixture
def people(inbox, tmp_path):
    """A users file with one of each role, called by it."""
    path = tmp_path / "users.json"
    for role in ROLES:
        accounts.add_user(path, role, PASSWORD, [role])
    web_studies.put(inbox.root, "film", state="failed", images=((web_studies.film(200, 160), "tampered", ()),))
    return path


def entered(app, name) -> Client:
    http = Client(app)
    assert sign_in(http, name=name).status_code == 303
    return http


def routes(router):
    """(method, path) of every route, those of included routers too; the static files are for everybody."""
    found = set()
    for route in router.routes:
        if isinstance(route, APIRoute):
            found |= {(method, route.path) for method in route.methods}
        elif getattr(route, "path", "") != "/static":
            found |= routes(route.original_router)
    return found


def ask(http, method, path):
    filled = re.sub(r"\{([^}]+)\}", lambda found: FACTS[found[1]], path)
    if method == "GET":
        return http.get(filled)
    return http.post(filled, json={"decision": "accept"}, headers={"X-CSRF": token(http, "/")})


def test_every_route_is_in_the_table(inbox, people):
    app = client(inbox, people).app
    assert routes(app) == TABLE.keys() | BEFORE_SIGN_IN | FOR_MACHINES


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_route_before_every_role(inbox, people, role):
    app = client(inbox, people).app
    http = Client(app) if role is None else entered(app, role)
    for (method, path), allowed in TABLE.items():
        answer = ask(http, method, path) if role else http.get(path) if method == "GET" else http.post(
            path, headers={"X-CSRF": token(http)})
        if role is None:
            assert answer.status_code in (303, 401), (method, path)
            assert answer.status_code == 401 or answer.headers["location"].startswith("/login"), path
        elif role in allowed:
            assert answer.status_code not in (401, 403) and answer.status_code < 500, (method, path)
        else:
            assert answer.status_code == 403, (method, path)


def test_what_was_refused_did_not_happen(inbox, people):
    app, key = client(inbox, people).app, FACTS["key"]
    for role in ("administrator", "auditor"):
        http = entered(app, role)
        for path in (f"/studies/{key}/review", f"/api/studies/{key}/reviews"):
            http.post(path, json={"decision": "accept"}, headers={"X-CSRF": token(http, "/")})
    for role in ("reviewer", "auditor"):
        ask(entered(app, role), "POST", "/studies/{key}/retry")
    assert not list((inbox.root / "reviews").glob("*"))
    assert inbox.study(key).state == "failed"
    assert ask(entered(app, "administrator"), "POST", "/studies/{key}/retry").status_code == 303
    assert inbox.study(key) is None


def test_pages_offer_what_one_may_do(inbox, people):
    app, study = client(inbox, people).app, f"/studies/{FACTS['key']}"
    found = {}
    for role in ROLES:
        http = entered(app, role)
        text = http.get("/").text + http.get(study).text
        found[role] = {word for word in ("Accept <kbd>", "Try again", "/accounts", 'href="/audit"', "reviews.csv")
                       if word in text}
    assert found == {"reviewer": {"Accept <kbd>", "reviews.csv"}, "administrator": {"Try again", "/accounts"},
                     "auditor": {'href="/audit"', "reviews.csv"}}


def test_roles_of_one_person_add_up_and_change_at_once(inbox, people):
    accounts.set_roles(people, "reviewer", ["auditor", "reviewer"])
    http = entered(client(inbox, people).app, "reviewer")
    assert http.get("/audit").status_code == 200
    accounts.set_roles(people, "reviewer", ["administrator"])
    assert http.get("/audit").status_code == 403
    assert http.get("/accounts").status_code == 200


def test_accounts_from_before_there_were_roles_are_reviewers(inbox, users):
    kept = accounts.accounts(users)[NAME].password
    users.write_text(json.dumps({"users": {NAME: kept}}))
    http = entered(client(inbox, users).app, NAME)
    assert http.get("/").status_code == 200
    assert http.get("/accounts").status_code == http.get("/audit").status_code == 403
    accounts.add_user(users, "another", PASSWORD)
    assert accounts.accounts(users)[NAME] == accounts.Account(kept, ("reviewer",))


@pytest.mark.parametrize("value", [3, {}, {"password": "x"}, {"password": "x", "roles": []},
                                   {"password": "x", "roles": ["king"]}, {"password": "x", "roles": "auditor"},
                                   {"password": "x", "roles": ["auditor"], "totp": 3},
                                   {"password": "x", "roles": ["auditor"], "recovery": [1]}])
def test_damaged_accounts_let_nobody_in(inbox, users, value, caplog):
    http = entered(client(inbox, users).app, NAME)
    users.write_text(json.dumps({"users": {NAME: value}}))
    assert http.get("/").status_code == 503
    assert "is no users file" in caplog.text


def change(http, **fields):
    return http.post("/accounts", data={"csrf": token(http, "/"), **fields})


def test_an_administrator_keeps_the_accounts(inbox, people):
    heard = []
    app = client(inbox, people, audit=lambda event, outcome="success", **facts: heard.append((event, facts))).app
    chief = entered(app, "administrator")
    made = change(chief, action="password", name="new <b>one</b>", password=PASSWORD, role=["auditor", "reviewer"])
    assert (made.status_code, made.headers["location"]) == (303, "/accounts?done=password")
    assert "new &lt;b&gt;one&lt;/b&gt;" in chief.get("/accounts").text
    new = entered(app, "new <b>one</b>")
    assert new.get("/audit").status_code == 200
    change(chief, action="roles", name="new <b>one</b>", role="reviewer")
    assert new.get("/audit").status_code == 403
    change(chief, action="password", name="new <b>one</b>", password="quite another password")
    assert new.get("/").status_code == 303, "another password ends the session"
    assert accounts.accounts(people)["new <b>one</b>"].roles == ("reviewer",)
    change(chief, action="remove", name="new <b>one</b>")
    assert sign_in(new, name="new <b>one</b>", password="quite another password").status_code == 401
    told = [facts for event, facts in heard if event == "account"]
    assert [one["decision"] for one in told] == ["password", "roles", "password", "remove"]
    assert {(one["user"], one["account"]) for one in told} == {("administrator", "new <b>one</b>")}
    assert {name for one in told for name in one} <= trail.FACTS
    assert "account" in trail.EVENTS


@pytest.mark.parametrize(("fields", "words"), [
    ({"action": "password", "name": "x", "password": "short"}, "10 to 1024"),
    ({"action": "password", "name": "x", "password": PASSWORD, "role": "king"}, "no role king"),
    ({"action": "roles", "name": "reviewer"}, "needs a role"),
    ({"action": "roles", "name": "nobody", "role": "auditor"}, "no account of nobody"),
    ({"action": "remove", "name": "nobody"}, "no account of nobody"),
    ({"action": "remove", "name": "administrator"}, "another administrator"),
    ({"action": "roles", "name": "administrator", "role": "auditor"}, "another administrator"),
    ({"action": "explode", "name": "reviewer"}, "no such change"), ({}, "no such change")])
def test_a_change_that_will_not_do_is_one_sentence(inbox, people, fields, words):
    before = people.read_text()
    answer = change(entered(client(inbox, people).app, "administrator"), **fields)
    assert answer.status_code == 422
    assert words in answer.text
    assert str(people) not in answer.text
    assert people.read_text() == before


def test_no_change_is_lost_between_the_command_line_and_the_pages(tmp_path):
    path = tmp_path / "users.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: accounts.add_user(path, f"user {i}", PASSWORD), range(40)))
    assert len(accounts.accounts(path)) == 40
    assert [one.name for one in tmp_path.iterdir()] == ["users.json"]


def test_an_auditor_reads_the_trail_the_newest_first(inbox, people):
    audit = Audit(AuditSettings(), inbox.root)
    for i in range(230):
        audit.record("login", user=f"<i>{i}</i>", address="192.0.2.1")
    lines = audit.path.read_bytes().splitlines(keepends=True)
    audit.path.with_name("audit-20260102-9.jsonl").write_bytes(b"".join(lines[:50]))
    audit.path.with_name("audit-20260102-10.jsonl").write_bytes(b"".join(lines[50:110]))
    audit.path.write_bytes(b"".join(lines[110:]) + b"no JSON\n[1]\n" + b'{"cut short')
    http = entered(client(inbox, people, trail=audit.path).app, "auditor")
    seen = [http.get(f"/api/audit?number={number}").json() for number in (1, 2, 3, 4)]
    assert [event["user"] for one in seen for event in one["events"]] == [f"<i>{i}</i>" for i in reversed(range(230))]
    assert [one["more"] for one in seen] == [True, True, False, False]
    text = http.get("/audit").text
    assert "&lt;i&gt;229&lt;/i&gt;" in text and "<i>" not in text
    for bad in ("0", "-1", "x", "10001"):
        assert http.get(f"/audit?number={bad}").status_code == 422


def test_without_accounts_everybody_on_this_machine_has_every_role_and_no_account(inbox):
    http = client(inbox)
    assert http.get("/audit").status_code == 200
    assert http.get("/accounts").status_code == http.get("/account").status_code == 404
