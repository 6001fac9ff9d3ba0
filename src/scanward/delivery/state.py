"""What became of what goes out: waiting, refused for good, or sent, read from the queues' own folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from scanward.delivery.spool import Spool

Shelf = Literal["waiting", "refused", "sent"]
SHELVES: tuple[Shelf, ...] = get_args(Shelf)
State = Literal["waiting", "stored", "refused", "sent", "committed"]
"""What waits is `stored` where the destination has it and has not given its word yet that it keeps it; what was sent is
`committed` where it has."""
QUEUES = {"results": "outgoing", "hooks": "outgoing-hooks"}
"""Names of the queues, and their folders."""
NAMED = re.compile(r"(?P<key>[0-9a-f]{24}|review)-(?:(?P<to>.*)-)?[0-9a-f]{32}", re.ASCII)
"""What an identifier says: the study, and where it names one the destination."""


@dataclass(frozen=True)
class Delivery:
    """Results for a destination, or a message for a webhook."""

    id: str
    queue: str
    """One of `QUEUES`."""
    state: State
    key: str
    """Of the study; empty where none is named."""
    to: str
    tries: int = 0
    why: str = ""
    """Why the last try failed."""
    added: float = 0.0
    """Seconds since 1970, like `next`; 0 where it is not known."""
    next: float = 0.0
    """When it is tried again, or its destination asked again."""


def names(root: Path, shelf: Shelf, key: str = "") -> list[tuple[str, str]]:
    """Queue and identifier of all on this shelf, those of the study `key` where one is given, the newest first in each
    queue. No file of theirs is read."""
    found = []
    for queue, folder in QUEUES.items():
        spool = Spool(root, folder)
        listed = spool.sent() if shelf == "sent" else spool.names(refused=shelf == "refused")
        found += [(queue, name) for name in listed if name.startswith(key)]
    return found


def listed(root: Path, shelf: Shelf, key: str = "", cut: slice = slice(None)) -> list[Delivery]:
    """What is known of those in a part of the list of `names`; none that leaves the shelf meanwhile."""
    committed = Spool(root, QUEUES["results"]).committed() if shelf == "sent" else frozenset()
    found = (delivery(root, queue, name, shelf, name in committed) for queue, name in names(root, shelf, key)[cut])
    return [one for one in found if one is not None]


def delivery(root: Path, queue: str, identifier: str, shelf: Shelf, committed: bool = False) -> Delivery | None:
    """What is known of one; None where it is not on this shelf any more."""
    said = NAMED.fullmatch(identifier)
    key, to = (said["key"], said["to"] or "") if said else ("", "")
    key = "" if key == "review" else key
    if shelf == "sent":
        return Delivery(identifier, queue, "committed" if committed else "sent", key, to)
    parcel = Spool(root, QUEUES[queue]).parcel(identifier, refused=shelf == "refused")
    if parcel is None:
        return None
    state: State = "stored" if parcel.taken and shelf == "waiting" else shelf
    return Delivery(identifier, queue, state, key, parcel.to, parcel.tries, parcel.error, parcel.added, parcel.next)


def of_study(root: Path, key: str) -> list[Delivery]:
    """All of one study, those first that need somebody."""
    shelves: tuple[Shelf, ...] = ("refused", "waiting", "sent")
    return [one for shelf in shelves for one in listed(root, shelf, key)]


def counts(root: Path) -> dict[str, int]:
    """How many are on each shelf."""
    return {shelf: len(names(root, shelf)) for shelf in SHELVES}


def again(root: Path, queue: str, identifier: str) -> bool:
    """Takes what was refused back into its queue; False where there is none of that name."""
    return queue in QUEUES and Spool(root, QUEUES[queue]).again(identifier)
