"""Pictures side by side under their titles."""

from __future__ import annotations

import cv2
import numpy as np

from scanward.report.heat import Rgb

HEAD, GAP = 30, 8
PAPER, INK = 250, (30, 30, 30)


def row(panels: list[tuple[str, Rgb]]) -> Rgb:
    """Square panels of one size on white, each under its title."""
    side = len(panels[0][1])
    made = np.full((HEAD + side + GAP, len(panels) * (side + GAP) + GAP, 3), PAPER, np.uint8)
    for number, (title, panel) in enumerate(panels):
        left = GAP + number * (side + GAP)
        made[HEAD:HEAD + side, left:left + side] = panel
        cv2.putText(made, title, (left, HEAD - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return made
