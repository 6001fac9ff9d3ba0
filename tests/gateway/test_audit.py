"""The audit log, and its messages at a real syslog server over TLS and UDP."""

import base64
import json
import re
import socket
import ssl
import threading
import time
from xml.etree import ElementTree as ET

import pytest

from scanward.audit import atna, syslog
from scanward.audit import trail as audit_module
from scanward.audit.trail import Audit
from scanward.errors import ArgumentError
from scanward.settings import Audit as Settings
from scanward.settings import Tls


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_what_when_and_by_whom(tmp_path):
    audit = Audit(Settings(), tmp_path)
    audit.record("association.accepted", aet="CT1", called="SCANWARD", peer="127.0.0.1", port=4711)
    audit.record("objects.stored", "minor", aet="CT1", stored=3, refused=1, study_uid="1.2.3", patient_id="PID-4711",
                 sop_classes={"1.2.840.10008.5.1.4.1.1.2": 3})
    first, second = lines(tmp_path / "audit.jsonl")
    assert first["event"] == "association.accepted" and first["outcome"] == "success" and first["aet"] == "CT1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second["stored"] == 3 and re.fullmatch("[0-9a-f]{16}", second["patient"])
    assert "PID-4711" not in (tmp_path / "audit.jsonl").read_text()


def test_a_patient_has_the_same_hash_at_one_site_and_another_at_the_next(tmp_path):
    one, again, other = Audit(Settings(), tmp_path), Audit(Settings(), tmp_path), Audit(Settings(), tmp_path / "other")
    assert one.pseudonym("A") == again.pseudonym("A") != other.pseudonym("A")
    assert one.pseudonym("A") != one.pseudonym("B")
    assert (tmp_path / ".audit-salt").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("wrong", [{"patient_name": "Doe"}, {"description": "x"}])
def test_no_other_fact_gets_into_the_log(wrong, tmp_path):
    audit = Audit(Settings(), tmp_path)
    with pytest.raises(ArgumentError, match="nothing that the audit log keeps"):
        audit.record("study.scanned", **wrong)
    with pytest.raises(ArgumentError, match="nothing that the audit log keeps"):
        audit.record("something")
    assert not (tmp_path / "audit.jsonl").exists()


def test_a_peer_cannot_forge_a_line(tmp_path):
    audit = Audit(Settings(), tmp_path)
    audit.record("association.rejected", "minor", aet='X\n{"event": "login"}', reason="a\0b" + "c" * 10_000)
    (line,) = lines(tmp_path / "audit.jsonl")
    assert line["event"] == "association.rejected" and len(line["reason"]) <= 300


def test_lines_of_many_threads_stay_whole_while_files_are_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_module, "LARGEST", 20_000)
    audits = [Audit(Settings(), tmp_path) for _ in range(4)]

    def work(audit, name):
        for number in range(300):
            audit.record("pull", pull=name, count=number)

    threads = [threading.Thread(target=work, args=(audit, f"p{i}")) for i, audit in enumerate(audits)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = list(tmp_path.glob("audit*.jsonl"))
    assert len(files) > 3 and all(path.stat().st_size < 21_000 for path in files)
    found = [(line["pull"], line["count"]) for path in files for line in lines(path)]
    assert len(found) == len(set(found)) == 1200


def test_a_new_day_begins_a_new_file(tmp_path):
    import os

    audit = Audit(Settings(), tmp_path)
    audit.record("start")
    os.utime(tmp_path / "audit.jsonl", (0, 0))
    audit.record("stop")
    assert [line["event"] for line in lines(tmp_path / "audit.jsonl")] == ["stop"]
    assert [line["event"] for line in lines(tmp_path / "audit-19700101-1.jsonl")] == ["start"]


def test_a_line_cut_short_by_a_full_disk_costs_no_other(tmp_path):
    audit = Audit(Settings(), tmp_path)
    (tmp_path / "audit.jsonl").write_text('{"event": "sta')
    audit.record("stop")
    assert json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[0])["event"] == "stop"


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    audit = Audit(Settings(file=tmp_path / "file" / "audit.jsonl"), tmp_path)
    audit.record("start")
    audit.record("stop")
    assert capfd.readouterr().err.count("cannot be written") == 1


class Receiver:
    """A syslog server over TLS with octet counting; it asks for a certificate."""

    def __init__(self, certificates, port=0):
        self.messages, self._open = [], []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.cert, certificates.key)
        self._context.load_verify_locations(certificates.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            try:
                raw, _ = self._listener.accept()
                raw.settimeout(20)
                link = self._context.wrap_socket(raw, server_side=True)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                continue
            self._open.append(link)
            data = b""
            while True:
                try:
                    more = link.recv(65536)
                except OSError:
                    break
                if not more:
                    break
                data += more
                while (found := re.match(rb"(\d+) ", data)) and len(data) >= found.end() + int(found[1]):
                    end = found.end() + int(found[1])
                    self.messages.append(data[found.end():end])
                    data = data[end:]
            link.close()

    def stop(self):
        import contextlib

        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def xml_of(message):
    head, _, body = message.partition(b"\xef\xbb\xbf")
    assert re.fullmatch(rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ scanward \d+ DICOM\+RFC3881 - ", head)
    return ET.fromstring(body)


def check(root):
    """What the schema of PS3.15 A.5.1 requires, and in which order."""
    assert root.tag == "AuditMessage"
    names = [child.tag for child in root]
    order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
    assert names == sorted(names, key=order.index) and names.count("EventIdentification") == 1
    assert names.count("AuditSourceIdentification") == 1 and names.count("ActiveParticipant") >= 1
    event = root.find("EventIdentification")
    assert event.get("EventActionCode") in "CRUDE" and event.get("EventOutcomeIndicator") in ("0", "4", "8", "12")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.get("EventDateTime"))
    assert event[0].tag == "EventID"
    for code in root.iter():
        if code.tag in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"):
            assert code.get("csd-code") and code.get("codeSystemName") and code.get("originalText")
    for one in root.findall("ActiveParticipant"):
        assert one.get("UserID") and one.get("UserIsRequestor") in ("true", "false")
        assert (one.get("NetworkAccessPointID") is None) == (one.get("NetworkAccessPointTypeCode") is None)
    assert root.find("AuditSourceIdentification").get("AuditSourceID")
    for one in root.findall("ParticipantObjectIdentification"):
        assert one.get("ParticipantObjectID") and one.get("ParticipantObjectTypeCode") in "1234"
        assert one.get("ParticipantObjectTypeCodeRole").isdecimal()
        parts = ["ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectQuery",
                 "ParticipantObjectDetail", "ParticipantObjectDescription"]
        tags = [child.tag for child in one]
        assert tags == sorted(tags, key=parts.index) and tags[0] == "ParticipantObjectIDTypeCode"
        assert tags.count("ParticipantObjectName") + tags.count("ParticipantObjectQuery") == 1
    return root


FACTS = {"aet": "CT1", "peer": "192.0.2.7", "study_uid": "1.2.3", "patient": "ab" * 8, "destination": "pacs",
         "sop_classes": {"1.2.840.10008.5.1.4.1.1.2": 3}, "user": "reader", "address": "192.0.2.8", "label": "tampered",
         "reason": "Wrong title.", "stored": 3, "count": 3}


@pytest.mark.parametrize(("event", "code", "subtype", "objects"), [
    ("start", "110100", "110120", []), ("stop", "110100", "110121", []),
    ("objects.stored", "110104", None, ["110180", "2"]), ("pull", "110104", None, ["110180", "2"]),
    ("results.sent", "110104", None, ["110180", "2"]), ("results.refused", "110102", None, ["110180", "2"]),
    ("login", "110114", "110122", []), ("logout", "110114", "110123", []), ("export", "110106", None, ["110180", "2"]),
    ("study.scanned", "110113", "SW001", ["110180"]), ("association.rejected", "110113", "110126", ["110180"]),
    ("account", "110113", "110137", ["110180"])])
def test_each_event_is_the_message_that_the_standard_has_for_it(event, code, subtype, objects):
    (message,) = atna.messages(event, "success", FACTS, 1.5)
    root = check(ET.fromstring(message))
    kind = root.find("EventIdentification")
    assert kind.find("EventID").get("csd-code") == code
    assert (kind.find("EventTypeCode").get("csd-code") if subtype else kind.find("EventTypeCode")) == subtype
    assert [one.get("csd-code") for one in root.iter("ParticipantObjectIDTypeCode")] == objects
    assert kind.get("EventDateTime") == "1970-01-01T00:00:01.500Z"


def test_a_transfer_names_both_ends_the_study_and_its_classes():
    root = ET.fromstring(next(atna.messages("objects.stored", "success", FACTS, 0.0)))
    sender, receiver = root.findall("ActiveParticipant")
    assert sender.get("UserID") == "CT1" and sender.get("AlternativeUserID") == "AETITLES=CT1"
    assert sender.get("NetworkAccessPointID") == "192.0.2.7" and sender.get("NetworkAccessPointTypeCode") == "2"
    assert [one.find("RoleIDCode").get("csd-code") for one in (sender, receiver)] == ["110153", "110152"]
    (sop_class,) = root.iter("SOPClass")
    assert sop_class.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "3"}


def test_a_query_carries_what_was_asked():
    facts = {"pull": "pacs", "address": "https://pacs/studies?StudyDate=20260101-"}
    root = check(ET.fromstring(next(atna.messages("query", "success", facts, 0.0))))
    assert root.find("EventIdentification/EventID").get("csd-code") == "110112"
    assert base64.b64decode(root.find(".//ParticipantObjectQuery").text).startswith(b"https://pacs/studies?")


def test_what_is_of_no_interest_to_others_is_no_message():
    assert list(atna.messages("study.scanned", "success", {**FACTS, "label": "authentic"}, 0.0)) == []
    assert list(atna.messages("review", "success", FACTS, 0.0)) == []
    assert list(atna.messages("pull", "minor", {**FACTS, "stored": 0, "count": 0}, 0.0)) == []


def test_hostile_words_are_text_in_the_message():
    facts = {**FACTS, "aet": "<a b='c'>&", "reason": "]]><x/>"}
    for event in ("objects.stored", "association.rejected"):
        check(ET.fromstring(next(atna.messages(event, "minor", facts, 0.0))))


def test_messages_wait_for_a_server_that_is_away_and_arrive_in_order(certificates, port, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(syslog, "pause", lambda tries: 0.1)
    monkeypatch.setattr(syslog, "CERTAIN", 0.3)
    tls = Tls(certificates.client_cert, certificates.client_key, certificates.ca)
    audit = Audit(Settings(syslog=f"localhost:{port}", tls=tls), tmp_path)
    audit.start()
    audit.record("start", version="1")
    for number in range(5):
        audit.record("objects.stored", study_uid=f"1.2.{number}", patient_id="PID-4711", stored=1)
    assert len(list((tmp_path / "outgoing-audit").iterdir())) == 6
    server = Receiver(certificates, port)
    until(lambda: len(server.messages) == 6)
    roots = [check(xml_of(message)) for message in server.messages]
    assert [one.get("ParticipantObjectID") for root in roots for one in root.iter("ParticipantObjectIdentification")
            ][::2] == [f"1.2.{number}" for number in range(5)]
    assert b"PID-4711" not in b"".join(server.messages)
    until(lambda: not list((tmp_path / "outgoing-audit").iterdir()))
    # The server goes and comes back.
    server.stop()
    audit.record("login", user="reader")
    again = Receiver(certificates, port)
    until(lambda: any(b"110114" in message for message in again.messages))
    audit.close()
    again.stop()
    assert not list((tmp_path / "outgoing-audit").iterdir()) and len(lines(tmp_path / "audit.jsonl")) == 7
    assert capfd.readouterr().err.count("cannot be reached") >= 1


def test_a_server_with_a_strange_certificate_hears_nothing(certificates, tmp_path, monkeypatch, capfd):
    server = Receiver(certificates)
    audit = Audit(Settings(syslog=f"localhost:{server.port}", tls=Tls(ca=certificates.other_ca)), tmp_path)
    audit.start()
    audit.record("start")
    until(lambda: "CERTIFICATE_VERIFY_FAILED" in capfd.readouterr().err)
    audit.close()
    server.stop()
    assert not server.messages and len(list((tmp_path / "outgoing-audit").iterdir())) == 1


def test_udp(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        audit = Audit(Settings(syslog=f"127.0.0.1:{server.getsockname()[1]}", protocol="udp"), tmp_path)
        audit.start()
        audit.record("start")
        check(xml_of(server.recv(65536)))
        audit.close()


def test_the_spool_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(syslog, "MOST", 3)
    audit = Audit(Settings(syslog="localhost:1"), tmp_path)
    for _ in range(5):
        audit.record("start")
    assert len(list((tmp_path / "outgoing-audit").iterdir())) == 3 and len(lines(tmp_path / "audit.jsonl")) == 5


def test_an_address_that_is_none(tmp_path):
    for address in ("host", "host:x", ":1", "host:0"):
        with pytest.raises(ArgumentError, match="HOST:PORT"):
            Audit(Settings(syslog=address), tmp_path).start()
