"""What `study.json` and `job.json` hold: written as ever, and read back whatever somebody wrote there."""

import json

import pytest

from scanward.inbox.folders import Inbox, key_of
from scanward.inbox.record import FindingRecord, ImageRecord, JobRecord, PassedRecord, StudyRecord

NAME = "0123456789abcdef"
FOUND = {"box": [1, 2, 3, 4], "box_mm": [0.1, 0.2, 0.3, 0.4], "score": 0.9, "method": "copy-move"}
IMAGE = {"id": NAME, "files": ["objects/a.dcm"], "sop_instance_uid": "1.2.3.4", "series_instance_uid": "1.2.3",
         "modality": "MG", "label": "tampered", "score": 0.9, "threshold": 0.5, "findings": [FOUND], "reason": "Odd.",
         "shape": [1, 200, 160], "spacing": [1, 0.1, 0.1], "error": None, "method": "default", "version": "0.1.0",
         "weights_sha256": None, "seconds": 4.2, "results": ["results/a-sr.dcm"],
         "laterality": "R", "view": "CC", "chest_wall": "left", "heat": 0.9}
STUDY = {"key": key_of("1.2"), "study_uid": "1.2", "patient_id": "", "issuer": "X", "accession": "A",
         "description": "MLO", "study_date": "20261119", "modality": "MG", "received": "2026-11-20T10:00:00Z",
         "finished": "2026-11-20T10:01:00Z", "attempts": 1, "error": None, "label": "tampered", "score": 0.9,
         "images": [IMAGE, {**IMAGE, "evidence": {"label": "authentic", "findings": [{"centre": [1.5]}]}}],
         "passed": [{"sop_class": "1.2.840.10008.5.1.4.1.1.88.33", "count": 2}], "settings": "feedfacecafebeef"}
ODD = ["x", "\ud800", "", -1, 0, 1.5, 10**400, float("nan"), float("inf"), True, None, [], [[]], ["x", 1], [1, 2, None],
       {}, {"a": float("nan")}, [{}], [{"id": NAME}], [1, 2, 3], [1, 2, 3, "4"]]


def test_a_study_is_written_as_it_was_read():
    record = StudyRecord.from_json(STUDY)
    assert record.images[0].findings == (FindingRecord((1, 2, 3, 4), (0.1, 0.2, 0.3, 0.4), 0.9, "copy-move"),)
    assert record.passed == (PassedRecord("1.2.840.10008.5.1.4.1.1.88.33", 2),)
    assert json.dumps(record.to_json()) == json.dumps(STUDY)


def test_a_study_that_was_never_scanned_says_nothing_of_whose_it_is(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.add("1.2", "1.2.3", b"head", [b"data"])
    inbox.give_up(inbox.take(0, 3), "It is cut short.")
    written = json.loads((tmp_path / "failed" / key_of("1.2") / "study.json").read_bytes())
    assert {**written, "finished": ""} == {"key": key_of("1.2"), "label": "unscanned", "score": 0.0, "images": [],
                                           "passed": [], "finished": "", "attempts": 1, "error": "It is cut short."}


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_what_somebody_wrote_into_a_study_is_read_as_far_as_it_goes(odd):
    for name in STUDY:
        whole(StudyRecord.from_json({**STUDY, name: odd}))
    for name in IMAGE:
        whole(StudyRecord.from_json({**STUDY, "images": [{**IMAGE, name: odd, "evidence": odd}]}))
    for name in FOUND:
        whole(StudyRecord.from_json({**STUDY, "images": [{**IMAGE, "findings": [{**FOUND, name: odd}]}]}))


def whole(record):
    """It can be written and is read as the same, and every part of it is what it says it is."""
    text = json.dumps(record.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert StudyRecord.from_json(json.loads(text)) == record
    for image in record.images:
        assert len(image.id) == 16 and image.label in ("authentic", "tampered", "inconclusive", "unscanned")
        assert all(isinstance(name, str) for name in (*image.files, *image.results))
        assert all(value is None or (len(value) == 3 and min(value) > -2) for value in (image.shape, image.spacing))
        assert all(len(found.box) in (4, 6) and max(found.box) < 9 for found in image.findings)
        assert all(found.box_mm is None or len(found.box_mm) == len(found.box) for found in image.findings)
    assert isinstance(record.attempts, int) and all(isinstance(one.count, int) for one in record.passed)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "{}", '{"key": "../.."}'])
def test_a_file_that_is_no_record_gives_an_empty_study(tmp_path, text):
    inbox, key = Inbox(tmp_path), key_of("1.2")
    (tmp_path / "done" / key).mkdir()
    (tmp_path / "done" / key / "study.json").write_text(text)
    assert inbox.study(key).record == StudyRecord(key, score=None)


def test_an_image_knows_no_more_than_its_file_says():
    assert ImageRecord.from_json({"id": NAME}) == ImageRecord(NAME, score=None, threshold=None, seconds=None)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_what_somebody_wrote_into_a_job_stops_no_worker(tmp_path, odd):
    inbox = Inbox(tmp_path)
    inbox.add("1.2", "1.2.3", b"head", [b"data"])
    inbox.take(0, 3, "run").let_go()
    path = tmp_path / "working" / key_of("1.2") / "job.json"
    for name in ("attempts", "runs", "run", "error", "wait"):
        path.write_text(json.dumps({"attempts": 1, "runs": 0, "run": "run", "error": None, name: odd}))
        job = inbox.take(0, 10**9, "run")
        if job is not None:
            job.let_go()


def test_a_job_that_waits_belongs_to_no_run():
    assert JobRecord(2, 1, "run").to_json() == {"attempts": 2, "runs": 1, "run": "run", "error": None}
    assert JobRecord(2, 1, None, "Why.", 5.5).to_json() == {"attempts": 2, "runs": 1, "error": "Why.",
                                                            "wait": 5.5}
