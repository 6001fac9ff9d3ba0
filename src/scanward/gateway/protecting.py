"""CT that came in protected on its way out, and the records of that."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from scanward import protection
from scanward.disk import sync_folder
from scanward.formats import Source
from scanward.formats.identity import Identity, identity_of
from scanward.inbox.folders import Inbox, Job, Study, linked
from scanward.protection import Records
from scanward.settings import Gateway


class Protector:
    """Protects what the settings want protected, and keeps the records."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        self._protect, self._inbox = gateway.protect, inbox

    def key_for(self, members: list[Identity]) -> Path | None:
        """The key, where the settings ask for a volume of these and none of it is ours already. What says that it is
        synthetic is not sent on unless they say so."""
        return None if any(
            self._inbox.made(one.sop_instance) or (one.synthetic and not self._protect.send_synthetic)
            for one in members) else self._protect.key

    def protected(self, job: Job, source: Source, key: Path, name: str, earlier: Study | None) -> list[Path]:
        """A CT volume protected, once and for all, in `protected/NAME` of its study."""
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
                protection.protect_file(series, folder, key)
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
        for name in Records.names_of(record, series):
            with suppress(FileExistsError):
                os.link(record, folder / name)
        sync_folder(folder)
