"""From a lesion's place in one view of a breast to its place in the other.

The arc method: a lesion lies about as far from the nipple in both views. By place alone it told pairs of masses from
others as well as the straight line, which keeps the depth along the posterior nipple line (Az .79 and .78, 290 masses;
Chang et al., Investigative Radiology 34, 585, 1999), and it needs the nipple only. What is injected keeps both where
the breast has room for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast, breast_small, eroded
from scanward.anatomy.nipple import Nipple, nipple_of
from scanward.attacks.base import Lesion
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.places import check_in_breast, place_in, tissue_room
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.film import pixel_mm
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.image import Image

WITHIN_MM, DEPTH_MM = 5.0, 10.0
"""How far from the arc an injected lesion may lie, and how far from the same depth where there is room."""
REACH_MM = 15.0
"""How far from the arc a real one is looked for."""
TRIES = 50
"""Places in the first view that are tried for room on their arc in the second."""
ACROSS = 20
"""Pixels of a lesion's diameter where two views are compared."""
FAINT = 0.03
"""Of the range from black to white: what stands out less from its surroundings looks like anything."""
LIKE, APART = 0.5, 0.8
"""Least likeness of the second place; and of the next best, to it, from which on it is not said which it is."""


@dataclass(frozen=True)
class Sight:
    """One view of a breast."""

    name: str
    """`CC` or `MLO`."""
    source: Source
    image: Image
    breast: Breast
    nipple: Nipple
    mm: float
    """A pixel."""

    def arc_mm(self, lesion: Lesion) -> float:
        """From the nipple to a lesion."""
        return self.nipple.distance(lesion.y, lesion.x) * self.mm


def sight_of(name: str, source: Source, image: Image) -> Sight:
    """A view with its landmarks. Raises `ArgumentError` where the image does not say how large its pixels are,
    `UnsupportedError` where it shows no skin line."""
    mm, breast = pixel_mm(image), breast_small(image.plane)
    nipple = nipple_of(image.plane, breast, oblique=name == "MLO")
    if nipple is None:
        raise UnsupportedError(f"{shown(image.name)} shows no skin line, and the place in the other view is measured "
                               "from the nipple; give whole mammograms.")
    return Sight(name, source, image, breast, nipple, mm)


def injected(one: Sight, other: Sight, size_mm: float, at: tuple[float, ...] | None, at2: tuple[float, ...] | None,
             rng: np.random.Generator, reach: float = 0.0) -> tuple[Lesion, Lesion]:
    """Where a lesion is put into both views: `at` (x, y) of the first and `at2` of the second, or plausible places, the
    second within `WITHIN_MM` of the arc of the first; `reach` as in `tissue_place`. `ArgumentError` where there is no
    room."""

    def room_in(sight: Sight) -> Breast:
        return tissue_room(sight.image, size_mm / sight.mm, sight.mm, sight.breast, reach)

    if at2 is not None:
        first = _named(one, size_mm, at) if at is not None else _drawn(one, size_mm, room_in(one), rng)
        return first, _named(other, size_mm, at2)
    room = room_in(other)
    if at is not None:
        first = _named(one, size_mm, at)
        near = _room_for(first, room, one, other)
        if not near.mask.any():
            raise ArgumentError(f"{shown(other.image.name)} has no room for {size_mm:g} mm at "
                                f"{one.arc_mm(first):.0f} mm from the nipple, where the lesion lies in the first view; "
                                "choose another place, or name the second with --at2 X,Y.")
        return first, _drawn(other, size_mm, near, rng)
    own = room_in(one)
    for _ in range(TRIES):
        first = _drawn(one, size_mm, own, rng)
        near = _room_for(first, room, one, other)
        if near.mask.any():
            return first, _drawn(other, size_mm, near, rng)
    raise ArgumentError(f"{shown(one.image.name)} and {shown(other.image.name)} have no room for {size_mm:g} mm at the "
                        "same distance from the nipple; choose a smaller --size.")


def alike(one: Sight, other: Sight, size_mm: float, at: tuple[float, ...],
          at2: tuple[float, ...] | None) -> tuple[Lesion, Lesion]:
    """Where a lesion that the first view shows at `at` (x, y) is in the second: `at2`, or the place within `REACH_MM`
    of its arc that looks most like it. `ArgumentError` where nothing there does, or two places do."""
    first = _named(one, size_mm, at)
    if at2 is not None:
        return first, _named(other, size_mm, at2)
    template, contrast = _looks(one, first)
    mend = "name the place in the second view with --at2 X,Y."
    if contrast < FAINT:
        raise ArgumentError(f"What lies at x {first.x:.0f}, y {first.y:.0f} in {shown(one.image.name)} hardly stands "
                            f"out from its surroundings, and nothing like it can be looked for; {mend}")
    radius = 0.5 * size_mm / other.mm * other.breast.ratio
    inside = Breast(eroded(other.breast.mask, radius), other.breast.ratio)
    score, step = _likeness(other, size_mm, template, contrast,
                            _on_arc(inside, other, one.arc_mm(first), REACH_MM).mask)
    best = np.unravel_index(int(score.argmax()), score.shape)
    if score[best] < LIKE:
        raise ArgumentError(f"Nothing at {one.arc_mm(first):.0f} mm from the nipple of {shown(other.image.name)} looks "
                            f"like what lies in the first view; {mend}")
    y, x = np.mgrid[:score.shape[0], :score.shape[1]]
    rest = np.where(np.hypot(y - best[0], x - best[1]) > ACROSS, score, -1)
    if rest.max() > APART * score[best]:
        raise ArgumentError(f"Two places and more at {one.arc_mm(first):.0f} mm from the nipple of "
                            f"{shown(other.image.name)} look like what lies in the first view; {mend}")
    return first, _named(other, size_mm, ((best[1] + 0.5) * step - 0.5, (best[0] + 0.5) * step - 0.5))


def _named(sight: Sight, size_mm: float, at: tuple[float, ...]) -> Lesion:
    if len(at) != 2:
        raise ArgumentError(f"{shown(sight.image.name)} is a mammogram, which takes one place of two numbers in "
                            "pixels; write --at X,Y.")
    lesion = Lesion((0.0, float(at[1]), float(at[0])), size_mm / sight.mm)
    check_in_breast(sight.image, lesion, sight.breast)
    return lesion


def _drawn(sight: Sight, size_mm: float, room: Breast, rng: np.random.Generator) -> Lesion:
    return place_in(room, sight.image.plane.shape, rng, size_mm / sight.mm)


def _room_for(first: Lesion, room: Breast, one: Sight, other: Sight) -> Breast:
    """The part of a `room` in the other view that a lesion of the first may be put into."""
    near = _on_arc(room, other, one.arc_mm(first), WITHIN_MM)
    y, x = _centres(room)
    depth = ((y - other.nipple.y) * other.nipple.inward[0] + (x - other.nipple.x) * other.nipple.inward[1]) * other.mm
    as_deep = near.mask & (np.abs(depth - one.nipple.depth(first.y, first.x) * one.mm) <= DEPTH_MM)
    return Breast(as_deep, room.ratio) if as_deep.any() else near


def _on_arc(room: Breast, sight: Sight, arc_mm: float, within_mm: float) -> Breast:
    """The part of a `room` that lies so far from the nipple."""
    y, x = _centres(room)
    away = np.hypot(y - sight.nipple.y, x - sight.nipple.x) * sight.mm
    return Breast(room.mask & (np.abs(away - arc_mm) <= within_mm), room.ratio)


def _centres(room: Breast) -> npt.NDArray[np.float64]:
    """(2, y, x): of each pixel of the mask, y and x of the film."""
    return np.asarray((np.mgrid[:room.mask.shape[0], :room.mask.shape[1]] + 0.5) / room.ratio - 0.5)


def _shrunk(sight: Sight, size_mm: float) -> tuple[Plane, float]:
    """The view with a lesion `ACROSS` pixels wide, black 0 and white 1; and pixels of the film to one of it."""
    step = size_mm / sight.mm / ACROSS
    black, white = levels_of(sight.image.plane)
    size = [max(1, round(side / step)) for side in sight.image.plane.shape[::-1]]
    small = cv2.resize(sight.image.plane, size, interpolation=cv2.INTER_AREA if step > 1 else cv2.INTER_LINEAR)
    return np.asarray((small - black) / (white - black), np.float32), step


def _looks(sight: Sight, lesion: Lesion) -> tuple[Plane, float]:
    """What a lesion looks like from the same side everywhere, its mean over all turns (2 ACROSS + 1 a side), and by how
    much it is brighter than its surroundings."""
    small, step = _shrunk(sight, lesion.diameter * sight.mm)
    y, x = (round((v + 0.5) / step - 0.5) for v in (lesion.y, lesion.x))
    square = np.pad(small, ACROSS, mode="reflect")[y:y + 2 * ACROSS + 1, x:x + 2 * ACROSS + 1]
    away = _away()
    ring = np.rint(away).astype(int)
    mean = np.bincount(ring.ravel(), square.ravel()) / np.bincount(ring.ravel())
    return np.asarray(mean[ring], np.float32), _contrast(square)


def _away() -> npt.NDArray[np.float64]:
    steps = np.arange(-ACROSS, ACROSS + 1)
    return np.hypot(steps[:, None], steps[None])


def _contrast(square: Plane) -> float:
    away = _away()
    return float(square[away <= 0.35 * ACROSS].mean() - square[(away > 0.6 * ACROSS) & (away <= ACROSS)].mean())


def _likeness(sight: Sight, size_mm: float, template: Plane, contrast: float,
              where: npt.NDArray[np.bool_]) -> tuple[Plane, float]:
    """How much each place `where` looks like the template: their correlation, less where the contrast is less or much
    more; -1 elsewhere. And pixels of the film to one of it."""
    small, step = _shrunk(sight, size_mm)
    padded, away = np.pad(small, ACROSS, mode="reflect"), _away()
    disc, ring = away <= 0.35 * ACROSS, (away > 0.6 * ACROSS) & (away <= ACROSS)
    kernel = (disc / disc.sum() - ring / ring.sum()).astype(np.float32)
    stands = cv2.filter2D(small, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    round_ = (away <= ACROSS).astype(np.float32)
    like = cv2.matchTemplate(padded, template, cv2.TM_CCOEFF_NORMED, mask=round_)
    share = np.clip(stands / contrast, 0, None)
    like = np.where(np.isfinite(like), like, 0) * np.minimum(share, 1 / np.maximum(share, 1e-6)) ** 0.5
    near = cv2.resize(where.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return np.where(near, like, np.float32(-1)).astype(np.float32), step
