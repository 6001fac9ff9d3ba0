"""Orthanc, followed by its list of changes."""

from __future__ import annotations

import threading
import time
from typing import Any

from scanward.delivery.server import entries, tags_of
from scanward.delivery.spool import Unreachable
from scanward.delivery.webclient import NotFound
from scanward.gateway.pull import Puller, Tally

PAGE = 100
PATIENCE = 120.0
"""Seconds after which a new study is looked at that was never said to be stable: Orthanc forgets to say it when it is
started anew meanwhile."""
MOST_PENDING = 5000


class Orthanc:
    """Its state: `since`, the number of the last change that was dealt with; `mark`, what that change was; `pending`,
    new studies that were not stable yet."""

    def __init__(self, puller: Puller) -> None:
        self._puller = puller
        state = puller.load()
        try:
            self._since, self._mark = int(state["since"]), str(state["mark"])
            self._pending = dict.fromkeys(map(str, state["pending"]), time.monotonic())
            self._oldest = ""
        except (KeyError, TypeError, ValueError, AttributeError):
            self._since, self._mark, self._pending = 0, "", {}
            # The first look at a server with years of studies takes the last days only.
            past = time.time() - 86400 * puller.pull.days
            self._oldest = time.strftime("%Y%m%dT%H%M%S", time.gmtime(past))

    def look(self, stop: threading.Event) -> bool:
        """One page of changes. The number is kept only when all objects of the page were received."""
        self._check_reset()
        answer = self._changes({"since": str(self._since), "limit": str(PAGE)})
        changes = answer["Changes"]
        for change in changes:
            if stop.is_set():
                return False
            self._deal(change)
        done = bool(answer.get("Done", True))
        if done:
            self._overdue(stop)
        if changes:
            self._since, self._mark = int(changes[-1]["Seq"]), _mark(changes[-1])
            self._puller.keep({"since": self._since, "mark": self._mark, "pending": self._pending})
        return not done and bool(changes)

    def _changes(self, params: dict[str, str]) -> dict[str, Any]:
        answer = self._puller.json("/changes", params)
        changes = answer.get("Changes") if isinstance(answer, dict) else None
        if not isinstance(changes, list) or not all(isinstance(c, dict) and isinstance(c.get("Seq"), int)
                                                    for c in changes):
            raise Unreachable(f"{self._puller.name} answers with no list of changes; check its url and kind.")
        return {**answer, "Changes": changes}

    def _check_reset(self) -> None:
        """Begins anew where the server's list is another one than last time; objects already received stay known."""
        if not self._since:
            return
        here = self._changes({"since": str(self._since - 1), "limit": "1"})["Changes"]
        if here and here[0]["Seq"] == self._since:
            other = _mark(here[0]) != self._mark
        else:  # the change is gone with what it was about, or the list is
            last = self._puller.json("/changes", {"last": ""})
            other = not isinstance(last, dict) or int(last.get("Last", 0)) < self._since
        if other:
            self._since, self._mark, self._pending = 0, "", {}

    def _deal(self, change: dict[str, Any]) -> None:
        study, kind = str(change.get("ID", "")), change.get("ChangeType")
        if str(change.get("Date", "")) < self._oldest:
            return
        if kind == "NewStudy" and len(self._pending) < MOST_PENDING:
            self._pending[study] = time.monotonic()
        elif kind == "StableStudy":
            self._take(study)
            self._pending.pop(study, None)

    def _overdue(self, stop: threading.Event) -> None:
        for study, since in list(self._pending.items()):
            if stop.is_set() or time.monotonic() - since < PATIENCE:
                continue
            try:
                stable = self._puller.json(f"/studies/{study}").get("IsStable", True)
            except NotFound:
                stable = True
            if stable:
                self._take(study)
                self._pending.pop(study, None)

    def _take(self, study: str) -> None:
        """Receives the objects of a study that have one of our modalities and are new."""
        tally, uid = Tally(), ""
        try:
            for series in entries(self._puller.json(f"/studies/{study}/series")):
                if tags_of(series).get("Modality") not in self._puller.pull.modalities:
                    continue
                for instance in entries(self._puller.json(f"/series/{series['ID']}/instances")):
                    # The file's own number is another one when the object was replaced.
                    name = f"{instance['ID']} {instance.get('FileUuid', '')}"
                    self._puller.take(name, f"/instances/{instance['ID']}/file", tally)
            uid = str(tags_of(self._puller.json(f"/studies/{study}")).get("StudyInstanceUID", ""))
        except NotFound:
            pass  # deleted meanwhile
        finally:
            self._puller.tell(uid, tally)


def _mark(change: dict[str, Any]) -> str:
    return f"{change.get('ID', '')} {change.get('ChangeType', '')} {change.get('Date', '')}"
