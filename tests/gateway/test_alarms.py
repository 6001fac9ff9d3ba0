"""Troubles told to webhooks and the audit: when one begins and when it is over, once, whatever restarts."""

import json
import os
import signal
import subprocess
import time

import httpx
import pytest
from serving import storescu, wait_for

from scanward.delivery import spool
from scanward.delivery.certificates import DAY, Certificates
from scanward.delivery.hooks import Hooks
from scanward.errors import ArgumentError
from scanward.gateway import alarms
from scanward.gateway.alarms import CALM, Alarms, expiring
from scanward.inbox.folders import Inbox
from scanward.inbox.troubles import Trouble
from scanward.settings import Destination, Gateway, Node, Tls, Web, Webhook

FULL, DIES = Trouble("disk.full", "The disk is full."), Trouble("worker.dies", "It died.")


@pytest.fixture
def watch(tmp_path, server):
    """`watch(*troubles)` looks at them a second later and delivers; `watch.again()` is a restart. `watch.told` is what
    the server heard."""
    inbox, hooks, audit = Inbox(tmp_path / "inbox"), Hooks(tmp_path / "inbox"), []

    def look(*found, seconds=1.0):
        look.now += seconds
        look.alarms.look(found)
        hooks.run_once(look.to)
        return [(body["event"], body["trouble"]) for body in (json.loads(data) for _, _, data in server.requests)]

    def again():
        look.alarms = Alarms(inbox, lambda event, outcome, **facts: audit.append((event, outcome, facts["reason"])),
                             hooks, look.to, lambda: look.now)

    look.now, look.again, look.audit, look.inbox, look.to = 0.0, again, audit, inbox, [Webhook(server.url)]
    again()
    return look


def test_each_beginning_and_each_end_is_told_once(watch, server):
    for _ in range(3):
        assert watch(FULL) == [("trouble.began", "disk.full")]
    watch(FULL, DIES)
    assert watch(DIES, seconds=CALM) == [("trouble.began", "disk.full"), ("trouble.began", "worker.dies"),
                                         ("trouble.ended", "disk.full")]
    first, _, last = (json.loads(body) for _, _, body in server.requests)
    assert first["sentence"] == "The disk is full." and first["since"] == last["since"]
    assert first.keys() == {"event", "trouble", "sentence", "since", "time"}
    assert watch.audit == [("trouble.began", "serious", "The disk is full."), ("trouble.began", "serious", "It died."),
                           ("trouble.ended", "success", "The disk is full.")]


def test_a_restart_tells_nothing_twice_and_does_not_forget_an_end(watch):
    watch(FULL)
    for _ in range(2):
        watch.again()
        assert watch(FULL) == [("trouble.began", "disk.full")]
    watch.again()
    assert watch() == [("trouble.began", "disk.full")], "it may come again at once"
    assert watch(seconds=CALM)[1:] == [("trouble.ended", "disk.full")]
    watch.again()
    assert len(watch(seconds=CALM)) == 2
    assert len(watch.audit) == 2


def test_a_disk_at_its_limit_is_one_trouble(watch):
    for _ in range(20):
        watch(FULL)
        watch(seconds=CALM / 2)
    assert watch(FULL) == [("trouble.began", "disk.full")]


def test_the_same_trouble_later_is_another(watch, monkeypatch):
    monkeypatch.setattr(alarms, "stamp", lambda: f"2026-01-01T00:00:{watch.now:02.0f}Z")
    watch(FULL)
    watch(seconds=CALM)
    assert [event for event, _ in watch(FULL)] == ["trouble.began", "trouble.ended", "trouble.began"]


def test_where_the_disk_takes_nothing_it_is_told_once_there_is_room(watch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alarms, "write_json", full)
    assert watch(FULL) == [] and len(watch.audit) == 1
    assert watch(FULL) == [] and len(watch.audit) == 1
    monkeypatch.undo()
    assert watch(FULL) == [("trouble.began", "disk.full")]


def test_a_server_that_is_away_is_tried_again_with_longer_and_longer_pauses(watch, server, monkeypatch):
    now = time.time()
    monkeypatch.setattr(spool.time, "time", lambda: now)
    server.status = 503
    tries = []
    for _ in range(60):
        tries.append(len(watch(FULL)))
        now += 1
    assert 3 <= tries[-1] <= 5, "5, 10, 20 and 40 seconds apart, or a quarter less"
    server.status = 204
    now += 100
    watch(FULL)
    heard = {headers["X-Scanward-Delivery"] for _, headers, _ in server.requests}
    assert len(heard) == 1 and not Hooks(watch.inbox.root).spool.waiting()


def test_a_hook_that_asked_for_studies_alone_hears_of_no_trouble(watch, server):
    watch.to[:] = [Webhook(server.url, events=("study",))]
    assert watch(FULL) == []


@pytest.fixture
def lasting(tmp_path):
    """`lasting(name, days)` is the path of a certificate, whose key is beside it."""
    def make(name, days):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj",
                        "/CN=localhost", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"],
                       check=True, capture_output=True)
        return tmp_path / f"{name}.pem"

    return make


@pytest.mark.needs("openssl")
def test_a_certificate_is_a_trouble_days_before_its_end_and_until_it_is_another(lasting, monkeypatch):
    short, long = lasting("short", 10), lasting("long", 100)
    gateway = Gateway(node=Node(tls=Tls(short, short.with_suffix(".key"))), web=Web(tls=Tls(long)),
                      destination=(Destination("pacs", tls=Tls(short)),))
    held = Certificates(gateway)
    names = [one.name for one in expiring(held, 11)]
    assert names == ["certificate.destination-pacs", "certificate.node"] and expiring(held, 9) == []
    assert "ends in 10 days" in expiring(held, 11)[0].sentence and str(short) not in expiring(held, 11)[0].sentence
    short.write_bytes(long.read_bytes())
    assert [one.name for one in expiring(held, 11)] == ["certificate.node"], "it shows the old one until it is stopped"
    assert expiring(Certificates(gateway), 11) == []
    now = time.time()
    monkeypatch.setattr(alarms.time, "time", lambda: now + 101 * DAY)
    assert "has ended" in expiring(held, 11)[0].sentence
    short.write_text("no certificate")
    assert "cannot be read" in expiring(held, 0)[0].sentence
    with pytest.raises(ArgumentError, match="is no certificate"):
        Certificates(gateway)


@pytest.mark.needs("storescu", "openssl")
def test_the_gateway_tells_its_health_its_counts_and_its_troubles(start, server, dicom, tmp_path, lasting):
    """The whole of it: three processes, a webhook, a certificate that ends, a disk that fills, a node that stops."""
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    cert = lasting("node", 5)
    text = (f'[[webhook]]\nurl = "{server.url}"\nsecret_file = "{tmp_path / "secret"}"\n'
            f'[web.tls]\ncert = "{cert}"\nkey = "{cert.with_suffix(".key")}"\n')
    gateway = start(text, monitoring={"allow": ["127.0.0.1"]}, work={"workers": 1})

    def get(path):
        return httpx.get(gateway.pages.rstrip("/") + path, verify=False, timeout=60)

    def heard(event):
        return [body["trouble"] for body in (json.loads(data) for _, _, data in server.requests)
                if body["event"] == event]

    assert get("/healthz").text == "alive\n"
    wait_for(lambda: get("/readyz").json() == {"ready": True, "reasons": []})
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm", shape=(96, 80)))
    wait_for(lambda: gateway.studies() and gateway.idle())
    wait_for(lambda: 'scanward_objects_received_total{by="store"} 1.0' in get("/metrics").text)
    assert "scanward_scan_seconds_count 1.0" in get("/metrics").text
    wait_for(lambda: heard("trouble.began") == ["certificate.web"])
    assert {"X-Scanward-Signature", "X-Scanward-Delivery"} <= server.requests[0][1].keys()
    gateway.stop()
    gateway.change(text, store={"free_mb": 10**9})
    gateway.start()
    wait_for(lambda: heard("trouble.began") == ["certificate.web", "disk.full"])
    assert [one["name"] for one in get("/readyz").json()["reasons"]] == ["disk.full"]
    assert heard("trouble.ended") == []
    os.kill(gateway.process.pid, signal.SIGSTOP)
    wait_for(lambda: "node.stalled" in get("/readyz").text, 60)
    os.kill(gateway.process.pid, signal.SIGCONT)
    wait_for(lambda: "node.stalled" not in get("/readyz").text, 60)
