"""Architectural distortion injected into mammograms, at the host's own pixel."""

from scanward.attacks.mammo_distortion.inject import MammoDistortion

__all__ = ["MammoDistortion"]
