"""Who did what, as JSON lines in a file that is only ever appended to, and as DICOM audit messages over syslog.

No names of patients: facts have fixed names, and a patient's identifier is replaced by a keyed hash of this site.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scanward.disk import Journal
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import clean, shown

if TYPE_CHECKING:
    from scanward.audit.syslog import Forwarder
    from scanward.settings import Audit as Settings

Outcome = Literal["success", "minor", "serious", "major"]
"""As DICOM has it: 0, 4, 8, 12."""

EVENTS = frozenset({
    "start", "stop", "association.accepted", "association.rejected", "objects.stored", "study.scanned", "study.failed",
    "results.sent", "results.refused", "hook.sent", "hook.refused", "login", "logout", "review", "pull", "pull.refused",
    "query", "export", "retry", "worker.died", "study.removed", "protected.sent", "account",
    "pages.died", "trouble.began", "trouble.ended",
})  # fmt: skip
FACTS = frozenset({
    "aet", "called", "peer", "port", "user", "key", "study_uid", "patient_id", "destination", "pull", "count", "stored",
    "refused", "bytes", "label", "score", "images", "modality", "method", "reason", "seconds", "version", "attempts",
    "sop_classes", "decision", "address", "image", "account", "reasons",
})  # fmt: skip
"""What a line may say beside time, event and outcome; `patient_id` is written as the hash `patient`. `sop_classes` is a
mapping of SOP class UIDs to counts, `reasons` one of `tally.REASONS`."""
LARGEST = 64 << 20
"""Bytes of one file."""
LONGEST_TEXT = 300


class Audit:
    """`record` never raises for a full disk and never waits for the network."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self.path = settings.file or root / "audit.jsonl"
        self._salt_path = root / ".audit-salt"
        self._salt = b""
        self._settings, self._root = settings, root
        self._forwarder: Forwarder | None = None
        self._complained = False
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begins to send DICOM audit messages, where the settings name a syslog server; in one process only."""
        if self._settings.syslog and self._forwarder is None:
            from scanward.audit.syslog import Forwarder

            self._forwarder = Forwarder(self._settings, self._root)
            self._forwarder.start()

    def close(self) -> None:
        """Ends the sending; what is left is sent after the next start."""
        if self._forwarder is not None:
            self._forwarder.close()
            self._forwarder = None

    def record(self, event: str, outcome: Outcome = "success", **facts: Any) -> None:
        """One line, whole, by one write; and the DICOM message that belongs to it.

        `ArgumentError` for an event or a fact that no line may hold: a fault of the caller.
        """
        unknown = sorted((facts.keys() - FACTS) | ({event} - EVENTS))
        if unknown:
            raise ArgumentError(f"{unknown[0]!r} is nothing that the audit log keeps.")
        said = {name: _plain(value) for name, value in facts.items() if value is not None}
        if "patient_id" in said:
            said["patient"] = self.pseudonym(str(facts["patient_id"]))
            del said["patient_id"]
        moment = time.time()
        line = {"time": _stamp(moment), "event": event, "outcome": outcome, **said}
        self._append(json.dumps(line, ensure_ascii=True).encode())
        if self._settings.syslog:
            from scanward.audit import atna, syslog

            try:
                for message in atna.messages(event, outcome, said, moment):
                    syslog.spool(self._root, message)
            except OSError as error:
                self._complain(error)
        if self._forwarder is not None:
            self._forwarder.wake()

    def pseudonym(self, patient_id: str) -> str:
        """A patient's identifier in the log: 16 hex digits, the same for the same patient of this site."""
        if not patient_id:
            return ""
        return hmac.new(self._key(), patient_id.strip().encode(), hashlib.sha256).hexdigest()[:16]

    def _key(self) -> bytes:
        if not self._salt:
            try:
                self._salt = self._salt_path.read_bytes()
            except OSError:
                self._salt = b""
        if len(self._salt) < 32:
            self._salt = _new_salt(self._salt_path)
        return self._salt

    def _append(self, line: bytes) -> None:
        try:
            self._rotate()
            Journal(self.path, mode=0o640, synced=False).append(line)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            print(f"scanward: The audit log {shown(self.path)} cannot be written ({error.strerror}).", file=sys.stderr)

    def _rotate(self) -> None:
        """A file a day and `LARGEST` bytes at most: audit.jsonl becomes audit-YYYYMMDD-N.jsonl. None is deleted."""
        if not self._over():
            return
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._over():  # another process was faster
                return
            day = time.strftime("%Y%m%d", time.gmtime(self.path.stat().st_mtime))
            number = 1
            while (old := self.path.with_name(f"{self.path.stem}-{day}-{number}{self.path.suffix}")).exists():
                number += 1
            self.path.rename(old)
        finally:
            os.close(lock)

    def _over(self) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return found.st_size >= LARGEST or time.gmtime(found.st_mtime)[:3] != time.gmtime()[:3]


def newest(path: Path, most: int, *, skip: int = 0) -> list[dict[str, Any]]:
    """Events of the log at `path`, the newest first, after `skip` newer ones; files of earlier days are read as far as
    they are asked for. Raises `UnreadableError` where one cannot be read."""
    found: list[dict[str, Any]] = []
    for file in (path, *reversed(put_aside(path))):
        try:
            lines = [value for value in Journal(file).values() if isinstance(value, dict)]
        except OSError as error:
            raise UnreadableError(f"{shown(file)} cannot be read ({error.strerror}); check its owner.") from error
        wanted = lines[::-1][skip:skip + most - len(found)]
        found += wanted
        skip = max(0, skip - len(lines))
        if len(found) == most:
            break
    return found


def put_aside(path: Path) -> list[Path]:
    """The files that the log at `path` was moved to, the oldest first."""
    return sorted(path.parent.glob(f"{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"), key=_age)


def _age(path: Path) -> tuple[int, ...]:
    """Day and number of a file that was put aside."""
    return tuple(int(part) for part in path.stem.rsplit("-", 2)[1:] if part.isdecimal())


def _new_salt(path: Path) -> bytes:
    made = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # which replaces nothing: all processes use the first one
        except FileExistsError:
            made = path.read_bytes()
        finally:
            draft.unlink(missing_ok=True)
    except OSError:
        return made  # hashes of this process only: still no identifier in the log
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {clean(name, 64): int(count) for name, count in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value[:1000]]
    return clean(value, LONGEST_TEXT)


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03}Z"
