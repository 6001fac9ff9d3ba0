"""What was given in one run, by the values of its slices: whose they are may be said twice, and differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from scanward.formats.fact import Fact
from scanward.formats.guard import shown
from scanward.formats.structure import Named, Testimony
from scanward.formats.structure_series import which

MOST = 2_000_000
"""Slices that are remembered; of a slice about 500 bytes are kept."""
WHOLE = 0.6
"""Part of the shorter of two series that, found in the other, makes one a copy of the other."""


@dataclass
class Seen:
    """Slices seen so far. Of two images that do not go together the second is told of: it names the first."""

    _by_values: dict[bytes, Named] = field(default_factory=dict)
    _by_name: dict[str, tuple[bytes, Named]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)

    def add(self, said: Testimony) -> Iterator[Fact]:
        """What an image contradicts of those before, which it is then one of."""
        found = [*self._renamed(said), *self._foreign(said)] if said.slices else []
        for mark, own in zip(said.marks, said.slices, strict=False):
            if mark is not None and len(self._by_values) < MOST:
                self._by_values.setdefault(mark, own)
                self._by_name.setdefault(own.instance, (mark, own))
                self._sizes[own.series] += 1
        yield from found

    def _renamed(self, said: Testimony) -> Iterator[Fact]:
        other: dict[int, Named] = {}
        for z, (mark, own) in enumerate(zip(said.marks, said.slices, strict=True)):
            known = self._by_name.get(own.instance)
            if mark is not None and own.instance and known is not None and known[0] != mark:
                other[z] = known[1]
        if not other:
            return
        pairs = [(said.slices[z], before) for z, before in other.items()]
        where = tuple(other) if len(said.slices) > 1 else ()
        what = which(where) + (" has the SOP Instance UID" if len(where) == 1 else " have the SOP Instance UIDs") \
            if where else "It has the SOP Instance UID"
        lossy = any(own.lossy or before.lossy for own, before in pairs)
        unnamed = any(own.nameless != before.nameless for own, before in pairs)
        yield Fact("same name", f"{what} of {shown(pairs[0][1].path.name)}, which holds other pixels.", lossy,
                   proof=not lossy and not unnamed, slices=where)

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
        name = shown(known.path.name)
        if len(said.slices) > 1 and len(foreign) < WHOLE * size:
            yield Fact("foreign slice", f"{which(where)} {'holds' if len(where) == 1 else 'hold'} the values of "
                       f"{whose}'s slice, {name}, noise and all.", proof=True, slices=where)
            return
        # a copy that somebody took names out of, or whose patient was put right, is a copy; patients share no image
        ordinary = whose == "another study" or own.nameless != known.nameless or own.instance == known.instance
        yield Fact("same values", f"It holds the values of {whose}'s image, {name}, noise and all.",
                   harmless=ordinary, slices=where)

    def _nearly(self, said: Testimony, found: dict[int, Named]) -> Iterator[Fact]:
        """Of a series that is another one but for a few slices."""
        series, times = next(iter(Counter(known.series for known in found.values()).most_common(1)), ("", 0))
        own = said.slices[0].series
        missing = tuple(z for z, mark in enumerate(said.marks) if mark is not None and z not in found)
        if missing and series != own and times >= WHOLE * len(said.slices) and self._sizes[series] == \
                sum(mark is not None for mark in said.marks):
            yield Fact("nearly same", f"All but {len(missing)} of its slices hold the values of another series, noise "
                       "and all.", slices=missing)
