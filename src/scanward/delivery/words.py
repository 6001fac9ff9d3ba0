"""What sentences say of a destination and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanward.delivery.spool import Unreachable

if TYPE_CHECKING:
    from scanward.settings import Destination

UNSUPPORTED = 0x0122
STORE = {0xA7: "it is out of resources", 0xA9: "the object does not match its SOP class", 0xC0: "it cannot understand "
         "the object", 0x01: "it cannot process the object"}
"""By the first byte of a C-STORE status (PS3.4 table B.2-1)."""
REASONS = {0x0110: "it failed to process the object", 0x0112: "it has no such object", 0x0119: "it has the object as "
           "one of another SOP class", UNSUPPORTED: "it does not keep this kind of object", 0x0131: "it knows the "
           "request already", 0x0213: "it is out of resources"}
"""Failure Reason (0008,1197) of storage commitment (PS3.3 C.14.1.1), and statuses that answer the request."""


def name_of(to: Destination) -> str:
    """As sentences call it."""
    return f"Destination {to.name}"


def broken(to: Destination) -> Unreachable:
    """An answer did not come."""
    return Unreachable(f"{name_of(to)} broke the connection off, or did not answer in time.")


def of_store(status: int) -> str:
    """A C-STORE status that is no success."""
    if status == UNSUPPORTED:
        return "status 0x0122: it does not take this kind of object"
    meaning = STORE.get(0xC0 if status >> 12 == 0xC else status >> 8)
    return f"status 0x{status:04X}" + (f": {meaning}" if meaning else "")


def of_commitment(reason: int) -> str:
    """Why it does not promise to keep an object."""
    meaning = REASONS.get(reason)
    return f"reason 0x{reason:04X}" + (f": {meaning}" if meaning else "")
