"""Storage commitment (PS3.4 J): a destination is asked for its word that it keeps what it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import evt

from scanward.delivery.association import associated
from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.words import broken, name_of, of_commitment
from scanward.errors import UnreadableError
from scanward.formats import commitment as form
from scanward.formats.commitment import INSTANCE, PUSH_MODEL, Report
from scanward.formats.dataset import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from scanward.settings import Destination

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE)
NO_SUCH_EVENT, INVALID, PROCESSING, LIMITED = 0x0113, 0x0115, 0x0110, 0x0213
"""Statuses of PS3.7 annex C."""
LINGER, LOOK = 1.0, 0.02
"""Seconds for which the association stays open for a report that comes on it, and between two looks."""

Take = Callable[[str, str, Callable[[int], Report]], str]
"""`take(transaction, sender, read)`: why a report does not count, or nothing where it is on disk. `OSError` where it
cannot be. Only what may count is worth to `read`, which takes the number of objects that it may be about."""


def ask(transaction: str, objects: Sequence[tuple[str, str]], to: Destination, calling: str, take: Take,
        said: Callable[[], bool]) -> None:
    """Asks by N-ACTION for the word that `objects`, (SOP class, SOP instance) each, are kept.

    The word comes when the receiver likes, here or elsewhere; `said` tells whether it has come. Raises `Unreachable`
    where asking again later may help, `Refused` where it cannot.
    """
    def hear(event: evt.Event) -> tuple[int, None]:
        return answer_to(event, to.aet, take)[0], None

    with associated({(PUSH_MODEL, syntax) for syntax in SYNTAXES}, to, calling, [(evt.EVT_N_EVENT_REPORT, hear)],
                    none="offers no storage commitment; set commitment = false for it") as line:
        try:
            status, _ = line.send_n_action(form.request_for(transaction, objects), form.ASK, PUSH_MODEL, INSTANCE)
        except RuntimeError as error:
            raise broken(to) from error
        if "Status" not in status:
            raise broken(to)
        code = int(status.Status)
        if code in (PROCESSING, LIMITED):
            raise Unreachable(f"{name_of(to)} took the request for its commitment not now ({of_commitment(code)}).")
        if code:
            raise Refused(f"{name_of(to)} refused the request for its commitment ({of_commitment(code)}).")
        end = time.monotonic() + LINGER
        while time.monotonic() < end and line.is_established and not said():
            time.sleep(LOOK)


def answer_to(event: Any, sender: str, take: Take) -> tuple[int, str]:
    """The status that answers an N-EVENT-REPORT of `sender`, and why it is none of success."""
    request, syntax = event.request, event.context.transfer_syntax
    if request.AffectedSOPClassUID != PUSH_MODEL or request.EventTypeID not in form.EVENTS:
        return NO_SUCH_EVENT, "It reports another event than that of storage commitment."
    if request.EventInformation is None:
        return INVALID, "It says nothing."
    try:
        why = take(form.transaction_in(request.EventInformation, syntax), sender,
                   lambda objects: form.report_in(request.EventInformation, syntax, objects))
    except UnreadableError as error:
        return INVALID, str(error)
    except OSError as error:
        return PROCESSING, f"What it says cannot be written ({error.strerror})."
    return (INVALID if why else 0), why
