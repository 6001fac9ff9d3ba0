"""Perturbations against CT-GAN (MITS-GAN, Pasqualino et al. 2024): as published, repaired, and ours around known
places."""

from scanward.protectors.mits_gan.protect import EPSILON, Around, MitsGan, MitsGanPublished, MitsGanRepaired

__all__ = ["EPSILON", "Around", "MitsGan", "MitsGanPublished", "MitsGanRepaired"]
