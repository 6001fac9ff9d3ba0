"""Any DICOMweb server, followed by asking again and again for the studies of the last days (QIDO-RS, WADO-RS)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from scanward.delivery.spool import Unreachable
from scanward.delivery.webclient import NotFound
from scanward.gateway.pull import Puller, Tally

PAGE = 100
AGAIN = 300.0
"""Seconds after which a study is looked at again whose server does not count its objects."""
JSON = "application/dicom+json"
OBJECT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
UID = re.compile(r"[0-9]+(\.[0-9]+){1,40}")
STUDY, SERIES, INSTANCE, MODALITY, COUNT = "0020000D", "0020000E", "00080018", "00080060", "00201208"
DAY = 86400


class DicomWeb:
    """Knows, until it ends, how many objects each study had when all of them were received."""

    def __init__(self, puller: Puller) -> None:
        self._puller = puller
        self._complete: dict[str, tuple[int | None, float]] = {}

    def look(self, stop: threading.Event) -> bool:
        """All studies of the last days, and of tomorrow for servers whose day has begun."""
        now = time.time()
        dates = "-".join(time.strftime("%Y%m%d", time.localtime(moment))
                         for moment in (now - self._puller.pull.days * DAY, now + DAY))
        seen: dict[str, tuple[int | None, float]] = {}
        for modality in self._puller.pull.modalities:
            params = {"StudyDate": dates, "ModalitiesInStudy": modality, "includefield": COUNT}
            for study in self._all("/studies", params, stop):
                uid, count = _text(study, STUDY), _number(study, COUNT)
                if not UID.fullmatch(uid) or uid in seen:
                    continue
                seen[uid] = self._complete.get(uid, (-1, 0.0))
                if stop.is_set():
                    return False
                if not self._unchanged(uid, count) and self._take(uid, stop):
                    seen[uid] = (count, time.monotonic())
        self._complete = seen
        return False

    def _unchanged(self, uid: str, count: int | None) -> bool:
        known, when = self._complete.get(uid, (-1, 0.0))
        return known == count and (count is not None or time.monotonic() - when < AGAIN)

    def _take(self, study: str, stop: threading.Event) -> bool:
        """Receives what is new of a study; whether it went through to the end."""
        tally, asked = Tally(), False
        try:
            for series in list(self._all(f"/studies/{study}/series", {}, stop)):
                uid = _text(series, SERIES)
                if _text(series, MODALITY) not in self._puller.pull.modalities or not UID.fullmatch(uid):
                    continue
                where = f"/studies/{study}/series/{uid}/instances"
                for instance in list(self._all(where, {}, stop)):
                    name = _text(instance, INSTANCE)
                    if stop.is_set():
                        return False
                    if not UID.fullmatch(name) or self._puller.known(name):
                        continue
                    if not asked:
                        self._puller.audit.record("query", pull=self._puller.pull.name, address=self._puller.url(where))
                        asked = True
                    self._puller.take(name, f"{where}/{name}", tally, OBJECT)
        except NotFound:
            return False  # deleted meanwhile
        finally:
            self._puller.tell(study, tally)
        return not stop.is_set()

    def _all(self, path: str, params: dict[str, str], stop: threading.Event) -> Iterator[dict[str, Any]]:
        """Every answer to a query, page by page; servers that know no pages answer at once."""
        offset, first = 0, ""
        while not stop.is_set():
            found = self._puller.json(path, {**params, "limit": str(PAGE), "offset": str(offset)}, JSON)
            if found is None:
                return
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise Unreachable(f"{self._puller.name} answers a query with no list; check its url.")
            head = str(found[:1])
            if offset and head == first:
                return  # it takes no notice of the offset
            first = head
            yield from found
            if len(found) < PAGE:
                return
            offset += len(found)


def _value(found: dict[str, Any], tag: str) -> Any:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(found: dict[str, Any], tag: str) -> str:
    value = _value(found, tag)
    return value if isinstance(value, str) else ""


def _number(found: dict[str, Any], tag: str) -> int | None:
    try:
        return int(_value(found, tag))
    except (TypeError, ValueError):
        return None
