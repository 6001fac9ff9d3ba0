"""A log of seals to which entries are only ever added: who replaces a study together with its seal, or takes both away,
cannot take the entry out without breaking the heads that others keep.

A folder with `entries.jsonl`, one line a seal, and `heads.jsonl`, signed heads. Line and head say what they hash.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509

from scanward.disk import Journal
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown
from scanward.seals.heads import Head, head_in
from scanward.seals.merkle import Hash, consistency, inclusion, leaf_of, root_of
from scanward.seals.record import Seal, Version, version_in
from scanward.seals.signing import Signer
from scanward.seals.trust import Moment, Trust, moment, trust_in

ENTRIES, HEADS, LOCK = "entries.jsonl", "heads.jsonl", "lock"
Uids = tuple[str, str]


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
    version: Version | None = None
    """As the seal has it."""

    @property
    def leaf(self) -> Hash:
        """Its hash in the tree."""
        return leaf_of(self.data)

    @property
    def data(self) -> bytes:
        """What is hashed."""
        return json.dumps(self.said, sort_keys=True, separators=(",", ":")).encode()

    @property
    def said(self) -> dict[str, Any]:
        """Of the seal."""
        return {"seal": self.seal, "name": self.name, "made": self.made, "study": self.study} | (
            self.version.to_json() if self.version else {})


class Log:
    """A log in a folder, which any number of processes may add to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries, self._heads = Journal(folder / ENTRIES), Journal(folder / HEADS)

    @property
    def is_there(self) -> bool:
        """Whether the folder is that of a log; `add` makes one."""
        return any(os.path.isfile(journal.path) for journal in (self._entries, self._heads))

    def entries(self) -> list[Entry]:
        """All entries, in order. `UnreadableError` where one was altered or taken out."""
        found: list[Entry] = []
        for line in self._values(self._entries):
            if not isinstance(line, dict) or "leaf" not in line:
                continue
            try:
                entry = Entry(int(line["index"]), str(line["seal"]), str(line["name"]), str(line["made"]),
                              {str(k): str(v) for k, v in line["study"].items()}, version_in(line))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
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
            entry = Entry(len(known), root, seal.name, seal.made, seal.study, seal.version)
            self._append(self._entries, {"index": entry.index, "leaf": entry.leaf.hex()} | entry.said)
            return entry

    def complete(self, seal: Seal) -> bool:
        """Adds a seal that lies beside its image and whose entry an interruption kept out; False where the log has one
        of the image that is as new or newer, which it would make old. Raises as `add`."""
        root, uids = seal.root.hex(), uids_of(seal.study)
        entries = self.entries()
        own = next((entry.index for entry in entries if entry.seal == root), None)
        for entry in entries if own is None else entries[own + 1:]:
            number, follows = (entry.version.number, entry.version.follows) if entry.version else (1, "")
            if follows == root or (uids is not None and uids_of(entry.study) == uids
                                   and (own is not None or number >= seal.number)):
                return False
        if own is None:
            self.add(seal)
        return True

    def head(self, signer: Signer, made: str) -> Head:
        """The state now, signed and kept."""
        with self._alone():
            leaves = [entry.leaf for entry in self.entries()]
            head = Head(len(leaves), root_of(leaves), made)
            signed = dataclasses.replace(head, signature=signer.sign(head.data), certificate=signer.certificate)
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

    def latest(self, study: dict[str, str]) -> Version | None:
        """The latest seal of an image of these UIDs, which the next one follows. Raises as `entries`."""
        uids = uids_of(study)
        known = [entry for entry in self.entries() if uids is not None and uids_of(entry.study) == uids]
        return Version(max(len(known), *(entry.version.number for entry in known if entry.version), 1),
                       known[-1].seal) if known else None

    def history(self, trusted: Trust | Sequence[x509.Certificate]) -> History:
        """What the log says now, read once, for any number of questions. Raises `ArgumentError` where heads that should
        have been kept elsewhere lie in the log itself."""
        trust = trust_in(trusted)
        for head in trust.heads:
            if head.file is not None and self._holds(head.file):
                raise ArgumentError(f"{shown(head.file)} lies in the log, and its heads are altered with it; name "
                                    "heads that were kept elsewhere.")
        try:
            entries, heads = self.entries(), (*self.heads(), *trust.heads)
        except UnreadableError as error:
            return History(self.folder, (), (), (str(error),))
        leaves = [entry.leaf for entry in entries]
        roots = {size: root_of(leaves[:size]) for size in {head.size for head in heads} if 0 <= size <= len(leaves)}
        wrong = tuple(sentence for head in heads if (sentence := _wrong(head, len(leaves), roots, trust)))
        return History(self.folder, tuple(entries), trust.heads, wrong)

    def check(self, heads: Sequence[Head], trusted: Trust | Sequence[x509.Certificate]) -> list[str]:
        """What is wrong: with entries, with heads signed here, and with `heads` that somebody kept elsewhere; a
        sentence each, none where all is well."""
        trust = trust_in(trusted)
        return list(self.history(dataclasses.replace(trust, heads=(*trust.heads, *heads))).wrong)

    def _holds(self, file: Path) -> bool:
        if self.folder.resolve() in file.resolve().parents:
            return True
        with suppress(OSError):
            return os.path.samefile(file, self._heads.path)
        return False

    def _leaves(self, size: int | None) -> list[Hash]:
        leaves = [entry.leaf for entry in self.entries()]
        if size is not None and not 0 <= size <= len(leaves):
            raise ArgumentError(f"{shown(self.folder)} has {len(leaves)} entries, and no {size}.")
        return leaves if size is None else leaves[:size]

    def _values(self, journal: Journal) -> list[Any]:
        try:
            return journal.values()
        except OSError as error:
            raise UnreadableError(f"{shown(journal.path)} cannot be read ({error.strerror}); name the folder of "
                                  "`scanward seal --log`, or a copy of it.") from error

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


@dataclass(frozen=True)
class History:
    """A log as it was when it was read."""

    folder: Path
    entries: tuple[Entry, ...]
    heads: tuple[Head, ...]
    """That were kept elsewhere."""
    wrong: tuple[str, ...]
    """What is wrong with entries and heads, a sentence each."""

    def knows(self, seal: Seal) -> bool:
        """Whether the seal is in the log."""
        return seal.root.hex() in self._roots

    def newer(self, seal: Seal) -> Entry | None:
        """The latest seal of the same image after this one, where there is one; `UnreadableError` where the log does
        not know this one at all."""
        own = self._roots.get(seal.root.hex())
        if own is None:
            raise UnreadableError(f"{shown(self.folder)} does not know the seal of {shown(seal.name)}; it was never "
                                  "added there, or taken out.")
        line = {own.seal: own}
        for one in (waiting := [own]):
            for later in (*self._following[one.seal], *self._images[uids_of(one.study)]):
                if later.index > own.index and later.seal not in line:
                    line[later.seal] = later
                    waiting.append(later)
        return max(line.values(), key=lambda entry: entry.index) if len(line) > 1 else None

    def covers(self, seal: Seal, before: Moment) -> bool:
        """Whether a head that was kept elsewhere, and made before a moment, covers the seal.

        Not one that says an earlier time than a head of fewer entries: whoever has the key can write any date into a
        head, too, and have it kept, but it then covers more than heads that were kept before.
        """
        own = None if self.wrong else self._roots.get(seal.root.hex())
        times = [(head.size, moment(head.made)) for head in self.heads]
        return own is not None and any(
            when is not None and size > own.index and when < before and
            not any(other is not None and fewer < size and other > when for fewer, other in times)
            for size, when in times)

    @cached_property
    def _roots(self) -> dict[str, Entry]:
        return {entry.seal: entry for entry in reversed(self.entries)}

    @cached_property
    def _following(self) -> defaultdict[str, list[Entry]]:
        found = defaultdict(list)
        for entry in self.entries:
            if entry.version and entry.version.follows:
                found[entry.version.follows].append(entry)
        return found

    @cached_property
    def _images(self) -> defaultdict[Uids | None, list[Entry]]:
        found: defaultdict[Uids | None, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if (uids := uids_of(entry.study)) is not None:
                found[uids].append(entry)
        return found


def uids_of(study: dict[str, str]) -> Uids | None:
    """Of series and instance, by which two seals are of one image; None of images that have none, such as pictures."""
    found = study.get("SeriesInstanceUID", ""), study.get("SOPInstanceUID", "")
    return found if any(found) else None


def _wrong(head: Head, count: int, roots: dict[int, Hash], trust: Trust) -> str | None:
    """What is wrong with a head of a log of so many entries."""
    when = f"The head of {head.size} entries of {head.made}"
    if not trust.vouches(head):
        return f"{when} was not signed by the site."
    if head.size > count:
        return f"{when} vouches for more than the {count} that are there: entries were taken out."
    return None if roots.get(head.size) == head.root else f"{when} is of other entries: some were altered since."
