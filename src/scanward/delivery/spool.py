"""A queue of folders on disk that a kill at any instant neither loses from nor adds to twice.

```
ROOT/QUEUE/ID/to.json         to whom, how often tried, when next, what was wrong
ROOT/QUEUE/ID/…               what is to be delivered
ROOT/QUEUE/ID/report.json     what the receiver said of it afterwards
ROOT/QUEUE/sent.log           identifiers of what was delivered, and of what the receiver gave its word for
ROOT/QUEUE-failed/ID/         refused for good, with the reason in to.json
```
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from scanward.disk import read_json, sync_folder, write_json
from scanward.errors import ArgumentError, ScanwardError
from scanward.formats.guard import clean
from scanward.inbox.ledger import Ledger

FIRST, LONGEST, DAY = 5.0, 3600.0, 86400.0
"""Seconds before the second try, between later ones at most, and for which a receiver's word is awaited at most."""
STALE = 3600.0
"""Seconds after which a draft is one whose writer was killed."""
BUSY = 5.0
"""Seconds until the next look where another process works on the queue."""
LOOK = 10.0
"""Seconds after which the queue is read again, though nothing seems to have changed."""
AT_ONCE = 8
"""Receivers that are served at the same time."""
REPORT = "report.json"
WORD = "/committed"
"""Ends the second name in the ledger of what a receiver gave its word for."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_CHANCE = random.SystemRandom()

Outcome = Literal["sent", "stored", "refused", "waiting"]
Told = Callable[[str, str, Outcome, str], None]
"""Called with an identifier, its receiver, what became of the try, and why."""


class Refused(ScanwardError):  # noqa: N818
    """The receiver will never take it: trying again is of no use before a person has changed something."""


class Unreachable(ScanwardError):  # noqa: N818
    """The receiver could not take it now; `retry_after` is how many seconds it asked for."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Awaited(ScanwardError):  # noqa: N818
    """The receiver took it, and may say for so many seconds whether it keeps it; then it is asked again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True)
class Parcel:
    """`to.json`."""

    to: str
    tries: int = 0
    next: float = 0.0
    """Seconds since 1970."""
    error: str = ""
    added: float = 0.0
    taken: bool = False
    """The receiver has it, and what is missing is its word that it keeps it."""
    asked: tuple[str, ...] = ()
    """Transactions in which it was asked for that, the last one last."""
    since: float = 0.0
    """When it first took such a request; 0: not yet."""


Deliver = Callable[[Path, Parcel], bool | None]
"""`deliver(folder, parcel)`: True where the receiver gave its word for it. Raises `Refused`, `Unreachable` or `Awaited`
where it is not delivered; what it needs to know at the next try, it keeps with `note`."""


def note(folder: Path, parcel: Parcel) -> None:
    """Keeps in the parcel's own folder what became of it; on disk when it returns."""
    write_json(folder / "to.json", asdict(parcel))


def pause(tries: int) -> float:
    """Seconds to wait after the `tries`th failure in a row: doubled each time, up to a quarter less by chance."""
    return float(min(LONGEST, FIRST * 2.0 ** min(tries - 1, 20)) * _CHANCE.uniform(0.75, 1.0))


class Spool:
    """Folders under `root/name` that are delivered one by one, each receiver on its own."""

    def __init__(self, root: Path, name: str, told: Told | None = None, *, keep: float | None = None) -> None:
        """`keep` is how many seconds a parcel is tried for; None: until it is delivered or refused."""
        self._keep = keep
        self.folder, self.failed = root / name, root / f"{name}-failed"
        self._told = told or (lambda *_: None)
        self._idle, self._next = (0, 0.0), 0.0  # nothing is due while the folder is as old, until then
        self._sent = Ledger(self.folder / "sent.log")
        self._rests: dict[str, tuple[int, float]] = {}  # receivers that failed: how often in a row, until when

    def add(self, identifier: str, fill: Callable[[Path], None], to: str) -> bool:
        """Adds what `fill` puts into a folder, for `to`; False where it waits, was delivered or was refused already.

        On disk when it returns. `ArgumentError` where it cannot be written.
        """
        if not NAME.fullmatch(identifier):
            raise ArgumentError(f"{clean(identifier)!r} is no identifier of a delivery; use letters, digits, "
                                "., _ and -.")
        target = self.folder / identifier
        # In this order: a delivery is in the ledger before its folder goes.
        if target.exists() or (self.failed / identifier).exists() or self._sent.has(identifier):
            return False
        draft = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder))
            fill(draft)
            note(draft, Parcel(to, added=time.time()))
            for path in draft.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(draft)
            draft.rename(target)  # fails where another was faster: folders that hold something are not replaced
            sync_folder(self.folder)
        except OSError as error:
            if target.exists():
                return False
            raise ArgumentError(f"{self.folder} cannot be written ({error.strerror}); free some space.") from error
        finally:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)
        return True

    def waiting(self) -> list[tuple[str, Parcel]]:
        """What waits, by identifier."""
        return _parcels(self.folder)

    def refused(self) -> list[tuple[str, Parcel]]:
        """What was refused for good."""
        return _parcels(self.failed)

    def names(self, *, refused: bool = False) -> list[str]:
        """Identifiers of what waits, or of what was refused, the newest first; what is in them is not read."""
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.failed if refused else self.folder):
                if NAME.fullmatch(entry.name) and entry.is_dir():
                    with suppress(FileNotFoundError):
                        found.append((entry.stat().st_mtime_ns, entry.name))
        return [name for _, name in sorted(found, reverse=True)]

    def parcel(self, identifier: str, *, refused: bool = False) -> Parcel | None:
        """One that waits, or was refused; None where there is none."""
        folder = self.failed if refused else self.folder
        return _read(folder / identifier) if NAME.fullmatch(identifier) else None

    def sent(self) -> list[str]:
        """Identifiers of what was delivered, the newest first, as far back as they are kept."""
        return [name for name in self._sent.names() if not name.endswith(WORD)]

    def committed(self) -> set[str]:
        """Those of them for which the receiver gave its word."""
        return {name.removesuffix(WORD) for name in self._sent.names() if name.endswith(WORD)}

    def again(self, identifier: str) -> bool:
        """Takes what was refused back into the queue, once its cause is mended; False where there is none."""
        parcel = self.parcel(identifier, refused=True)
        if parcel is None:
            return False
        try:
            (self.failed / identifier / REPORT).unlink(missing_ok=True)
            note(self.failed / identifier, replace(parcel, tries=0, next=0.0, taken=False, asked=(), since=0.0))
            (self.failed / identifier).rename(self.folder / identifier)
        except FileNotFoundError:  # somebody else was faster
            return False
        except OSError as error:
            raise ArgumentError(f"{self.failed} cannot be written ({error.strerror}); free some space.") from error
        return True

    def reported(self, identifier: str, said: dict[str, Any]) -> bool:
        """Keeps what the receiver said of a parcel, for which it is due then; False where something else was said
        before. On disk when it returns; `OSError` where it cannot be."""
        path = self.folder / identifier / REPORT
        if path.exists():
            return read_json(path) == said
        write_json(path, said)
        os.utime(self.folder)
        return True

    def deliver_due(self, deliver: Deliver, stop: threading.Event | None = None) -> float | None:
        """Tries what is due.

        Receivers are served side by side, and one that cannot be reached is left alone for a while with all that is
        meant for it. Returns the seconds until the next try, None where nothing waits.
        """
        if not self.folder.is_dir():
            return None
        # Reading every to.json is much for somebody who asks several times a second.
        changed, until = self._idle
        if self.folder.stat().st_mtime_ns == changed and 0 < until - time.time() <= LOOK:  # a clock may be set back
            return max(0.0, self._next - time.time()) if self._next else None
        with self._alone() as alone:
            if not alone:
                return BUSY
            self._tidy()
            queues: dict[str, list[str]] = {}
            for identifier, parcel in sorted(self.waiting(), key=lambda one: (one[1].next, one[1].added)):
                if self._sent.has(identifier):
                    self._remove(self.folder / identifier)
                else:
                    queues.setdefault(parcel.to, []).append(identifier)
            _side_by_side([partial(self._serve, queue, deliver, stop) for queue in queues.values()])
        changed = self.folder.stat().st_mtime_ns
        times = [max(parcel.next, self._rests.get(parcel.to, (0, 0.0))[1]) for _, parcel in self.waiting()]
        now = time.time()
        wait = min(max(0.0, min(times) - now), LONGEST) if times else None
        self._next = 0.0 if wait is None else now + wait
        self._idle = (changed, now + min(LOOK if wait is None else wait, LOOK))
        return wait

    def _serve(self, queue: list[str], deliver: Deliver, stop: threading.Event | None) -> None:
        # The others' new parcels must not wait until a slow receiver has all of its own.
        until = time.monotonic() + LOOK
        for identifier in queue:
            if time.monotonic() > until:
                return
            parcel = _read(self.folder / identifier)
            if parcel is None:
                self._fail(identifier, Parcel("", error="Its to.json cannot be read."))
                continue
            if stop is not None and stop.is_set():
                return
            now = time.time()
            # A clock that was set back must not make anything wait for years.
            due = not now < parcel.next < now + 2 * (DAY if parcel.taken else LONGEST)
            rests = 0 < self._rests.get(parcel.to, (0, 0.0))[1] - now < 2 * LONGEST
            if (due and not rests) or (self.folder / identifier / REPORT).exists():
                self._try(identifier, parcel, deliver)

    def _try(self, identifier: str, parcel: Parcel, deliver: Deliver) -> None:
        try:
            word = deliver(self.folder / identifier, parcel)
            self._rests.pop(parcel.to, None)
            self._sent.add(*([identifier + WORD] if word else []), identifier)
            self._remove(self.folder / identifier)
            self._told(identifier, parcel.to, "sent", "committed" if word else "")
        except Awaited as error:
            self._await(identifier, parcel, error)
        except Unreachable as error:
            self._wait(identifier, parcel, str(error), error.retry_after)
        except ScanwardError as error:
            # The receiver answered, or what is to be sent is at fault: the next one may fare better.
            self._fail(identifier, replace(parcel, tries=parcel.tries + 1, error=str(error)))
            self._told(identifier, parcel.to, "refused", str(error))
        # A full disk, or a fault of ours with this one parcel, must not keep the others from their receivers.
        except Exception as error:
            self._wait(identifier, parcel, f"Delivering to {parcel.to} broke down ({clean(repr(error))}).", None)

    def _await(self, identifier: str, parcel: Parcel, error: Awaited) -> None:
        self._rests.pop(parcel.to, None)
        noted = _read(self.folder / identifier) or parcel
        with suppress(OSError):
            note(self.folder / identifier, replace(noted, tries=parcel.tries + 1, error=str(error),
                                                    next=time.time() + min(error.seconds, DAY)))
        self._told(identifier, parcel.to, "stored", str(error))

    def _wait(self, identifier: str, parcel: Parcel, why: str, retry_after: float | None) -> None:
        parcel = _read(self.folder / identifier) or parcel
        row, tries = self._rests.get(parcel.to, (0, 0.0))[0] + 1, parcel.tries + 1
        if self._keep is not None and time.time() - parcel.added > self._keep:
            self._fail(identifier, replace(parcel, tries=tries, error=why))
            self._told(identifier, parcel.to, "refused", why)
            return
        asked = min(retry_after or 0.0, LONGEST)
        self._rests[parcel.to] = (row, time.time() + max(pause(row), asked))
        # Where the disk is full it is tried a little earlier.
        with suppress(OSError):
            note(self.folder / identifier,
                 replace(parcel, tries=tries, error=why, next=time.time() + max(pause(tries), asked)))
        self._told(identifier, parcel.to, "waiting", why)

    def _remove(self, path: Path) -> None:
        """In one step out of the queue, then for good."""
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.folder))
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _fail(self, identifier: str, parcel: Parcel) -> None:
        note(self.folder / identifier, parcel)
        self.failed.mkdir(parents=True, exist_ok=True)
        if (self.failed / identifier).exists():
            self._remove(self.failed / identifier)
        (self.folder / identifier).rename(self.failed / identifier)
        sync_folder(self.failed)
        sync_folder(self.folder)

    def _tidy(self) -> None:
        for path in self.folder.glob(".*-*"):
            with suppress(OSError):
                if path.name.startswith(".gone-") or path.stat().st_mtime < time.time() - STALE:
                    shutil.rmtree(path)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process delivers from here; the lock ends with its holder, however that ends."""
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(handle)


def _side_by_side(work: list[Callable[[], None]]) -> None:
    """Does all of it, `AT_ONCE` at a time, and raises what the first to fail raised. In threads that keep no process
    from its end: a receiver may be waited for when the gateway is told to stop."""
    left, failed = SimpleQueue[Callable[[], None]](), list[Exception]()
    for part in work:
        left.put(part)

    def one() -> None:
        with suppress(Empty):
            while True:
                part = left.get_nowait()
                try:
                    part()
                except Exception as error:
                    failed.append(error)

    threads = [threading.Thread(target=one, name="delivery", daemon=True) for _ in range(min(AT_ONCE, len(work)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failed:
        raise error


def _parcels(folder: Path) -> list[tuple[str, Parcel]]:
    try:
        names = sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())
    except FileNotFoundError:
        return []
    # One that cannot be read is due, so that `_serve` comes to it and puts it aside.
    return [(name, _read(folder / name) or Parcel("")) for name in names if (folder / name).is_dir()]


def _read(folder: Path) -> Parcel | None:
    try:
        values = read_json(folder / "to.json")
        return Parcel(str(values["to"]), int(values["tries"]), float(values["next"]), str(values["error"]),
                      float(values["added"]), bool(values.get("taken")), tuple(map(str, values.get("asked", ()))),
                      float(values.get("since", 0.0)))
    except (ValueError, TypeError, KeyError):
        return None
