"""The worklist and the reviews, as programs and browsers without script meet them."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, datetime

import pytest
import web_studies
from web_people import client, token

from scanward.box import Box
from scanward.errors import ArgumentError, ScanwardError
from scanward.inbox import reviews
from scanward.inbox.folders import Inbox
from scanward.inbox.reviews import Review, append, latest, read, review, state


@pytest.fixture
def inbox(tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    put = web_studies.put
    film = web_studies.film(200, 160)
    put(inbox.root, "forged film", minute=4,
        images=((film, "tampered", (Box(0, 90, 40, 1, 120, 70),)), (film, "authentic", ())))
    put(inbox.root, "clean film", label="authentic", minute=3, images=((film, "authentic", ()),))
    put(inbox.root, "chest", label="inconclusive", minute=2,
        images=((web_studies.chest(), "inconclusive", ()),))
    put(inbox.root, "broken", state="failed", label="unscanned", minute=1, error="It is cut short; send it again.")
    put(inbox.root, "older", label="authentic", minute=-60)
    return inbox


def found(http, query="") -> list[str]:
    return [row["description"] for row in http.get(f"/api/studies{query}").json()["rows"]]


def post(http, name, **body):
    return http.post(f"/api/studies/{web_studies.key_of(name)}/reviews", json={"who": "Roe"} | body,
                     headers={"X-CSRF": token(http, "/")})


def test_the_worklist_is_filtered(inbox):
    http = client(inbox)
    everything = ["forged film", "clean film", "chest", "broken", "older"]
    assert found(http) == everything
    assert found(http, "?label=tampered") == ["forged film"]
    assert found(http, "?label=failed") == ["broken"]
    assert found(http, "?modality=CT") == ["chest"]
    assert found(http, "?modality=MG&label=authentic") == ["clean film", "older"]
    assert found(http, "?since=2026-11-20") == everything[:4]
    assert found(http, "?until=2026-11-19") == ["older"]
    for nonsense in ("?label=x", "?since=yesterday", "?page=-3", "?page=x", "?page=99", "?label=&modality="):
        assert found(http, nonsense) == everything
    post(http, "chest", decision="reject")
    assert found(http, "?review=rejected") == ["chest"]
    assert found(http, "?review=unreviewed&modality=CT") == []
    page = http.get("/?label=tampered").text
    assert "forged film" in page
    assert "clean film" not in page
    assert '<option value="tampered" selected>' in page


def test_the_worklist_has_pages(inbox):
    for i in range(60):
        web_studies.put(inbox.root, f"film {i}", label="authentic", minute=-1000)
    http = client(inbox)
    first, third = http.get("/api/studies").json(), http.get("/api/studies?page=3").json()
    assert (len(first["rows"]), first["total"], first["pages"]) == (25, 65, 3)
    assert len(third["rows"]) == 15
    assert 'href="/?label=authentic&amp;page=2"' in http.get("/?label=authentic").text


def test_counts_and_one_study(inbox):
    http = client(inbox)
    assert http.get("/api/counts").json() == {"incoming": 0, "working": 0, "done": 4, "failed": 1, "outgoing": 0}
    one = http.get(f"/api/studies/{web_studies.key_of('broken')}").json()
    assert (one["state"], one["error"]) == ("failed", "It is cut short; send it again.")
    assert "It is cut short; send it again." in http.get(f"/studies/{web_studies.key_of('broken')}").text


@pytest.mark.parametrize(("facts", "words"), [
    ([{"label": "authentic", "seal": "CT-1", "sealed": "2026-11-28"}, None], "Seal: exact"),
    ([{"label": "authentic"}, {"label": "unsealed"}], "Not sealed"),
    ([{"label": "inconclusive", "match": "consistent"}, {"label": "authentic"}], "Seal: consistent"),
    ([{"label": "tampered", "seal": "CT-1"}, {"label": "inconclusive"}], "Not as sealed"),
    ([{"label": ["odd"]}, {"parts": {}}], "")])
def test_what_the_seals_say_is_told_apart(inbox, facts, words):
    path = inbox.root / "done" / web_studies.key_of("forged film") / "study.json"
    study = json.loads(path.read_text())
    for image, evidence in zip(study["images"], facts, strict=True):
        image["evidence"] = evidence
    path.write_text(json.dumps(study))
    http = client(inbox)
    row = http.get("/api/studies?label=tampered").json()["rows"][0]
    page, one = http.get("/").text, http.get(f"/studies/{web_studies.key_of('forged film')}").text
    assert row["seal_words"] == words
    said = {word for word in ("Seal: exact", "Seal: consistent", "Not sealed", "Not as sealed")
            if f"</span> {word}<" in page}
    assert said == ({words} if words else set())
    assert ("CT-1" in one) == (facts[0].get("seal") == "CT-1")


def test_a_review_is_kept_and_sent(inbox):
    sent = []
    http, key = client(inbox, sent=sent), web_studies.key_of("forged film")
    answer = post(http, "forged film", decision="reject", comment="It is a scratch.", image=f"{1:016x}")
    assert answer.status_code == 201, answer.text
    assert (answer.json()["who"], answer.json()["state"], answer.json()["report"]) == ("Roe", "rejected", "")
    assert [r.comment for r in read(inbox.root / "reviews" / f"{key}.jsonl")] == ["It is a scratch."]
    report = web_studies.dataset(sent[0])
    assert (report.Modality, report.PatientID) == ("SR", "P-1")
    images = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in report.ContentSequence
              if item.ValueType == "IMAGE"]
    objects = inbox.root / "done" / key / "objects"
    assert images == [web_studies.dataset(objects / "1.dcm").SOPInstanceUID]
    page = http.get(f"/studies/{key}").text
    assert "It is a scratch." in page
    assert "⊘" in page
    assert 'value="Roe"' in page, "the name is asked for once"


def test_the_form_works_without_script(inbox):
    http, key = client(inbox), web_studies.key_of("clean film")
    form = {"csrf": token(http, "/"), "decision": "accept", "comment": "", "who": "Roe"}
    answer = http.post(f"/studies/{key}/review?label=authentic", data=form)
    assert answer.headers["location"] == f"/studies/{key}?label=authentic&saved=accept"
    assert "Saved: you accepted the result." in http.get(answer.headers["location"]).text
    refused = http.post(f"/studies/{key}/review", data=form | {"who": " ", "comment": "my long words"})
    assert refused.status_code == 303, "the session remembers the name"
    other = client(inbox)
    refused = other.post(f"/studies/{key}/review",
                         data=form | {"csrf": token(other, "/"), "who": " ", "comment": "my long words"})
    assert refused.status_code == 422
    assert "Say who you are" in refused.text
    assert "my long words" in refused.text, "what was written is not lost"


@pytest.mark.parametrize("body", [
    {"decision": "maybe"}, {"decision": "comment", "comment": " \n"}, {"decision": "accept", "comment": "x" * 2001},
    {"decision": "accept", "image": "f" * 16}, {"decision": "accept", "who": ""}, {"decision": "accept", "more": 1},
    {"decision": ["accept"]}])
def test_what_is_no_review_is_refused(inbox, body):
    answer = post(client(inbox), "clean film", **body)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert not list((inbox.root / "reviews").iterdir())


def test_a_report_that_cannot_be_sent_does_not_undo_the_review(inbox):
    class Full(list):
        def extend(self, paths):
            raise ScanwardError("The disk is full.")

    answer = post(client(inbox, sent=Full()), "clean film", decision="accept")
    assert answer.status_code == 201
    assert answer.json()["report"] == "The review is saved, but no DICOM report of it could be sent."
    assert len(read(reviews.path_of(inbox.root, web_studies.key_of("clean film")))) == 1


def test_the_export_is_safe_in_a_spreadsheet(inbox):
    http = client(inbox)
    nasty = ['=HYPERLINK("http://evil.example")', "+1", "-1", "@SUM(A1)", " =1", "plain, \"quoted\"\nand long"]
    for comment in nasty:
        post(http, "forged film", decision="comment", comment=comment, who="=cmd|' /C calc'!A0")
    answer = http.get("/api/reviews.csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["comment"] for row in rows] == [
        "'" + nasty[0], "'+1", "'-1", "'@SUM(A1)", "'=1", nasty[5]]
    assert rows[0]["who"].startswith("'=")
    assert (rows[0]["label"], rows[0]["patient_id"], rows[0]["score"]) == ("tampered", "P-1", "0.87")


def test_reviews_survive_a_torn_line(tmp_path):
    path = tmp_path / "reviews" / "k.jsonl"
    append(path, review("Roe", "accept", "one"))
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert [r.comment for r in read(path)] == ["one"]
        append(path, review("Roe", "reject", "two"))
        assert [r.comment for r in read(path)][0::len(read(path)) - 1] == ["one", "two"]
        assert len(read(path)) <= 3
    path.write_bytes(b'{"decision": "accept"}\n[]\n\xff\n{"decision": "x", "when": "", "who": ""}\n' + whole)
    assert [r.comment for r in read(path)] == ["one"]


def test_many_writers_lose_nothing(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "k.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: append(path, review("Roe", "comment", f"number {i}")), range(100)))
    assert {r.comment for r in read(path)} == {f"number {i}" for i in range(100)}


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda handle, data: 3)
    with pytest.raises(ArgumentError, match="disk is full"):
        append(tmp_path / "k.jsonl", review("Roe", "accept"))


def test_words_are_cleaned():
    made = review(" Dr.\x00\u202e Roe ", "comment", "a\r\nb\x1b[31m\u202ec\t\n", when=datetime(2026, 1, 2, tzinfo=UTC))
    assert made == Review("2026-01-02T00:00:00.000+00:00", "Dr. Roe", "comment", "a\nb [31m c")
    assert "\n" not in json.dumps(made.comment)


def test_a_failed_study_is_tried_again_and_a_done_one_is_not(inbox):
    http = client(inbox)
    address = f"/studies/{web_studies.key_of('broken')}"
    assert "Try again" in http.get(address).text
    assert http.post(f"{address}/retry").status_code == 403  # without the page's token
    given = {"csrf": token(http, "/")}
    assert http.post(f"{address}/retry", data=given).status_code == 303
    assert inbox.counts()["working"] == 1 and "broken" not in found(http)
    assert http.post(f"{address}/retry", data=given).status_code == 404
    assert http.post(f"/studies/{web_studies.key_of('clean film')}/retry", data=given).status_code == 404


def test_what_reviews_come_to():
    def said(*pairs):
        return [Review("t", "Roe", decision, "", image) for decision, image in pairs]

    assert state([]) == state(said(("comment", None))) == "unreviewed"
    assert state(said(("accept", None), ("comment", None))) == "accepted"
    assert state(said(("accept", None), ("reject", None))) == "rejected"
    assert state(said(("accept", "a"), ("reject", "b"))) == "mixed"
    assert state(said(("accept", "a"), ("reject", "b"), ("accept", None))) == "accepted"
    assert state(said(("accept", None), ("reject", "a"))) == "mixed"
    assert latest(said(("accept", None), ("comment", "a"))).decision == "accept"
    assert latest([]) is None


def test_what_was_kept_unscanned_is_named_in_words(inbox):
    key = web_studies.put(inbox.root, "ultrasound", label="unscanned", passed=[
        {"sop_class": "1.2.840.10008.5.1.4.1.1.6.1", "count": 2}, {"sop_class": "1.2.3", "count": 1}])
    page = client(inbox).get(f"/studies/{key}").text
    assert "2 × Ultrasound Image Storage" in page and "1 × 1.2.3" in page
    assert "Nothing in this study was scanned: only mammograms and chest CT are." in page


@pytest.mark.parametrize("state_of", ["done", "failed"])
@pytest.mark.parametrize("facts", [
    {}, {"label": 3, "score": "x", "images": {}, "description": None}, {"images": [3, {"id": "../.."}, {}]},
    {"label": "tampered", "images": [{"id": f"{7:016x}"}]},
    {"label": "tampered", "images": [{"id": f"{7:016x}", "label": "tampered", "score": "high", "findings": None}]},
    {"study_uid": "\ud800", "score": 10**400, "passed": [3, {}], "attempts": "many", "images": [
        {"id": f"{7:016x}", "score": float("nan"), "shape": [1, "2", 3], "spacing": ["x"],
         "evidence": {"kept": float("inf")},
         "findings": [3, {"box": "wide"}, {"box": [1, 2, "3", 4]}, {"box": [1, 2, 3, 4], "box_mm": [1, None]}]}]}])
def test_facts_that_lack_things_are_shown_as_far_as_they_go(inbox, state_of, facts):
    key = web_studies.put(inbox.root, "odd", state=state_of)
    (inbox.root / state_of / key / "study.json").write_text(json.dumps(facts))
    http = client(inbox)
    for path in ("/", f"/studies/{key}", "/api/studies", f"/api/studies/{key}", "/api/reviews.csv"):
        assert http.get(path).status_code == 200, path
    assert post(http, "odd", decision="accept").status_code == 201
