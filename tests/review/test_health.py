"""What watches the gateway: alive, ready, and the metrics, as Prometheus reads them."""

import json
import time

import pytest
import web_studies
from prometheus_client.parser import text_string_to_metric_families
from web_people import client

from scanward.audit.trail import Audit
from scanward.delivery.certificates import Certificates
from scanward.errors import ArgumentError
from scanward.inbox import pulse, readiness
from scanward.inbox.folders import Inbox
from scanward.inbox.troubles import Trouble, tell, troubles
from scanward.review.health import Watched
from scanward.settings import Audit as Settings
from scanward.settings import Gateway, Monitoring, Node, Tls

TOKEN = "0123456789abcdef0123"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(readiness, "FRESH", 0.0)


@pytest.fixture
def node(inbox):
    """The node lives, and so does the one that scans."""
    pulse.clear(inbox.root)
    pulse.beat(inbox.root, pulse.NODE, 600)
    pulse.beat(inbox.root, f"{pulse.WORKER}-0", 600)


@pytest.fixture
def token(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return tmp_path / "token"


def names(answer):
    return [one["name"] for one in answer.json()["reasons"]]


def samples(text):
    return {(one.name, *sorted(one.labels.values())): one.value
            for family in text_string_to_metric_families(text) for one in family.samples}


def test_whoever_asks_hears_that_it_lives_and_that_it_is_ready(inbox, users, node):
    http = client(inbox, users)
    assert (http.get("/healthz").status_code, http.get("/healthz").text) == (200, "alive\n")
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})
    assert "set-cookie" not in answer.headers


def test_a_load_balancer_may_ask_for_the_head_alone(inbox, users, node):
    http = client(inbox, users)
    answers = [http.head(path) for path in ("/healthz", "/readyz")]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b""), (200, b"")]


def test_a_node_that_says_nothing_and_a_worker_that_is_late_are_not_ready(inbox, node):
    http = client(inbox)
    pulse.beat(inbox.root, f"{pulse.WORKER}-0", -120)
    assert (http.get("/readyz").status_code, names(http.get("/readyz"))) == (503, ["worker.stalled"])
    assert "2 minutes longer" in troubles(inbox)[0].sentence
    pulse.beat(inbox.root, f"{pulse.WORKER}-0", 60)
    pulse.beat(inbox.root, pulse.NODE, -1)
    assert names(http.get("/readyz")) == ["node.stalled"]
    pulse.clear(inbox.root)
    assert names(http.get("/readyz")) == ["node.stalled"]


def test_no_clock_of_the_day_makes_anybody_late(inbox, node, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert client(inbox).get("/readyz").status_code == 200


def test_a_full_disk_and_one_that_cannot_be_written_are_not_ready_without_a_word_of_folders(
        tmp_path, inbox, node, monkeypatch):
    full = client(Inbox(inbox.root, free_mb=10**9)).get("/readyz")
    assert (full.status_code, names(full)) == (503, ["disk.full"])

    def refused(path, data):
        raise OSError(30, "Read-only file system", str(path))

    http = client(inbox)
    monkeypatch.setattr("pathlib.Path.write_bytes", refused)
    answer = http.get("/readyz")
    assert names(answer) == ["inbox.unwritable"]
    assert str(tmp_path) not in full.text + answer.text


def test_a_process_that_dies_again_and_again_is_not_ready_but_a_certificate_that_ends_is(inbox, node):
    tell(inbox, [Trouble("certificate.web", "It ends.")])
    http = client(inbox)
    assert http.get("/readyz").status_code == 200
    tell(inbox, [Trouble("worker.dies", "It died.")])
    assert names(http.get("/readyz")) == ["worker.dies"]


def test_many_that_ask_at_once_cost_the_disk_one_look(inbox, node, monkeypatch):
    monkeypatch.setattr(readiness, "FRESH", 60.0)
    http, looks = client(inbox), []
    monkeypatch.setattr(readiness, "troubles", lambda inbox: looks.append(1) or [])
    assert {http.get("/readyz").status_code for _ in range(20)} == {200}
    assert len(looks) == 1


def test_without_a_setting_there_are_no_metrics(inbox, users):
    for watched in (None, Watched(Monitoring())):
        assert client(inbox, users, watched=watched).get("/metrics").status_code == 404


def test_a_token_opens_the_metrics(inbox, users, token):
    http = client(inbox, users, watched=Watched(Monitoring(token_file=token)))
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN},
                  {"Authorization": "Bearer \xff".encode("latin-1")}):
        answer = http.get("/metrics", headers=given)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(("allow", "address", "status"), [
    (("10.1.0.0/16",), "10.1.2.3", 200), (("10.1.0.0/16",), "10.2.2.3", 404), (("10.1.2.3",), "10.1.2.3", 200),
    (("10.1.2.3",), "::ffff:10.1.2.3", 200), (("2001:db8::/32",), "2001:db8:1::5", 200),
    (("2001:db8::/32",), "10.1.2.3", 404), (("10.1.2.3",), "somebody", 404)])
def test_addresses_open_the_metrics(allow, address, status):
    assert Watched(Monitoring(allow=allow)).lets_in(address) is (status == 200)


def test_with_a_token_and_addresses_both_are_needed(inbox, token):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    near = client(inbox, watched=Watched(Monitoring(token_file=token, allow=("192.0.2.7",))))
    assert near.get("/metrics", headers=bearer).status_code == 200
    assert near.get("/metrics").status_code == 401
    far = client(inbox, watched=Watched(Monitoring(token_file=token, allow=("10.0.0.1",))))
    assert far.get("/metrics", headers=bearer).status_code == 404


def test_a_token_that_can_be_guessed_is_refused(tmp_path):
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(ArgumentError, match="16 characters"):
        Watched(Monitoring(token_file=tmp_path / "token"))


def metrics(inbox, audit, **options):
    http = client(inbox, trail=audit.path, watched=Watched(Monitoring(allow=("192.0.2.7",)), **options))
    answer = http.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    return samples(answer.text)


def test_what_happened_is_counted_once_also_after_the_index_was_lost(inbox, node):
    audit = Audit(Settings(), inbox.root)
    audit.record("objects.stored", key="0" * 24, stored=7, patient_id="PAT-1")
    audit.record("objects.stored", "minor", refused=3, reasons={"full": 2, "too_large": 1}, reason="No room.")
    audit.record("objects.stored", "minor", refused=5)  # as an earlier version wrote it
    audit.record("pull", "minor", count=4, refused=2)
    for seconds, label in ((1.5, "tampered"), (1.0, "authentic"), (40.0, "authentic"), (99_999.0, "inconclusive")):
        audit.record("study.scanned", key="0" * 24, label=label, seconds=seconds)
    audit.record("study.failed", "serious", key="0" * 24)
    audit.record("results.sent", destination="pacs")
    audit.record("hook.refused", "serious", destination="soc")
    audit.record("login", "minor", user="roe")
    for _ in range(2):
        for _ in range(2):
            found = metrics(inbox, audit)
        assert found["scanward_objects_received_total", "store"] == 7
        assert found["scanward_objects_received_total", "pull"] == 4
        refused = {name[1]: value for name, value in found.items() if name[0] == "scanward_objects_refused_total"}
        assert refused == {"full": 2, "too_large": 1, "other": 5, "pulled": 2, "mismatched": 0, "unreadable": 0,
                           "unsupported": 0}
        scanned = {name[1]: value for name, value in found.items() if name[0] == "scanward_studies_scanned_total"}
        assert scanned == {"tampered": 1, "authentic": 2, "inconclusive": 1, "unscanned": 0, "failed": 1}
        buckets = [found["scanward_scan_seconds_bucket", le] for le in ("1.0", "2.0", "30.0", "60.0", "7200.0", "+Inf")]
        assert buckets == [1, 2, 2, 3, 3, 4]
        assert found["scanward_scan_seconds_count",] == 4 and found["scanward_scan_seconds_sum",] == 100_041.5
        assert found["scanward_deliveries_total", "results", "sent"] == 1
        assert found["scanward_deliveries_total", "hooks", "refused"] == 1
        assert found["scanward_logins_total", "refused"] == 1
        inbox.index.remove()


def test_what_there_is_is_what_lies_in_the_inbox(inbox, node, tmp_path, monkeypatch):
    web_studies.put(inbox.root, "one", images=((web_studies.film(200, 160), "authentic", ()),))
    inbox.add("1.2.3", "1.2.3.4", b"head", [b"no DICOM"])
    for folder, number in (("outgoing", 2), ("outgoing-hooks-failed", 3)):
        for name in range(number):
            (inbox.root / folder / f"parcel-{name}").mkdir(parents=True)
    tell(inbox, [Trouble("pages.dies", "It died.")])
    audit = Audit(Settings(), inbox.root)
    found = metrics(inbox, audit)
    assert {name[1]: value for name, value in found.items() if name[0] == "scanward_studies"} == {
        "incoming": 1, "working": 0, "done": 1, "failed": 0}
    assert {name[1]: value for name, value in found.items() if name[0] == "scanward_queue_length"} == {
        "studies": 1, "results": 2, "hooks": 0}
    assert found["scanward_deliveries_refused", "hooks"] == 3
    assert found["scanward_trouble", "pages.dies"] == 1 and found["scanward_trouble", "disk.full"] == 0
    assert found["scanward_ready",] == 1 and found["scanward_disk_free_bytes",] > 0
    full = metrics(Inbox(inbox.root, free_mb=10**9), audit)
    assert (full["scanward_ready",], full["scanward_trouble", "disk.full"]) == (0, 1)


@pytest.mark.needs("openssl")
def test_seconds_until_a_certificate_ends(inbox, tmp_path):
    from subprocess import run

    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10", "-subj", "/CN=x", "-keyout",
         tmp_path / "k.pem", "-out", tmp_path / "c.pem"], check=True, capture_output=True)
    gateway = Gateway(node=Node(tls=Tls(tmp_path / "c.pem", tmp_path / "k.pem")))
    found = metrics(inbox, Audit(Settings(), inbox.root), certificates=Certificates(gateway))
    assert abs(found["scanward_certificate_expires_seconds", "node"] - 10 * 86400) < 600


def test_metrics_name_no_patient_no_study_and_no_folder(inbox, tmp_path, node):
    audit = Audit(Settings(), inbox.root)
    key = web_studies.put(inbox.root, "one", images=((web_studies.film(200, 160), "authentic", ()),))
    audit.record("study.scanned", key=key, label="tampered", seconds=1, study_uid="1.2.3.4", patient_id="PAT-1")
    answer = client(inbox, trail=audit.path, watched=Watched(Monitoring(allow=("192.0.2.7",)))).get("/metrics")
    assert answer.status_code == 200
    text = answer.text
    record = json.loads((inbox.root / "done" / key / "study.json").read_text())
    for word in (key, "1.2.3.4", "PAT", str(tmp_path), record["study_uid"], record["patient_id"]):
        assert word not in text
