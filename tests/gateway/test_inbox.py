"""The inbox: nothing is lost, nothing half written is seen, and a study has one worker at a time."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from scanward.errors import ArgumentError
from scanward.inbox.folders import FullError, Inbox, key_of
from scanward.inbox.record import ImageRecord, StudyRecord
from scanward.inbox.waiting import Watch

ADDER = """
import sys
from pathlib import Path
from scanward.inbox.folders import Inbox
inbox = Inbox(Path(sys.argv[1]))
for i in range(10_000):
    inbox.add(f"1.2.{i % 7}", f"1.2.3.{sys.argv[2]}.{i}", b"head", [b"data" * 500, str(i).encode()])
    print(i, flush=True)
"""
WORKER = """
import sys, time
from pathlib import Path
from scanward.inbox.folders import Inbox
from scanward.inbox.record import StudyRecord
inbox = Inbox(Path(sys.argv[1]))
while True:
    job = inbox.take(0, 1, sys.argv[2])
    if job is None:
        time.sleep(0.001)
        continue
    time.sleep(0.002)
    inbox.finish(job, StudyRecord(job.key, finished="now"))
"""


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "in box")


def put(inbox, study="1.2.3", sop="1.2.3.4", data=b"pixels"):
    return inbox.add(study, sop, b"head", [data])


def studies(inbox):
    """Those done with and failed."""
    return [inbox.study(key) for key, *_ in inbox.written()]


def test_a_study_goes_from_incoming_through_working_to_done(inbox):
    path = put(inbox)
    assert path.read_bytes() == b"headpixels"
    assert inbox.counts()["incoming"] == 1
    job = inbox.take(0, 3)
    assert inbox.counts() == {"incoming": 0, "working": 1, "done": 0, "failed": 0, "outgoing": 0}
    inbox.finish(job, StudyRecord(label="authentic", finished="2026"))
    study = inbox.study(key_of("1.2.3"))
    assert (study.state, study.record.label) == ("done", "authentic")
    assert [p.name for p in (study.folder / "objects").iterdir()] == [path.name]
    assert inbox.take(0, 3) is None


def test_the_same_object_twice_is_one_file_and_an_altered_one_another(inbox):
    first, again = put(inbox), put(inbox)
    altered = put(inbox, data=b"forged")
    assert first == again != altered
    assert len(inbox.take(0, 3).objects) == 2


def ready(inbox, quiet=0.4, seconds=5, **more):
    """The next job, waited for."""
    end = time.monotonic() + seconds
    while (job := inbox.take(quiet, 3, **more)) is None and time.monotonic() < end:
        time.sleep(0.02)
    return job


def test_a_study_waits_until_nothing_more_comes(inbox):
    for i in range(4):
        put(inbox, sop=f"1.{i}")
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            assert inbox.take(0.4, 3) is None
            time.sleep(0.02)
    assert len(ready(inbox).objects) == 4


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_set_back_or_forward_neither_stops_nor_hastens_a_scan(inbox, monkeypatch, hours):
    """What was written before says then that it is of the future, or old."""
    objects = put(inbox).parent
    assert inbox.take(0.4, 3) is None
    moved = time.time() + 3600 * hours
    monkeypatch.setattr(time, "time", lambda: moved)
    os.utime(objects, (objects.stat().st_mtime,) * 2)
    start = time.monotonic()
    assert inbox.take(0.4, 3) is None
    job = ready(inbox)
    assert job is not None and 0.3 < time.monotonic() - start < 2


def test_a_study_put_off_has_its_turn_again_though_the_clock_was_set_back(inbox, monkeypatch):
    monkeypatch.setattr("scanward.inbox.folders.BACK_OFF", 0.3)
    put(inbox)
    inbox.again(inbox.take(0, 3), "Once more.")
    moved = time.time() - 86400
    monkeypatch.setattr(time, "time", lambda: moved)
    assert inbox.take(0, 3) is None
    assert ready(inbox, 0).attempts == 2


def test_a_study_that_is_fed_in_drips_is_scanned_all_the_same_and_its_late_objects_too(inbox):
    jobs, end = [], time.monotonic() + 3
    for i in range(1000):
        put(inbox, sop=f"1.{i}")
        job = inbox.take(0.4, 3, longest=1.0)
        if job is not None:
            jobs.append(len(job.objects))
            inbox.finish(job, StudyRecord(finished="now"))
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    assert len(jobs) >= 2 and jobs == sorted(jobs)
    last = ready(inbox, longest=1.0)
    assert len(last.objects) == i + 1


def test_small_studies_pass_a_large_one_which_has_its_turn_all_the_same(inbox, monkeypatch):
    """By a clock of the test's own: it came first, one is scanned a minute, and two small ones come a minute."""
    now = [0.0]
    monkeypatch.setattr(inbox, "_watch", Watch(lambda: now[0]))
    put(inbox, study="large", data=b"0" * (40 << 20))
    put(inbox, study="small 0")
    inbox.look()
    taken = []
    for minute in range(1, 100):
        now[0] = 60.0 * minute
        job = inbox.take(10, 3)
        taken.append(sum(path.stat().st_size for path in job.objects))
        inbox.finish(job, StudyRecord(finished="now"))
        if taken[-1] > 1000:
            break
        for i in range(2):  # twice as many as can be scanned
            put(inbox, study=f"small {minute} {i}")
        inbox.look()
    assert [size > 1000 for size in taken[-2:]] == [False, True]
    assert len(taken) <= 2 + 2 * 3 * 40 / 60  # those that came in the time that three of its scans take


def test_a_study_is_scanned_while_there_is_room_for_its_answer_though_there_is_none_for_more(tmp_path, monkeypatch):
    inbox = Inbox(tmp_path, free_mb=512)
    free = [1 << 40]
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": free[0]}))
    put(inbox)
    free[0] = 100 << 20
    with pytest.raises(FullError):
        put(inbox, sop="1.5")
    free[0] = 1 << 20
    assert inbox.take(0, 3) is None
    free[0] = 100 << 20
    assert inbox.take(0, 3) is not None


def test_a_try_for_which_there_was_no_room_is_not_counted(inbox, monkeypatch):
    monkeypatch.setattr("scanward.inbox.folders.ROOM", 0)
    put(inbox)
    for _ in range(10):
        job = inbox.take(0, 3, "run")
        assert job.attempts == 1
        inbox.again(job, "The disk is full.", blamed=False)


def test_a_disk_too_full_for_a_note_leaves_the_study_to_the_next(inbox, monkeypatch):
    def full(path, value):
        raise ArgumentError("no room")

    put(inbox)
    with monkeypatch.context() as patch:
        patch.setattr("scanward.inbox.folders.put", full)
        with pytest.raises(ArgumentError):
            inbox.take(0, 3, "run")
    job = inbox.take(0, 3, "run")
    with monkeypatch.context() as patch:
        patch.setattr("scanward.inbox.folders.put", full)
        with pytest.raises(ArgumentError):
            inbox.again(job, "Why.")
    assert inbox.take(0, 3, "run") is not None


def test_two_workers_never_have_one_study(inbox):
    put(inbox)
    job = inbox.take(0, 3)
    assert Inbox(inbox.root).take(0, 3) is None
    job.let_go()  # as the system does for a worker that dies
    assert Inbox(inbox.root).take(0, 3).attempts == 2


def test_late_objects_make_the_study_whole_again(inbox):
    put(inbox, sop="1.1")
    inbox.finish(inbox.take(0, 3), StudyRecord(finished="1"))
    put(inbox, sop="1.2")
    job = inbox.take(0, 3)
    assert len(job.objects) == 2
    inbox.finish(job, StudyRecord(finished="2"))
    assert inbox.study(job.key).record == StudyRecord(job.key, finished="2")
    assert [p.name for p in (inbox.root / "done").iterdir()] == [job.key]


def test_what_comes_while_its_study_is_worked_on_waits_for_the_end(inbox):
    put(inbox, sop="1.1")
    job = inbox.take(0, 3)
    put(inbox, sop="1.2")
    assert inbox.take(0, 3) is None
    inbox.finish(job, StudyRecord(finished="1"))
    assert len(inbox.take(0, 3).objects) == 2


def test_a_study_that_breaks_every_worker_is_put_aside_with_the_reason(inbox):
    put(inbox)
    for _ in range(3):
        inbox.take(0, 3, "run").let_go()
    assert inbox.take(0, 3, "run") is None
    study = inbox.study(key_of("1.2.3"))
    assert study.state == "failed"
    assert "broke down" in study.record.error
    assert inbox.retry(study.key)
    assert inbox.take(0, 3, "run").attempts == 1


def test_an_object_that_breaks_the_scan_does_not_erase_what_was_found(inbox):
    put(inbox, sop="1.1")
    job = inbox.take(0, 3)
    (job.folder / "results").mkdir()
    (job.folder / "results" / "a-sr.dcm").write_bytes(b"report")
    image = ImageRecord("1" * 16)
    inbox.finish(job, StudyRecord(label="tampered", images=(image,), finished="1"))
    put(inbox, sop="1.2")
    for _ in range(3):
        inbox.take(0, 3, "run").let_go()
    inbox.take(0, 3, "run")
    (study,) = studies(inbox)
    assert (study.state, study.record.label, study.record.images) == ("failed", "tampered", (image,))
    assert (study.folder / "results" / "a-sr.dcm").read_bytes() == b"report"
    assert len(list((study.folder / "objects").iterdir())) == 2


def test_what_was_made_is_known_again_and_nothing_else(inbox):
    for uid in ("2.25.1", "2.25.2", "2.25.1"):
        inbox.mark_made(uid)
    assert Inbox(inbox.root).made("2.25.1") and inbox.made("2.25.2") and not inbox.made("2.25.3")
    assert sum(len(p.read_bytes().splitlines()) for p in (inbox.root / "made").iterdir()) == 2


def test_the_folders_are_nobody_elses(inbox):
    assert inbox.root.stat().st_mode & 0o077 == 0


def test_a_study_is_not_blamed_for_the_end_of_the_whole_gateway(inbox):
    put(inbox)
    for run in range(20):
        job = inbox.take(0, 3, f"run {run}")
        assert job.attempts == 1
        job.let_go()


def test_a_study_put_off_waits_its_time(inbox):
    put(inbox)
    inbox.again(inbox.take(0, 3), "The weights are missing.")
    assert inbox.take(0, 3) is None
    assert inbox.counts()["working"] == 1


def test_no_room_is_said_before_anything_is_written_and_room_again_mends_it(tmp_path, monkeypatch):
    inbox = Inbox(tmp_path, free_mb=1)
    free = [0]
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": free[0]}))
    with pytest.raises(FullError, match="no room"):
        put(inbox)
    assert not list((tmp_path / "incoming").iterdir())
    free[0] = 2 << 20
    assert put(inbox).is_file()


def test_a_second_gateway_is_refused_and_drafts_of_a_dead_one_are_swept(inbox):
    draft = inbox.root / "incoming" / ".half"
    draft.write_bytes(b"half an object")
    with inbox.alone():
        assert not draft.exists()
        with pytest.raises(ArgumentError, match="another gateway"), Inbox(inbox.root).alone():
            pass
    with inbox.alone():
        pass


@pytest.mark.parametrize("key", ["..", "../../etc", "", "a" * 24 + "/..", "A" * 24, "zz"])
def test_a_key_that_is_none_names_nothing(inbox, key):
    assert inbox.study(key) is None


def test_old_studies_are_forgotten_and_young_ones_kept(inbox):
    for sop in ("1", "2"):
        put(inbox, study=sop)
        inbox.finish(inbox.take(0, 3), StudyRecord(finished=sop))
    old = inbox.root / "done" / key_of("1") / "study.json"
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    gone = []
    inbox.forget(1, said=gone.append)
    assert gone == [key_of("1")]
    assert [s.key for s in studies(inbox)] == [key_of("2")]


def test_a_kill_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path):
    """Adders and workers killed again and again; every acknowledged object must end in `done`, once."""
    acknowledged = []
    for turn in range(6):
        adder = subprocess.Popen([sys.executable, "-c", ADDER, tmp_path, str(turn)], stdout=subprocess.PIPE, text=True)
        worker = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path, str(turn)])
        adder.stdout.readline()
        time.sleep(0.05 + 0.06 * turn)
        for process in (adder, worker):
            process.send_signal(signal.SIGKILL)
        said = 1 + len(adder.communicate()[0].splitlines())
        worker.wait()
        acknowledged += [(turn, i) for i in range(said)]
    inbox = Inbox(tmp_path)
    with inbox.alone():
        while (job := inbox.take(0, 1, "last")) is not None:
            inbox.finish(job, StudyRecord(finished="now"))
    assert inbox.counts() == {"incoming": 0, "working": 0, "done": 7, "failed": 0, "outgoing": 0}
    names = [p.name for study in studies(inbox) for p in (study.folder / "objects").iterdir()]
    sent = {hashlib.sha256(f"1.2.3.{turn}.{i}".encode()).hexdigest()[:16] for turn, i in acknowledged}
    assert len(names) == len(set(names)) and len(sent) > 6
    assert sent <= {name[:16] for name in names}
    for study in studies(inbox):
        for path in (study.folder / "objects").iterdir():
            assert path.read_bytes().startswith(b"head" + b"data" * 500)
