"""Troubles told to people: in the audit log and to webhooks, when one begins and when it is over, each once.

What was told lies in `.alarms.json` in the inbox: a restart tells nothing twice, and forgets nothing that was going on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from scanward.delivery.certificates import DAY, Certificates
from scanward.disk import read_json, write_json
from scanward.errors import ScanwardError
from scanward.inbox.folders import Inbox, stamp
from scanward.inbox.troubles import Trouble

if TYPE_CHECKING:
    from scanward.delivery.hooks import Hooks
    from scanward.settings import Webhook

FILE = ".alarms.json"
CALM = 30.0
"""Seconds without a trouble after which it is over: a disk that is full now and then is one trouble."""


@dataclass(frozen=True)
class Alarm:
    """A trouble that was told, or is to be."""

    sentence: str
    since: str
    """ISO-8601, UTC, as `over`."""
    over: str = ""
    """When it was; empty as long as it lasts."""


class Alarms:
    """To be asked by one process, again and again."""

    def __init__(self, inbox: Inbox, said: Callable[..., None], hooks: Hooks, to: Sequence[Webhook],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`said` is the audit's `record`."""
        self._path, self._said, self._hooks, self._to, self._clock = inbox.root / FILE, said, hooks, to, clock
        self._known = _read(read_json(self._path).get("alarms"))
        self._seen = dict.fromkeys(self._known, clock())
        self._told, self._kept = set[tuple[str, str, str]](), True

    def look(self, found: Sequence[Trouble]) -> None:
        """What is wrong now."""
        now = self._clock()
        for one in found:
            self._seen[one.name] = now
            if one.name not in self._known:
                self._said("trouble.began", "serious", reason=one.sentence)
                self._set(one.name, Alarm(one.sentence, stamp()))
        for name, alarm in list(self._known.items()):
            if not alarm.over and now - self._seen[name] >= CALM:
                self._said("trouble.ended", "success", reason=alarm.sentence)
                self._set(name, replace(alarm, over=stamp()))
        with suppress(OSError, ScanwardError):  # a full disk: once there is room
            self._tell()

    def _tell(self) -> None:
        # What is not kept could be told again, as another one, after a kill.
        self._keep()
        for name, alarm in list(self._known.items()):
            self._tell_once(name, "trouble.began", alarm)
            if alarm.over:
                self._tell_once(name, "trouble.ended", alarm)
                self._set(name, None)
        self._keep()

    def _tell_once(self, name: str, event: str, alarm: Alarm) -> None:
        if (name, event, alarm.since) not in self._told:
            self._hooks.tell({"event": event, "trouble": name, "sentence": alarm.sentence, "since": alarm.since},
                             self._to)
            self._told.add((name, event, alarm.since))

    def _set(self, name: str, alarm: Alarm | None) -> None:
        self._kept = False
        if alarm is None:
            del self._known[name]
        else:
            self._known[name] = alarm

    def _keep(self) -> None:
        if not self._kept:
            write_json(self._path, {"alarms": {name: asdict(one) for name, one in self._known.items()}})
            self._kept = True


def expiring(certificates: Certificates, days: float) -> list[Trouble]:
    """Certificates that end within so many days, or have."""
    found, now = [], time.time()
    for name, end in sorted(certificates.ends().items()):
        left = (end - now) / DAY
        if left < days:
            when = f"ends in {left:.0f} days" if left >= 1 else "ends within a day" if left > 0 else \
                "has ended" if end else "cannot be read"
            found.append(Trouble(f"certificate.{name}", f"The certificate of {name} {when}; give a new one, and start "
                                                        "the gateway again."))
    return found


def _read(values: object) -> dict[str, Alarm]:
    found = {}
    if isinstance(values, dict):
        for name, one in values.items():
            with suppress(TypeError, KeyError):
                found[str(name)] = Alarm(str(one["sentence"]), str(one["since"]), str(one["over"]))
    return found
