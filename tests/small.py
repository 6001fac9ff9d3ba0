"""A small film for tests of the command line."""

import cv2
import numpy as np


def film(path, value=65535):
    """A 16-bit PNG with one square of `value`, which the bright detector takes for a forgery where it is 65535."""
    pixels = np.zeros((64, 48), np.uint16)
    pixels[10:18, 20:28] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path
