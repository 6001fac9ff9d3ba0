"""The self-reference detector: each region's grain against the whole image's own."""

from scanward.detectors.self_reference.detect import SelfReference

__all__ = ["SelfReference"]
