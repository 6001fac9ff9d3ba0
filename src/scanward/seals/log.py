"""A log of seals to which entries are only ever added: who replaces a study together with its seal, or takes both away,
cannot take the entry out without breaking the heads that others keep.

A folder with `entries.jsonl`, one line a seal, and `heads.jsonl`, signed heads. Line and head say what they hash, so
that a line cut short by a kill or a full disk is none.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from scanward.disk import Journal
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown
from scanward.seals.merkle import Hash, consistency, inclusion, leaf_of, root_of
from scanward.seals.record import Seal
from scanward.seals.signing import Signer, genuine

ENTRIES, HEADS, LOCK = "entries.jsonl", "heads.jsonl", "lock"
DOMAIN = b"scanward log 1\0"


@dataclass(frozen=True)
class Entry:
    """One seal in the log."""

    index: int
    seal: str
    """`Seal.root` in hexadecimal."""
    name: str
    made: str
    """As the seal has it."""
    study: dict[str, str]

    @property
    def leaf(self) -> Hash:
        """Its hash in the tree."""
        return leaf_of(self.data)

    @property
    def data(self) -> bytes:
        """What is hashed."""
        return json.dumps({"seal": self.seal, "name": self.name, "made": self.made, "study": self.study},
                          sort_keys=True, separators=(",", ":")).encode()

    @property
    def what(self) -> tuple[str, str]:
        """By which two seals are of the same: series and instance, or the name of a file that has none."""
        series, instance = self.study.get("SeriesInstanceUID", ""), self.study.get("SOPInstanceUID", "")
        return (series, instance) if series or instance else ("", self.name)


@dataclass(frozen=True)
class Head:
    """The state of a log: how many entries, and the root of their tree, signed."""

    size: int
    root: Hash
    made: str
    signature: bytes = b""

    @property
    def data(self) -> bytes:
        """What is signed."""
        return DOMAIN + json.dumps([self.size, self.root.hex(), self.made]).encode()

    def to_json(self) -> dict[str, Any]:
        """For a file or another's keeping."""
        return {"size": self.size, "root": self.root.hex(), "made": self.made,
                "signature": base64.b64encode(self.signature).decode()}


class Log:
    """A log in a folder, which any number of processes may add to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries, self._heads = Journal(folder / ENTRIES), Journal(folder / HEADS)

    def entries(self) -> list[Entry]:
        """All entries, in order. `UnreadableError` where one was altered or taken out."""
        found: list[Entry] = []
        for line in self._values(self._entries):
            if not isinstance(line, dict) or "leaf" not in line:
                continue
            try:
                entry = Entry(int(line["index"]), str(line["seal"]), str(line["name"]), str(line["made"]),
                              {str(k): str(v) for k, v in line["study"].items()})
            except (KeyError, TypeError, ValueError, AttributeError):
                raise self._broken(len(found)) from None
            if entry.index != len(found) or entry.leaf.hex() != line["leaf"]:
                raise self._broken(len(found))
            found.append(entry)
        return found

    def add(self, seal: Seal) -> Entry:
        """Adds a seal, on disk when this returns; what is there already is not added again. Raises as `entries`, and
        `ArgumentError` where it cannot be written."""
        with self._alone():
            known = self.entries()
            root = seal.root.hex()
            again = next((entry for entry in known if entry.seal == root), None)
            if again is not None:
                return again
            entry = Entry(len(known), root, seal.name, seal.made, seal.study)
            line = {"index": entry.index, "seal": root, "name": entry.name, "made": entry.made, "study": entry.study,
                    "leaf": entry.leaf.hex()}
            self._append(self._entries, line)
            return entry

    def head(self, signer: Signer, made: str) -> Head:
        """The state now, signed and kept."""
        with self._alone():
            leaves = [entry.leaf for entry in self.entries()]
            head = Head(len(leaves), root_of(leaves), made)
            signed = Head(head.size, head.root, made, signer.sign(head.data))
            self._append(self._heads, signed.to_json())
            return signed

    def heads(self) -> list[Head]:
        """All heads that were signed here, in order."""
        return [head_in(value, self.folder / HEADS) for value in self._values(self._heads) if isinstance(value, dict)]

    def inclusion(self, index: int, size: int | None = None) -> list[Hash]:
        """The proof that an entry is among the first `size` (all)."""
        leaves = self._leaves(size)
        if not 0 <= index < len(leaves):
            raise ArgumentError(f"{shown(self.folder)} has no entry {index} among its first {len(leaves)}.")
        return inclusion(leaves, index)

    def consistency(self, first: int, size: int | None = None) -> list[Hash]:
        """The proof that the first `first` entries stand unchanged at the beginning of the first `size` (all)."""
        leaves = self._leaves(size)
        if not 0 < first <= len(leaves):
            raise ArgumentError(f"{shown(self.folder)} has {len(leaves)} entries, and no {first}.")
        return consistency(leaves, first)

    def check(self, heads: Sequence[Head], trusted: Sequence[x509.Certificate]) -> list[str]:
        """What is wrong: with entries, with heads signed here, and with `heads` that somebody kept elsewhere; a
        sentence each, none where all is well."""
        try:
            leaves = [entry.leaf for entry in self.entries()]
        except UnreadableError as error:
            return [str(error)]
        wrong = []
        for head in (*self.heads(), *heads):
            when = f"The head of {head.size} entries of {head.made}"
            if not any(genuine(known, head.signature, head.data) for known in trusted):
                wrong.append(f"{when} was not signed by the site.")
            elif head.size > len(leaves):
                wrong.append(f"{when} vouches for more than the {len(leaves)} that are there: entries were taken out.")
            elif root_of(leaves[: head.size]) != head.root:
                wrong.append(f"{when} is of other entries: some were altered since.")
        return wrong

    def newer(self, seal: Seal) -> Entry | None:
        """A later seal of the same image than this one, where there is one; `UnreadableError` where the log does not
        know this one at all."""
        known = self.entries()
        own = next((entry for entry in known if entry.seal == seal.root.hex()), None)
        if own is None:
            raise UnreadableError(f"{shown(self.folder)} does not know the seal of {shown(seal.name)}; it was never "
                                  "added there, or taken out.")
        return next((entry for entry in reversed(known) if entry.what == own.what and entry.index > own.index), None)

    def _leaves(self, size: int | None) -> list[Hash]:
        leaves = [entry.leaf for entry in self.entries()]
        if size is not None and not 0 <= size <= len(leaves):
            raise ArgumentError(f"{shown(self.folder)} has {len(leaves)} entries, and no {size}.")
        return leaves if size is None else leaves[:size]

    def _values(self, journal: Journal) -> list[Any]:
        try:
            return journal.values()
        except OSError as error:
            raise UnreadableError(f"{shown(journal.path)} cannot be read ({error.strerror}).") from error

    def _append(self, journal: Journal, value: dict[str, Any]) -> None:
        try:
            journal.append(json.dumps(value, sort_keys=True).encode())
        except OSError as error:
            raise ArgumentError(f"{shown(journal.path)} cannot be written ({error.strerror}); free some space or "
                                "choose another folder.") from error

    def _broken(self, index: int) -> UnreadableError:
        return UnreadableError(f"{shown(self.folder / ENTRIES)} was altered at entry {index}; compare it with a copy "
                               "and with the heads that others keep.")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ArgumentError(f"{shown(self.folder)} cannot be written ({error.strerror}); choose another "
                                "folder.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def head_in(value: dict[str, Any], where: Path) -> Head:
    """A head from its JSON; `UnreadableError` where it is none."""
    try:
        return Head(int(value["size"]), bytes.fromhex(value["root"]), str(value["made"]),
                    base64.b64decode(value["signature"], validate=True))
    except (KeyError, TypeError, ValueError):
        raise UnreadableError(f"{shown(where)} holds no head of a log; name what `scanward log head` "
                              "printed.") from None
