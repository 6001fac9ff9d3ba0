"""From what a user typed to the archive that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scanward.archive.folder import local_archive
from scanward.archive.unit import Archive

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=/|//|http)")
SERVERS = ("orthanc", "dicomweb")


@dataclass(frozen=True)
class Login:
    """What a server asks for."""

    user: str = ""
    password_file: Path | None = None
    authority: Path | None = None


def archive_of(source: str, login: Login = Login()) -> Archive:
    """A folder, a list, or a server. Raises `ArgumentError` for what names none."""
    return local_archive(Path(source))
