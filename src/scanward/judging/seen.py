"""What was given in one run, by the values of its slices: whose they are may be said twice, and differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scanward.errors import InputError
from scanward.formats.fact import Fact
from scanward.formats.glance import instance_of
from scanward.formats.guard import shown
from scanward.formats.reader import read
from scanward.formats.sources import Source
from scanward.formats.structure import Named, Testimony, names_of
from scanward.formats.structure_series import which
from scanward.image import Modality

MOST = 2_000_000
"""Slices that are remembered; of a slice about 600 bytes are kept."""
WHOLE = 0.6
"""Part of the shorter of two series that, found in the other, makes one a copy of the other."""


Key = tuple[str, int]
"""A SOP Instance UID, and which of the file's slices it is."""


@dataclass
class Seen:
    """Slices seen so far. Of two images that do not go together the second is told of, and names the first; of two with
    one SOP Instance UID the first, too, where both were expected: the files do not tell which was changed."""

    _by_values: dict[bytes, Named] = field(default_factory=dict)
    _by_name: dict[Key, list[tuple[bytes, Named]]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)
    _expected: dict[str, list[Source]] = field(default_factory=dict)
    """Who will be judged, by UID."""
    _named: set[frozenset[Path]] = field(default_factory=set)
    """Files whose slices are in `_by_name`."""
    _modality: Modality | None = None

    def expect(self, sources: Iterable[Source], modality: Modality | None = None) -> None:
        """Take down the UIDs of what will be judged, by first elements alone; `modality` goes before what files say."""
        self._modality = modality
        for source in sources:
            for uid in dict.fromkeys(map(instance_of, source.paths)):
                if uid and len(self._expected) < MOST:
                    self._expected.setdefault(uid, []).append(source)

    def add(self, said: Testimony) -> Iterator[Fact]:
        """What an image contradicts of those before, which it is then one of."""
        self._name(said)
        self._hear_others(said)
        found = [*self._renamed(said), *self._foreign(said)] if said.slices else []
        for mark, own in zip(said.marks, said.slices, strict=False):
            if mark is not None and len(self._by_values) < MOST:
                self._by_values.setdefault(mark, own)
                self._sizes[own.series] += 1
        yield from found

    def _hear_others(self, said: Testimony) -> None:
        """Read the other images that have a UID of this one's, once each."""
        own = {one.path for one in said.slices}
        others = {source.paths: source for one in said.slices for source in self._expected.get(one.instance, ())}
        for paths, source in others.items():
            if frozenset(paths) not in self._named and own.isdisjoint(paths):
                self._named.add(frozenset(paths))
                with suppress(InputError):  # its own answer says what is wrong with it
                    self._name(names_of(source, read(source, modality=self._modality)))

    def _name(self, said: Testimony) -> None:
        self._named.add(frozenset(own.path for own in said.slices))
        for z, key, mark in _keyed(said):
            known = self._by_name.setdefault(key, []) if len(self._by_name) < MOST else self._by_name.get(key, [])
            if all(mark != other for other, _ in known):
                known.append((mark, said.slices[z]))

    def _renamed(self, said: Testimony) -> Iterator[Fact]:
        other: dict[int, Named] = {}
        for z, key, mark in _keyed(said):
            unlike = [one for known, one in self._by_name.get(key, ())
                      if known != mark and one.path != said.slices[z].path]
            if unlike:
                other[z] = unlike[0]
        if not other:
            return
        pairs = [(said.slices[z], before) for z, before in other.items()]
        where = tuple(other) if len(said.slices) > 1 else ()
        what = which(where) + (" has the SOP Instance UID" if len(where) == 1 else " have the SOP Instance UIDs") \
            if where else "It has the SOP Instance UID"
        lossy = any(own.lossy or before.lossy for own, before in pairs)
        unnamed = any(own.nameless != before.nameless for own, before in pairs)
        others = len({before.path for _, before in pairs}) - 1
        more = f" and {others} more" if others else ""
        guess = "" if lossy else ": one of the two is not what it was, and the files do not tell which"
        name = shown(str(pairs[0][1].path))
        yield Fact("same name", f"{what} of {name}{more}, with other pixels{guess}.", lossy,
                   proof=not lossy and not unnamed, slices=where, other=name)

    def _foreign(self, said: Testimony) -> Iterator[Fact]:
        found = {z: self._by_values[mark] for z, mark in enumerate(said.marks)
                 if mark is not None and mark in self._by_values}
        yield from self._nearly(said, found)
        foreign = {z: known for z, known in found.items() if known.study != said.slices[z].study}
        if not foreign:
            return
        first, known = next(iter(foreign.items()))
        own = said.slices[first]
        whose = "another patient" if known.patient != own.patient else "another study"
        size = min(len(said.slices), self._sizes[known.series])
        where = tuple(foreign) if len(said.slices) > 1 else ()
        name = shown(str(known.path))
        if len(said.slices) > 1 and len(foreign) < WHOLE * size:
            yield Fact("foreign slice", f"{which(where)} {'holds' if len(where) == 1 else 'hold'} the values of "
                       f"{whose}'s slice, {name}, noise and all.", proof=True, slices=where, other=name)
            return
        if whose == "another study" or own.instance == known.instance:  # taken over, or its patient was put right
            yield Fact("same values", f"It holds the values of {whose}'s image, {name}, noise and all.", True,
                       slices=where, other=name)
            return
        told = "It holds the values of another patient's image, or of the same patient's under another name, " \
            f"{name}, noise and all"
        if known.nameless and not own.nameless and own.as_taken(known):
            yield Fact("named copy", f"{told}: that one says that its patient's identity was removed, and this one "
                       "does not.", slices=where, other=name)
            return
        # a copy that somebody took names out of is a copy; patients share no image
        yield Fact("same values", f"{told}.", harmless=bool(own.nameless) and own.as_taken(known), slices=where,
                   other=name)

    def _nearly(self, said: Testimony, found: dict[int, Named]) -> Iterator[Fact]:
        """Of a series that is another one but for a few slices."""
        series, times = next(iter(Counter(known.series for known in found.values()).most_common(1)), ("", 0))
        own = said.slices[0].series
        missing = tuple(z for z, mark in enumerate(said.marks) if mark is not None and z not in found)
        if missing and series != own and times >= WHOLE * len(said.slices) and self._sizes[series] == \
                sum(mark is not None for mark in said.marks):
            yield Fact("nearly same", f"All but {len(missing)} of its slices hold the values of another series, noise "
                       "and all.", slices=missing)


def _keyed(said: Testimony) -> Iterator[tuple[int, Key, bytes]]:
    """Slices (z) that have a name and show something, with what tells their values."""
    times: Counter[tuple[Path, str]] = Counter()
    for z, (mark, own) in enumerate(zip(said.marks, said.slices, strict=False)):
        number = times[own.path, own.instance]
        times[own.path, own.instance] += 1
        if mark is not None and own.instance:
            yield z, (own.instance, number), mark
