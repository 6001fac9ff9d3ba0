"""Studies as folders a person can look into: `incoming` → `working` → `done` or `failed`.

Every step is one rename, and what it makes visible is on disk before it, so that a process may die at any instant: what
was acknowledged is found again, and what was half written is swept away. A worker's lease on a study is a lock on its
folder, which the system takes back when the worker dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any, Literal

from scanward.disk import Journal, linked, plain_file, read_json, sync_folder, write_json
from scanward.errors import ArgumentError, ScanwardError
from scanward.formats.dataset import read_meta
from scanward.formats.guard import shown
from scanward.inbox.index import Index
from scanward.inbox.record import KEY, JobRecord, Study, StudyRecord
from scanward.inbox.waiting import Watch, oldest, size_of

STATES = ("incoming", "working", "done", "failed")
OBJECTS, FACTS, JOB = "objects", "study.json", "job.json"
SEALS, WAITING = "seals", "copies"
"""Seals; and a folder for each that is without its reduced copy yet, with links to what was sealed."""
DRAFT = "."
"""Names that begin so are being written, or taken away."""
PART = ".image-"
BACK_OFF, LONGEST, ROOM = 5.0, 600.0, 60.0
"""Seconds before a study is tried again: the first time, doubled each time, at most, and where the disk was full."""
ANSWER = 16 << 20
"""Bytes that the answer to a study may need beside as many as its objects have."""
RUNS = 50
KEPT = 1000
"""Studies whose `study.json` is kept in memory."""


class FullError(ScanwardError):
    """There is no room for another object."""


@dataclass
class Job:
    """A study that this process has the lease of, until `finish`, `again` or `give_up`, which says `whose` it is."""

    key: str
    folder: Path
    attempts: int
    """This one included."""
    runs: int
    """Of the gateway, that ended while they worked on it."""
    _lease: int = field(repr=False, default=-1)
    whose: StudyRecord = field(repr=False, default_factory=StudyRecord)

    @property
    def objects(self) -> list[Path]:
        """The study's files, by name."""
        return sorted(p for p in (self.folder / OBJECTS).iterdir() if not p.name.startswith(DRAFT))

    def part(self, image: str) -> Path:
        """Where one image's answer is kept until all are there."""
        return self.folder / f"{PART}{image}.json"

    def let_go(self) -> None:
        """Leave it to whoever takes it next."""
        lease, self._lease = self._lease, -1
        if lease >= 0:
            os.close(lease)


def key_of(study_uid: str) -> str:
    """The name of a study's folder: 24 hexadecimal digits."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:24]


def put(path: Path, value: Any) -> None:
    """As `write_json`; raises `ArgumentError`."""
    try:
        write_json(path, value)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); free some space or choose another "
                            "folder.") from error


class Inbox:
    """The folders below `root`; any number of processes may use them at once."""

    def __init__(self, root: Path, *, free_mb: int = 0) -> None:
        """Raises `ArgumentError` where the folders cannot be made."""
        self.root, self._free = root, free_mb << 20
        self._known: dict[tuple[str, str], tuple[int, Study]] = {}
        self._watch = Watch()
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds patients' images
            for state in (*STATES, "reviews", "outgoing", "made", "records"):
                (root / state).mkdir(exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"{shown(root)} cannot be the inbox ({error.strerror}); choose another folder in "
                                "store.folder.") from None
        self.index = Index(self)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other gateway uses this inbox meanwhile, and what a dead one left half written is gone."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ArgumentError(f"{shown(self.root)} is another gateway's inbox; stop that one, or choose another "
                                    "folder in store.folder.") from None
            for state in STATES:
                for draft in (self.root / state).glob(f"{DRAFT}*"):
                    _remove(draft)
            yield
        finally:
            os.close(handle)

    def room(self) -> bool:
        """Whether there is room for more objects."""
        return shutil.disk_usage(self.root).free >= self._free

    def room_to_answer(self, folder: Path) -> bool:
        """Whether what a scan makes of the study in `folder` has room, though there may be none for more objects."""
        return shutil.disk_usage(self.root).free >= ANSWER + size_of(folder / OBJECTS)

    def add(self, study_uid: str, sop_uid: str, head: bytes, data: Iterable[bytes | memoryview], *,
            instead: bool = False) -> Path:
        """An object in `incoming`, on disk when this returns: `head`, to the end of the file meta information, and the
        data set. The same object twice is one file; one that says it is the same and is not has a file of its own.
        With `instead` it takes the place of the same one with another head. Raises `FullError`."""
        if not self.room():
            raise FullError(f"{shown(self.root)} has no room left; free some.")
        draft = self.root / "incoming" / f"{DRAFT}{uuid.uuid4().hex}"
        # With the transfer syntax, under which the same bytes are other pixels; not with the rest of the head, which
        # differs by the way that an object came.
        digest = hashlib.blake2b(read_meta(BytesIO(head))[0].encode() + b"\0", digest_size=16)
        try:
            with draft.open("wb") as file:
                file.write(head)
                for part in data:
                    file.write(part)
                    digest.update(part)
                file.flush()
                os.fsync(file.fileno())
            name = f"{hashlib.sha256(sop_uid.encode()).hexdigest()[:32]}-{digest.hexdigest()}.dcm"
            return self._place(draft, self.root / "incoming" / key_of(study_uid) / OBJECTS / name, instead)
        except OSError as error:
            raise FullError(f"{shown(self.root)} takes no more ({error.strerror}); free some room.") from error
        finally:
            draft.unlink(missing_ok=True)

    def _place(self, draft: Path, path: Path, instead: bool) -> Path:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(path.parent, os.O_RDONLY)
            except FileNotFoundError:
                continue  # a worker took the study in this very moment
            try:
                if path.exists():  # it keeps the time at which it first came
                    os.utime(draft, ns=(time.time_ns(), path.stat().st_mtime_ns))
                if instead or not path.exists():
                    draft.replace(path)
                os.fsync(handle)  # the folder itself, wherever a worker has moved it meanwhile
            except FileNotFoundError:
                continue
            finally:
                os.close(handle)
            with suppress(FileNotFoundError):
                sync_folder(path.parent.parent)
            sync_folder(self.root / "incoming")
            return path

    def look(self) -> None:
        """See what came and what waits. Time passes for a study from when it was first seen: look every second."""
        self._watch.look([folder / OBJECTS for folder in oldest(self.root / "incoming")],
                         [folder / JOB for folder in oldest(self.root / "working")])

    def take(self, quiet_seconds: float, most: int, run: str = "", *, longest: float = inf) -> Job | None:
        """The next study to work on, or None: first those that a dead worker left or whose time has come again, then
        those to which nothing was added for so long, or that began to come `longest` seconds ago.

        One whose workers died or gave up `most` times goes to `failed`, and one whose answer has no room waits. `run`
        names this run of the gateway: a study is not blamed for the end of a whole run, unless it outlived `RUNS`.
        """
        self.look()
        for folder in oldest(self.root / "working"):
            job = self._lease(folder, folder, run) if self.room_to_answer(folder) else None
            if job is not None and self._due(job, most):
                return self._begun(job, run)
        for objects in self._watch.complete(quiet_seconds, longest):
            target = self.root / "working" / objects.parent.name
            if not target.exists() and self.room_to_answer(objects.parent):
                job = self._lease(objects.parent, target, run)
                if job is not None:
                    return self._begun(job, run)
        return None

    def _due(self, job: Job, most: int) -> bool:
        """Whether it is to be tried now; it is let go otherwise, or put aside."""
        with _left(job):
            state = JobRecord.from_json(read_json(job.folder / JOB))
            if self._watch.still(job.folder / JOB) < min(state.wait or 0, LONGEST):
                job.let_go()
            elif job.attempts > most or job.runs > RUNS:
                self.give_up(job, state.error or "Its scan broke down again and again without a word.")
            else:
                return True
        return False

    def _lease(self, folder: Path, target: Path, run: str) -> Job | None:
        """The study in `folder`, moved to `target`; None where another worker has or had it."""
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(folder).st_ino == os.fstat(handle).st_ino:
                if target != folder:
                    folder.rename(target)
                    sync_folder(target.parent)
                    sync_folder(folder.parent)
                state = JobRecord.from_json(read_json(target / JOB))
                ended = state.run not in (None, run)
                return Job(target.name, target, state.attempts + (not ended), state.runs + ended, handle)
        except OSError:
            pass
        os.close(handle)
        return None

    def _begun(self, job: Job, run: str) -> Job:
        """With what came of the same study before."""
        with _left(job):
            error = JobRecord.from_json(read_json(job.folder / JOB)).error
            put(job.folder / JOB, JobRecord(job.attempts, job.runs, run, error).to_json())
        for state in ("done", "failed"):
            with suppress(FileNotFoundError):
                for path in (self.root / state / job.key / OBJECTS).iterdir():
                    with suppress(FileExistsError):
                        os.link(path, job.folder / OBJECTS / path.name)
        return job

    def earlier(self, job: Job) -> Study | None:
        """What came of the study when it had fewer objects."""
        return self.study(job.key)

    def finish(self, job: Job, record: StudyRecord) -> None:
        """To `done`."""
        put(job.folder / FACTS, record.to_json())
        with self.index.changing(job.key):
            self._move(job, "done")

    def give_up(self, job: Job, sentence: str) -> None:
        """To `failed`, with the reason."""
        old = self.study(job.key)
        if old is not None:  # what was said of it before it got the object that breaks its scan stays said
            for part in (name for name in ("results", "pictures") if (old.folder / name).is_dir()):
                linked(old.folder / part, job.folder / part)
        put(job.folder / FACTS, replace(old.record if old else job.whose, key=job.key, finished=stamp(),
                                        attempts=job.attempts, error=sentence).to_json())
        (job.folder / JOB).unlink(missing_ok=True)  # whoever moves it back to `working` starts anew
        with self.index.changing(job.key):
            self._move(job, "failed")

    def drop(self, job: Job) -> None:
        """A folder without objects, whose first never arrived."""
        _remove(job.folder)
        job.let_go()

    def again(self, job: Job, sentence: str, *, blamed: bool = True) -> None:
        """To be tried again after a while; where it is not `blamed`, this time does not count."""
        wait = min(LONGEST, BACK_OFF * 2 ** (job.attempts - 1)) if blamed else ROOM
        with _left(job):
            put(job.folder / JOB, JobRecord(job.attempts - (not blamed), job.runs, None, sentence, wait).to_json())
        job.let_go()

    def retry(self, key: str) -> bool:
        """A failed study is tried anew; False where there is none of that name."""
        study = self.study(key)
        if study is None or study.state != "failed" or (self.root / "working" / key).exists():
            return False
        with self.index.changing(key):
            study.folder.rename(self.root / "working" / key)
        return True

    def _move(self, job: Job, state: str) -> None:
        """What stood there before goes once the new stands."""
        for part in job.folder.glob(f"{PART}*"):
            part.unlink()
        for other in ("done", "failed"):
            with suppress(FileNotFoundError):
                (self.root / other / job.key).rename(self.root / other / f"{DRAFT}{job.key}-{uuid.uuid4().hex}")
        job.folder.rename(self.root / state / job.key)
        sync_folder(self.root / state)
        sync_folder(self.root / "working")
        job.let_go()
        for other in ("done", "failed"):
            for draft in (self.root / other).glob(f"{DRAFT}{job.key}-*"):
                _remove(draft)

    def written(self) -> Iterator[tuple[str, str, int]]:
        """Of those done with and failed the key, the state, and when `study.json` was last written, in nanoseconds."""
        for state in ("failed", "done"):  # as `study` has it where a key is in both
            for entry in os.scandir(self.root / state):
                if KEY.fullmatch(entry.name):
                    with suppress(OSError):
                        yield entry.name, state, os.stat(f"{entry.path}/{FACTS}").st_mtime_ns

    def study(self, key: str) -> Study | None:
        """One of them."""
        return (self._study("done", key) or self._study("failed", key)) if KEY.fullmatch(key) else None

    def _study(self, state: Literal["done", "failed"], key: str) -> Study | None:
        folder = self.root / state / key
        try:
            when = (folder / FACTS).stat().st_mtime_ns
        except OSError:
            return None
        known = self._known.get((state, key))
        if known is None or known[0] != when:
            record = replace(StudyRecord.from_json(read_json(folder / FACTS)), key=key)
            known = self._known[state, key] = when, Study(key, state, folder, record)
            if len(self._known) > KEPT:
                with suppress(KeyError, RuntimeError):  # another thread was faster
                    del self._known[next(iter(self._known))]
        return known[1]

    def counts(self) -> dict[str, int]:
        """How many studies are where; `outgoing` counts what is on its way."""
        return {state: sum(entry.is_dir() and not entry.name.startswith(DRAFT)
                           for entry in os.scandir(self.root / state))
                for state in (*STATES, "outgoing")}

    def forget(self, days: float, *, said: Callable[[str], None] = lambda key: None) -> None:
        """Takes away what is done with for longer; 0 keeps all, and failed studies stay. By the clock of the day: days
        are meant, and no other clock goes on over restarts."""
        if days:
            for key, state, when in list(self.written()):
                folder = self.root / state / key
                with suppress(OSError):
                    if state == "done" and when < 1e9 * (time.time() - 86400 * days):
                        gone = folder.with_name(f"{DRAFT}{key}-{uuid.uuid4().hex}")
                        with self.index.changing(key):
                            folder.rename(gone)
                        _remove(gone)
                        said(key)

    def mark_made(self, sop_uid: str) -> None:
        """An object with this UID is ours."""
        path, line = self._made(sop_uid)
        if not self.made(sop_uid):
            Journal(path, mode=0o600).append(line)

    def made(self, sop_uid: str) -> bool:
        """Whether we made an object with this UID."""
        path, line = self._made(sop_uid)
        with suppress(FileNotFoundError), plain_file(path) as file:
            return line + b"\n" in file.read()
        return False

    def _made(self, sop_uid: str) -> tuple[Path, bytes]:
        """One of 256 files that only grow, and the line in it."""
        name = hashlib.sha256(sop_uid.encode()).hexdigest()[:24]
        return self.root / "made" / name[:2], name.encode()


@contextmanager
def _left(job: Job) -> Iterator[None]:
    """A job on which something breaks, as on a full disk, is not held for as long as this process lives."""
    try:
        yield
    except BaseException:
        job.let_go()
        raise


def stamp(seconds: float | None = None) -> str:
    """A time, now where none is given, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
