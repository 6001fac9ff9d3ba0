"""Messages to web addresses, received by a real web server."""

import dataclasses
import hashlib
import hmac
import json
import time

from scanward.delivery import hooks as hooks_module
from scanward.delivery import spool
from scanward.delivery.hooks import Hooks, message_of
from scanward.inbox.record import ImageRecord, StudyRecord
from scanward.settings import Webhook

STUDY = StudyRecord(
    key="0123456789abcdef01234567", study_uid="1.2.3", patient_id="PID-4711", accession="ACC-1",
    description="Screening of Doe", modality="MG", label="tampered", score=0.91234567,
    images=(ImageRecord("1" * 16, sop_instance_uid="1.2.3.4", reason="x"), ImageRecord("2" * 16)),
    finished="2026-01-01T00:00:00Z",
)  # fmt: skip


def test_a_message_says_what_was_found_and_nothing_of_the_patient(server, tmp_path):
    hooks = Hooks(tmp_path)
    assert hooks.notify(STUDY, [Webhook(server.url)]) == 1
    assert hooks.run_once([Webhook(server.url)]) is None
    ((path, headers, body),) = server.requests
    message = json.loads(body)
    assert path == "/hooks/T0K3N" and headers["Content-Type"] == "application/json"
    assert {**message, "time": ""} == {
        "event": "study.finished", "key": STUDY.key, "modality": "MG", "label": "tampered", "score": 0.912346,
        "images": 2, "time": ""}
    for word in (b"PID", b"Doe", b"1.2.3", b"ACC", b"Screening"):
        assert word not in body
    # The address may be a secret: no file but the settings has it.
    assert not any(b"T0K3N" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_a_file_cannot_put_its_words_into_a_message():
    hostile = {**STUDY.to_json(), "key": "Doe^Jane", "modality": "Doe", "label": "Doe", "score": "Doe"}
    assert "Doe" not in json.dumps(message_of(StudyRecord.from_json(hostile), "study.finished"))
    assert "Doe" not in json.dumps(message_of(dataclasses.replace(STUDY, key="Doe^Jane"), "study.finished"))


def test_the_signature_covers_the_time_and_the_body(server, tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    hook = Webhook(server.url, tmp_path / "secret")
    hooks = Hooks(tmp_path)
    hooks.notify(STUDY, [hook])
    hooks.run_once([hook])
    ((_, headers, body),) = server.requests
    moment, mac = (part.split("=")[1] for part in headers[hooks_module.SIGNATURE].split(","))
    assert abs(int(moment) - time.time()) < 60
    assert mac == hmac.new(b"hush", moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def test_the_same_result_is_told_once_and_another_again(server, tmp_path):
    hooks, hook = Hooks(tmp_path), Webhook(server.url)
    for _ in range(2):
        hooks.notify(STUDY, [hook])
        hooks.run_once([hook])
    Hooks(tmp_path).notify(dataclasses.replace(STUDY, finished="later"), [hook])
    assert len(server.requests) == 1 and hooks.run_once([hook]) is None
    hooks.notify(dataclasses.replace(STUDY, label="authentic", score=0.1), [hook])
    hooks.run_once([hook])
    assert len(server.requests) == 2


def test_a_hook_gets_the_labels_that_it_asked_for(server, tmp_path):
    hooks = Hooks(tmp_path)
    assert hooks.notify(STUDY, [Webhook(server.url, labels=("authentic",)), Webhook(server.url + "2")]) == 1
    hooks.run_once([Webhook(server.url), Webhook(server.url + "2")])
    assert [path for path, _, _ in server.requests] == ["/hooks/T0K3N2"]


def test_a_busy_server_is_asked_again_and_a_redirect_is_not_followed(server, tmp_path, monkeypatch):
    told, now = [], time.time()
    hooks, hook = Hooks(tmp_path, lambda *facts: told.append(facts)), Webhook(server.url)
    monkeypatch.setattr(spool.time, "time", lambda: now)
    server.status, server.headers = 503, {"Retry-After": "30"}
    hooks.notify(STUDY, [hook])
    assert 29 < hooks.run_once([hook]) <= 30
    assert hooks.run_once([hook]) > 0 and len(server.requests) == 1
    now += 31
    server.status = 200
    assert hooks.run_once([hook]) is None
    server.status, server.headers = 307, {"Location": server.url + "/elsewhere"}
    hooks.notify(dataclasses.replace(STUDY, score=0.2), [hook])
    assert hooks.run_once([hook]) is None
    assert len(server.requests) == 3 and [outcome for _, _, outcome, _ in told] == ["waiting", "sent", "refused"]
    assert "points to another address" in told[-1][-1] and "T0K3N" not in str(told)


def test_after_three_days_a_message_is_no_news(port, tmp_path, monkeypatch):
    now = time.time()
    monkeypatch.setattr(spool.time, "time", lambda: now)
    hooks, hook = Hooks(tmp_path), Webhook(f"http://127.0.0.1:{port}/")
    hooks.notify(STUDY, [hook])
    assert hooks.run_once([hook]) > 0
    now += 3 * 86400 + 10
    assert hooks.run_once([hook]) is None and len(hooks.spool.refused()) == 1
