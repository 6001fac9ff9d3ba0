"""What is particular to each modality: one row each, for whoever would otherwise ask which one it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scanward.image import Modality


@dataclass(frozen=True)
class Traits:
    """One row."""

    noun: str
    """One image of it, for sentences."""
    title: str
    """For headings."""
    unit: str
    """Of its pixels, in the plural."""
    volume: bool
    """Its images have slices: they are written, and shown, in three dimensions."""
    detectors: tuple[str, ...]
    """What a plain scan runs; none: nobody looks at its pixels yet."""
    shows: str
    """What detectors look at in its images."""
    slices: int = 1
    """The fewest that tell whether it shows that."""
    window: tuple[float, float] | None = None
    """The values shown black and white; None: percentiles of each image's own tissue."""


MODALITIES: dict[Modality, Traits] = {
    "MG": Traits("mammogram", "Mammogram (MG)", "grey levels", False, ("self-reference", "copy-move"), "breast"),
    "CT": Traits("CT volume", "CT", "HU", True, ("ct-self-reference", "ct-copy-move"), "lungs", 8, (-1350.0, 150.0)),
}


def traits(modality: Modality) -> Traits:
    """The row of a modality."""
    return MODALITIES[modality]
