"""What `examples/` shows works: run as it lies there, before a real gateway."""

import hashlib
import hmac
import importlib.util
import json
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import storescu, wait_for

from scanward.delivery.hooks import Hooks, signature
from scanward.inbox.record import StudyRecord
from scanward.settings import Webhook

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = importlib.util.spec_from_file_location("webhook_receiver", EXAMPLES / "webhook_receiver.py")
receiver = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(receiver)
BODY, NOW = b'{"event": "study.finished"}', 1_800_000_000


@pytest.fixture
def listening(tmp_path, port):
    """The receiver, run by its command; gives its address and what it prints."""
    (tmp_path / "secret").write_text("hush hush\n")
    with (tmp_path / "heard").open("wb") as file:
        process = subprocess.Popen([sys.executable, EXAMPLES / "webhook_receiver.py", tmp_path / "secret", str(port)],
                                   stdout=file)

    def up():
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port))):
            return True
        return False

    wait_for(up)
    yield f"http://127.0.0.1:{port}/", lambda: (tmp_path / "heard").read_text().splitlines()
    process.kill()
    process.wait()


def test_the_receiver_hears_what_the_gateway_signs_and_nothing_else(listening, tmp_path):
    url, heard = listening
    right = Webhook(url, tmp_path / "secret")
    (tmp_path / "other").write_text("another secret\n")
    for hook in (right, Webhook(url + "a", tmp_path / "other"), Webhook(url + "b")):
        hooks = Hooks(tmp_path / hook.url.replace("/", "_"))
        hooks.notify(StudyRecord(key="0" * 24, label="tampered"), [hook])
        hooks.tell({"event": "trouble.began", "trouble": "disk.full", "sentence": "x", "since": "y"}, [hook])
        hooks.run_once([hook])
        refused = [one.error for _, one in hooks.spool.refused()]
        assert refused == [] if hook is right else len(refused) == 2 and all("401" in one for one in refused)
    wait_for(lambda: len(heard()) == 2)
    messages = [json.loads(line.split(" ", 1)[1]) for line in heard()]
    assert {one["event"] for one in messages} == {"study.finished", "trouble.began"}


def test_a_message_counts_for_five_minutes_and_for_its_own_bytes():
    header = signature("hush", BODY, NOW)
    digest = hmac.new(b"hush", b"%d." % NOW + BODY, hashlib.sha256).hexdigest()
    assert header == f"t={NOW},v1={digest}"
    assert receiver.verified(b"hush", header, BODY, NOW + 300) and receiver.verified(b"hush", header, BODY, NOW - 300)
    assert not receiver.verified(b"hush", header, BODY, NOW + 301), "somebody sends it again"
    assert not receiver.verified(b"hush", header, BODY, NOW - 301)
    assert not receiver.verified(b"hush", header.replace(f"t={NOW}", f"t={NOW + 400}"), BODY, NOW + 400)
    assert not receiver.verified(b"hush", header, BODY + b" ", NOW)
    assert not receiver.verified(b"other", header, BODY, NOW)


@given(st.text(max_size=80) | st.builds("t={},v1={}".format, st.text(max_size=20), st.text(max_size=70)))
def test_no_header_breaks_it_or_is_believed(header):
    assert not receiver.verified(b"hush", header, BODY, time.time())


def verdict(*words):
    """What the command prints, and its exit code."""
    done = subprocess.run([sys.executable, EXAMPLES / "orthanc" / "verdict.py", *map(str, words)], capture_output=True,
                          text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None


@pytest.mark.needs("storescu")
def test_orthanc_sends_a_study_when_it_is_stable_again_when_more_comes_and_keeps_the_verdict(
        start, start_orthanc, dicom, tmp_path, port):
    orthanc = start_orthanc(LuaScripts=[str(EXAMPLES / "orthanc" / "route.lua")],
                            DicomModalities={"scanward": ["SCANWARD", "127.0.0.1", port]})
    gateway = start(f'[[destination]]\nname = "pacs"\nport = {orthanc.dicom_port}\naet = "{orthanc.aet}"\n',
                    node={"port": port})
    films = [dicom.file(tmp_path / f"{i}.dcm", shape=(96, 80), seed=i, StudyInstanceUID="1.2.3") for i in range(2)]

    def jobs():
        return [job for job in orthanc.get("/jobs?expand") if job["Type"] == "DicomModalityStore"]

    for number, film in enumerate(films, 1):
        storescu(orthanc.dicom_port, film, called="ORTHANC")
        code, said = verdict(gateway.pages, "1.2.3", "--orthanc", orthanc.http)
        wait_for(lambda number=number: len(orthanc.get("/instances")) == 3 * number)
        wait_for(lambda: orthanc.get("/studies?expand")[0]["IsStable"] and gateway.idle())
        assert len(jobs()) == number, "its own results send nothing"
    (study,) = orthanc.get("/studies?expand")
    assert json.loads(orthanc.raw(f"/studies/{study['ID']}/metadata/4201")) == said
    (record,) = gateway.studies()
    assert (said["label"], said["key"]) == (record["label"], record["key"])
    assert code == {"authentic": 0, "tampered": 1}.get(said["label"], 3)


@pytest.mark.needs("openssl")
def test_the_verdict_is_had_with_an_account_over_tls_and_not_without(start, certificates, tmp_path):
    from scanward.review import accounts

    accounts.add_user(tmp_path / "users.json", "pacs", "a long enough password")
    (tmp_path / "password").write_text("a long enough password\n")
    (tmp_path / "wrong").write_text("another long password\n")
    gateway = start(f'[web.tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"\n',
                    web={"users": str(tmp_path / "users.json")})
    key = hashlib.sha256(b"1.2.3").hexdigest()[:24]
    folder = gateway.inbox / "done" / key
    folder.mkdir()
    (folder / "study.json").write_text('{"label": "tampered", "score": 0.75, "study_uid": "1.2.3"}')
    common = (gateway.pages, "1.2.3", "--ca", certificates.ca, "--wait", "0")
    user = ("--user", "pacs", "--password-file")
    assert verdict(*common, *user, tmp_path / "password") == (
        1, {"label": "tampered", "score": 0.75, "key": key, "finished": None})
    assert verdict(*common) == (2, None)
    assert verdict(*common, *user, tmp_path / "wrong") == (2, None)
    assert verdict(gateway.pages, "1.2.3", "--ca", certificates.other_ca, *user, tmp_path / "password") == (2, None)
    assert verdict(gateway.pages, "1.2.4", *common[2:], *user, tmp_path / "password") == (2, None)
