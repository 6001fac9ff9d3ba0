"""Calcifications injected into digital mammograms, at the host's own pixel."""

from scanward.attacks.mammo_calcifications.inject import MammoCalcifications

__all__ = ["MammoCalcifications"]
