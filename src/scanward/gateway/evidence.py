"""Keyed evidence in the gateway: records found again, series verified, and CT protected on its way out."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from scanward import protection
from scanward.disk import read_json, sync_folder
from scanward.formats import Source
from scanward.formats.identity import Identity, identity_of
from scanward.image import Image
from scanward.inbox.folders import Inbox, Job, Study, linked
from scanward.protectors.seal import Answer
from scanward.settings import Gateway

LARGEST = 1 << 30


class Evidence:
    """The keys that the settings name, and the records."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        self._key = gateway.work.verify_key or gateway.protect.key
        self._protect, self._inbox = gateway.protect, inbox
        self._folders = [inbox.root / "records", *([gateway.work.records] if gateway.work.records else [])]
        self._salts: dict[Path, str] = {}

    @property
    def on(self) -> bool:
        """There is a key, so that an answer may change when a record turns up."""
        return self._key is not None

    def verify(self, source: Source, identity: Identity) -> tuple[Image, Answer] | None:
        """What the evidence in an image says; None where there is neither a key, nor evidence, nor a record of it."""
        if self._key is None:
            return None
        return protection.verify_source(source, self._key, self._record(source, identity))

    def _record(self, source: Source, identity: Identity) -> Path | None:
        """By the salt that the image names or, where a forger took that away, by the series it says it is."""
        salt = protection.salt_in(source)
        own = self._inbox.root / "records"
        names = [f"{salt.hex()}.json"] if salt else []
        for name in (*names, f"{_digest(identity.series)}.json"):
            if (own / name).is_file():
                return own / name
        return self._by_salt(salt.hex()) if salt else None

    def _by_salt(self, salt: str) -> Path | None:
        for folder in self._folders[1:]:
            for path in folder.rglob("*.json"):
                if path not in self._salts:
                    self._salts[path] = _salt_of(path)
                if self._salts[path] == salt:
                    return path
        return None

    def protected(self, job: Job, source: Source, members: list[Identity], name: str,
                  earlier: Study | None) -> list[Path]:
        """A CT series protected, once and for all, in `protected/NAME` of its study; empty where any of it is ours
        already, or the settings do not ask for it. What says that it is synthetic is not sent on unless they say so."""
        if self._protect.key is None or any(self._inbox.made(one.sop_instance) for one in members):
            return []
        if any(one.synthetic for one in members) and not self._protect.send_synthetic:
            return []
        folder = job.folder / "protected" / name
        if earlier is not None and (before := earlier.folder / "protected" / name).is_dir() and not folder.is_dir():
            linked(before, folder)
        if not folder.is_dir():
            series = job.folder / f".{name}"
            shutil.rmtree(series, ignore_errors=True)
            series.mkdir()
            for path in source.paths:
                os.link(path, series / path.name)
            try:
                protection.protect_file(series, folder, self._protect.key)
            finally:
                shutil.rmtree(series, ignore_errors=True)
        files = sorted(folder.rglob("*.dcm"))
        made = [identity_of(path) for path in files]
        self._keep(folder / protection.RECORD, made[0].series)
        for one in made:
            self._inbox.mark_made(one.sop_instance)
        return files

    def _keep(self, record: Path, series: str) -> None:
        folder = self._inbox.root / "records"
        for name in (f"{_salt_of(record)}.json", f"{_digest(series)}.json"):
            with suppress(FileExistsError):
                os.link(record, folder / name)
        sync_folder(folder)


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _salt_of(path: Path) -> str:
    """The salt of a record; empty where the file is none."""
    with suppress(OSError):
        if path.stat().st_size <= LARGEST:
            return str(read_json(path).get("salt", ""))
    return ""
