"""What is said of an image by a seal that it was found to belong to."""

from __future__ import annotations

from dataclasses import dataclass

from scanward.seals.check import Checked


@dataclass(frozen=True)
class Known(Checked):
    """As `Checked`, with the seal, and how that was found."""

    seal: str = ""
    """Its name."""
    made: str = ""
    how: str = ""
    """`uids`, `series`, `content`, `object` of one that came with the study, or `now` of one that was
    only just made."""
    found: str = ""
    """A sentence on that."""

    @property
    def vouches(self) -> bool:
        """A seal that was only just made says nothing of what was done before."""
        return super().vouches and self.how != "now"

    @property
    def reason(self) -> str:
        """How it was found, and everything that differs."""
        differs = [part.reason for part in self.parts if part.label != "authentic"]
        return " ".join([self.found, *dict.fromkeys(differs)])

    @property
    def facts(self) -> dict[str, str]:
        """For JSON."""
        return {"label": self.label, "match": self.match, "seal": self.seal, "sealed": self.made, "known_by": self.how}
