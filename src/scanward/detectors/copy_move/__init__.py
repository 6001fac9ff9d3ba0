"""Copy-move: regions of one mammogram that appear twice. Untrained; the threshold follows from a false-alarm bound."""

from scanward.detectors.copy_move.detect import CopyMove

__all__ = ["CopyMove"]
