"""What waits, was refused or sent; what the audit log says of a study; how the list is searched."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import web_studies
from test_web_security import client, token

from scanward.audit.events import Event
from scanward.audit.trail import Audit
from scanward.delivery.outgoing import Outgoing
from scanward.delivery.spool import Awaited, Refused, note
from scanward.delivery.state import Delivery
from scanward.inbox.folders import JOB, Inbox
from scanward.inbox.record import JobRecord
from scanward.review.queue_page import lines, when_sent
from scanward.settings import Audit as Settings

WHY = "pacs refuses 1 of 1 objects: <b>it</b> is out of resources."
DIGEST = "ab" * 16


@pytest.fixture
def inbox(tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    for name, minute in (("sent", 3), ("refused", 2), ("plain", 1)):
        web_studies.put(inbox.root, name, minute=minute, patient_id=f"PAT-{minute}", accession=f"ACC{minute}")
    return inbox


@pytest.fixture
def outgoing(inbox, tmp_path):
    """Results of two studies, of which the destination took one and refused the other; a third waits."""
    (tmp_path / "sr.dcm").write_bytes(b"report")
    made = Outgoing(inbox.root)
    for name in ("sent", "refused"):
        assert made.add(f"{web_studies.key_of(name)}-pacs-{DIGEST}", [tmp_path / "sr.dcm"], "pacs")

    def deliver(folder, parcel):
        if folder.name.startswith(web_studies.key_of("refused")):
            raise Refused(WHY)

    made.spool.deliver_due(deliver)
    assert made.add(f"{web_studies.key_of('plain')}-far-{DIGEST}", [tmp_path / "sr.dcm"], "far")
    return made


def rows(http, state):
    return [(one["to"], one["state"], one["key"], one["why"]) for one in
            http.get(f"/api/deliveries?state={state}").json()["rows"]]


def test_deliveries_are_told_apart_and_what_was_refused_is_sent_again(inbox, outgoing):
    told = []
    http = client(inbox, audit=lambda *facts, **more: told.append((facts, more)))
    key = web_studies.key_of("refused")
    assert rows(http, "refused") == [("pacs", "refused", key, WHY)]
    assert rows(http, "sent") == [("pacs", "sent", web_studies.key_of("sent"), "")]
    assert rows(http, "waiting") == [("far", "waiting", web_studies.key_of("plain"), "")]
    page = http.get("/queue?show=refused").text
    assert "&lt;b&gt;it&lt;/b&gt; is out of resources." in page and "<b>it</b>" not in page
    address = re.search(r'action="(/deliveries/[^"]+/retry)"', page)[1]
    assert address in http.get(f"/studies/{key}").text, "the study's page has the button, too"
    assert http.get(address).status_code == 405
    assert http.post(address).status_code == 403, "without the page's token"
    assert rows(http, "refused")
    again = http.post(address, data={"csrf": token(http, "/"), "study": key})
    assert (again.status_code, again.headers["location"]) == (303, f"/studies/{key}")
    assert told == [(("retry",), {"user": "", "address": "192.0.2.7", "key": key, "destination": "pacs"})]
    assert rows(http, "refused") == [] and len(rows(http, "waiting")) == 2
    got = []
    outgoing.spool.deliver_due(lambda folder, parcel: got.append(parcel.to))
    assert sorted(got) == ["far", "pacs"]
    assert len(rows(http, "sent")) == 3
    assert http.post(address, data={"csrf": token(http, "/")}).status_code == 404, "twice"


def test_what_is_stored_and_awaits_its_word_is_told_from_what_waits_and_what_was_given_it(inbox, tmp_path):
    (tmp_path / "sr.dcm").write_bytes(b"report")
    made, word = Outgoing(inbox.root), [False]
    name = f"{web_studies.key_of('plain')}-pacs-{DIGEST}"
    made.add(name, [tmp_path / "sr.dcm"], "pacs")

    def deliver(folder, parcel):
        if not word[0]:
            note(folder, replace(parcel, taken=True, asked=("2.25.7",)))
            raise Awaited("pacs has <not> said.", 60.0)
        return True

    http = client(inbox)
    assert "Waiting to be sent" in http.get("/queue?show=waiting").text
    made.spool.deliver_due(deliver)
    page = http.get("/queue?show=waiting").text
    assert "Stored, commitment awaited" in page and "asked again" in page and "pacs has &lt;not&gt; said." in page
    assert "Waiting to be sent" not in page
    assert rows(http, "waiting") == [("pacs", "stored", web_studies.key_of("plain"), "pacs has <not> said.")]
    word[0] = made.spool.reported(name, {"transaction": "2.25.7", "failed": {}})
    made.spool.deliver_due(deliver)
    assert rows(http, "sent") == [("pacs", "committed", web_studies.key_of("plain"), "")]
    assert "Sent and committed" in http.get("/queue?show=sent").text
    assert "Sent and committed" in http.get(f"/studies/{web_studies.key_of('plain')}").text


@pytest.mark.parametrize("path", ["results/..%2f..", "results/nothing", "done/x", "hooks/" + "a" * 300])
def test_what_is_no_delivery_is_not_sent_again(inbox, outgoing, path):
    http = client(inbox)
    assert http.post(f"/deliveries/{path}/retry", data={"csrf": token(http, "/")}).status_code == 404


def test_only_who_signed_in_sees_and_sends(inbox, outgoing, tmp_path):
    from scanward.review import accounts

    users = tmp_path / "users.json"
    accounts.add_user(users, "roe", "a long enough password")
    http = client(inbox, users)
    assert http.get("/queue").status_code == 303
    assert http.get("/api/deliveries").status_code == 401
    identifier = f"{web_studies.key_of('refused')}-pacs-{DIGEST}"
    answer = http.post(f"/deliveries/results/{identifier}/retry", data={"csrf": token(http)})
    assert answer.status_code == 401
    assert outgoing.spool.names(refused=True) == [identifier]


def test_studies_under_way_are_listed_with_why_they_wait(inbox):
    inbox.add("1.2.3", "1.2.3.4", b"head", [b"no DICOM"])
    inbox.again(inbox.take(0, 3), "The weights are missing.")
    inbox.add("1.2.4", "1.2.4.4", b"head", [b"no DICOM"])
    page = client(inbox).get("/queue").text
    assert "The weights are missing." in page and "Being scanned" in page and "Arriving" in page
    assert JobRecord.from_json(json.loads(next(inbox.root.glob(f"working/*/{JOB}")).read_text())).attempts == 1


def test_a_study_shows_what_the_log_says_of_it_whatever_becomes_of_the_index(inbox, monkeypatch):
    audit = Audit(Settings(), inbox.root)
    one, other = web_studies.key_of("sent"), web_studies.key_of("plain")
    audit.record("study.scanned", key=one, label="tampered", patient_id="PAT-3")
    audit.record("study.scanned", key=other, label="authentic")
    http = client(inbox, trail=audit.path)

    def trail(key):
        page = http.get(f"/studies/{key}").text
        return re.findall(r"<li><p><b>([^<]+)</b>", page.split('id="trail"')[1]) if 'id="trail"' in page else []

    assert trail(one) == ["Scanned"]
    monkeypatch.setattr("scanward.audit.trail.LARGEST", 1)  # the next line begins another file
    audit.record("results.refused", "serious", key=one, destination="pacs", reason="<i>full</i>")
    audit.record("login", user="roe")
    monkeypatch.undo()
    audit.record("review", user="roe", key=one, decision="accept")
    for _ in range(2):
        assert trail(one) == ["Reviewed", "Results refused", "Scanned"], "each once, the newest first"
        assert trail(other) == ["Scanned"]
        inbox.index.remove()
    page = http.get(f"/studies/{one}").text
    assert "&lt;i&gt;full&lt;/i&gt;" in page
    assert "PAT-3" not in page.split('id="trail"')[1].split("</details>")[0], "the log names no patient"
    with audit.path.open("ab") as file:
        file.write(b'{"key": "' + one.encode() + b'", "event": "half')
    assert len(trail(one)) == 3, "a line that is still being written"


def test_two_deliveries_to_one_destination_have_a_time_each(inbox):

    key = web_studies.key_of("sent")
    made = [Delivery(f"{key}-pacs-{n * 32}", "results", "committed", key, "pacs") for n in "ab"]
    told = [Event(moment, "results.sent", "success", {"destination": "pacs"}) for moment in ("later", "earlier")]
    assert [line.sent for line in lines(made, when_sent(key, told))] == ["later", "earlier"]
    assert [line.sent for line in lines(made, when_sent(key, told[:1]))] == ["", ""]  # it may be either's


def test_when_something_was_sent_stands_beside_it(inbox, outgoing):
    audit = Audit(Settings(), inbox.root)
    audit.record("results.sent", key=web_studies.key_of("sent"), destination="pacs")
    moment = json.loads(audit.path.read_text())["time"]
    http = client(inbox, trail=audit.path)
    words = f"{moment[:10]} {moment[11:16]} UTC"
    assert words in http.get("/queue?show=sent").text
    assert words in http.get(f"/studies/{web_studies.key_of('sent')}").text


def test_the_list_is_searched_sorted_and_gone_through(inbox):
    for number in range(40):
        web_studies.put(inbox.root, f"film {number:02}", minute=-number, patient_id=f"Müller-{number % 7}",
                        label="authentic")
    http = client(inbox)

    def found(query):
        return [row["description"] for row in http.get(f"/api/studies?{query}").json()["rows"]]

    assert found("q=pat-2") == ["refused"]
    assert found("q=acc3") == ["sent"]
    assert found("q=MÜLLER-3+film&sort=description") == [f"film {n:02}" for n in range(3, 40, 7)]
    assert found("q=%25") == found("q=_") == found("q=nothing") == [], "no wildcards"
    assert len(found("q=2026-11-19")) == 25
    assert found("sort=-patient&label=tampered") == ["sent", "refused", "plain"]
    assert found("state=failed") == []
    assert found("sort=nonsense")[0] == "sent"
    walked, cursor = [], ""
    while True:
        answer = http.get(f"/api/studies?sort=patient&cursor={cursor}").json()
        walked += [row["key"] for row in answer["rows"]]
        cursor = answer["next"]
        if not cursor:
            break
    assert len(walked) == len(set(walked)) == 43
    refused = http.get("/api/studies?cursor=nonsense")
    assert (refused.status_code, refused.json()["error"]) == (
        422, "The cursor is none that this list gave; begin without one.")
    page = http.get("/?q=film&sort=patient").text
    assert 'value="film"' in page and 'aria-sort="ascending"' in page
    assert 'href="/?q=film&amp;sort=patient&amp;page=2"' in page


def test_no_patient_is_hidden_by_an_index_that_went(inbox):
    http = client(inbox)
    inbox.index.remove()
    assert "PAT-1" in http.get("/").text
    (inbox.root / "index.sqlite3").write_bytes(b"nonsense" * 999)
    assert "PAT-2" in http.get("/").text
