"""Result objects on their way to destinations: a queue that outlives a kill at any instant."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.delivery.send import deliver, objects_in
from scanward.delivery.spool import REPORT, Awaited, Parcel, Refused, Spool, Told, Unreachable, note
from scanward.delivery.words import name_of, of_commitment
from scanward.disk import read_json
from scanward.errors import UnreadableError

if TYPE_CHECKING:
    from scanward.formats.commitment import Report
    from scanward.settings import Destination


ASKED = 8
"""Requests for one word that may still be answered: a receiver that always answers late is heard, too."""
OVER = "It answers no request that is open."


class Outgoing:
    """`root/outgoing/ID/` with the files and `to.json`; what is refused for good goes to `root/outgoing-failed/ID/`.

    Any process may `add`; one at a time delivers, and hears what is `reported`. `told(id, destination, outcome, why)`
    hears of every try.
    """

    def __init__(self, root: Path, told: Told | None = None) -> None:
        self.spool = Spool(root, "outgoing", told)
        self._lock = threading.Lock()
        self._asked: dict[str, str] | None = None  # identifiers by transaction; the truth is in their to.json

    def add(self, id: str, files: list[Path], destination: str) -> bool:
        """Puts `files` on their way; False, and nothing happens, where `id` waits, was delivered or was refused.

        They are hard links where the file system has them, so write results whole and never into a file. On disk when
        it returns; `ArgumentError` where the disk is full or a file is missing.
        """
        def fill(folder: Path) -> None:
            for number, path in enumerate(files):
                target = folder / f"{number:05}.dcm"
                with suppress(OSError):
                    os.link(path, target)
                    continue
                shutil.copyfile(path, target)

        return self.spool.add(id, fill, destination)

    def run_once(self, destinations: Sequence[Destination], calling: str,
                 stop: threading.Event | None = None) -> float | None:
        """Tries what is due and returns the seconds until the next try, None where nothing waits.

        `stop` ends it between two deliveries. What is addressed to a destination that the settings no longer name
        waits until they do.
        """
        known = {one.name: one for one in destinations}

        def one(folder: Path, parcel: Parcel) -> bool:
            if parcel.to not in known:
                raise Unreachable(f"The settings name no destination {parcel.to!r}; results for it wait.")
            to = known[parcel.to]
            if not parcel.taken:
                deliver(_files(folder), to, calling=calling)
            return to.commitment and self._committed(folder, parcel, to, to.calling or calling, destinations)

        return self.spool.deliver_due(one, stop)

    def reported(self, transaction: str, sender: str, read: Callable[[int], Report],
                 destinations: Sequence[Destination]) -> str:
        """Keeps what `sender`, an AE title, says in an answer to a request of ours; why it does not count otherwise, as
        where he was not asked, or not for these objects. On disk when it returns; `OSError` where it cannot be, and
        what `read` raises."""
        with self._lock:
            identifier = self._transactions().get(transaction)
            parcel = self.spool.parcel(identifier) if identifier else None
            if identifier is None or parcel is None or transaction not in parcel.asked:
                return OVER
            if not any(to.name == parcel.to and to.aet == sender for to in destinations):
                return "It comes from somebody who was not asked."
            try:
                asked = {uid for _, uid in objects_in(_files(self.spool.folder / identifier))}
            except UnreadableError:  # it has just been settled
                return OVER
            report = read(len(asked))
            if report.kept | set(report.failed) != asked:
                return "It is about other objects than were asked for."
            said = {"transaction": transaction, "failed": report.failed}
            return "" if self.spool.reported(identifier, said) else "It contradicts what was said before."

    def _transactions(self) -> dict[str, str]:
        if self._asked is None:
            self._asked = {transaction: identifier for identifier, parcel in self.spool.waiting()
                           for transaction in parcel.asked}
        return self._asked

    def _committed(self, folder: Path, parcel: Parcel, to: Destination, calling: str,
                   destinations: Sequence[Destination]) -> bool:
        """True where the destination gave its word; asks for it otherwise, and raises `Awaited`."""
        from scanward.delivery.commitment import ask

        if self._said(folder, parcel, to):
            return True
        # On disk before it is asked: the answer may be faster than the request's.
        transaction = f"2.25.{uuid.uuid4().int}"
        parcel = replace(parcel, taken=True, asked=(*parcel.asked, transaction)[-ASKED:])
        note(folder, parcel)
        with self._lock:
            self._transactions()[transaction] = folder.name
        ask(transaction, objects_in(_files(folder)), to, calling,
            partial(self.reported, destinations=destinations), (folder / REPORT).exists)
        if self._said(folder, parcel, to):
            return True
        now = time.time()
        why = "" if not parcel.since else (f"{name_of(to)} has not said for {_words(now - parcel.since)} whether it "
                                           "keeps the objects, and was asked again.")
        note(folder, replace(parcel, since=parcel.since or now))
        raise Awaited(why, to.commitment_seconds)

    def _said(self, folder: Path, parcel: Parcel, to: Destination) -> bool:
        """Whether its word is there; raises `Refused` where it is that it does not keep them."""
        said = read_json(folder / REPORT)
        if said.get("transaction") not in parcel.asked:
            return False
        with self._lock:
            for transaction in parcel.asked:
                self._transactions().pop(transaction, None)
        failed = list(said["failed"].values())
        if failed:
            raise Refused(f"{name_of(to)} took {len(_files(folder))} objects and does not keep {len(failed)} of them "
                          f"({of_commitment(failed[0])}); see its log for the reason.")
        return True


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def _words(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
