"""What became of what goes out: waiting, refused for good, or sent, read from the queues' own folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from scanward.delivery.spool import Parcel, Spool

State = Literal["waiting", "refused", "sent"]
STATES: tuple[State, ...] = get_args(State)
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
    """When it is tried again."""


def names(root: Path, state: State, key: str = "") -> list[tuple[str, str]]:
    """Queue and identifier of all in this state, those of the study `key` where one is given, the newest first in each
    queue. No file of theirs is read."""
    found = []
    for queue, folder in QUEUES.items():
        spool = Spool(root, folder)
        listed = spool.sent() if state == "sent" else spool.names(refused=state == "refused")
        found += [(queue, name) for name in listed if name.startswith(key)]
    return found


def delivery(root: Path, queue: str, identifier: str, state: State) -> Delivery | None:
    """What is known of one; None where it is not in this state any more."""
    said = NAMED.fullmatch(identifier)
    key, to = (said["key"], said["to"] or "") if said else ("", "")
    key = "" if key == "review" else key
    if state == "sent":
        return Delivery(identifier, queue, state, key, to)
    parcel = Spool(root, QUEUES[queue]).parcel(identifier, refused=state == "refused")
    return None if parcel is None else _with(identifier, queue, state, key, parcel)


def of_study(root: Path, key: str) -> list[Delivery]:
    """All of one study, those first that need somebody."""
    return [one for state in ("refused", "waiting", "sent") for queue, name in names(root, state, key)
            if (one := delivery(root, queue, name, state)) is not None]


def counts(root: Path) -> dict[str, int]:
    """How many are in each state."""
    return {state: len(names(root, state)) for state in STATES}


def again(root: Path, queue: str, identifier: str) -> bool:
    """Takes what was refused back into its queue; False where there is none of that name."""
    return queue in QUEUES and Spool(root, QUEUES[queue]).again(identifier)


def _with(identifier: str, queue: str, state: State, key: str, parcel: Parcel) -> Delivery:
    return Delivery(identifier, queue, state, key, parcel.to, parcel.tries, parcel.error, parcel.added, parcel.next)
