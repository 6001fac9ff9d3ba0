"""Heads of a log: how many entries it had, and the root of their tree, signed."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from scanward.errors import UnreadableError
from scanward.formats.guard import shown
from scanward.seals.merkle import Hash
from scanward.seals.signing import bytes_of, certificate_in, der_of

DOMAIN = b"scanward log 1\0"
LARGEST = 1 << 26
"""Bytes of a file of heads."""


@dataclass(frozen=True)
class Head:
    """The state of a log: how many entries, and the root of their tree, signed."""

    size: int
    root: Hash
    made: str
    signature: bytes = b""
    certificate: x509.Certificate | None = None
    """Of the key that signed; heads had none at first."""
    file: Path | None = None
    """Where it was read from, by `read_heads`."""

    @property
    def data(self) -> bytes:
        """What is signed."""
        return DOMAIN + json.dumps([self.size, self.root.hex(), self.made]).encode()

    def to_json(self) -> dict[str, Any]:
        """For a file or another's keeping."""
        made = {"size": self.size, "root": self.root.hex(), "made": self.made, "signature": _text(self.signature)}
        return made if self.certificate is None else made | {"certificate": _text(der_of(self.certificate))}


def head_in(value: dict[str, Any], where: Path) -> Head:
    """A head from its JSON; `UnreadableError` where it is none."""
    try:
        der = base64.b64decode(value["certificate"], validate=True) if "certificate" in value else None
        return Head(int(value["size"]), bytes.fromhex(value["root"]), str(value["made"]),
                    base64.b64decode(value["signature"], validate=True),
                    None if der is None else certificate_in(der, shown(where)))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UnreadableError(f"{shown(where)} holds no head of a log; name what `scanward log head` "
                              "printed.") from None


def read_heads(path: Path) -> list[Head]:
    """The heads in a file, one a line, as `scanward log head` printed them; `UnreadableError` where it holds others."""
    text = bytes_of(path, "file of heads", LARGEST).decode("utf-8", "replace")
    try:
        heads = [head_in(json.loads(line), path) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{shown(path)} holds no heads of a log; keep what `scanward log head` "
                              "printed.") from error
    if not heads:
        raise UnreadableError(f"{shown(path)} holds no heads of a log; keep what `scanward log head` printed.")
    return [dataclasses.replace(head, file=path) for head in heads]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
