"""What is judged, and on what terms: the same at every door."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scanward import formats, methods
from scanward.errors import ArgumentError, InputError
from scanward.formats import Source
from scanward.image import Image, Modality
from scanward.judging.seen import Seen
from scanward.judging.site import Site
from scanward.protection import Sealed, beside, sealed
from scanward.seals.check import Checked
from scanward.seals.files import hold
from scanward.seals.objects import Objects, objects_of
from scanward.seals.signing import signer_of
from scanward.seals.trust import Anchor, Trust

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
    trust: Trust | None = None
    """Whose seals, beside the site's own, are witnesses."""
    objects: Objects | None = None
    """Where seals in DICOM objects are looked for; beside the images where it is None."""
    known: Callable[[Source], Checked | None] | None = None
    """What a gateway's own seals say of an image, asked in the place of one beside it. Raises `InputError`."""
    seen: Seen | None = None
    """Remembers the slices of a run, where images are to be held against one another."""
    marked: bool = False
    """Whether every chest CT is to carry the watermark of `key`, but where a seal vouches for every voxel."""


@dataclass(frozen=True)
class Case:
    """One image, with what witnesses may look at beside it."""

    image: Image
    site: Site | None = None
    seal: Sealed | None = None
    """What the image may have been protected with, where there is a key."""
    checked: Checked | InputError | None = None
    """What the site's own seal beside the image says of it, or why that cannot be told; None where there is none."""
    source: Source | None = None
    """The files that the image was read from, and that hold these pixels still; None of an image in memory."""
    seen: Seen | None = None
    """What was judged before it in the same run."""
    key: bytes | None = None
    """The site's key, under which the image may have been watermarked."""
    marked: bool = False
    """Whether it is to carry that watermark."""


def check_marked(key: bytes | None, marked: bool, mend: str) -> None:
    """`ArgumentError` for scans that are to carry the watermark of no key; `mend` says how one is named."""
    if marked and key is None:
        raise ArgumentError(f"Scans that are to be marked carry the watermark of a key; {mend}.")


def case_of(source: Source, terms: Terms) -> Case:
    """One source, read. Raises `InputError` where the image cannot be."""
    return Case(formats.read(source, modality=terms.modality, spacing=terms.spacing), terms.site,
                seal_of(source, terms), checked_of(source, terms), source, terms.seen, terms.key,
                terms.marked)


def checked_of(source: Source, terms: Terms) -> Checked | InputError | None:
    """As `Case.checked`; a stranger's seal, which anybody can lay there, counts as none."""
    if terms.known is not None:
        try:
            return terms.known(source)
        except ArgumentError:
            raise  # a full disk is no word on the image
        except InputError as error:
            return error
    own = () if terms.key is None else (Anchor(signer_of(terms.key).certificate),)
    given = terms.trust or Trust(())
    trust = dataclasses.replace(given, anchors=(*own, *given.anchors))
    if not trust.anchors:
        return None
    try:
        held = hold(source, trust, also=objects_of(source, None, terms.objects),
                    masters=() if terms.key is None else (terms.key,))
    except InputError as error:
        return error
    return held.answer if held is not None and held.answer.trusted else None


def seal_of(source: Source, terms: Terms) -> Sealed | None:
    """What a source may have been sealed with; None without a key, and without a record and the image's own word."""
    return None if terms.key is None else sealed(source, terms.key, terms.shelf(source))
