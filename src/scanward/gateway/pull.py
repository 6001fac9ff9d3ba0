"""Following a server that does not send by itself: what is new there is fetched and received like anything else."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scanward.delivery.spool import Refused, Unreachable, pause
from scanward.delivery.webclient import Declined, Faulty, NotFound, client, request, streamed
from scanward.disk import read_json, write_json
from scanward.errors import ScanwardError
from scanward.formats.guard import clean
from scanward.inbox.folders import FullError
from scanward.inbox.ledger import Ledger

if TYPE_CHECKING:
    import httpx

    from scanward.audit.trail import Audit
    from scanward.settings import Pull

Receive = Callable[[Path], str]
"""Stores one DICOM file, which it may move away, and returns its study's key. Raises `OSError` or `FullError` where
that may work later, another `ScanwardError` where the object is refused."""

SLOWLY = 900.0
"""Seconds between tries while the server refuses us."""
SEEN_BYTES = 8 << 20
"""Of the ledger of what was received; two such files, 600,000 objects."""
LARGEST = 4 << 30
"""Bytes of one object."""
TRIES = 5
"""How often an object is asked for over which the server breaks down."""
ANSWER = 120.0


class Source(Protocol):
    """One kind of server."""

    def look(self, stop: threading.Event) -> bool:
        """Receives what is new; True where there is more at once."""


def follow(pull: Pull, kind: Callable[[Puller], Source], receive: Receive, state: Path, stop: threading.Event,
           audit: Audit) -> None:
    """Receives what comes to a server of some `kind`, until `stop`.

    `state` is a folder on the inbox's file system; its subfolder `pulled` holds what was received, by name of the
    server. A kill at any instant repeats an object at most. Waits longer and longer while the server cannot be reached,
    and `SLOWLY` while it refuses us; the audit log says so once.
    """
    tries, said = 0, ""
    source: Source | None = None
    puller = Puller(pull, receive, state, audit)
    while not stop.is_set():
        try:
            with client(pull.url, pull.user, pull.password_file, pull.tls, timeout=ANSWER) as web:
                puller.web = web
                source = source or kind(puller)
                while not stop.is_set():
                    more = source.look(stop)
                    if said:
                        audit.record("pull", pull=pull.name, reason="The server can be reached again.", count=0)
                    tries, said = 0, ""
                    stop.wait(0.0 if more else pull.every_seconds)
        # A server may answer what no code here foresees; a thread that ended would tell nobody.
        except Exception as error:
            tries += 1
            lasting = isinstance(error, ScanwardError) and not isinstance(error, Unreachable | FullError)
            why = _why(pull, error)
            if why != said:
                audit.record("pull.refused" if lasting else "pull", "serious" if lasting else "minor", pull=pull.name,
                             reason=why, count=0)
                said = why
            asked = getattr(error, "retry_after", None) or 0.0
            stop.wait(SLOWLY if lasting else max(min(asked, SLOWLY), pause(tries)))


def _why(pull: Pull, error: Exception) -> str:
    if isinstance(error, ScanwardError):
        return str(error)
    if isinstance(error, OSError):
        return f"The inbox cannot be written ({clean(error.strerror or error)})."
    return f"Server {pull.name} gave an answer that nobody foresaw ({type(error).__name__}: {clean(error)})."


@dataclass
class Tally:
    """What became of a study's objects."""

    received: int = 0
    refused: int = 0
    reason: str = ""


class Puller:
    """What both kinds of server share: requests, one object after the other, and what is known already."""

    web: httpx.Client

    def __init__(self, pull: Pull, receive: Receive, state: Path, audit: Audit) -> None:
        self.pull, self.audit, self.name = pull, audit, f"Server {pull.name}"
        self._receive = receive
        folder = state / "pulled"
        self.state = folder / f"{pull.name}.json"
        self._seen = Ledger(folder / f"{pull.name}.seen", largest=SEEN_BYTES)
        self._drafts = folder / f".{pull.name}"
        self._faults: dict[str, int] = {}

    def url(self, path: str) -> str:
        return self.pull.url.rstrip("/") + path

    def json(self, path: str, params: dict[str, str] | None = None, accept: str = "application/json") -> Any:
        """The JSON at a path, None where the server says that there is nothing (204). Raises as `request`."""
        answer = request(self.web, "GET", self.url(path), self.name, passed=(200, 204), params=params,
                         headers={"Accept": accept})
        if answer.status == 204 or not answer.body.strip():
            return None
        found = answer.json_or_none()
        if found is None:
            raise Unreachable(f"{self.name} answers with what is no JSON; check its url.")
        return found

    def known(self, name: str) -> bool:
        """Whether an object was received, or refused for good."""
        return self._seen.has(_short(name))

    def take(self, name: str, path: str, tally: Tally, accept: str = "*/*") -> None:
        """Fetches one object, unless it is known, and has it received; `tally` counts."""
        if self.known(name):
            return
        self._drafts.mkdir(parents=True, exist_ok=True)
        draft = self._drafts / f"{_short(name)}.dcm"
        try:
            if not self._fetched(name, path, draft, accept, tally):
                return
            try:
                self._receive(draft)
                tally.received += 1
            except (Unreachable, FullError):
                raise
            except ScanwardError as error:
                tally.refused += 1
                tally.reason = str(error)
        finally:
            draft.unlink(missing_ok=True)
        self._seen.add(_short(name))

    def _fetched(self, name: str, path: str, draft: Path, accept: str, tally: Tally) -> bool:
        """Whether the object lies in `draft`; not where it is gone, or the server will not give it and that is said."""
        try:
            self._fetch(path, draft, accept)
            return True
        except NotFound:
            return False  # deleted meanwhile
        except (Faulty, Declined) as error:
            self._faults[name] = self._faults.get(name, 0) + 1
            if isinstance(error, Faulty) and self._faults[name] < TRIES:
                raise
            tally.refused += 1
            tally.reason = str(error)
            self._seen.add(_short(name))
            return False

    def _fetch(self, path: str, draft: Path, accept: str) -> None:
        with (streamed(self.web, "GET", self.url(path), self.name, long=True, headers={"Accept": accept}) as answer,
              draft.open("wb") as file):
            held = 0
            for chunk in answer.iter_bytes(1 << 20):
                held += len(chunk)
                if held > LARGEST:
                    raise Refused(f"{self.name} sends an object of more than {LARGEST >> 30} GB.")
                file.write(chunk)
            kind = answer.headers.get("Content-Type", "")
        if "multipart" in kind.lower():
            unwrap(draft, kind, self.name)

    def tell(self, study_uid: str, tally: Tally) -> None:
        """The audit log's line on a study of which something came."""
        if tally.received or tally.refused:
            self.audit.record("pull", "minor" if tally.refused else "success", pull=self.pull.name, study_uid=study_uid,
                              count=tally.received, refused=tally.refused, reason=tally.reason or None)

    def load(self) -> dict[str, Any]:
        """What was kept of the last round; empty where there is nothing usable."""
        return read_json(self.state)

    def keep(self, values: dict[str, Any]) -> None:
        """On disk, whole, when it returns."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.state, values)


def unwrap(path: Path, kind: str, name: str) -> None:
    """The first part of a multipart answer, in place of the whole; `Unreachable` where it is cut short."""
    from email.message import Message

    header = Message()
    header["Content-Type"] = kind
    boundary = (header.get_boundary() or "").encode()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(1 << 16)
        file.seek(max(0, size - (1 << 12)))
        tail_at, tail = file.tell(), file.read()
    opening, start = head.find(b"--" + boundary), head.find(b"\r\n\r\n")
    end = tail.rfind(b"\r\n--" + boundary + b"--")
    if not boundary or opening < 0 or start < opening or end < 0 or tail_at + end < start + 4:
        raise Unreachable(f"{name} sends a multipart answer that is cut short.")
    part = path.with_name(path.name + ".part")
    try:
        with path.open("rb") as source, part.open("wb") as sink:
            source.seek(start + 4)
            left = tail_at + end - start - 4
            while left > 0 and (chunk := source.read(min(1 << 20, left))):
                sink.write(chunk)
                left -= len(chunk)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
