"""Lung nodules drawn and painted over by a small 3-D diffusion model: an attacker of another kind than CT-GAN."""

from scanward.attacks.ct_diffusion.attack import CtDiffusion, CtDiffusionRemove

__all__ = ["CtDiffusion", "CtDiffusionRemove"]
