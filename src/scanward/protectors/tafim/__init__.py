"""TAFIM (Aneja et al., ECCV 2022) adapted to CT: the method that MITS-GAN was compared with."""

from scanward.protectors.tafim.protect import Tafim

__all__ = ["Tafim"]
