"""Any DICOMweb server, followed by asking again and again for the studies of the last days (QIDO-RS, WADO-RS)."""

from __future__ import annotations

import threading
import time

from scanward.delivery.server import COUNT, INSTANCE, MODALITY, OBJECT, SERIES, STUDY, UID, number_of, text_of
from scanward.delivery.webclient import NotFound
from scanward.gateway.pull import Puller, Tally

AGAIN = 300.0
"""Seconds after which a study is looked at again whose server does not count its objects."""
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
            for study in self._puller.all("/studies", params, stop):
                uid, count = text_of(study, STUDY), number_of(study, COUNT)
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
            for series in list(self._puller.all(f"/studies/{study}/series", {}, stop)):
                uid = text_of(series, SERIES)
                if text_of(series, MODALITY) not in self._puller.pull.modalities or not UID.fullmatch(uid):
                    continue
                where = f"/studies/{study}/series/{uid}/instances"
                for instance in list(self._puller.all(where, {}, stop)):
                    name = text_of(instance, INSTANCE)
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
