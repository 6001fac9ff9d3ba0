"""Who is kept out: sign-in, sessions, CSRF, rates, hosts, paths."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import time

import pytest
import web_studies
from web_people import NAME, PASSWORD, client, sign_in, token
from web_studies import Client

from scanward.box import Box
from scanward.errors import ArgumentError, UnreadableError
from scanward.inbox.troubles import Trouble, tell
from scanward.review import accounts
from scanward.review.app import make_app
from scanward.web import security
from scanward.web.limits import Buckets
from scanward.web.pages import HERE
from scanward.web.security import LIFETIME

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_nobody_sees_anything_without_signing_in(inbox, users):
    key = web_studies.put(inbox.root, "Secret study", images=((web_studies.film(200, 160), "authentic", ()),))
    http = client(inbox, users)
    for path in ("/", f"/studies/{key}"):
        answer = http.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?to=")
    picture = f"/pictures/{key}/{1:016x}/thumb.jpg"
    for path in ("/api/studies", f"/api/studies/{key}", "/api/counts", "/api/reviews.csv", picture):
        assert http.get(path).status_code == 401, path
    assert http.get("/static/scanward.css").status_code == 200
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert http.get(path).status_code == 404


def test_sign_in_and_out(inbox, users):
    http = client(inbox, users)
    wrong = sign_in(http, password="not the password")
    assert wrong.status_code == 401
    assert "The name or the password is wrong." in wrong.text
    right = sign_in(http, to="/studies/abc")
    assert (right.status_code, right.headers["location"]) == (303, "/studies/abc")
    assert NAME in http.get("/").text
    kept = http.cookies
    assert http.post("/logout", data={"csrf": token(http, "/")}).status_code == 303
    assert http.get("/").status_code == 303
    http.cookies = kept
    assert http.get("/").status_code == 303, "a copy of the cookie outlives signing out"


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(inbox, users, to):
    assert sign_in(client(inbox, users), to=to).headers["location"] == "/"


def test_another_password_or_no_user_ends_sessions(inbox, users):
    http = client(inbox, users)
    sign_in(http)
    assert http.get("/").status_code == 200
    accounts.add_user(users, NAME, "quite another password")
    assert http.get("/").status_code == 303
    sign_in(http, password="quite another password")
    users.write_text(json.dumps({"users": {}}))
    assert http.get("/").status_code == 303


def test_a_session_ends(inbox, users, monkeypatch):
    http = client(inbox, users)
    sign_in(http)
    now = time.time()
    for later, status in ((LIFETIME - 5, 200), (LIFETIME + 5, 303), (-3600, 303)):
        monkeypatch.setattr(http.app.state.door.access, "_clock", lambda moment=now + later: moment)
        assert http.get("/").status_code == status, later


def test_guessing_is_slowed_down(inbox, users):
    http = client(inbox, users)
    answers = [sign_in(http, password=f"guess number {i}").status_code for i in range(12)]
    assert answers == [401] * 10 + [429] * 2
    assert sign_in(http).status_code == 429, "the right password, too, must wait"


def test_a_flood_is_refused(inbox, monkeypatch):
    monkeypatch.setattr(security, "BURST", 5)
    monkeypatch.setattr(security, "RATE", 0.001)
    http = client(inbox)
    answers = [http.get("/api/counts") for _ in range(7)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 1


def test_buckets_fill_up_again_and_do_not_pile_up(monkeypatch):
    now = [0.0]
    buckets = Buckets(2, 0.5, lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2]
    assert buckets.take("b") == 0
    now[0] = 2.0
    assert buckets.take("a") == 0
    monkeypatch.setattr("scanward.web.limits.MOST_KEYS", 10)
    for i in range(100):
        buckets.take(f"client {i}")
    assert len(buckets._levels) <= 10


@pytest.mark.parametrize("https", [False, True])
def test_the_cookie_and_the_headers(inbox, users, https):
    answer = client(inbox, users, https=https).get("/login")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert ("secure" in cookie) == https
    assert ("strict-transport-security" in answer.headers) == https
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "permissions-policy" in answer.headers


def test_changes_need_the_token_and_our_own_page(inbox):
    key = web_studies.put(inbox.root, "A study")
    http = client(inbox)
    known, path, body = token(http, "/"), f"/api/studies/{key}/reviews", {"decision": "accept", "who": "Roe"}
    assert http.post(path, json=body).status_code == 403
    assert http.post(path, json=body, headers={"X-CSRF": "x" + known[1:]}).status_code == 403
    assert http.post(f"/studies/{key}/review", data=body).status_code == 403
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "same-site"}):
        assert http.post(path, json=body, headers={"X-CSRF": known, **headers}).status_code == 403, headers
    assert not (inbox.root / "reviews" / f"{key}.jsonl").exists()
    fine = {"X-CSRF": known, "Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert http.post(path, json=body, headers=fine).status_code == 201
    assert http.post(f"/studies/{key}/review", data=body | {"csrf": known}).status_code == 303
    other = client(inbox)
    token(other, "/")
    assert other.post(path, json=body, headers={"X-CSRF": known}).status_code == 403, "another session's token"


def test_bodies_have_a_limit(inbox):
    http = client(inbox)
    headers = {"X-CSRF": token(http, "/")}
    key = web_studies.put(inbox.root, "A study")
    big = json.dumps({"decision": "comment", "comment": "x" * 1_100_000, "who": "Roe"})
    path = f"/api/studies/{key}/reviews"
    assert http.post(path, content=big, headers=headers).status_code == 413

    async def parts():
        yield big.encode()

    assert http.post(path, content=parts(), headers=headers).status_code == 413, "a body without a length"


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:8080", 200), ("localhost", 200), ("[::1]:80", 200), ("evil.example", 421), ("", 421),
    ("127.0.0.1.evil.example", 421), ("review.hospital", 200), ("[", 421)])
def test_dns_rebinding_is_refused_on_loopback(inbox, host, status):
    app = make_app(inbox, users=None, secret=web_studies.SECRET, https=False, hosts=("Review.Hospital",))
    assert Client(app, "http://127.0.0.1").get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("path", [
    "/studies/%2e%2e%2f%2e%2e", "/studies/0123", "/api/studies/..%2f..", "/static/%2e%2e%2fapp.py",
    "/static/%2e%2e/app.py", "/static//etc/passwd"])
def test_paths_lead_nowhere_else(inbox, path):
    assert client(inbox).get(path).status_code == 404


@pytest.mark.parametrize("rest", [
    "%2e%2e/study.json", "..%2fstudy.json", "film_files/../../../study.json", "secret.txt", "link.jpg",
    "film_files/0/0_0.png", "film_files/00000/0_0.jpg", "thumb.jpg%00", "thumb.jpg/", "film_files/٣/0_0.jpg"])
def test_pictures_are_pictures_only(inbox, rest):
    key = web_studies.put(inbox.root, "A study", images=((web_studies.film(200, 160), "authentic", ()),))
    folder = inbox.root / "done" / key / "pictures" / f"{1:016x}"
    (folder / "secret.txt").write_text("secret")
    http = client(inbox)
    assert http.get(f"/pictures/{key}/{1:016x}/thumb.jpg").status_code == 200
    assert http.get(f"/pictures/{key}/{1:016x}/{rest}").status_code == 404
    assert http.get(f"/pictures/{key}/%2e%2e/study.json").status_code == 404
    (folder / "thumb.jpg").unlink()
    (folder / "thumb.jpg").symlink_to(inbox.root / "done" / key / "study.json")
    assert http.get(f"/pictures/{key}/{1:016x}/thumb.jpg").status_code == 404, "a link out of the folder"


def test_words_of_a_header_are_words(inbox):
    images = ((web_studies.film(200, 160), "tampered", (Box(0, 9, 9, 1, 60, 60),)),)
    key = web_studies.put(inbox.root, NASTY, images=images, patient_id=NASTY, accession=NASTY)
    http = client(inbox)
    http.post(f"/api/studies/{key}/reviews", headers={"X-CSRF": token(http, "/")},
              json={"decision": "comment", "comment": NASTY, "who": NASTY[:60]})
    for path in ("/", f"/studies/{key}"):
        text = http.get(path).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_users_are_kept_safely(tmp_path):
    path = tmp_path / "deep" / "users.json"
    accounts.add_user(path, "a", PASSWORD)
    accounts.add_user(path, "Zoë", PASSWORD)
    assert list(json.loads(path.read_text())["users"]) == ["Zoë", "a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text()
    assert "argon2id" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["users.json"]
    assert accounts.check(path, "a", PASSWORD)
    assert not accounts.check(path, "A", PASSWORD)
    assert not accounts.check(path, "nobody", "a password that nobody has")
    assert not accounts.check(tmp_path / "none.json", "a", PASSWORD)


@pytest.mark.parametrize(("name", "password"), [
    ("", PASSWORD), (" a", PASSWORD), ("a\n", PASSWORD), ("a" * 65, PASSWORD), ("a", "short"), ("a", "x" * 1025)])
def test_bad_names_and_passwords(tmp_path, name, password):
    with pytest.raises(ArgumentError, match="choose another"):
        accounts.add_user(tmp_path / "users.json", name, password)


@pytest.mark.parametrize("text", ["", "[]", '{"users": 3}', '{"users": {"a": 1}}', "\x00"])
def test_a_damaged_users_file_is_named(tmp_path, text):
    path = tmp_path / "users.json"
    path.write_text(text)
    with pytest.raises(UnreadableError, match="is no users file"):
        accounts.check(path, "a", PASSWORD)


def test_a_damaged_users_file_lets_nobody_in(inbox, users, caplog):
    http = client(inbox, users)
    sign_in(http)
    users.write_text("{")
    answer = http.get("/")
    assert answer.status_code == 503
    assert str(users) not in answer.text
    assert "is no users file" in caplog.text


def test_the_audit_hears_of_it(inbox, users):
    heard = []
    http = client(inbox, users, audit=lambda event, outcome="success", **facts: heard.append((event, outcome, facts)))
    key = web_studies.put(inbox.root, "A study")
    sign_in(http, name="my secret password")
    sign_in(http, password="not my password")
    sign_in(http)
    http.post(f"/api/studies/{key}/reviews", json={"decision": "accept"}, headers={"X-CSRF": token(http, "/")})
    http.get("/api/reviews.csv")
    http.post("/logout", data={"csrf": token(http, "/")})
    assert [(event, outcome, facts["user"]) for event, outcome, facts in heard] == [
        ("login", "minor", "unknown"), ("login", "minor", NAME), ("login", "success", NAME),
        ("review", "success", NAME), ("export", "success", NAME), ("logout", "success", NAME)]
    assert heard[3][2]["decision"] == "accept"
    from scanward.audit import trail as audit

    assert {name for _, _, facts in heard for name in facts} <= audit.FACTS
    assert {event for event, _, _ in heard} <= audit.EVENTS


def test_vendored_viewers_are_what_their_table_says():
    folder = HERE / "static" / "vendor"
    table = dict(re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.M))
    scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    assert table == scripts
    for name in scripts:
        assert (folder / f"{name.split('.')[0]}.LICENSE.txt").is_file()


def test_our_own_scripts_and_pages_name_no_other_site():
    own = [*HERE.glob("static/*"), *HERE.glob("templates/*")]
    assert len(own) > 8
    for path in own:
        if path.is_file():
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "//" not in re.sub(r"(^|\s)//.*|\{#.*#\}", "", text), path.name
            assert not re.search(r"\sstyle=|\son[a-z]+=|innerHTML", text), path.name


def test_what_is_wrong_with_the_gateway_is_said_to_who_is_signed_in_and_to_nobody_else(inbox, users):
    tell(inbox, [Trouble("worker.dies", "A process that scans died <b>twice</b>.")])
    http = client(inbox, users)
    assert http.get("/api/troubles").status_code == 401
    sign_in(http)
    assert http.get("/api/troubles").json() == [{"name": "worker.dies",
                                                 "sentence": "A process that scans died <b>twice</b>."}]
    assert "died &lt;b&gt;twice" in http.get("/").text
    tell(inbox, ())
    assert http.get("/api/troubles").json() == [] and "data-trouble" not in http.get("/").text
