"""What differs between the images that lesions are made in: one row a modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanward.attacks.base import Anatomy, Lesion, Tamper
from scanward.forgery import chest, film
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.image import Image
from scanward.report.forged import before_after, planes_before_after
from scanward.report.heat import Rgb


@dataclass(frozen=True)
class Kind:
    """One modality."""

    refusal: str
    """Of an image of another modality, by a method for this one: what follows its name."""
    lesions: Callable[[Image, Order, int], tuple[list[Lesion], Anatomy]]
    """Where an order wants lesions, drawn with a seed, and the anatomy that they lie in."""
    write: Callable[[Tamper, Image, Source | Path, Path, str], tuple[Path, dict[str, Any]]]
    """Writes a tamper of a host that was read from a source, and its mask, into a folder; the image's path, and what
    the record says of the lesions. The last argument is `injected` or `removed`."""
    mask: str
    """The file's name."""
    picture: Callable[[Image, Tamper], Rgb]
    """Before and after."""
    axes: int
    """Numbers of a place in the record: (x, y) or (x, y, z)."""


KINDS: dict[str, Kind] = {
    "MG": Kind("is a {modality} image, and {method} forges mammograms; choose a method for CT.", film.lesions_of,
               film.write, film.MASK, before_after, 2),
    "CT": Kind("is no CT volume, and {method} forges those; choose a method for mammograms.", chest.lesions_of,
               chest.write, chest.MASK, planes_before_after, 3),
}
