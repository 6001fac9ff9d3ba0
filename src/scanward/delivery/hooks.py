"""Web addresses that are told of finished studies and of troubles, without anything of the patient."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scanward.delivery.spool import Parcel, Spool, Told, Unreachable
from scanward.delivery.webclient import client, secret, streamed
from scanward.disk import plain_file
from scanward.errors import ArgumentError
from scanward.inbox.folders import stamp
from scanward.inbox.record import KEY, StudyRecord

if TYPE_CHECKING:
    from scanward.settings import Webhook

DAYS = 3
"""How long a message is tried for: it says that something has just happened."""
ANSWER = 20.0
SIGNATURE = "X-Scanward-Signature"


class Hooks:
    """Messages wait in `root/outgoing-hooks/` until they are delivered."""

    def __init__(self, root: Path, told: Told | None = None) -> None:
        self.spool = Spool(root, "outgoing-hooks", told, keep=DAYS * 86400.0)

    def notify(self, study: StudyRecord, hooks: Sequence[Webhook], event: str = "study.finished") -> int:
        """Queues a message on `study` for every hook that asked for its label; how many are new. The same result is
        told once."""
        message = message_of(study, event)
        told = 0
        for hook in hooks:
            if "study" in hook.events and (not hook.labels or message["label"] in hook.labels):
                told += self._add(message["key"] or "study", message, hook)
        return told

    def tell(self, trouble: Mapping[str, str], hooks: Sequence[Webhook]) -> int:
        """Queues a message on a trouble, which has no `time` yet, for every hook that asked for such; how many are
        new. Raises `ArgumentError` where it cannot be written."""
        message = {**trouble, "time": stamp()}
        return sum(self._add("trouble", message, hook) for hook in hooks if "trouble" in hook.events)

    def _add(self, about: str, message: Mapping[str, Any], hook: Webhook) -> bool:
        # Without the time: what is said again after a kill is no news.
        same = json.dumps([hook.url, {**message, "time": ""}], sort_keys=True).encode()
        body = json.dumps(message, sort_keys=True).encode()

        def fill(folder: Path) -> None:
            (folder / "message.json").write_bytes(body)

        return self.spool.add(f"{about}-{hashlib.sha256(same).hexdigest()[:32]}", fill, name_of(hook))

    def run_once(self, hooks: Sequence[Webhook], stop: threading.Event | None = None) -> float | None:
        """Sends what is due; the seconds until the next try, None where nothing waits."""
        known = {name_of(hook): hook for hook in hooks}

        def one(folder: Path, parcel: Parcel) -> None:
            if parcel.to not in known:
                raise Unreachable(f"The settings no longer have the webhook {parcel.to}.")
            _post(known[parcel.to], folder / "message.json", folder.name)

        return self.spool.deliver_due(one, stop)


def message_of(study: StudyRecord, event: str) -> dict[str, Any]:
    """What leaves the house: no patient, no UID, no description, and no text that came in with a file."""
    return {
        "event": event, "key": study.key if KEY.fullmatch(study.key) else "",
        "modality": study.modality if study.modality in ("MG", "CT") else "", "label": study.label,
        "score": None if study.score is None else round(study.score, 6), "images": len(study.images),
        "time": stamp(),
    }  # fmt: skip


def name_of(hook: Webhook) -> str:
    """A webhook in messages and files: the host, and what tells two of it apart; its path may be a secret."""
    return f"{urlsplit(hook.url).hostname}-{hashlib.sha256(hook.url.encode()).hexdigest()[:8]}"


def signature(key: str, body: bytes, moment: int) -> str:
    """The header's value: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY`.

    A receiver computes it anew, compares in constant time, and refuses moments that are minutes away from its clock.
    """
    return f"t={moment},v1={hmac.new(key.encode(), b'%d.' % moment + body, hashlib.sha256).hexdigest()}"


def _post(hook: Webhook, path: Path, identifier: str) -> None:
    from scanward.setting_types import Tls

    with plain_file(path) as file:
        body = file.read()
    headers = {"Content-Type": "application/json", "X-Scanward-Delivery": identifier}
    if hook.secret_file is not None:
        key = secret(hook.secret_file)
        if not key:
            raise ArgumentError(f"{hook.secret_file} is empty; write the webhook's secret into it.")
        headers[SIGNATURE] = signature(key, body, int(time.time()))
    with (client(hook.url, "", None, Tls(), timeout=ANSWER) as web,
          streamed(web, "POST", hook.url, f"Webhook {name_of(hook)}", passed=tuple(range(200, 300)), content=body,
                   headers=headers)):
        pass
