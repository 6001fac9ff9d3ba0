"""Files that are of two formats at once, and may show each program another image, are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from scanward.errors import UnreadableError
from scanward.formats import read

HEADS = {"png": b"\x89PNG\r\n\x1a\n", "tiff": b"II*\0\x10\0\0\0", "big tiff": b"MM\0+\0\x08\0\0",
         "npy": b"\x93NUMPY\1\0", "pgm": b"P5 30 40 255\n", "metaimage": b"ObjectType = Image\nNDims = 3\n",
         "jpeg": b"\xff\xd8\xff\xe0",
         "gif": b"GIF89a"}


@pytest.mark.parametrize("name", HEADS)
def test_dicom_whose_preamble_begins_another_picture(phantom, write, name):
    path = write(phantom.dataset(phantom.breast()))
    before = read(path)
    path = path.rename(path.with_suffix(".TIF" if "tiff" in name else ".dcm"))
    data = path.read_bytes()
    path.write_bytes(HEADS[name].ljust(128, b"\0") + data[128:])
    with pytest.raises(UnreadableError, match=r"is DICOM and .* at once"):
        read(path)
    scanner = path.with_name("scanner.dcm")
    scanner.write_bytes(HEADS["tiff"].ljust(128, b"\0") + data[128:])
    assert np.array_equal(read(scanner).plane, before.plane), "as scanners write it"
    path.write_bytes(b"made by a modality".ljust(128, b"\0") + data[128:])
    assert np.array_equal(read(path).plane, before.plane)


def test_nifti_within_which_a_dicom_file_begins(phantom, write, tmp_path):
    data = write(phantom.dataset(phantom.breast())).read_bytes()
    head = bytearray(data[:400])
    head[:4], head[344:348] = (348).to_bytes(4, "little"), b"n+1\0"
    path = tmp_path / "film.nii"
    path.write_bytes(bytes(head) + data[400:])
    with pytest.raises(UnreadableError, match=r"at once|twice|do not follow"):
        read(path)


@pytest.mark.parametrize("code", [273, 324, 262], ids=["strips twice", "strips and tiles", "its colours twice"])
def test_tiff_that_says_a_thing_twice(tmp_path, code):
    """Some programs take the one and some the other."""
    path, values = tmp_path / "film.tif", np.random.default_rng(0).integers(0, 4096, (64, 64), np.uint16)
    tifffile.imwrite(path, values, tile=(32, 32))
    assert np.array_equal(read(path).plane, values)
    tifffile.imwrite(path, values)
    assert np.array_equal(read(path).plane, values)
    with tifffile.TiffFile(path) as tiff:
        at = next(tag.offset for tag in tiff.pages.first.tags if tag.code == 282)
    data = bytearray(path.read_bytes())
    data[at : at + 2] = code.to_bytes(2, "little")  # in the place of the resolution
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="says twice"):
        read(path)
