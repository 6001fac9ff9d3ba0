"""TAFIM at work: one pass a slice over a whole scan; without a bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scanward.image import Image
from scanward.protectors.mits_gan.protect import Around, check
from scanward.weights import Trained

if TYPE_CHECKING:
    from scanward.protectors.tafim.network import Perturber

LOW, HIGH = -1024.0, 3071.0
"""HU of -1 and 1."""


class Tafim(Trained):
    """A common and an image-specific perturbation, towards a fixed answer of the attacker."""

    name = "tafim"
    weights_name = "tafim"

    def protect(self, image: Image, around: Sequence[Around] = ()) -> Image:
        """The whole image protected, places or not, as its file stores it. Raises `UnsupportedError`."""
        import torch

        check(image, around)
        made = np.empty(image.shape, np.float32)
        with torch.inference_mode():
            for number, plane in enumerate(image.pixels):
                x = torch.from_numpy((plane - LOW) * (2 / (HIGH - LOW)) - 1)[None, None]
                made[number] = plane + self.net(x)[0, 0].numpy() * ((HIGH - LOW) / 2)
        return dataclasses.replace(image, pixels=image.storable(made, image.pixels))

    @cached_property
    def net(self) -> Perturber:
        """The trained network."""
        from scanward.nets.blocks import filled
        from scanward.protectors.tafim.network import Perturber

        return filled(Perturber(), self._weights[0]).requires_grad_(False)
