"""Where a forgery may go: inside the breast, away from its edge."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast, breast_mask, breast_small, eroded
from scanward.anatomy.implant import shows_implant
from scanward.anatomy.pectoral import pectoral_muscle
from scanward.attacks.base import Lesion
from scanward.attacks.blend import check_lesion, length_of
from scanward.errors import ArgumentError
from scanward.image import Image

SKIN_MM = 4.0
"""Between a mass and the skin."""
AXILLA = 0.25
"""Of the height of a breast."""
OFF = 1.15
"""Radii of a lesion from its middle to what it keeps off."""

__all__ = ["auto_place", "breast_mask", "check_in_breast", "draw_places", "place_in", "tissue_place", "tissue_room"]


def draw_places(image: Image | npt.NDArray[np.float32], rng: np.random.Generator, count: int, diameter: float,
                breast: Breast | None = None) -> list[Lesion]:
    """`count` random places of `diameter` pixels in the breast of a mammogram (an `Image` or its (y, x) plane).

    A region stays inside the breast where the breast is large enough; otherwise it lies as deep as it can.
    Places may overlap one another. `breast` is what `breast_small` gave for this plane, where it is known already.
    `ArgumentError` for a diameter that does not fit the image.
    """
    plane = image.plane if isinstance(image, Image) else image
    height, width = plane.shape
    check_lesion(plane.shape, Lesion((0, (height - 1) / 2, (width - 1) / 2), diameter))
    small, ratio = breast or breast_small(plane)
    ys, xs = _inner(small, diameter * ratio / 2)
    return _scattered(ys, xs, ratio, plane.shape, rng, count, diameter)


def auto_place(image: Image, rng: np.random.Generator, diameter: float, breast: Breast | None = None) -> Lesion:
    """A place where a lesion of `diameter` pixels would be believed: whole inside the breast, off its border, and
    off the pectoral muscle and its edge. `breast` as for `draw_places`. `ArgumentError` where there is none."""
    plane = image.plane
    _check_fits(image, diameter)
    small, ratio = breast or breast_small(plane)
    muscle = pectoral_muscle(plane, small)
    radius = OFF * diameter * ratio / 2 + 1
    inner = eroded(small & ~muscle, radius) & _off_border(small.shape, radius) & _dense(plane, small, radius)
    if not inner.any():
        raise ArgumentError(f"{image.name} has no room for a lesion of {length_of(diameter, _mm(image))} inside the "
                            "breast and off the pectoral muscle; choose a smaller --size, or a place with --at X,Y.")
    ys, xs = np.nonzero(inner)
    return _scattered(ys, xs, ratio, plane.shape, rng, 1, diameter)[0]


def tissue_place(image: Image, rng: np.random.Generator, diameter: float, mm: float,
                 breast: Breast | None = None, reach: float = 0.0) -> Lesion:
    """As `auto_place`, and also `SKIN_MM` off the skin and out of the axilla; `mm` is millimetres a pixel, and `reach`
    how many radii it keeps off the pectoral muscle at least. `ArgumentError` also for a breast with an implant, over
    which nothing would be believed."""
    room = tissue_room(image, diameter, mm, breast, reach)
    return place_in(room, image.plane.shape, rng, diameter)


def tissue_room(image: Image, diameter: float, mm: float, breast: Breast | None = None, reach: float = 0.0) -> Breast:
    """Where the centre of a lesion may be that `tissue_place` chooses. Raises as that."""
    _check_fits(image, diameter)
    if shows_implant(image.plane):
        raise ArgumentError(f"{image.name} shows an implant, and no place is chosen there; name one with --at X,Y.")
    small, ratio = breast or breast_small(image.plane)
    radius, far = (radii * diameter * ratio / 2 + 1 for radii in (OFF, reach))
    inner = glandular(image.plane, small, radius, far) & eroded(small, radius + SKIN_MM / mm * ratio)
    if not inner.any():
        raise ArgumentError(f"{image.name} has no room for a lesion of {length_of(diameter, mm)} inside the breast, "
                            "off its skin, its muscle and the axilla; choose a smaller --size, or a place with --at "
                            "X,Y.")
    return Breast(inner, ratio)


def place_in(room: Breast, shape: tuple[int, ...], rng: np.random.Generator, diameter: float) -> Lesion:
    """A random place of the film's `shape` (y, x) in a `room`, which has one."""
    ys, xs = np.nonzero(room.mask)
    return _scattered(ys, xs, room.ratio, shape, rng, 1, diameter)[0]


def glandular(plane: npt.NDArray[np.float32], small: npt.NDArray[np.bool_], radius: float,
              reach: float) -> npt.NDArray[np.bool_]:
    """Where a disc of `radius` lies in a breast (y, x) of the mask's size and out of its axilla, the upper `AXILLA` of
    a view that shows the muscle; and one of `reach` off that muscle."""
    muscle = pectoral_muscle(plane, small)
    tissue = small & ~muscle
    if muscle.any():
        rows = np.flatnonzero(small.any(1))
        tissue[:rows[0] + round(AXILLA * len(rows))] = False
    free = eroded(tissue, radius) & eroded(~muscle, reach)
    return free & _off_border(small.shape, radius) & _dense(plane, small, radius)


def check_in_breast(image: Image, lesion: Lesion, breast: Breast) -> None:
    """`ArgumentError` unless the lesion is in the image, its centre in the breast, and the breast larger than it."""
    check_lesion(image.plane.shape, lesion, image.name, _mm(image))
    small, ratio = breast
    y, x = (min(int((value + 0.5) * ratio), length - 1) for value, length in zip((lesion.y, lesion.x), small.shape,
                                                                                strict=True))
    if not small[y, x]:
        raise ArgumentError(f"The place x {lesion.x:g}, y {lesion.y:g} is not in the breast of {image.name}; choose "
                            "one inside, or --at auto.")
    widest = 2 * float(cv2.distanceTransform(np.pad(small, 1).view(np.uint8), cv2.DIST_L2, 5).max()) / ratio
    if lesion.diameter > widest:
        wide, most = (length_of(pixels, _mm(image)) for pixels in (lesion.diameter, widest))
        raise ArgumentError(f"A lesion of {wide} is larger than the breast in {image.name}, where {most} fit; choose a "
                            "smaller --size.")


def _check_fits(image: Image, diameter: float) -> None:
    """`ArgumentError` where no place of an image can have a lesion of `diameter` pixels."""
    y, x = ((side - 1) / 2 for side in image.plane.shape)
    check_lesion(image.plane.shape, Lesion((0, y, x), diameter), image.name, _mm(image))


def _mm(image: Image) -> float | None:
    """Millimetres a pixel, where they are known."""
    return None if image.spacing is None else math.sqrt(image.spacing[1] * image.spacing[2])


def _dense(plane: npt.NDArray[np.float32], small: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    """Where a disc is a quarter as bright as the breast's median, above bare film: a mask may take some of that in."""
    grey = cv2.resize(plane, small.shape[::-1], interpolation=cv2.INTER_AREA)
    film, breast = float(np.percentile(grey, 0.5)), float(np.median(grey[small]))
    width = 2 * int(radius) + 1
    return np.asarray(cv2.blur(grey, (width, width)) >= film + 0.25 * (breast - film))


def _scattered(ys: npt.NDArray[np.intp], xs: npt.NDArray[np.intp], ratio: float, shape: tuple[int, ...],
               rng: np.random.Generator, count: int, diameter: float) -> list[Lesion]:
    """`count` of the small pixels (ys, xs) at random, as places of the large image."""
    chosen = rng.integers(len(ys), size=count)
    jitter = rng.uniform(-0.5, 0.5, (count, 2))
    y = np.clip((ys[chosen] + 0.5 + jitter[:, 0]) / ratio - 0.5, 0, shape[0] - 1)
    x = np.clip((xs[chosen] + 0.5 + jitter[:, 1]) / ratio - 0.5, 0, shape[1] - 1)
    return [Lesion((0.0, float(a), float(b)), float(diameter)) for a, b in zip(y, x, strict=True)]


def _inner(small: npt.NDArray[np.bool_], radius: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(y, x) of the pixels at least `radius` from the breast's edge and the image's; a fifth more if there is room.

    Regions are no discs: the fifth keeps their corners inside too.
    """
    for share in (1.2, 1.0, 0.75, 0.5, 0.25, 0.0):
        framed = eroded(small, radius * share) & _off_border(small.shape, radius * share)
        if framed.sum() >= 16:
            break
    ys, xs = np.nonzero(framed if framed.any() else np.ones_like(small))
    return ys, xs


def _off_border(shape: tuple[int, ...], radius: float) -> npt.NDArray[np.bool_]:
    """True (y, x) at least `radius` pixels from the image's border, or as deep as the image is."""
    edge = int(min(radius, (min(shape) - 1) // 2))
    inside = np.zeros(shape, np.bool_)
    inside[edge:shape[0] - edge, edge:shape[1] - edge] = True
    return inside


def share_inside(tissue: npt.NDArray[np.bool_], place: Lesion) -> float:
    """The share of a place's disc that lies on `tissue` (y, x)."""
    radius = place.diameter / 2
    steps = np.linspace(-radius, radius, 33)
    dy, dx = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    disc = dy**2 + dx**2 <= radius**2
    ys, xs = np.rint(place.y + dy[disc]).astype(int), np.rint(place.x + dx[disc]).astype(int)
    inside = (ys >= 0) & (ys < tissue.shape[0]) & (xs >= 0) & (xs < tissue.shape[1])
    return float(tissue[ys[inside], xs[inside]].sum() / len(ys))
