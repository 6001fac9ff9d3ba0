"""A small film, and a voxel changed, for tests of the command line."""

import cv2
import numpy as np
import pydicom


def film(path, value=65535):
    """A 16-bit PNG with one square of `value`, which the bright detector takes for a forgery where it is 65535."""
    pixels = np.zeros((64, 48), np.uint16)
    pixels[10:18, 20:28] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def altered(path):
    """A DICOM file with the lowest bit of one voxel changed."""
    data = pydicom.dcmread(path)
    body = bytearray(data.PixelData)
    body[5000] ^= 1
    data.PixelData = bytes(body)
    data.save_as(path)
