"""The CT detector."""

from scanward.detectors.ct_self_reference.detect import CtSelfReference

__all__ = ["CtSelfReference"]
