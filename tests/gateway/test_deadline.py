"""A study whose scan does not end holds up no other."""

import json
import os
import subprocess
import sys
import time

import pytest

from scanward.gateway.processes import OVERDUE, Kept
from scanward.inbox.folders import Inbox, key_of

WORKER = """
import re, sys, time
from pathlib import Path
from scanward.audit.trail import Audit
from scanward.gateway import deadline, work
from scanward.gateway.scanning import Scanned
from scanward.inbox.folders import Inbox
from scanward.inbox.record import StudyRecord
from scanward.settings import Gateway, Store, Work

deadline.GRACE = 1.0
gateway = Gateway(store=Store(folder=Path(sys.argv[1])), work=Work(study_seconds=1.0))
inbox = Inbox(gateway.store.folder)

class Scanner:
    def scan(self, job):
        data = job.objects[0].read_bytes()
        if b"sleeps" in data:
            time.sleep(60)
        elif b"holds" in data:
            re.match("(a+)+$", "a" * 60 + "b")  # no other thread of Python runs meanwhile
        return Scanned(StudyRecord(job.key, label="authentic", finished="now"), [])

while (job := inbox.take(0, 2, sys.argv[2])) is not None:
    work.work(job, Scanner(), inbox, gateway, Audit(gateway.audit, inbox.root))
"""


@pytest.fixture
def worked(tmp_path):
    """Seconds and exit code of a worker, and the inbox that it left."""
    inbox = Inbox(tmp_path / "in box")

    def work(*studies):
        for i, data in enumerate(studies):
            inbox.add(f"1.2.{i}", f"1.2.{i}.1", b"head", [data])
            time.sleep(0.05)
        start = time.monotonic()
        code = subprocess.run([sys.executable, "-c", WORKER, inbox.root, "run"], check=False, capture_output=True,
                              timeout=60).returncode
        return time.monotonic() - start, code, inbox

    return work


def state(inbox, number):
    study = inbox.study(key_of(f"1.2.{number}"))
    return study and study.state


def test_a_study_past_its_time_is_set_aside_with_its_reason_and_the_next_goes_on(worked):
    seconds, code, inbox = worked(b"sleeps", b"sound")
    assert code == OVERDUE and seconds < 30
    study = inbox.study(key_of("1.2.0"))
    assert study.state == "failed"
    assert study.record.error.startswith("Its scan took more than 1 seconds; ")
    events = [json.loads(line) for line in (inbox.root / "audit.jsonl").read_text().splitlines()]
    assert [e["reason"] for e in events if e["event"] == "study.failed"] == [study.record.error]
    _, code, inbox = worked()
    assert (code, state(inbox, 1)) == (0, "done")


def test_a_scan_that_lets_no_thread_run_ends_too_and_is_not_tried_for_ever(worked):
    runs = [worked(b"holds", b"sound"), worked(), worked()]
    assert [code for _, code, _ in runs] == [1, 1, 0]
    assert max(seconds for seconds, _, _ in runs) < 30
    assert [state(runs[0][2], number) for number in range(2)] == ["failed", "done"]


def test_what_ends_in_time_is_left_alone(worked):
    _, code, inbox = worked(b"sound")
    assert (code, state(inbox, 0)) == (0, "done")


@pytest.mark.parametrize("code", [OVERDUE, 1])
def test_a_process_that_ends_for_a_study_is_started_anew_at_once_and_is_no_trouble(code):
    said = []
    kept = Kept("worker", "A process that scans", os._exit, (code,))
    try:
        for _ in range(3):
            kept._process.join()
            for _ in range(2):  # found dead, started anew
                kept._next = 0.0
                kept.tend(lambda event, *_, **facts: said.append(event))
        assert (kept.trouble is None, said) == ((True, []) if code == OVERDUE else (False, ["worker.died"] * 3))
    finally:
        kept.end(0)
