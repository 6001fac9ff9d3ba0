"""Copies within one chest CT: regions of lung, and slices, that occur twice. Untrained; thresholds bound false alarms."""

from scanward.detectors.ct_copy_move.detect import CtCopyMove

__all__ = ["CtCopyMove"]
