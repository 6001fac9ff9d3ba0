"""A worker process: takes studies from the inbox, scans them, sends their results on their way."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.errors import ScanwardError
from scanward.formats.identity import identity_of
from scanward.gateway.deadline import GRACE, seconds_for, within
from scanward.gateway.processes import die_with, left_to_parent
from scanward.gateway.trouble import full, without_paths
from scanward.inbox import pulse
from scanward.inbox.folders import WAITING, Inbox, Job
from scanward.settings import Gateway

if TYPE_CHECKING:
    from scanward.audit.trail import Audit
    from scanward.gateway.scanning import Scanned, Scanner

PAUSE = 0.25
"""Seconds between two looks into an empty inbox."""
SILENT = 300.0
"""Seconds for which a worker may be silent between two things it does: while it loads the networks, say."""
LOOK = 1.0
"""Seconds between two looks at what comes meanwhile."""


def run(gateway: Gateway, run_id: str, stop_file: Path, parent: int, sign: str) -> None:
    """Works until `stop_file` is gone or `parent`, the process that started it, is dead; its signs of life are called
    `sign`."""
    from scanward.audit.trail import Audit

    die_with(parent)
    left_to_parent()
    if gateway.work.processes > 1:  # before anything is loaded that starts its threads
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // gateway.work.processes)))

    def going() -> bool:
        return stop_file.exists() and os.getppid() == parent

    inbox = Inbox(gateway.store.folder, free_mb=gateway.store.free_mb)
    audit = Audit(gateway.audit, inbox.root)
    threading.Thread(target=_watch, args=(inbox,), name="watch", daemon=True).start()
    scanner: Scanner | None = None
    while going():
        job = None
        pulse.beat(inbox.root, sign, SILENT)
        with suppress(OSError, ScanwardError):  # a full disk: what waits, waits on, and no study is blamed
            job = inbox.take(gateway.store.quiet_seconds, gateway.work.attempts, run_id,
                             longest=gateway.store.longest_seconds)
        if job is None:
            pulse.beat(inbox.root, sign, SILENT + gateway.work.study_seconds)
            if not _spare(gateway, inbox):
                time.sleep(PAUSE)
            continue
        try:
            if scanner is None:
                from scanward.gateway.scanning import Scanner

                scanner = Scanner(gateway, inbox, going)
            pulse.beat(inbox.root, sign, SILENT + GRACE + seconds_for(job.objects, gateway.work.study_seconds))
            work(job, scanner, inbox, gateway, audit)
        # A fault of ours with one study must not keep the others from their answers.
        except Exception as error:
            _put_off(job, inbox, gateway, audit, error)


def _watch(inbox: Inbox) -> None:
    """Sees what comes while a study is being scanned: what is whole by its end need not wait again."""
    while True:
        with suppress(OSError):
            inbox.look()
        time.sleep(LOOK)


def _spare(gateway: Gateway, inbox: Inbox) -> bool:
    """What can wait until no study does; whether there was anything."""
    if gateway.seal.key is None or not any((inbox.root / WAITING).glob("[!.]*")):
        return False
    from scanward.gateway.copies import Copies

    with suppress(ScanwardError):
        return Copies(gateway, inbox.root).make_one()
    return False


def work(job: Job, scanner: Scanner, inbox: Inbox, gateway: Gateway, audit: Audit) -> None:
    """One study from its lease to `done`."""
    if not job.objects:
        inbox.drop(job)
        return
    began = time.monotonic()
    with within(seconds_for(job.objects, gateway.work.study_seconds), lambda why: _set_aside(job, inbox, audit, why)):
        scanned = scanner.scan(job)
    seconds = round(time.monotonic() - began, 3)
    send(job.key, scanned, inbox, gateway)
    record = scanned.record
    inbox.finish(job, record)
    audit.record("study.scanned", "success", key=job.key, label=record.label, score=record.score,
                 images=len(record.images), seconds=seconds, study_uid=record.study_uid, patient_id=record.patient_id)


def send(key: str, scanned: Scanned, inbox: Inbox, gateway: Gateway) -> None:
    """Puts what goes out into its queues, each of which takes the same thing once."""
    from scanward.delivery.hooks import Hooks
    from scanward.delivery.outgoing import Outgoing

    outgoing = Outgoing(inbox.root)
    for to in gateway.destination:
        if to.results and scanned.results:
            outgoing.add(delivery(key, to.name, scanned.results), scanned.results, to.name)
    Hooks(inbox.root).notify(scanned.record, gateway.webhook)


def delivery(key: str, to: str, files: list[Path]) -> str:
    """Names what goes to a destination by the objects' UIDs, which a second scan makes again: it is sent once."""
    uids = sorted(identity_of(path).sop_instance for path in files)
    return f"{key}-{to}-{hashlib.sha256(json.dumps(uids).encode()).hexdigest()[:32]}"


def _set_aside(job: Job, inbox: Inbox, audit: Audit, sentence: str) -> None:
    """For good, unless somebody has it tried again."""
    inbox.give_up(job, sentence)
    audit.record("study.failed", "serious", key=job.key, reason=sentence)


def _put_off(job: Job, inbox: Inbox, gateway: Gateway, audit: Audit, error: Exception) -> None:
    """To be tried again or, after so many times, put aside with the reason."""
    from scanward.gateway.scanning import StoppedError

    if isinstance(error, StoppedError):
        job.let_go()
        return
    sentence = str(error) if isinstance(error, ScanwardError) else \
        f"Internal error ({type(error).__name__}: {error}); please report it."
    sentence = without_paths(sentence, {job.folder: "The study", inbox.root: "The inbox"})
    with suppress(OSError, ScanwardError):
        if full(error) or job.attempts < gateway.work.attempts:
            inbox.again(job, sentence, blamed=not full(error))
        else:
            _set_aside(job, inbox, audit, sentence)
    job.let_go()  # also where the disk is too full for a note
