"""Images in memory perturbed, and keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scanward import methods
from scanward.arguments import PathLike, number_of, path_of, refused
from scanward.brief import brief
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import AIR, Image
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import read_key

BOUNDED = ("mits-gan", "mits-gan-repaired", "watermark")
"""Protectors that change a voxel by so much at most."""
KEYED = ("watermark",)
"""Protectors that work under a site's key."""
PLACED = "mits-gan"
"""The one that changes places; the others change whole scans."""
Key = bytes | PathLike
"""32 secret bytes, or the file that `make_key` made."""


@dataclass(frozen=True)
class Perturb:
    """How an image is to be perturbed, against attackers that read their lesion out of its surroundings.

    Raises `ArgumentError` for anything else than what is said here.
    """

    method: str = "mits-gan"
    """A protector, as `scanward methods` lists them."""
    around: Sequence[Around] = ()
    """Places, for `mits-gan`."""
    epsilon: float | None = None
    """HU that a voxel changes by at most, for those of `BOUNDED`; their own default where it is None."""

    def __post_init__(self) -> None:
        if not isinstance(self.method, str):
            raise refused("method", "the name of a protector", self.method)
        if not isinstance(self.around, Sequence) or not all(isinstance(place, Around) for place in self.around):
            raise refused("around", "a list of scanward.Around(z=, y=, x=, diameter_mm=)", self.around)
        for place in self.around:
            for name, value in vars(place).items():
                number_of(value, name)
        if self.epsilon is not None:
            number_of(self.epsilon, "epsilon")

    __repr__ = brief


def perturbed(image: Image, order: Perturb, master: bytes | None = None) -> tuple[Image, dict[str, object]]:
    """The perturbed image, and what was done, for JSON; `master` is the site's key, for those of `KEYED`. Raises
    `InputError`."""
    if order.epsilon is not None and order.method not in BOUNDED:
        raise ArgumentError(f"{order.method} has no bound; --epsilon is for {', '.join(BOUNDED)}.")
    options = ({} if order.epsilon is None else {"epsilon": order.epsilon}) | (
        {"key": master} if order.method in KEYED else {})
    method = methods.build(order.method, "protector", **options)
    if order.around and order.method != PLACED:
        raise ArgumentError(f"{order.method} changes whole scans; --around is for {PLACED}.")
    # What lies at the floor is padding, or was cut off there: readers raise it, and a change would be written for good.
    floor = max(image.pixels.min(), AIR)
    pixels = np.where(image.pixels <= floor, image.pixels, method.protect(image, order.around).pixels)
    change = (pixels - image.pixels).astype(np.float64)
    if not change.any():
        raise UnsupportedError(f"{image.name} would come out unchanged: its values lie in steps too coarse for this "
                               "bound, or its voxels are too large; give a larger --epsilon.")
    facts = {"method": order.method, "weights_sha256": method.weights_sha256,
             "epsilon": getattr(method, "epsilon", None),
             "around": [[a.x, a.y, a.z, a.diameter_mm] for a in order.around],
             "largest_change": float(np.abs(change).max()), "rms_change": float(np.sqrt((change**2).mean()))}
    return dataclasses.replace(image, pixels=pixels), facts


def key_in(key: Key) -> bytes:
    """32 secret bytes, given or in a key's file; `InputError` for what is none."""
    if not isinstance(key, bytes):
        return read_key(path_of(key, "key", "32 secret bytes or the file of a key"))
    if len(key) != 32:
        raise ArgumentError(f"A key has 32 bytes, not {len(key)}; use what `scanward key` made.")
    return key
