"""What a file says about itself, one sentence a fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fact:
    """One thing that a file shows beside its image."""

    name: str
    """What weights go by; the same for every file that shows it."""
    says: str
    """One plain sentence."""
    harmless: bool = False
    """Whether programs that change no pixel leave it behind, too: then it is told, and counts for nothing."""
    proof: bool = False
    """Whether nothing but another image explains it."""
    slices: tuple[int, ...] = ()
    """The slices (z) that it is seen in, where it is not all of them."""
    other: str = ""
    """The path of another image that it names, as it stands in the sentence."""

    def to_json(self, weight: float) -> dict[str, Any]:
        """As `--json` has it."""
        return {"name": self.name, "says": self.says, "harmless": self.harmless, "weight": weight,
                **({"slices": list(self.slices)} if self.slices else {}),
                **({"other": self.other} if self.other else {})}


def gathered(*parts: Iterator[Fact]) -> Iterator[Fact]:
    """What all parts say. One that a header stops, which may hold anything, stops no other, and is told of: else it
    would be a way round the rest."""
    for part in parts:
        try:
            yield from part
        except Exception:  # pydicom raises what its parts raise
            yield UNREAD


UNREAD = Fact("unread", "Its header holds what the standard does not allow there: not all of it could be held against "
              "the rest.")
