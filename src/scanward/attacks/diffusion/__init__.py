"""Removal by a small diffusion model: a generator of another kind, on which no detector is trained."""

from scanward.attacks.diffusion.remove import Diffusion

__all__ = ["Diffusion"]
