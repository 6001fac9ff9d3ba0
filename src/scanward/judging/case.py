"""What is judged, and on what terms: the same at every door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scanward import formats, methods
from scanward.formats import Source
from scanward.image import Image, Modality
from scanward.judging.site import Site
from scanward.protection import Sealed, beside, sealed

Shelf = Callable[[Source], Mapping[Path, bool]]
"""Records that may be of an image's seal, each with whether it is the image's by more than its place."""


@dataclass(frozen=True)
class Terms:
    """What a door asks for, whatever the image."""

    method: str = methods.DEFAULT
    site: Site | None = None
    modality: Modality | None = None
    """Goes before what a file says, and so does `spacing`."""
    spacing: tuple[float, float] | None = None
    """Millimetres a pixel, (y, x)."""
    key: bytes | None = None
    """The site's key, of 32 bytes; with one, seals are witnesses too."""
    shelf: Shelf = beside
    """Finds the records of seals."""


@dataclass(frozen=True)
class Case:
    """One image, with what witnesses may look at beside it."""

    image: Image
    site: Site | None = None
    seal: Sealed | None = None
    """What the image may have been sealed with, where there is a key."""


def case_of(source: Source, terms: Terms) -> Case:
    """One source, read. Raises `InputError` where the image cannot be."""
    return Case(formats.read(source, modality=terms.modality, spacing=terms.spacing), terms.site,
                seal_of(source, terms))


def seal_of(source: Source, terms: Terms) -> Sealed | None:
    """What a source may have been sealed with; None without a key, and without a record and the image's own word."""
    return None if terms.key is None else sealed(source, terms.key, terms.shelf(source))
