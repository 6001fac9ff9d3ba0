"""What an encoding needs to say the same: another slope, other colours, another type of number."""

from __future__ import annotations

import shutil
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage
from sealable import ct_slice, made

import scanward

SIDE = 96


def volume(seed=3, slices=6):
    draw = np.random.default_rng(seed)
    return np.rint(ndimage.gaussian_filter(draw.normal(size=(slices, SIDE, SIDE)), (0, 3, 3)) * 2500
                   + draw.normal(0, 12, (slices, SIDE, SIDE))).clip(-1000, 1000)


def write(folder, hu, store):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for z, plane in enumerate(hu):
        data = ct_slice(z, np.zeros((SIDE, SIDE), np.uint16), PixelSpacing=[0.7, 0.7])
        store(data, plane)
        data.save_as(folder / f"{z}.dcm")


def plain(data, hu):
    data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    data.PixelData = (hu + 1024).astype("<u2").tobytes()


def window(data, hu):
    """8 bits of -1000 to 1000 HU, with the slope that gives the HU back."""
    step = 2000 / 255
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.RescaleSlope, data.RescaleIntercept = f"{step:.8f}", "-1000"
    data.PixelData = np.rint((hu + 1000) / step).clip(0, 255).astype(np.uint8).tobytes()
    data["PixelData"].VR = "OB"


def halves(data, hu):
    data.PixelRepresentation, data.BitsStored, data.HighBit = 1, 16, 15
    data.RescaleSlope, data.RescaleIntercept = "0.5", "0"
    data.PixelData = (2 * hu).astype("<i2").tobytes()


@pytest.mark.parametrize("store", [window, halves])
def test_another_slope_that_gives_the_same_hu_is_no_forgery_and_hides_none(tmp_path, key, store):
    hu, folder = volume(), tmp_path / "ct"
    write(folder, hu, plain)
    scanward.seal(folder, key)
    write(folder, hu, store)
    said = scanward.verify(folder, key)
    assert (said.label, "consistent" in said.reason) == ("inconclusive", True), said.reason
    y, x = np.ogrid[:SIDE, :SIDE]
    lesion = hu.copy()
    lesion[2:5] += 250 * (np.hypot(y - 48, x - 48) < 4)
    write(folder, lesion, store)
    said = scanward.verify(folder, key)
    assert said.label == "tampered", said.reason


def test_the_same_voxels_under_another_slope_are_another_image(tmp_path, key):
    hu, folder = volume(), tmp_path / "ct"
    write(folder, hu, plain)
    scanward.seal(folder, key)

    def steeper(data, plane):
        plain(data, plane)
        data.RescaleSlope = "1.05"

    write(folder, hu, steeper)
    assert scanward.verify(folder, key).label != "authentic"


@pytest.mark.parametrize("change", [lambda v: v * 1.00001, lambda v: v + 0.25], ids=["gain", "offset"])
def test_numbers_of_another_type_are_not_the_sealed_slices_in_another_order(tmp_path, key, change):
    path, values = tmp_path / "v.nii.gz", (volume() + 1000).astype(np.int16)

    def put(made):
        nibabel.Nifti1Image(made.T, np.diag([0.7, 0.7, 2, 1])).to_filename(path)

    put(values)
    scanward.seal(path, key)
    put(change(values.astype(np.float64)).astype(np.float32))
    said = scanward.verify(path, key)
    assert said.label == "inconclusive" and "another order" not in said.reason
    put(change(values.astype(np.float64)).astype(np.float32)[:-1])
    said = scanward.verify(path, key)
    assert said.label == "inconclusive" and "voxel by voxel" not in said.reason
    put(values.astype(np.float32))
    assert scanward.verify(path, key).label == "authentic"


def ultrasound(path):
    draw = np.random.default_rng(1)
    colours = ndimage.gaussian_filter(draw.normal(120, 600, (128, 128, 3)), (4, 4, 0)).clip(0, 255).astype(np.uint8)
    made(colours, "1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1", Modality="US", SamplesPerPixel=3,
         PlanarConfiguration=0, PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8, HighBit=7).save_as(
        path, enforce_file_format=True)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="DCMTK is not installed")
def test_colours_that_jpeg_turned_into_others_are_no_forgery_and_a_relabelled_image_is_one(tmp_path, key):
    path = tmp_path / "us.dcm"
    ultrasound(path)
    scanward.seal(path, key)
    subprocess.run([shutil.which("dcmcjpeg"), "+eb", path, tmp_path / "jpeg.dcm"], check=True, capture_output=True)
    assert pydicom.dcmread(tmp_path / "jpeg.dcm").PhotometricInterpretation == "YBR_FULL_422"
    said = scanward.verify(tmp_path / "jpeg.dcm", key, seal=tmp_path / "us.dcm.seal")
    assert said.label == "inconclusive", said.reason
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = "YBR_FULL"
    data.save_as(path)
    assert scanward.verify(path, key).label == "tampered"
