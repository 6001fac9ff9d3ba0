"""A second factor: set up on the page, asked for at sign-in, used once, and hard to guess."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import sys
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from web_people import NAME, PASSWORD, client, sign_in, token
from web_studies import Client

from scanward.review import accounts, second_factor, tries

pytest.importorskip("pyotp")
NOW = 1_790_000_010.0
CODES = [f"{'ABCD' * 3}-{i}{i}{i}{i}" for i in range(2, 6)]
KEY = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def code_of(secret: str, moment: float) -> str:
    """By RFC 4226 and RFC 6238, step by step."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", int(moment // 30)), "sha1")
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start:start + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def test_codes_are_those_of_the_standard():
    """RFC 6238, appendix B, the last six digits."""
    assert [code_of(KEY, t) for t in (59, 1111111109, 1234567890)] == ["287082", "081804", "005924"]


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=NOW)
    monkeypatch.setattr(second_factor, "time", SimpleNamespace(time=lambda: made.now))
    return made


@pytest.fixture
def enrolled(users, clock):
    accounts.set_second_factor(users, NAME, KEY, CODES)
    return users


def give(http, code):
    return http.post("/login/code", data={"csrf": token(http, "/login"), "code": code, "to": "/studies/x"})


def half(app, address="192.0.2.7") -> Client:
    """Somebody who knows the password."""
    http = Client(app, address=address)
    answer = sign_in(http)
    assert answer.status_code == 200 and 'name="code"' in answer.text
    return http


def test_it_is_set_up_on_the_page_and_asked_for(inbox, users, clock):
    http, other = client(inbox, users), client(inbox, users)
    sign_in(http)
    sign_in(other)
    page = http.get("/account").text
    secret = re.search(r'id="secret">([A-Z2-7]{32})<', page)[1]
    address = urlsplit(unescape(re.search(r'id="otpauth">([^<]+)<', page)[1]))
    assert (address.scheme, address.netloc, address.path) == ("otpauth", "totp", f"/Scanward:{NAME}")
    assert parse_qs(address.query) == {"secret": [secret], "issuer": ["Scanward"]}
    fields = {"csrf": token(http, "/"), "secret": secret}
    for password, code in (("wrong password", code_of(secret, NOW)), (PASSWORD, code_of(secret, NOW + 300))):
        answer = http.post("/account/second-factor", data=fields | {"password": password, "code": code})
        assert answer.status_code == 401 and secret in answer.text
        assert not accounts.accounts(users)[NAME].totp
    done = http.post("/account/second-factor", data=fields | {"password": PASSWORD, "code": code_of(secret, NOW)})
    codes = re.findall(r"<li>((?:[A-Z2-7]{4}-){3}[A-Z2-7]{4})</li>", done.text)
    assert len(set(codes)) == second_factor.CODES
    assert not any(code in users.read_text() for code in codes)
    assert http.get("/").status_code == 200
    assert other.get("/").status_code == 303, "who had only the password is out"
    assert "10 recovery codes are left" in http.get("/account").text
    assert secret not in http.get("/account").text
    new = half(http.app)
    assert give(new, code_of(secret, NOW)).status_code == 401, "the code of the set-up is used"
    clock.now += 30
    right = give(new, code_of(secret, clock.now))
    assert (right.status_code, right.headers["location"]) == (303, "/studies/x")
    assert new.get("/").status_code == 200


def test_a_second_one_cannot_be_put_over_the_first(inbox, enrolled, clock):
    http = half(client(inbox, enrolled).app)
    give(http, code_of(KEY, NOW))
    clock.now += 60
    answer = http.post("/account/second-factor", data={
        "csrf": token(http, "/"), "secret": "A" * 32, "password": PASSWORD, "code": code_of("A" * 32, clock.now)})
    assert answer.status_code == 409
    assert accounts.accounts(enrolled)[NAME].totp == KEY


@pytest.mark.parametrize("secret", ["", "A" * 31, "A" * 33, "a" * 32, "A" * 31 + "1", "A" * 31 + "\n"])
def test_a_secret_that_is_none_is_refused(inbox, users, clock, secret):
    http = client(inbox, users)
    sign_in(http)
    answer = http.post("/account/second-factor", data={
        "csrf": token(http, "/"), "secret": secret, "password": PASSWORD, "code": "123456"})
    assert answer.status_code == 422
    assert not accounts.accounts(users)[NAME].totp


def test_the_password_alone_opens_nothing(inbox, enrolled):
    http = half(client(inbox, enrolled).app)
    assert http.get("/").status_code == 303
    assert http.get("/api/studies").status_code == 401
    assert "scanward-device" not in http.cookies, "nor is the device known"
    accounts.add_user(enrolled, NAME, "quite another password")
    assert give(http, code_of(KEY, NOW)).status_code == 401, "the password has changed meanwhile"
    nobody = client(inbox, enrolled)
    assert give(nobody, code_of(KEY, NOW)).status_code == 401
    assert nobody.get("/").status_code == 303


def test_too_long_between_password_and_code(inbox, enrolled, monkeypatch):
    http = half(client(inbox, enrolled).app)
    store = http.app.state.door.access
    began = store._clock()
    monkeypatch.setattr(store, "_clock", lambda: began + 301)
    answer = give(http, code_of(KEY, NOW))
    assert answer.status_code == 401 and "begin again" in answer.text


@pytest.mark.parametrize(("ago", "status"), [(0, 303), (30, 303), (-30, 303), (60, 401), (-60, 401)])
def test_clocks_may_differ_by_a_step(inbox, enrolled, ago, status):
    assert give(half(client(inbox, enrolled).app), code_of(KEY, NOW - ago)).status_code == status


def test_a_code_counts_once_even_after_a_restart(inbox, enrolled):
    code = code_of(KEY, NOW)
    first, second = half(client(inbox, enrolled).app), half(client(inbox, enrolled).app)
    assert give(first, f" {code[:3]} {code[3:]} ").status_code == 303
    assert give(second, code).status_code == 401
    assert give(half(client(inbox, enrolled).app), code).status_code == 401
    assert give(second, code_of(KEY, NOW - 30)).status_code == 303, "another one of those that count"


def test_a_recovery_code_counts_once_however_it_is_typed(inbox, enrolled):
    app = client(inbox, enrolled).app
    assert give(half(app), CODES[1].lower().replace("-", " ")).status_code == 303
    assert give(half(app), CODES[1]).status_code == 401
    assert give(half(client(inbox, enrolled).app), CODES[1]).status_code == 401
    assert len(accounts.accounts(enrolled)[NAME].recovery) == len(CODES) - 1
    assert give(half(app), CODES[0]).status_code == 303


@pytest.mark.parametrize("code", ["", "12345", "1234567", "x" * 5000, "١٢٣٤٥٦", "\0", "ABCD-ABCD-ABCD-9999"])
def test_what_is_no_code_is_wrong(inbox, enrolled, code):
    assert give(half(client(inbox, enrolled).app), code).status_code == 401


def test_codes_cannot_be_guessed_from_everywhere_and_the_owner_gets_in(inbox, enrolled, clock):
    app = client(inbox, enrolled).app
    known = half(app, "203.0.113.1")
    assert give(known, code_of(KEY, NOW)).status_code == 303
    known.post("/logout", data={"csrf": token(known, "/")})
    clock.now += 60
    wrong = next(f"{i:06}" for i in range(10) if f"{i:06}" not in {code_of(KEY, clock.now + d) for d in (-30, 0, 30)})
    answers = [give(half(app, f"198.51.{i}.1"), wrong) for i in range(12)]
    assert [one.status_code for one in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 60
    fresh = half(app, "203.0.113.7")
    assert give(fresh, code_of(KEY, clock.now)).status_code == 429
    assert give(fresh, CODES[0]).status_code == 303, "a recovery code goes past it"
    assert sign_in(known).status_code == 200
    assert give(known, code_of(KEY, clock.now)).status_code == 303, "and so does a known device"
    assert tries.CODE.rate * 86_400 * 3 / 1e6 < 0.001, "guesses of a day that hit"


def test_recovery_codes_cannot_be_tried_without_end(inbox, enrolled):
    http = half(client(inbox, enrolled).app)
    assert [give(http, f"ABCD-ABCD-ABCD-{i:04}").status_code for i in range(12)] == [401] * 10 + [429] * 2


def test_without_the_library_nobody_gets_past(inbox, enrolled, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "pyotp", None)
    http = half(client(inbox, enrolled).app)
    assert give(http, code_of(KEY, NOW)).status_code == 503
    assert "scanward[login]" in caplog.text
    assert http.get("/").status_code == 303


def test_an_administrator_takes_it_away(inbox, enrolled):
    accounts.add_user(enrolled, "chief", PASSWORD, ["administrator"])
    chief, owner = client(inbox, enrolled), half(client(inbox, enrolled).app)
    sign_in(chief, name="chief")
    assert give(owner, code_of(KEY, NOW)).status_code == 303
    assert chief.post("/accounts", data={"csrf": token(chief, "/"), "action": "reset", "name": NAME}).status_code == 303
    assert owner.get("/").status_code == 303
    assert sign_in(owner).status_code == 303
    assert KEY not in enrolled.read_text()


def test_stored_codes_are_hashes():
    assert len(set(second_factor.recovery_codes())) == second_factor.CODES
    assert accounts._code_hash("abcd-efgh") == hashlib.sha256(b"ABCDEFGH").hexdigest()
