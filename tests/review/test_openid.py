"""Sign-in by an OpenID Connect provider: who is let in, with which roles, and what no lie of anybody gets past."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from openid_provider import CLIENT, CLIENT_SECRET, provided
from web_browser import CHROMIUM, FLAGS, serve
from web_people import NAME, PASSWORD, client, sign_in, token
from web_studies import Client

from scanward.errors import ArgumentError
from scanward.review.app import make_app
from scanward.setting_file import read_config
from scanward.settings import OpenId

pytest.importorskip("authlib")
URL = "http://127.0.0.1:8042"


@pytest.fixture(scope="module")
def server():
    with provided() as made:
        yield made


@pytest.fixture
def provider(server):
    """One that tells the truth."""
    kept = {name: value for name, value in vars(server).items() if not name.startswith("_")}
    yield server
    for name, value in kept.items():
        setattr(server, name, value)


@pytest.fixture
def openid(provider, tmp_path):
    (tmp_path / "client.secret").write_text(f"{CLIENT_SECRET}\n")
    return OpenId(provider.issuer, CLIENT, URL, {"radiology": "reviewer", "it": "administrator", "dpo": "auditor"},
                  client_secret_file=tmp_path / "client.secret", name="the hospital")


def begin(http, to="/studies/x") -> str:
    """Where the provider sends the browser back to: path and query."""
    out = http.get(f"/openid/start?to={to}")
    assert out.status_code == 303, out.text
    back = httpx.get(out.headers["location"], timeout=60).headers["location"]
    assert back.startswith(f"{URL}/openid?")
    return back.removeprefix(URL)


def test_the_provider_lets_in(inbox, openid, provider):
    provider.user = provider.user | {"groups": ["radiology", "dpo", "staff"]}
    heard = []
    http = client(inbox, openid=openid, audit=lambda event, outcome="success", **facts: heard.append(
        (event, outcome, facts["user"])))
    page = http.get("/login").text
    assert 'href="/openid/start?to=/"' in page and "Sign in by the hospital" in page and "Password" not in page
    back = http.get(begin(http))
    assert back.status_code == 200 and 'content="0;url=/studies/x"' in back.text
    worklist = http.get("/").text
    assert "dr.open" in worklist and "/audit" in worklist and "/accounts" not in worklist
    assert http.get("/audit").status_code == 200
    assert http.get("/accounts").status_code == 403
    assert "kept by the provider" in http.get("/account").text
    copy = httpx.Cookies(http.cookies)
    http.post("/logout", data={"csrf": token(http, "/")})
    http.cookies = copy
    assert http.get("/").status_code == 303
    assert heard == [("login", "success", "dr.open"), ("logout", "success", "dr.open")]


def test_what_the_provider_is_asked(inbox, openid, provider):
    http = client(inbox, openid=openid)
    first, second = (parse_qs(urlsplit(http.get("/openid/start").headers["location"]).query) for _ in range(2))
    assert first["tenant"] == ["1"] and first["redirect_uri"] == [f"{URL}/openid"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) >= 43 and first[name] != second[name]
    provider.asked = []
    http.get(begin(http))
    assert [path for path, _ in provider.asked] == ["/authorize", "/token", "/keys"]
    assert len(provider.asked[1][1]["code_verifier"]) >= 43


@pytest.mark.parametrize("lie", [
    {"claims": {"iss": "http://localhost:1"}}, {"claims": {"iss": None}}, {"claims": {"aud": "another"}},
    {"claims": {"aud": None}}, {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
    {"claims": {"nonce": "another"}}, {"claims": {"nonce": None}}, {"claims": {"exp": 1}}, {"claims": {"exp": None}},
    {"claims": {"exp": "soon"}}, {"claims": {"iat": 4_000_000_000}}, {"claims": {"iat": None}},
    {"claims": {"sub": None}}, {"claims": {"sub": ""}}, {"claims": {"at_hash": "AAAA"}},
    {"claims": {"preferred_username": None}}, {"claims": {"preferred_username": ""}},
    {"claims": {"preferred_username": "a" * 65}}, {"claims": {"preferred_username": "a\nb"}},
    {"claims": {"preferred_username": ["a"]}}, {"claims": {"groups": []}}, {"claims": {"groups": None}},
    {"claims": {"groups": ["nurses"]}}, {"claims": {"groups": {"radiology": 1}}}, {"claims": {"groups": "radio"}},
    {"signed_by": "other"}, {"signed_by": "none"}, {"signed_by": "secret"}, {"signed_by": "public"},
    {"header": {"alg": "none"}}, {"header": {"kid": "k2"}}, {"header": {"alg": "HS256"}},
    {"header": {"alg": ["RS256"]}},
    {"answer": {"state": "another"}}, {"answer": {"state": None}}, {"answer": {"iss": "http://localhost:1"}},
    {"answer": {"code": "another"}}, {"answer": {"code": None}}, {"answer": {"error": "access_denied"}},
], ids=str)
def test_no_lie_lets_anybody_in(inbox, openid, provider, lie, caplog):
    http = client(inbox, openid=openid)
    for name, value in lie.items():
        setattr(provider, name, value)
    answer = http.get(begin(http))
    assert answer.status_code == 401
    assert "the hospital did not let you in" in answer.text
    assert "the hospital: " in caplog.text and CLIENT_SECRET not in caplog.text
    assert http.get("/").status_code == 303


@pytest.mark.parametrize("lie", [
    {"issuer": "http://localhost:1"}, {"issuer": None}, {"authorization_endpoint": "http://evil.example/"},
    {"authorization_endpoint": "javascript:alert(1)"}, {"authorization_endpoint": None},
    {"authorization_endpoint": ["x"]}], ids=str)
def test_a_provider_that_is_another_is_not_gone_to(inbox, openid, provider, lie):
    provider.description = lie
    answer = client(inbox, openid=openid).get("/openid/start")
    assert answer.status_code == 502 and "the hospital does not answer" in answer.text


def test_the_clients_secret_is_not_sent_in_the_clear(inbox, openid, provider):
    provider.description = {"token_endpoint": "http://evil.example/token"}
    http = client(inbox, openid=openid)
    assert http.get(begin(http)).status_code == 401


def test_a_provider_that_is_away_is_a_sentence(inbox, openid):
    gone = OpenId("http://localhost:9", CLIENT, URL, openid.roles)
    answer = client(inbox, openid=gone).get("/openid/start")
    assert answer.status_code == 502 and "does not answer" in answer.text


def test_only_the_browser_that_began_may_end(inbox, openid, provider):
    http = client(inbox, openid=openid)
    back = begin(http)
    assert Client(http.app).get(back).status_code == 401, "another browser, without the cookie"
    stranger = Client(http.app)
    begin(stranger)
    assert stranger.get(back).status_code == 401, "one that began another"
    assert http.get(back).status_code == 200
    assert http.get(back).status_code == 401, "twice"


def test_a_flow_ends_after_some_minutes(inbox, openid, provider, monkeypatch):
    http = client(inbox, openid=openid)
    back, now = begin(http), time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 700)
    assert http.get(back).status_code == 401


def test_wrong_returns_are_limited_for_each_address(inbox, openid, provider):
    http = client(inbox, openid=openid)
    begin(http)
    provider.asked = []
    for _ in range(40):
        http.get("/openid?state=x&code=y")
    other = Client(http.app, address="203.0.113.9")
    assert http.get(begin(http)).status_code == 401
    assert other.get(begin(other)).status_code == 200
    assert sum(path == "/token" for path, _ in provider.asked) == 1


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_it_leads_nowhere_else(inbox, openid, provider, to):
    http = client(inbox, openid=openid)
    assert 'content="0;url=/"' in http.get(begin(http, to)).text


def test_a_name_is_one_persons(inbox, users, openid, provider):
    http = client(inbox, users, openid=openid)
    provider.user = provider.user | {"preferred_username": NAME.upper()}
    answer = http.get(begin(http))
    assert answer.status_code == 403 and "local account of your name" in answer.text
    assert http.get("/").status_code == 303
    assert sign_in(http, password=PASSWORD).status_code == 303, "the local one works beside it"
    for subject, name, status in (("u-1", "dr.open", 200), ("u-2", "DR.open", 403), ("u-1", "dr.open", 200),
                                  ("u-2", "dr.other", 200)):
        provider.user = provider.user | {"sub": subject, "preferred_username": name}
        one = Client(http.app)
        assert one.get(begin(one)).status_code == status, (subject, name)


def test_nested_groups_and_one_group_as_a_text(inbox, openid, provider):
    for claims, name in (({"groups": "radiology"}, "groups"), ({"realm": {"roles": ["radiology"]}}, "realm.roles"),
                         ({"realm.roles": ["radiology"]}, "realm.roles")):
        provider.claims = {"groups": None} | claims
        http = client(inbox, openid=replace(openid, roles_claim=name))
        assert http.get(begin(http)).status_code == 200, claims


def test_other_roles_in_the_settings_end_sessions(inbox, openid, provider):
    http = client(inbox, openid=openid)
    http.get(begin(http))
    restarted = client(inbox, openid=openid)
    restarted.cookies = http.cookies
    assert restarted.get("/").status_code == 200
    for other in ({"openid": replace(openid, roles={"radiology": "auditor"})}, {"openid": None}):
        changed = client(inbox, users=inbox.root / "none.json", **other)
        changed.cookies = http.cookies
        assert changed.get("/").status_code == 303


def test_without_a_provider_there_are_no_such_pages(inbox, users):
    http = client(inbox, users)
    assert http.get("/openid/start").status_code == http.get("/openid?code=x").status_code == 404
    assert "openid" not in http.get("/login").text


@pytest.mark.needs("chromium")
def test_a_browser_goes_there_and_comes_back_signed_in(inbox, openid, provider):
    """The provider is another site, so that cookies of ours stay at home on the way back."""
    sync_api = pytest.importorskip("playwright.sync_api")
    app = make_app(inbox, users=None, openid=openid, secret=b"a secret of the tests, long enough", https=False)
    pages = serve(app)
    base = next(pages)
    app.state.door.provider.address = f"{base}/openid"
    try:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
            page = browser.new_page()
            page.goto(f"{base}/?label=tampered")
            page.get_by_role("link", name="Sign in by the hospital").click()
            page.get_by_text("dr.open").wait_for()
            assert page.url == f"{base}/?label=tampered"
            page.wait_for_load_state("networkidle")
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("link", name="Sign in by the hospital").wait_for()
            browser.close()
    finally:
        next(pages, None)


@pytest.mark.parametrize(("lines", "words"), [
    ('issuer = "ftp://x"', "no web address"), ('issuer = "https://a b"', "no web address"),
    ('issuer = "http://idp.hospital"', "in the clear"), ('url = "http://pages.hospital"', "in the clear"),
    ("roles = {}", "roles"), ('roles = { a = "king" }', "roles"), ("issuer = 3", "issuer"), ('other = "x"', "other"),
    ('client_secret_file = "none"', "there is no file")])
def test_settings_that_will_not_do(tmp_path, lines, words):
    given = {"issuer": '"https://idp.hospital"', "client_id": '"c"', "url": '"https://pages.hospital"',
             "roles": '{ a = "auditor" }'}
    name, _, value = lines.partition(" = ")
    path = tmp_path / "gateway.toml"
    path.write_text("[web.openid]\n" + "\n".join(f"{k} = {v}" for k, v in (given | {name: value}).items()))
    with pytest.raises(ArgumentError, match=words):
        read_config(path)


def test_settings_with_a_provider_open_the_pages_to_the_network(tmp_path):
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    path = tmp_path / "gateway.toml"
    path.write_text('[web]\nhost = "0.0.0.0"\ntls = { cert = "cert", key = "key" }\n')
    with pytest.raises(ArgumentError, match=r"name web.users, .*or \[web.openid\]"):
        read_config(path)
    path.write_text(path.read_text() + '[web.openid]\nissuer = "https://i"\nclient_id = "c"\nurl = "https://u"\n'
                    'roles = { a = "auditor" }\n')
    assert read_config(path).web.openid.roles == {"a": "auditor"}
