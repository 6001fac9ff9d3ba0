"""The index over the inbox: it finds what a look into every folder finds, and hides nothing whatever befalls it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward.errors import ArgumentError
from scanward.inbox import reviews
from scanward.inbox.folders import Inbox, key_of
from scanward.inbox.index import FILE, RANKS, SORTS, UNSCORED
from scanward.inbox.record import SEALS, ImageRecord, StudyRecord, seal_of
from scanward.inbox.search import PAGE, Filter, beside, every, found, of_patient

TEXT = st.text(st.sampled_from("aAbß1İ %_'\"\0é\n"), max_size=4)
DAYS = ("2026-01-01T00:00:00Z", "2026-01-02T10:00:00+00:00", "", None, "soon")
STUDIES = st.lists(st.fixed_dictionaries({
    "state": st.sampled_from(["done", "done", "failed"]), "label": st.sampled_from(sorted(set(RANKS) - {"failed"})),
    "score": st.sampled_from([None, 0.0, 0.25, 1, 10**300, -1.0]), "patient_id": TEXT, "accession": TEXT | st.none(),
    "description": TEXT, "study_date": st.sampled_from(["20260101", "", "x"]),
    "modality": st.sampled_from(["MG", "CT"]),
    "received": st.sampled_from(DAYS), "finished": st.sampled_from(DAYS), "seal": st.sampled_from([*SEALS, ""]),
    "said": st.sampled_from([(), ("accept",), ("reject",), ("accept", "comment")])}), max_size=12)
WANTED = st.builds(
    Filter, q=TEXT, label=st.sampled_from(["", "failed", "tampered"]), modality=st.sampled_from(["", "CT"]),
    review=st.sampled_from(["", "unreviewed", "rejected"]), state=st.sampled_from(["", "done", "failed"]),
    seal=st.sampled_from(["", "consistent", "unsealed"]), since=st.sampled_from(["", "2026-01-02"]),
    until=st.sampled_from(["", "2026-01-01"]), page=st.integers(1, 4),
    sort=st.sampled_from([sign + name for name in SORTS for sign in ("", "-")]))


def put(root, number, state="done", said=(), seal="", **facts):
    """A study as a scan leaves it, and what people said of it; its key."""
    key = key_of(f"1.2.{number}")
    image = ImageRecord("1" * 16, evidence={"label": "inconclusive", "match": seal} if seal == "consistent" else
                        {"label": seal} if seal else None)
    record = replace(StudyRecord(study_uid=f"1.2.{number}", images=(image,)), **facts)
    (root / state / key).mkdir(parents=True, exist_ok=True)
    (root / state / key / "study.json").write_text(json.dumps(record.to_json()))
    for decision in said:
        reviews.append(reviews.path_of(root, key), reviews.review("Roe", decision, "words"))
    return key


def naive(inbox, wanted):
    """Every folder looked into: the keys in their order."""
    kept = []
    for key, *_ in inbox.written():
        study, said = inbox.study(key), reviews.state(reviews.read(reviews.path_of(inbox.root, key)))
        record, date = study.record, study.record.study_date or ""
        texts = (record.patient_id, record.accession, record.description, record.study_uid, date,
                 f"{date[:4]}-{date[4:6]}-{date[6:]}")
        came = (record.received or record.finished or "")[:10]
        scored = study.label in ("tampered", "authentic") and record.score is not None
        if (all(any(term in (text or "").casefold() for text in texts) for term in wanted.q.casefold().split())
                and wanted.label in ("", study.label) and wanted.modality in ("", record.modality)
                and wanted.review in ("", said) and wanted.state in ("", study.state)
                and wanted.seal in ("", seal_of(record.images)) and came >= wanted.since
                and (not wanted.until or "" < came <= wanted.until)):
            value = {"finished": record.finished or "", "received": record.received or record.finished or "",
                     "result": RANKS[study.label], "score": record.score if scored else UNSCORED,
                     "description": record.description, "patient": record.patient_id,
                     "accession": record.accession or "", "date": date}[wanted.column]
            kept.append((value, key))
    return [key for _, key in sorted(kept, reverse=wanted.down)]


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


def listed(inbox, **wanted):
    return set(every(inbox.index, Filter(**wanted)))


@pytest.mark.parametrize("few", [0, 5000])
@given(STUDIES, WANTED)
@settings(max_examples=60, deadline=None)
def test_what_is_found_is_what_every_folder_says(tmp_path_factory, few, studies, wanted):
    root = tmp_path_factory.mktemp("inbox")
    inbox = Inbox(root)
    for number, facts in enumerate(studies):
        put(root, number, **facts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanward.inbox.search.FEW", few)
        patch.setattr("scanward.inbox.search.PAGE", 3)
        inbox.index.reconcile()
        expected = naive(inbox, wanted)
        assert every(inbox.index, wanted) == expected
        page = found(inbox.index, wanted)
        number = min(wanted.page, max(1, -(-len(expected) // 3)))
        assert (page.total, page.page) == (len(expected), number)
        assert list(page.keys) == expected[3 * number - 3:3 * number]
        cursor, walked = "", []
        while True:
            page = found(inbox.index, replace(wanted, page=1), cursor)
            walked += page.keys
            cursor = page.next
            if not cursor:
                break
        assert walked == expected, "page after page by the cursor"
        for at, key in enumerate(expected):
            there = beside(inbox.index, wanted, key)
            assert there.place == (at + 1, len(expected))
            assert (there.previous, there.next) == ((["", *expected])[at], ([*expected, ""])[at + 1])
        assert beside(inbox.index, wanted, "0" * 24).place is None


def test_a_cursor_skips_and_doubles_nothing_though_studies_come(inbox):
    keys = [put(inbox.root, number, finished=f"2026-{number:03}") for number in range(60)]
    first = found(inbox.index, Filter())
    newer = put(inbox.root, 99, finished="2027")
    inbox.index.reconcile()
    second = found(inbox.index, Filter(), first.next)
    assert [*first.keys, *second.keys] == keys[:-2 * PAGE - 1:-1]
    assert newer in found(inbox.index, Filter()).keys


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "WyItZmluaXNoZWQiLDEsMl0", "é", "=" * 9, "A" * 5000])
def test_a_cursor_that_is_none_is_refused(inbox, cursor):
    with pytest.raises(ArgumentError, match="begin without one"):
        found(inbox.index, Filter(), cursor)


def test_nothing_is_sorted_by_what_is_no_column():
    with pytest.raises(ArgumentError, match="sorted by"):
        Filter(sort="key; DROP TABLE studies")


@pytest.mark.parametrize("harm", ["gone", "text", "cut", "empty", "older", "no tables", "middle"])
def test_an_index_that_is_lost_damaged_or_older_hides_nothing(inbox, harm):
    keys = {put(inbox.root, number, description="film " * 20, finished=str(number)) for number in range(200)}
    assert listed(inbox) == keys
    path = inbox.root / FILE
    inbox.index.write(lambda one: None)
    with sqlite3.connect(path) as one:
        one.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if harm == "gone":
        path.unlink()
    elif harm == "text":
        path.write_text("this is no database\n" * 999)
    elif harm in ("cut", "empty"):
        os.truncate(path, 9000 if harm == "cut" else 0)
    elif harm == "middle":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
    else:
        with sqlite3.connect(path) as one:
            one.execute("PRAGMA user_version = 99" if harm == "older" else "DROP TABLE studies")
        one.close()
    fresh = Inbox(inbox.root)
    fresh.index.reconcile()
    assert listed(fresh) == keys
    if harm != "older":
        assert listed(inbox) == keys, "who had it open before"


def test_what_a_person_moves_by_hand_is_seen_at_the_next_start(inbox):
    keys = [put(inbox.root, number, finished=str(number)) for number in range(3)]
    assert listed(inbox) == set(keys)
    shutil.move(inbox.root / "done" / keys[0], inbox.root / "failed" / keys[0])
    shutil.rmtree(inbox.root / "done" / keys[1])
    path = inbox.root / "done" / keys[2] / "study.json"
    path.write_text(path.read_text().replace("unscanned", "tampered"))
    inbox.index.reconcile()
    assert listed(inbox) == {keys[0], keys[2]}
    assert listed(inbox, state="failed") == {keys[0]}
    assert listed(inbox, label="tampered") == {keys[2]}


def test_an_index_that_cannot_be_written_undoes_no_result(inbox, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    inbox.add("1.2.3", "1.2.3.4", b"head", [b"data"])
    job = inbox.take(0, 3)
    with monkeypatch.context() as patch:
        patch.setattr(inbox.index, "_connection", full)
        inbox.finish(job, StudyRecord(finished="now"))
    assert inbox.study(job.key).state == "done"
    inbox.index.reconcile()
    assert listed(inbox) == {job.key}


WRITER = """
import sys
from pathlib import Path
from scanward.inbox import reviews
from scanward.inbox.folders import Inbox
from scanward.inbox.record import StudyRecord
inbox, name = Inbox(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
for i in range(100_000):
    uid = f"1.2.{name}.{i % 5}"
    inbox.add(uid, f"{uid}.{i}", b"head", [b"data"])
    job = inbox.take(0, 9, name)
    if job is None:
        continue
    if i % 3:
        inbox.finish(job, StudyRecord(study_uid=uid, finished=str(i), label="tampered"))
    else:
        inbox.give_up(job, "It broke.")
        inbox.retry(job.key)
    with inbox.index.changing(job.key):
        reviews.append(reviews.path_of(inbox.root, job.key), reviews.review("Roe", "accept"))
"""


def test_kills_at_any_instant_leave_folders_and_index_that_agree_after_the_next_start(tmp_path):
    """Four writers at once, killed again and again. Then, without a start, who looks sees every study that is there."""
    Inbox(tmp_path)
    for turn in range(5):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, f"{turn}{n}"], stdout=subprocess.PIPE)
                   for n in range(4)]
        for writer in writers:
            writer.stdout.readline()
        time.sleep(0.3 + 0.11 * turn)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.communicate()
        inbox = Inbox(tmp_path)
        there = {key for key, *_ in inbox.written()}
        assert listed(inbox) >= there, "a study is hidden before the next start"
        inbox.index.reconcile()
        assert every(inbox.index, Filter()) == naive(inbox, Filter())
        for wanted in (Filter(label="failed"), Filter(label="tampered"), Filter(review="accepted")):
            assert every(inbox.index, wanted) == naive(inbox, wanted)
    assert there


def test_pages_read_on_while_many_write(inbox):
    """Nobody waits for longer than a transaction, and nothing that is done is missing from a list."""
    stop, wrong = threading.Event(), []
    command = [sys.executable, "-c", WRITER, inbox.root, "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()

        def look():
            mine = Inbox(inbox.root)
            while not stop.is_set():
                try:
                    done = set(mine.written())
                    seen = listed(mine)
                    still = set(mine.written())  # one that was tried again meanwhile has other facts
                    wrong.extend({key for key, *_ in done & still} - seen)
                except Exception as error:
                    wrong.append(error)

        readers = [threading.Thread(target=look) for _ in range(3)]
        for reader in readers:
            reader.start()
        time.sleep(3)
        stop.set()
        for reader in readers:
            reader.join()
        writer.kill()
    assert wrong == []


def test_studies_of_one_patient(tmp_path):
    """By Patient ID and issuer, letter by letter, the newest first; an empty ID is nobody's."""
    inbox = Inbox(tmp_path)
    of = {name: put(tmp_path, number, patient_id=patient, issuer=issuer, study_date=date)
          for number, (name, patient, issuer, date) in enumerate((
              ("this", "P' OR 1", "A", "20260101"), ("old", "P' OR 1", "A", "20200101"),
              ("new", "P' OR 1", "A", "20270101"), ("other issuer", "P' OR 1", "B", "20260101"),
              ("no issuer", "P' OR 1", None, "20260101"), ("other case", "p' or 1", "A", "20260101"),
              ("nameless", "", "", ""), ("nameless, too", None, None, "")))}
    assert of_patient(inbox.index, "P' OR 1", "A", of["this"], 9) == [of["new"], of["old"]]
    assert of_patient(inbox.index, "P' OR 1", "A", of["this"], 1) == [of["new"]]
    assert of_patient(inbox.index, "P' OR 1", "", of["this"], 9) == [of["no issuer"]]
    assert of_patient(inbox.index, "", "", of["nameless"], 9) == []
