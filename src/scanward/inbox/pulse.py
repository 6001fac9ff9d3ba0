"""Signs of life of the gateway's processes: each says for how long it may be silent, and one can see who is late.

A sign is a file in `.alive/` whose time stamp is the moment until which its process may be silent: nothing is written,
so that a full disk silences nobody. It goes by the system's monotonic clock, which is one for all processes and which
nobody sets.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

FOLDER = ".alive"
NODE = "node"
WORKER = "worker"
"""Of the node, and of the processes that scan, which have their number behind it."""


def clear(root: Path) -> None:
    """Of what ran before, nothing is known, nor of anything else that has the folder's name. Raises `OSError` where the
    folder cannot be made."""
    folder = root / FOLDER
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir()


def beat(root: Path, name: str, seconds: float) -> None:
    """This process lives, and may be silent for so long. Never raises `OSError`: silence says it."""
    path, until = root / FOLDER / name, round(1e9 * (time.monotonic() + seconds))
    with suppress(OSError):
        try:
            os.utime(path, ns=(until, until))
        except FileNotFoundError:
            path.touch(mode=0o600)
            os.utime(path, ns=(until, until))


def late(root: Path) -> dict[str, float]:
    """Those that are silent for longer than they said, and for how many seconds by now."""
    found, now = dict[str, float](), time.monotonic()
    with suppress(FileNotFoundError):
        for entry in sorted(os.scandir(root / FOLDER), key=lambda one: one.name):
            with suppress(FileNotFoundError):
                silent = now - entry.stat().st_mtime_ns / 1e9
                if silent > 0:
                    found[entry.name] = silent
    return found


def heard(root: Path, name: str) -> bool:
    """Whether it is there and not late."""
    return (root / FOLDER / name).exists() and name not in late(root)
