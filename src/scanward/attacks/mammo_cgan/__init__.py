"""Mammo-CGAN: two cascaded conditional GANs that inject a mass into a mammogram, and their twin that removes one."""

from scanward.attacks.mammo_cgan.inject import MammoCgan, MammoCganB, MammoCganRemove

__all__ = ["MammoCgan", "MammoCganB", "MammoCganRemove"]
