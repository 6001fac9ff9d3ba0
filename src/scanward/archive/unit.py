"""What an archive holds, one by one, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from scanward.formats import Source

Cursor = Any
"""Where a listing goes on, as a source's own JSON value; None: from the beginning."""


@dataclass(frozen=True)
class Unit:
    """One image, or one series: what gets one answer."""

    parts: tuple[str, ...]
    """Its files, by their paths within the source, or its objects' names at a server."""
    cost: int
    """Bytes, as far as they are known before it is fetched."""
    series: bool = False
    said: Literal["", "unscanned", "inconclusive"] = ""
    """The answer where the listing has it already: nobody looks at it, or nobody can."""
    reason: str = ""
    """Why; of what nobody can look at, an error."""

    @property
    def id(self) -> str:
        """A stable name: SHA-256 over its parts as JSON, which tells a name with a line break from two names; 32
        hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.parts).encode()).hexdigest()[:32]

    def line(self) -> str:
        """As a line of a listing, without its end."""
        return json.dumps([self.parts, self.cost, self.series, self.said, self.reason])

    @classmethod
    def of(cls, line: str | bytes) -> Unit:
        """Of a line of a listing."""
        parts, cost, series, said, reason = json.loads(line)
        return cls(tuple(parts), cost, series, said, reason)


@dataclass(frozen=True)
class Login:
    """What a server asks for."""

    user: str = ""
    password_file: Path | None = None
    authority: Path | None = None
    """Whose certificates are believed, PEM."""


class Archive(Protocol):
    """A place with images. Pickled, it goes to every worker; connections are made where they are needed."""

    @property
    def relisted(self) -> bool:
        """Nobody keeps its order: a listing that was cut short begins anew."""

    @property
    def repeats(self) -> bool:
        """It may list a unit more than once."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def distant(self) -> bool:
        """Files are fetched before they are judged."""

    def terms(self) -> dict[str, Any]:
        """What a run's answers depend on besides its name, as JSON values."""

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        """Every unit, each with where the listing goes on behind it; what does not fit into memory goes to the folder
        `scratch`. Raises `ScanwardError` where it cannot go on."""

    def address(self, unit: Unit) -> str:
        """The unit's first file, or object, for people."""

    def fetched(self, unit: Unit) -> AbstractContextManager[Source]:
        """Its files, on this machine while the block lasts. Raises `InputError` of what cannot be had, and another
        `ScanwardError` of what would befall every unit."""
