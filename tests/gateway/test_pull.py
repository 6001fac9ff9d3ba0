"""A real Orthanc is followed, by its changes and by DICOMweb."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import pydicom
import pytest
from webserver import answering

from scanward.audit.trail import Audit
from scanward.delivery.server import unwrap
from scanward.delivery.spool import Unreachable
from scanward.errors import UnsupportedError
from scanward.gateway import pull as pull_module
from scanward.gateway import pull_orthanc
from scanward.gateway.pull import follow
from scanward.gateway.pull_dicomweb import DicomWeb
from scanward.gateway.pull_orthanc import Orthanc
from scanward.inbox.folders import FullError
from scanward.settings import Audit as AuditSettings
from scanward.settings import Pull


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Following:
    """`follow` in a thread; keeps what was received."""

    def __init__(self, folder, pull, receive=None):
        folder.mkdir(exist_ok=True)
        self.received, self.tries, self._own = [], 0, receive
        self.audit = Audit(AuditSettings(file=folder / "audit.jsonl"), folder)
        self.log = folder / "audit.jsonl"
        self._stop = threading.Event()
        kind = {"orthanc": Orthanc, "dicomweb": DicomWeb}[pull.kind]
        arguments = (pull, kind, self._receive, folder / "state", self._stop, self.audit)
        self._thread = threading.Thread(target=follow, args=arguments)
        self._thread.start()

    def _receive(self, path):
        self.tries += 1
        uid = str(pydicom.dcmread(path).SOPInstanceUID)
        if self._own is not None:
            self._own(path)
        self.received.append(uid)
        return "0" * 24

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def stop(self):
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture(params=["orthanc", "dicomweb"])
def setting(request, orthanc):
    url = orthanc.http if request.param == "orthanc" else orthanc.web
    return Pull("pacs", url, request.param, every_seconds=0.1)


def uids(paths):
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}


def test_what_comes_is_received_once_also_after_a_new_start(setting, orthanc, dicom, tmp_path):
    first = [dicom.file(tmp_path / "a.dcm"), *dicom.ct(tmp_path / "ct", 3)]
    report = dicom.file(tmp_path / "sr.dcm", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33",
                        StudyInstanceUID=pydicom.dcmread(first[0]).StudyInstanceUID)
    orthanc.add(*first, report)
    with Following(tmp_path / "f", setting) as following:
        until(lambda: len(following.received) >= 4)
        until(lambda: any(line["event"] == "pull" for line in following.lines()))
    assert sorted(following.received) == sorted(uids(first))
    counts = [line["count"] for line in following.lines() if line["event"] == "pull"]
    assert sum(counts) == 4 and "Doe" not in following.log.read_text() and "PID" not in following.log.read_text()
    late = dicom.file(tmp_path / "late.dcm", StudyInstanceUID=pydicom.dcmread(first[0]).StudyInstanceUID)
    orthanc.add(late)
    with Following(tmp_path / "f", setting) as following:
        until(lambda: following.received)
        time.sleep(0.3)
    assert following.received == list(uids([late]))


def test_an_object_that_is_refused_is_not_fetched_again_and_stops_no_other(setting, orthanc, dicom, tmp_path):
    files = dicom.ct(tmp_path / "ct", 3)
    bad = str(pydicom.dcmread(files[1]).SOPInstanceUID)

    def picky(path):
        if str(pydicom.dcmread(path).SOPInstanceUID) == bad:
            raise UnsupportedError("Not this one.")

    orthanc.add(*files)
    with Following(tmp_path / "f", setting, picky) as following:
        until(lambda: following.tries >= 3)
        time.sleep(0.3)
    assert following.tries == 3 and len(following.received) == 2
    (line,) = [line for line in following.lines() if line["event"] == "pull"]
    assert (line["count"], line["refused"], line["reason"]) == (2, 1, "Not this one.")


def test_a_full_disk_is_waited_for(setting, orthanc, dicom, tmp_path, monkeypatch):
    monkeypatch.setattr(pull_module, "pause", lambda tries: 0.05)
    fails = iter([OSError(28, "No space left on device"), FullError("Full."), None, None, None])

    def full(path):
        error = next(fails)
        if error:
            raise error

    orthanc.add(*dicom.ct(tmp_path / "ct", 3))
    with Following(tmp_path / "f", setting, full) as following:
        until(lambda: len(following.received) == 3)
    assert following.tries == 5 and not list((tmp_path / "f/state/pulled").glob(".pacs/*"))


def test_a_server_that_is_away_is_waited_for_and_said_once(setting, orthanc, dicom, tmp_path, monkeypatch):
    monkeypatch.setattr(pull_module, "pause", lambda tries: 0.05)
    orthanc.kill()
    with Following(tmp_path / "f", setting) as following:
        until(following.lines)
        time.sleep(0.3)
        orthanc.start()
        orthanc.add(dicom.file(tmp_path / "a.dcm"))
        until(lambda: following.received)
    said = [line["reason"] for line in following.lines() if line.get("reason")]
    assert said[0].startswith("Server pacs cannot be reached") and said[-1] == "The server can be reached again."
    assert len(said) == len(set(said))


def test_an_orthanc_that_was_emptied_is_followed_from_its_new_beginning(start_orthanc, orthanc, dicom, tmp_path):
    orthanc.add(*dicom.ct(tmp_path / "old", 2))
    with Following(tmp_path / "f", Pull("pacs", orthanc.http, every_seconds=0.1)) as following:
        until(lambda: len(following.received) == 2)
    other = start_orthanc()
    other.add(dicom.file(tmp_path / "new.dcm"))
    with Following(tmp_path / "f", Pull("pacs", other.http, every_seconds=0.1)) as following:
        until(lambda: following.received)
    other.kill()


def test_a_study_is_fetched_though_orthanc_never_called_it_stable(orthanc, dicom, tmp_path, monkeypatch):
    monkeypatch.setattr(pull_orthanc, "PATIENCE", 0.2)
    orthanc.add(dicom.file(tmp_path / "a.dcm"))
    orthanc.kill()  # before it is stable
    orthanc.start()
    assert not any(c["ChangeType"] == "StableStudy" for c in orthanc.get("/changes")["Changes"])
    with Following(tmp_path / "f", Pull("pacs", orthanc.http, every_seconds=0.1)) as following:
        until(lambda: following.received)


def test_many_changes_come_page_by_page(orthanc, dicom, tmp_path, monkeypatch):
    monkeypatch.setattr(pull_orthanc, "PAGE", 3)
    files = [dicom.file(tmp_path / f"{n}.dcm") for n in range(6)]
    orthanc.add(*files)
    with Following(tmp_path / "f", Pull("pacs", orthanc.http, every_seconds=0.1)) as following:
        until(lambda: len(following.received) == 6)
    assert set(following.received) == uids(files)


def test_old_studies_are_left_alone(orthanc, dicom, tmp_path):
    orthanc.add(dicom.file(tmp_path / "old.dcm", StudyDate="20010203"), dicom.file(tmp_path / "new.dcm"))
    with Following(tmp_path / "f", Pull("pacs", orthanc.web, "dicomweb", every_seconds=0.1)) as following:
        until(lambda: following.received)
        time.sleep(0.3)
    assert following.received == list(uids([tmp_path / "new.dcm"]))


def test_a_wrong_password_is_said_once_and_tried_slowly(start_orthanc, tmp_path):
    one = start_orthanc(AuthenticationEnabled=True, RegisteredUsers={"scanward": "s3cret"})
    (tmp_path / "password").write_text("wrong")
    pull = Pull("pacs", one.http, user="scanward", password_file=tmp_path / "password", every_seconds=0.05)
    with Following(tmp_path / "f", pull) as following:
        until(following.lines)
        time.sleep(0.4)
    (line,) = following.lines()
    assert (line["event"], line["outcome"]) == ("pull.refused", "serious") and "HTTP 401" in line["reason"]
    one.kill()


def test_compressed_objects_come_as_they_are(setting, orthanc, dicom, tmp_path):
    from pydicom.uid import RLELossless

    data = pydicom.dcmread(dicom.file(tmp_path / "a.dcm"))
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(tmp_path / "a.dcm")
    orthanc.add(tmp_path / "a.dcm")
    found = []
    with Following(tmp_path / "f", setting, lambda path: found.append(pydicom.dcmread(path))) as following:
        until(lambda: following.received)
    assert found[0].file_meta.TransferSyntaxUID == RLELossless and found[0].PixelData == data.PixelData


@pytest.fixture
def scripted():
    """A web server whose answers are given by path: a status and a body."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            server.asked.append(path)
            status, body = server.answers.get(path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with answering(Handler) as server:
        server.asked, server.answers, server.url = [], {}, f"http://127.0.0.1:{server.server_port}"
        yield server


def test_an_object_over_which_the_server_breaks_down_is_passed_over_after_some_tries(scripted, dicom, tmp_path,
                                                                                    monkeypatch):
    monkeypatch.setattr(pull_module, "pause", lambda tries: 0.01)
    good = dicom.file(tmp_path / "a.dcm").read_bytes()
    change = {"Seq": 1, "ID": "s", "ChangeType": "StableStudy", "Date": "99990101T000000"}
    tags = {"MainDicomTags": {"Modality": "MG", "StudyInstanceUID": "1.2.3"}}
    instances = [{"ID": "bad"}, {"ID": "x"}]
    for path, found in (("/changes", {"Changes": [change], "Done": True, "Last": 1}), ("/studies/s", tags),
                        ("/studies/s/series", [{"ID": "e", **tags}]), ("/series/e/instances", instances)):
        scripted.answers[path] = 200, json.dumps(found).encode()
    scripted.answers |= {"/instances/bad/file": (500, b""), "/instances/x/file": (200, good)}
    with Following(tmp_path / "f", Pull("pacs", scripted.url, every_seconds=0.05)) as following:
        until(lambda: following.received)
    assert scripted.asked.count("/instances/bad/file") == pull_module.TRIES
    assert any("HTTP 500" in line.get("reason", "") and line.get("refused") == 1 for line in following.lines())


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"Changes": 3}', b'{"Changes": [{"Seq": "x"}]}', b"[3]", b""])
@pytest.mark.parametrize("kind", ["orthanc", "dicomweb"])
def test_a_server_that_talks_nonsense_is_no_crash(scripted, body, kind, tmp_path):
    scripted.answers = {"/changes": (200, body), "/studies": (200, body)}
    with Following(tmp_path / "f", Pull("pacs", scripted.url, kind, every_seconds=0.05)) as following:
        until(lambda: scripted.asked)
        time.sleep(0.1)
    assert len(following.lines()) <= 1
    assert all("Server pacs answers" in line["reason"] for line in following.lines()) and not following.received


@pytest.mark.parametrize("data", [b"", b"--b\r\n\r\n", b"--b\r\nA: b\r\n\r\nDATA", b"\r\n--b--"])
def test_a_multipart_answer_that_is_cut_short_is_asked_for_again(data, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(Unreachable, match="cut short"):
        unwrap(path, 'multipart/related; boundary="b"', "Server pacs")


def test_the_first_part_of_a_multipart_answer_is_taken(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"--b\r\nContent-Type: application/dicom\r\n\r\nDA\r\n\r\nTA\r\n--b--\r\n")
    unwrap(path, "multipart/related; boundary=b", "Server pacs")
    assert path.read_bytes() == b"DA\r\n\r\nTA"


FOLLOWER = """
import pathlib, sys, threading
from scanward.audit.trail import Audit
from scanward.settings import Audit as Settings, Pull
from scanward.gateway.pull import follow
from scanward.gateway.pull_orthanc import Orthanc
root = pathlib.Path(sys.argv[1])
def receive(path):
    with open(root / "received", "ab") as file:
        file.write(path.name.encode() + b"\\n")
    return ""
pull = Pull("pacs", sys.argv[2], every_seconds=0.05)
follow(pull, Orthanc, receive, root / "state", threading.Event(), Audit(Settings(), root))
"""


def test_kills_lose_nothing_and_repeat_an_object_each_at_most(orthanc, dicom, tmp_path):
    files = [path for n in range(5) for path in dicom.ct(tmp_path / f"ct{n}", 30)]
    orthanc.add(*files)
    until(lambda: sum(c["ChangeType"] == "StableStudy" for c in orthanc.get("/changes?limit=1000")["Changes"]) == 5)
    environment, chance, kills = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, random.Random(3), 0

    def count():
        return len((tmp_path / "received").read_bytes().splitlines()) if (tmp_path / "received").exists() else 0

    def start():
        return subprocess.Popen([sys.executable, "-c", FOLLOWER, str(tmp_path), orthanc.http], env=environment)

    for kill in range(4):
        process = start()
        until(lambda kill=kill: count() > 30 * kill)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    process = start()
    until(lambda: len(set((tmp_path / "received").read_bytes().splitlines())) == len(files))
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert len(files) <= count() <= len(files) + kills
    print(f"{len(files)} objects, {kills} kills, {count() - len(files)} came twice")


def test_uids_are_no_paths(scripted, tmp_path):
    study = {"0020000D": {"Value": ["../../admin"]}, "00201208": {"Value": [1]}}
    scripted.answers = {"/studies": (200, json.dumps([study]).encode())}
    with Following(tmp_path / "f", Pull("pacs", scripted.url, "dicomweb", every_seconds=0.05)):
        until(lambda: len(scripted.asked) > 3)
    assert set(scripted.asked) == {"/studies"}


def test_an_answer_that_nobody_foresaw_is_said_and_tried_again(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr(pull_module, "pause", lambda tries: 0.05)
    change = {"Seq": 1, "ID": "s", "ChangeType": "NewStudy", "Date": "99990101T000000"}
    scripted.answers["/changes"] = 200, json.dumps({"Changes": [change], "Done": True}).encode()
    with Following(tmp_path / "f", Pull("pacs", scripted.url, every_seconds=0.05)) as following:
        until(lambda: len(scripted.asked) > 2)
        scripted.answers["/changes"] = 200, json.dumps({"Changes": [], "Last": {"a": 1}}).encode()
        until(lambda: any("nobody foresaw" in line["reason"] for line in following.lines()))
        asked = len(scripted.asked)
        until(lambda: len(scripted.asked) > asked + 2)
