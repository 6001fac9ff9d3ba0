"""Protecting and verifying from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scanward import formats, methods
from scanward.errors import ArgumentError, UnsupportedError
from scanward.formats.sources import series_or_file
from scanward.image import AIR, Image
from scanward.protectors.base import Protected
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import Answer, Record, read_key, weave
from scanward.protectors.seal import verify as verify_image


@dataclass(frozen=True)
class Perturb:
    """How an image is to be perturbed, against attackers that read their lesion out of its surroundings."""

    method: str = "mits-gan"
    around: Sequence[Around] = ()
    epsilon: float | None = None
    """HU that a voxel changes by at most, for `mits-gan`; its own default where it is None."""


def perturbed(image: Image, order: Perturb) -> tuple[Image, dict[str, object]]:
    """The perturbed image, and what was done, for JSON. Raises `InputError`."""
    if order.epsilon is not None and order.method != "mits-gan":
        raise ArgumentError(f"{order.method} has no bound; --epsilon is for mits-gan.")
    method = methods.build(order.method, "protector", **({} if order.epsilon is None else {"epsilon": order.epsilon}))
    # What lies at the floor is padding, or was cut off there: readers raise it, and a change would be written for good.
    pixels = np.where(image.pixels <= max(image.pixels.min(), AIR), image.pixels, method.protect(image, order.around).pixels)
    change = (pixels - image.pixels).astype(np.float64)
    if not change.any():
        raise UnsupportedError(f"{image.name} would come out unchanged: its values lie in steps too coarse for this "
                               "bound, or its voxels are too large; give a larger --epsilon or use --key.")
    facts = {"method": order.method, "weights_sha256": method.weights_sha256,
             "epsilon": getattr(method, "epsilon", None),
             "around": [[a.x, a.y, a.z, a.diameter_mm] for a in order.around],
             "largest_change": float(np.abs(change).max()), "rms_change": float(np.sqrt((change**2).mean()))}
    return dataclasses.replace(image, pixels=pixels), facts


def protected(image: Image, master: bytes | None,
              perturb: Perturb | None) -> tuple[Protected[Record | None], dict[str, object] | None]:
    """The image perturbed where that was asked for, under evidence where there is a key, and what `perturbed` says."""
    made, facts = (image, None) if perturb is None else perturbed(image, perturb)
    if master is None:
        return Protected(made, None), facts
    woven = weave(made, master, unperturbed=None if perturb is None else image)
    return Protected(woven.image, woven.record), facts


def check_asked(key: object, perturb: Perturb | None) -> None:
    """`ArgumentError` where neither was given."""
    if key is None and perturb is None:
        raise ArgumentError("Nothing was asked for; give --key FILE for evidence, --method for a perturbation, or "
                            "both.")


def protect(source: Image | str | Path, key: bytes | str | Path | None = None, *,
            perturb: Perturb | None = None) -> Protected[Record | None]:
    """An image under keyed evidence, with the record that verifies and undoes it; before that, perturbed.

    `key` is 32 secret bytes or the file that `scanward key` made; without one there is no record, and a perturbation
    is not undone to the last bit. Raises `UnsupportedError` for an image that is not stored in whole steps or has no
    room for a pattern; other `InputError` for what cannot be read.
    """
    check_asked(key, perturb)
    return protected(_image(source), None if key is None else key_in(key), perturb)[0]


def verify(source: Image | str | Path, key: bytes | str | Path, record: Record) -> Answer:
    """Whether an image is what was protected: authentic, tampered and where, or inconclusive. Raises `InputError`."""
    return verify_image(_image(source), key_in(key), record.salt, record)


def _image(source: Image | str | Path) -> Image:
    return source if isinstance(source, Image) else formats.read(series_or_file(Path(source)))


def key_in(key: bytes | str | Path) -> bytes:
    """32 secret bytes, given or in a key's file; `InputError` for what is none."""
    if not isinstance(key, bytes):
        return read_key(Path(key))
    if len(key) != 32:
        raise ArgumentError(f"A key has 32 bytes, not {len(key)}; use what `scanward key` made.")
    return key
