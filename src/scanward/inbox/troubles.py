"""What is wrong with the gateway as a whole: for its pages, its metrics and its alarms alike.

What only the gateway's first process knows it writes to `.troubles.json` in the inbox; how full the disk is and who is
silent is seen anew each time.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scanward.disk import read_json, write_json
from scanward.inbox import pulse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanward.inbox.folders import Inbox

FILE = ".troubles.json"


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong."""

    name: str
    """For machines, the same as long as it lasts: `disk.full`, `worker.dies`, …"""
    sentence: str
    """For people, without paths."""


def troubles(inbox: Inbox) -> list[Trouble]:
    """All that is wrong now, the worst first; empty where all is well. Reads a file and asks the disk, and may be
    called by any process for every page."""
    return [*_disk(inbox), *_silent(inbox), *_told(inbox)]


def tell(inbox: Inbox, found: Sequence[Trouble]) -> None:
    """Keeps what the gateway's first process knows, where it is news. Raises nothing for a full disk, which is seen
    without."""
    wanted = {"troubles": [asdict(one) for one in found]}
    with suppress(OSError):
        if read_json(inbox.root / FILE) != wanted:
            write_json(inbox.root / FILE, wanted)


def _disk(inbox: Inbox) -> list[Trouble]:
    if inbox.room():
        return []
    free = shutil.disk_usage(inbox.root).free >> 20
    waiting = sum(not inbox.room_to_answer(folder) for state in ("incoming", "working")
                  for folder in (inbox.root / state).glob("[!.]*"))
    also = f" {waiting} of them {'waits' if waiting == 1 else 'wait'} for room for the answer." if waiting else ""
    return [Trouble("disk.full", f"The disk is full ({free} MB are free): nothing more is taken in. Studies that are "
                                 f"here are scanned as long as their answers have room.{also} Free some space.")]


def _silent(inbox: Inbox) -> list[Trouble]:
    silent = pulse.late(inbox.root)
    found = []
    if pulse.NODE in silent:
        found.append(Trouble("node.stalled", "The DICOM node gives no sign of life: it may take nothing in. Start the "
                                             "gateway again."))
    stalled = [seconds for name, seconds in silent.items() if name.startswith(pulse.WORKER)]
    if stalled:
        found.append(Trouble("worker.stalled", f"{len(stalled)} of the processes that scan "
                                               f"{'gives' if len(stalled) == 1 else 'give'} no sign of life, for "
                                               f"{max(stalled) / 60:.0f} minutes longer than any work takes. Start the "
                                               "gateway again."))
    return found


def _told(inbox: Inbox) -> list[Trouble]:
    known = read_json(inbox.root / FILE).get("troubles")
    return [Trouble(str(one.get("name", "")), str(one.get("sentence", ""))) for one in known or ()
            if isinstance(one, dict)] if isinstance(known, list) else []
