"""Copies within one chest CT: lung, or slices, that occur twice. Untrained; its threshold bounds false alarms."""

from scanward.detectors.ct_copy_move.detect import CtCopyMove

__all__ = ["CtCopyMove"]
