"""Where a forgery may go: inside the breast, away from its edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Place
from scanward.attacks.blend import check_place
from scanward.image import Image
from scanward.tissue import breast_mask, breast_small, eroded

__all__ = ["breast_mask", "draw_places"]


def draw_places(image: Image | npt.NDArray[np.float32], rng: np.random.Generator, count: int,
                diameter: float) -> list[Place]:
    """`count` random places of `diameter` pixels in the breast of a mammogram (an `Image` or its (y, x) plane).

    A region stays inside the breast where the breast is large enough; otherwise it lies as deep as it can.
    Places may overlap one another. `ArgumentError` for a diameter that does not fit the image.
    """
    plane = image.plane if isinstance(image, Image) else image
    height, width = plane.shape
    check_place(plane.shape, Place((height - 1) / 2, (width - 1) / 2, diameter))
    small, ratio = breast_small(plane)
    ys, xs = _inner(small, diameter * ratio / 2)
    chosen = rng.integers(len(ys), size=count)
    jitter = rng.uniform(-0.5, 0.5, (count, 2))
    y = np.clip((ys[chosen] + 0.5 + jitter[:, 0]) / ratio - 0.5, 0, height - 1)
    x = np.clip((xs[chosen] + 0.5 + jitter[:, 1]) / ratio - 0.5, 0, width - 1)
    return [Place(float(a), float(b), float(diameter)) for a, b in zip(y, x, strict=True)]


def _inner(small: npt.NDArray[np.bool_], radius: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(y, x) of the pixels at least `radius` from the breast's edge and the image's; a fifth more if there is room.

    Regions are no discs: the fifth keeps their corners inside too.
    """
    for share in (1.2, 1.0, 0.75, 0.5, 0.25, 0.0):
        inner = eroded(small, radius * share)
        edge = int(min(radius * share, (min(small.shape) - 1) // 2))
        framed = np.zeros_like(inner)
        rows, columns = slice(edge, small.shape[0] - edge), slice(edge, small.shape[1] - edge)
        framed[rows, columns] = inner[rows, columns]
        if framed.sum() >= 16:
            break
    ys, xs = np.nonzero(framed if framed.any() else np.ones_like(small))
    return ys, xs


def share_inside(tissue: npt.NDArray[np.bool_], place: Place) -> float:
    """The share of a place's disc that lies on `tissue` (y, x)."""
    radius = place.diameter / 2
    steps = np.linspace(-radius, radius, 33)
    dy, dx = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    disc = dy**2 + dx**2 <= radius**2
    ys, xs = np.rint(place.y + dy[disc]).astype(int), np.rint(place.x + dx[disc]).astype(int)
    inside = (ys >= 0) & (ys < tissue.shape[0]) & (xs >= 0) & (xs < tissue.shape[1])
    return float(tissue[ys[inside], xs[inside]].sum() / len(ys))
