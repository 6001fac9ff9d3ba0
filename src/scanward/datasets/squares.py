"""Squares of mammograms, of the sizes that generators paint: away from masses, or anywhere in the breast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_small
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_cgan.train import augmented
from scanward.attacks.partial_conv.remove import SIDE
from scanward.attacks.places import draw_places
from scanward.datasets.films import Film
from scanward.image import Image

Squares = npt.NDArray[np.float32]
SIZES_MM = (5.0, 45.0)
SHRUNK = 3.0
"""A training square covers up to this many times its own side of the film, as for lesions larger than it."""


def _of_films(films: Sequence[Film], seed: int,
              of_film: Callable[[Film, Image, np.random.Generator], Iterator[Plane]]) -> Squares:
    rng = np.random.default_rng(seed)
    return np.stack([square for film in films for square in of_film(film, film.read(), rng)])


def healthy(films: Sequence[Film], each: int, seed: int, antialias: bool) -> Squares:
    """(n, 64, 64) squares of the films' breasts away from their masses, black 0 and white 1, of every size."""
    return _of_films(films, seed, partial(_healthy, each, antialias))


def _healthy(each: int, antialias: bool, film: Film, image: Image, rng: np.random.Generator) -> Iterator[Plane]:
    plane, levels = image.plane, levels_of(image.plane)
    spacing = image.spacing[1] if image.spacing else 0.1
    breast = breast_small(plane)
    for _ in range(each):
        mm = float(np.exp(rng.uniform(*np.log(SIZES_MM))))
        place = draw_places(plane, rng, 1, min(mm / spacing, 0.3 * min(plane.shape)), breast)[0]
        if all(np.hypot(place.y - m.y, place.x - m.x) > 0.5 * m.diameter + 0.9 * place.diameter for m in film.masses):
            yield augmented(plane, place, levels, rng, antialias)


def squares(films: Sequence[Film], each: int, seed: int) -> Squares:
    """(n, 128, 128) squares of breasts in stored values, at their own size or shrunk."""
    return _of_films(films, seed, partial(_squares, each))


def _squares(each: int, film: Film, image: Image, rng: np.random.Generator) -> Iterator[Plane]:
    plane, breast = image.plane, breast_small(image.plane)
    for _ in range(each):
        side = min(round(SIDE * float(rng.uniform(0.6, SHRUNK))), int(0.4 * min(plane.shape)))
        side = max(side, SIDE)
        place = draw_places(plane, rng, 1, side / 2, breast)[0]
        y, x = (int(np.clip(round(v - side / 2), 0, n - side)) for v, n in zip((place.y, place.x), plane.shape,
                                                                              strict=True))
        yield np.asarray(cv2.resize(plane[y:y + side, x:x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
