"""Following a server that does not send by itself: what is new there is fetched and received like anything else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scanward.delivery.server import ANSWER, Server
from scanward.delivery.spool import Unreachable, pause
from scanward.delivery.webclient import Declined, Faulty, NotFound, client
from scanward.disk import read_json, write_json
from scanward.errors import ScanwardError
from scanward.formats.guard import clean
from scanward.inbox.folders import FullError
from scanward.inbox.ledger import Ledger

if TYPE_CHECKING:
    from scanward.audit.trail import Audit
    from scanward.settings import Pull

Receive = Callable[[Path], str]
"""Stores one DICOM file, which it may move away, and returns its study's key. Raises `OSError` or `FullError` where
that may work later, another `ScanwardError` where the object is refused."""

SLOWLY = 900.0
"""Seconds between tries while the server refuses us."""
SEEN_BYTES = 8 << 20
"""Of the ledger of what was received; two such files, 600,000 objects."""
TRIES = 5
"""How often an object is asked for over which the server breaks down."""


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


class Puller(Server):
    """What both kinds of server share: requests, one object after the other, and what is known already."""

    def __init__(self, pull: Pull, receive: Receive, state: Path, audit: Audit) -> None:
        super().__init__(pull.url, f"Server {pull.name}")
        self.pull, self.audit = pull, audit
        self._receive = receive
        folder = state / "pulled"
        self.state = folder / f"{pull.name}.json"
        self._seen = Ledger(folder / f"{pull.name}.seen", largest=SEEN_BYTES)
        self._drafts = folder / f".{pull.name}"
        self._faults: dict[str, int] = {}

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
            self.fetch(path, draft, accept)
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


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
