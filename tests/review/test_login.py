"""Guessing is slow, nobody locks another one out, and no restart forgets who was signed out."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
import web_studies
from hypothesis import given, settings
from hypothesis import strategies as st
from web_people import NAME, PASSWORD, client, sign_in, token
from web_studies import Client

from scanward.errors import UnreadableError
from scanward.review import access, accounts, tries
from scanward.review.access import Access, Limit, Session
from scanward.review.tries import Whence
from scanward.web.limits import Buckets

SECRET = web_studies.SECRET
SERVER = """
import socket, sys, uvicorn
from pathlib import Path
from scanward.inbox.folders import Inbox
from scanward.review.app import make_app
app = make_app(Inbox(Path(sys.argv[1])), users=Path(sys.argv[2]), secret=b"a secret of the tests, long enough",
               https=False)
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none")).run(sockets=[listening])
"""


class Clock:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


def guess(http, times=1, **options):
    return [sign_in(http, password=f"guess number {i}", **options).status_code for i in range(times)]


def test_an_attacker_locks_himself_out_and_nobody_else(inbox, users):
    app = client(inbox, users).app
    attacker, victim = (Client(app, address=address) for address in ("198.51.100.1", "203.0.113.9"))
    assert guess(attacker, 14) == [401] * 10 + [429] * 4
    assert sign_in(victim).status_code == 303
    assert sign_in(attacker).status_code == 429, "the right password, too, from where it was guessed"


def test_an_address_may_not_go_through_names(inbox, users):
    http = client(inbox, users)
    assert [guess(http, name=f"name {i}")[0] for i in range(33)] == [401] * 30 + [429] * 3
    other = Client(http.app, address="203.0.113.9")
    assert sign_in(other).status_code == 303


def test_right_passwords_are_not_counted(inbox, users):
    http = client(inbox, users)
    for _ in range(35):
        assert sign_in(Client(http.app)).status_code == 303


def test_guessing_from_everywhere_is_slow_and_locks_nobody_out(inbox, users, monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr("anyio.sleep", sleep)
    monkeypatch.setattr(tries, "STEP", 0.5)
    app = client(inbox, users).app
    for i in range(40):
        assert guess(Client(app, address=f"198.51.{i}.1"), 1) == [401]
    assert waited[:15] == [0] * 15
    assert waited[-5:] == [tries.LONGEST] * 5, "each waits, though each comes from an address of its own"
    victim = Client(app, address="203.0.113.9")
    assert sign_in(victim).status_code == 303
    assert waited[-1] == tries.LONGEST
    victim.post("/logout", data={"csrf": token(victim, "/")})
    assert sign_in(victim).status_code == 303
    assert waited[-1] == 0, "a device that signed in before does not wait"


def test_the_delay_has_an_end(tmp_path):
    store = Access(tmp_path / "access.db", SECRET, clock=Clock())
    delays = [tries.password_try(store, Whence(f"198.51.{i // 250}.{i % 250}", ""), NAME).delay for i in range(160)]
    assert delays[:tries.FREE + 1] == [0.0] * (tries.FREE + 1)
    assert delays == sorted(delays)
    assert delays[-1] == max(delays) == tries.LONGEST
    assert tries.password_try(store, Whence("203.0.113.9", ""), "somebody else").delay == 0


def test_a_known_device_gets_in_where_others_are_locked_out(inbox, users):
    http = client(inbox, users)
    assert sign_in(http).status_code == 303
    http.post("/logout", data={"csrf": token(http, "/")})
    attacker = Client(http.app)
    assert guess(attacker, 12)[-1] == 429
    assert sign_in(http).status_code == 303, "same address, and the device's own cookie"
    copied = Client(http.app)
    copied.cookies = http.cookies
    accounts.add_user(users, "another", PASSWORD)
    assert sign_in(attacker, name="another").status_code == 303, "the address has tries left"
    http.post("/logout", data={"csrf": token(http, "/")})
    assert guess(copied, 12)[-1] == 429, "a device has a limit, too"


@pytest.mark.parametrize("path", ["/login", "/login/code"])
def test_the_device_cookie_is_kept_from_scripts_and_other_pages(inbox, users, path):
    answer = sign_in(client(inbox, users, https=True))
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("scanward-device="))
    for word in ("HttpOnly", "Path=/login", "SameSite=strict", "Secure"):
        assert word in cookie, cookie


def test_tries_outlive_a_restart(inbox, users):
    assert guess(client(inbox, users), 11)[-1] == 429
    assert sign_in(client(inbox, users)).status_code == 429
    assert sign_in(Client(client(inbox, users).app, address="203.0.113.9")).status_code == 303


def test_what_was_signed_out_stays_so_after_a_restart(inbox, users):
    left, stays = client(inbox, users), client(inbox, users)
    for http in (left, stays):
        assert sign_in(http).status_code == 303
    kept = left.cookies
    copy = httpx.Cookies(kept)
    left.post("/logout", data={"csrf": token(left, "/")})
    again = client(inbox, users)
    again.cookies = copy
    assert again.get("/").status_code == 303
    assert again.get("/api/studies").status_code == 401
    again.cookies = stays.cookies
    assert again.get("/").status_code == 200, "a restart signs nobody else out"


@contextmanager
def served(inbox, users):
    """The pages in a process of their own, which is killed in the end; their address."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(inbox.root), str(users)], stdout=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_kill_9_right_after_the_answer_forgets_nothing(inbox, users):
    def csrf(http, path):
        return re.search(r'name="csrf" content="([^"]+)"', http.get(path).text)[1]

    for _ in range(2):
        with served(inbox, users) as base, httpx.Client(base_url=base, timeout=60) as http, \
                httpx.Client(base_url=base, timeout=60) as other:
            for one in (http, other):
                answer = one.post("/login", data={"csrf": csrf(one, "/login"), "name": NAME, "password": PASSWORD})
                assert answer.status_code == 303
            copy, stays = dict(http.cookies), dict(other.cookies)
            assert http.post("/logout", data={"csrf": csrf(http, "/")}).status_code == 303
        with served(inbox, users) as base:
            assert httpx.get(base, cookies=copy, timeout=60).status_code == 303
            assert httpx.get(base, cookies=stays, timeout=60).status_code == 200


def test_the_file_tells_nothing_and_is_its_owners(inbox, users):
    http = client(inbox, users)
    sign_in(http, name="my secret password", password="typed into the wrong field")
    sign_in(http)
    files = sorted(inbox.root.glob("access.db*"))
    assert {path.name for path in files} >= {"access.db", "access.db-wal"}
    held = b"".join(path.read_bytes() for path in files)
    cookie = json.loads(base64.b64decode(http.cookies["scanward"].split(".")[0] + "=="))
    for told in (cookie["token"], http.cookies["scanward-device"], "my secret password", "typed into", PASSWORD):
        assert told.encode() not in held
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from("ab")), max_size=40))
@settings(max_examples=50, deadline=None)
def test_limits_on_disk_are_those_in_memory(tmp_path_factory, steps):
    clock, limit = Clock(), Limit("a limit", 3, 0.1)
    store = Access(tmp_path_factory.mktemp("limits") / "access.db", SECRET, clock=clock)
    memory = Buckets(3, 0.1, clock)
    for pause, key in steps:
        clock.now += pause
        assert store.take(limit, key) == pytest.approx(memory.take(key), abs=1e-4)


def test_a_clock_that_is_set_back_locks_nobody_out(tmp_path):
    clock, limit = Clock(), Limit("a limit", 2, 0.1)
    store = Access(tmp_path / "access.db", SECRET, clock=clock)
    assert [store.take(limit, "a") for _ in range(3)] == [0, 0, pytest.approx(10, abs=1e-3)]
    clock.now -= 86_400
    assert store.take(limit, "a") <= 10.001
    clock.now += 10.01
    assert store.take(limit, "a") == 0


def test_a_flood_of_addresses_does_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "MOST_BUCKETS", 50)
    monkeypatch.setattr(access, "SWEEP", 10)
    clock, limit = Clock(), Limit("a limit", 2, 0.001)
    store = Access(tmp_path / "access.db", SECRET, clock=clock)
    for _ in range(2):
        store.take(limit, "the worst")
    for i in range(300):
        store.take(limit, f"address {i}")
    with sqlite3.connect(tmp_path / "access.db") as file:
        assert file.execute("SELECT count(*) FROM buckets").fetchone()[0] <= 60
    assert store.take(limit, "the worst") > 0, "the emptiest are kept"


def test_devices_are_counted_and_known_to_their_users_alone(tmp_path):
    clock = Clock()
    store = Access(tmp_path / "access.db", SECRET, clock=clock)
    devices = []
    for _ in range(access.MOST_DEVICES + 1):
        clock.now += 1
        devices.append(store.meet("a", "", 100))
    assert [store.knows("a", device) for device in devices] == [False] + [True] * access.MOST_DEVICES
    assert not store.knows("b", devices[-1])
    assert store.meet("b", devices[-1], 100) == devices[-1], "two people share a device"
    assert store.meet("b", "one that somebody planted", 100) != "one that somebody planted"
    clock.now += 101
    assert not store.knows("a", devices[-1])


def test_a_session_is_found_by_its_token_alone(tmp_path):
    store = Access(tmp_path / "access.db", SECRET)
    made = Session("password", "a", "stamp", ("reviewer", "auditor"))
    first, second = store.begin(made, 100), store.begin(made, 100)
    assert store.session(first) == store.session(second) == made
    for other in ("", first[:-1], first + "x", first.swapcase()):
        assert store.session(other) is None
    store.end(first)
    assert store.session(first) is None
    store.end_all("a")
    assert store.session(second) is None


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(200)])
def test_a_damaged_file_is_one_sentence(inbox, users, content):
    inbox.root.mkdir(parents=True, exist_ok=True)
    (inbox.root / "access.db").write_bytes(content)
    with pytest.raises(UnreadableError, match=r"access\.db cannot be used .*signs everybody out"):
        client(inbox, users)


def test_a_full_disk_lets_nobody_in_and_says_so(inbox, users):
    http = client(inbox, users)
    known = token(http)
    store = http.app.state.door.access
    store._open.execute(f"PRAGMA max_page_count = {store._open.execute('PRAGMA page_count').fetchone()[0]}")
    with sqlite3.connect(inbox.root / "access.db") as file:  # no page is free any more
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    answers = {http.post("/login", data={"csrf": known, "name": f"{i}" * 20, "password": "x" * 12}).status_code
               for i in range(200)}
    assert answers <= {401, 429, 503}
    with pytest.raises(UnreadableError, match="full"):
        for i in range(10_000):
            store.take(tries.ADDRESS, f"{i}")
    assert http.get("/login").status_code == 200
