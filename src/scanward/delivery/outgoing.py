"""Result objects on their way to destinations: a queue that outlives a kill at any instant."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scanward.delivery.send import deliver
from scanward.delivery.spool import Parcel, Spool, Told, Unreachable

if TYPE_CHECKING:
    from scanward.settings import Destination


class Outgoing:
    """`root/outgoing/ID/` with the files and `to.json`; what is refused for good goes to `root/outgoing-failed/ID/`.

    Any process may `add`; one at a time delivers. `told(id, destination, outcome, why)` hears of every try.
    """

    def __init__(self, root: Path, told: Told | None = None) -> None:
        self.spool = Spool(root, "outgoing", told)

    def add(self, id: str, files: list[Path], destination: str) -> bool:
        """Puts `files` on their way; False, and nothing happens, where `id` waits, was delivered or was refused.

        They are hard links where the file system has them, so write results whole and never into a file. On disk when
        it returns; `ArgumentError` where the disk is full or a file is missing.
        """
        def fill(folder: Path) -> None:
            for number, path in enumerate(files):
                target = folder / f"{number:05}.dcm"
                with suppress(OSError):
                    os.link(path, target)
                    continue
                shutil.copyfile(path, target)

        return self.spool.add(id, fill, destination)

    def run_once(self, destinations: Sequence[Destination], calling: str,
                 stop: threading.Event | None = None) -> float | None:
        """Tries what is due and returns the seconds until the next try, None where nothing waits.

        `stop` ends it between two deliveries. What is addressed to a destination that the settings no longer name
        waits until they do.
        """
        known = {one.name: one for one in destinations}

        def one(folder: Path, parcel: Parcel) -> None:
            if parcel.to not in known:
                raise Unreachable(f"The settings name no destination {parcel.to!r}; results for it wait.")
            deliver(sorted(folder.glob("*.dcm")), known[parcel.to], calling=calling)

        return self.spool.deliver_due(one, stop)
