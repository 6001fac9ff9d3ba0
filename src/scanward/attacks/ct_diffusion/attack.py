"""CT-GAN's way through the scan with a diffusion model in the generator's place; one model injects and removes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from scanward.attacks.ct_gan.attack import CtGan

if TYPE_CHECKING:
    from scanward.attacks.ct_gan.tamper import Forger

CALM = 0.7
"""Of the noise that healthy lung is drawn from: calmer lung has fewer blobs that look like small nodules."""


class CtDiffusion(CtGan):
    """A nodule drawn from noise, of the asked outline and density."""

    name = family = "ct-diffusion"
    weights_name = "ct-diffusion"

    @cached_property
    def forger(self) -> Forger:
        """The trained denoiser."""
        from scanward.attacks.ct_diffusion.network import Denoiser
        from scanward.attacks.ct_gan.tamper import Forger, equaliser_of
        from scanward.nets.blocks import filled

        arrays, settings = self._weights
        net = filled(Denoiser(), arrays).requires_grad_(False)
        return Forger(net.complete, equaliser_of(settings), self.inject, 1.0 if self.inject else CALM)


class CtDiffusionRemove(CtDiffusion):
    """Healthy lung drawn from noise over a nodule."""

    name = family = "ct-diffusion-remove"
    inject = False
