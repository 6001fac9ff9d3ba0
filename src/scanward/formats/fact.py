"""What a file says about itself, one sentence a fact."""

from __future__ import annotations

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

    def to_json(self, weight: float) -> dict[str, Any]:
        """As `--json` has it."""
        return {"name": self.name, "says": self.says, "harmless": self.harmless, "weight": weight,
                **({"slices": list(self.slices)} if self.slices else {})}
