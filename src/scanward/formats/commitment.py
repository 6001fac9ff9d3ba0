"""Storage commitment as data sets: what is asked, and what is reported back (PS3.4 J.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from scanward.errors import UnreadableError
from scanward.formats.dataset import IMPLICIT_LITTLE

PUSH_MODEL, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""SOP class and the well-known SOP instance."""
ASK = 1
"""Action type of the request."""
EVENTS = (1, 2)
"""Event types of a report: all objects are kept; some are not."""
LARGEST = 4 << 20
"""Bytes of a report that is read: some 20,000 objects."""
HEAD, ENTRY = 1 << 16, 512
"""Bytes of a report besides its objects, and of each: an empty entry of 8 takes 50 microseconds to read."""
UNDEFINED = 0xFFFFFFFF
"""A length that says that the end is marked."""
UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
TRANSACTION, FAILED, KEPT = 0x00081195, 0x00081198, 0x00081199
UNKNOWN = 0x0110


@dataclass(frozen=True)
class Report:
    """What a receiver says of the objects of one request."""

    transaction: str
    kept: frozenset[str]
    """SOP Instance UIDs."""
    failed: dict[str, int]
    """Failure Reason by SOP Instance UID (PS3.3 C.14.1.1)."""


def request_for(transaction: str, objects: Iterable[tuple[str, str]]) -> Dataset:
    """Asks for the word that objects, (SOP class, SOP instance) each, are kept."""
    items = []
    for sop_class, sop_instance in objects:
        items.append(Dataset())
        items[-1].ReferencedSOPClassUID, items[-1].ReferencedSOPInstanceUID = sop_class, sop_instance
    data = Dataset()
    data.TransactionUID, data.ReferencedSOPSequence = transaction, items
    return data


def transaction_in(stream: BinaryIO, syntax: str) -> str:
    """The request that a report answers, without the cost of any list in it; `UnreadableError` as `report_in`. Anybody
    may make somebody read it."""
    return str(_read(stream, syntax, TRANSACTION, LARGEST, lists=False).get("TransactionUID", ""))


def report_in(stream: BinaryIO, syntax: str, objects: int) -> Report:
    """The report on so many objects in an encoded data set in little endian; `UnreadableError` where it is none, is
    longer than such a one can be, or names an object twice."""
    data = _read(stream, syntax, KEPT, min(LARGEST, HEAD + ENTRY * objects))
    try:
        transaction = str(data.get("TransactionUID", ""))
        kept = [_uid(item) for item in data.get("ReferencedSOPSequence") or ()]
        failed = [(_uid(item), int(item.get("FailureReason", UNKNOWN))) for item in data.get("FailedSOPSequence") or ()]
    except Exception as error:  # pydicom raises what its parts raise
        raise UnreadableError("The report cannot be read.") from error
    named = kept + [uid for uid, _ in failed]
    if not all(UID.fullmatch(uid) for uid in (transaction, *named)):
        raise UnreadableError("The report names something by what is no UID.")
    if len(set(named)) < len(named):
        raise UnreadableError("The report names an object twice.")
    return Report(transaction, frozenset(kept), dict(failed))


def _read(stream: BinaryIO, syntax: str, last: int, largest: int, *, lists: bool = True) -> Dataset:
    """The elements up to the one with this tag; without `lists`, or up to the first list before it, which a report has
    none of."""
    stream.seek(0)
    if len(stream.read(largest + 1)) > largest:
        raise UnreadableError(f"The report has more than {largest >> 20} MB." if largest == LARGEST else
                              "The report is longer than one on the objects that were asked for.")

    def over(tag: BaseTag, vr: str | None, length: int) -> bool:
        return int(tag) > last or (not lists and (vr == "SQ" or length == UNDEFINED))

    stream.seek(0)
    try:
        return read_dataset(stream, syntax == IMPLICIT_LITTLE, True, stop_when=over,
                            specific_tags=[BaseTag(tag) for tag in (TRANSACTION, FAILED, KEPT)])
    except Exception as error:  # as above
        raise UnreadableError("The report cannot be read.") from error


def _uid(item: Any) -> str:
    return str(item.ReferencedSOPInstanceUID)
