"""The self-reference detector: each region's grain against the whole image's own."""

from scanward.detectors.self_reference.detect import OfFilm, SelfReference

__all__ = ["OfFilm", "SelfReference"]
