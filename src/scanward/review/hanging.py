"""A study's mammograms as they are hung: right beside left, CC above MLO, the chest walls in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scanward.report.pictures import TILE
from scanward.review.worklist import LABELS, has_picture

if TYPE_CHECKING:
    from scanward.inbox.record import ImageRecord, Study

PLACES = ("R CC", "L CC", "R MLO", "L MLO")
"""By rows."""
MIDDLE = {"R": "right", "L": "left"}
"""The side of a picture that is hung next to the middle, where its chest wall belongs."""


@dataclass(frozen=True)
class Hung:
    """One mammogram in its place."""

    id: str
    name: str
    label: str
    symbol: str
    words: str
    picture: str
    """Address; empty where it has none."""
    size: tuple[int, int]
    """Columns and rows of the film."""
    mirrored: bool
    """It was stored with its chest wall on the other side."""
    boxes: tuple[tuple[int, ...], ...]
    """(x, y, width, height) of what was found, in pixels of the film as it was stored."""


@dataclass(frozen=True)
class Hanging:
    """The four places, and what has none."""

    places: tuple[tuple[str, Hung | None], ...]
    """Name and image; None where the study has no such view."""
    others: tuple[Hung, ...]


def hanging(study: Study) -> Hanging | None:
    """None where the study has one image alone, or none that knows its place."""
    images = [one for one in study.record.images if one.modality != "CT"]
    if len(images) < 2:
        return None
    taken: dict[str, Hung] = {}
    others = []
    for number, image in enumerate(study.record.images, 1):
        if image.modality == "CT":
            continue
        name = name_of(image, number)
        if name in PLACES and name not in taken:
            taken[name] = _hung(study, image, name)
        else:
            others.append(_hung(study, image, name))
    return Hanging(tuple((place, taken.get(place)) for place in PLACES), tuple(others)) if taken else None


def name_of(image: ImageRecord, number: int) -> str:
    """Such as `R CC`; by its number where its header does not say which view it is."""
    return f"{image.laterality} {image.view}" if image.laterality and image.view else f"Image {number}"


def _hung(study: Study, image: ImageRecord, name: str) -> Hung:
    _, rows, columns = image.shape or (1, 1, 1)
    middle = MIDDLE.get(image.laterality, "")
    boxes = tuple((x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (f.box for f in image.findings if len(f.box) == 4))
    return Hung(image.id, name, image.label, *LABELS[image.label], picture=_picture(study, image),
                size=(columns, rows), mirrored=bool(middle and image.chest_wall and image.chest_wall != middle),
                boxes=boxes)


def _picture(study: Study, image: ImageRecord) -> str:
    """The largest picture that is one tile."""
    base, longest = f"/pictures/{study.key}/{image.id}", max(image.shape or (1,))
    tile = f"film_files/{min(math.ceil(math.log2(longest)), int(math.log2(TILE)))}/0_0.jpg"
    if (study.folder / "pictures" / image.id / tile).is_file():
        return f"{base}/{tile}"
    return f"{base}/thumb.jpg" if has_picture(study, image) else ""
