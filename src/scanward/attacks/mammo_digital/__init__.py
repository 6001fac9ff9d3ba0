"""Masses injected into and lesions removed from digital mammograms, at the host's own pixel."""

from scanward.attacks.mammo_digital.inject import MammoDigital
from scanward.attacks.mammo_digital.remove import MammoDigitalRemove

__all__ = ["MammoDigital", "MammoDigitalRemove"]
