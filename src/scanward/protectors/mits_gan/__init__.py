"""Perturbations against CT-GAN (MITS-GAN, Pasqualino et al. 2024): as published, and ours around known places."""

from scanward.protectors.mits_gan.protect import EPSILON, Around, MitsGan, MitsGanPublished

__all__ = ["EPSILON", "Around", "MitsGan", "MitsGanPublished"]
