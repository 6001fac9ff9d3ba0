"""Stored values: what nobody asked to change stays, and a seal is as exact as they are, whatever their scale."""

import dataclasses

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from volume_files import CODES, metaimage, nifti

import scanward
from scanward import inject
from scanward.formats import find, read
from scanward.formats.write_volume import write_altered_volume

KEY = bytes(range(32))
FILM = np.random.default_rng(5).integers(40, 2000, (48, 64), np.uint16)
BOX = (slice(1, 3), slice(10, 14), slice(20, 27))
SCALES = [(1.0, 0.0), (1.0, -1024.0), (0.1, -1024.0), (7.109804153442383, -1024.0), (-2.0, 40.0), (0.5, 100_000.0)]


def values(dtype, seed=0, shape=(4, 40, 48)):
    """(z, y, x) of this type within ±100, some at the type's ends."""
    made = np.random.default_rng(seed).integers(0 if dtype[0] == "u" else -100, 100, shape).astype(dtype)
    if made.dtype.kind in "iu":
        made[0, 0, :3] = np.iinfo(dtype).min, np.iinfo(dtype).max, np.iinfo(dtype).max - 1
    else:
        made[0, 0, :3] = np.pi, -1e-3, 2.0**24 + 3
    return made


def stored_in(path):
    """As a file stores its voxels (z, y, x)."""
    if ".nii" in path.name:
        return np.asarray(nibabel.load(path).dataobj.get_unscaled()).transpose(2, 1, 0)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("scale", [None, *SCALES])
@pytest.mark.parametrize("order", "<>")
def test_only_what_was_changed_is_stored_anew(tmp_path, dtype, scale, order):
    stored = values(dtype)
    stored = stored.astype(stored.dtype.newbyteorder(order))
    path = metaimage(tmp_path / "ct.mha", stored) if scale is None else nifti(tmp_path / "ct.nii", stored, *scale)
    slope, _ = scale or (1.0, 0.0)
    host = read(path)
    wanted = host.pixels.copy()
    wanted[BOX] += 3 * slope
    made = dataclasses.replace(host, pixels=host.storable(wanted, host.pixels))
    again = stored_in(write_altered_volume(host, made, path, tmp_path, description="x", synthetic=True))
    # both files run along the patient's axes
    outside = np.ones(stored.shape, bool)
    outside[BOX] = False
    assert again.dtype.newbyteorder("=") == np.dtype(dtype)
    assert np.array_equal(again[outside], stored[outside])
    if stored.dtype.kind in "iu":
        assert np.array_equal(again[BOX], stored[BOX] + 3)
    else:
        assert np.allclose(again[BOX], stored[BOX] + 3, atol=0.6 if slope == 0.1 else 0.1)


@pytest.fixture(scope="module")
def chest():
    """(z, y, x) HU: two lungs in a body."""
    _, y, x = np.mgrid[:24, :120, :120]
    plane = np.where(np.hypot((y - 60) / 55, (x - 60) / 58) < 1, 40.0, -1000.0)
    for side in (35, 85):
        plane = np.where(np.hypot((y - 60) / 40, (x - side) / 18) < 1, -860.0, plane)
    return np.rint(plane + np.random.default_rng(0).normal(0, 15, plane.shape)).astype(np.int64)


@pytest.fixture(scope="module")
def forged(chest, tmp_path_factory):
    """HU of a nodule forged into these as 16-bit numbers."""
    path = nifti(tmp_path_factory.mktemp("chest") / "ct.nii", chest.astype(np.int16))
    return inject(path, at=(35, 60, 12), size_mm=8, seed=3).image.pixels


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", "float64", "npy"])
def test_a_nodule_is_the_same_in_numbers_of_every_width(tmp_path, chest, forged, dtype):
    if dtype == "npy":
        np.save(tmp_path / "ct.npy", chest)
        tamper = inject(tmp_path / "ct.npy", at=(35, 60, 12), size_mm=8, seed=3, spacing=(2.5, 2.5))
        assert not np.any(tamper.image.pixels % 1) and np.ptp(tamper.image.pixels[tamper.mask]) > 100
        return
    moved = 1100 if dtype[0] == "u" else 0
    path = nifti(tmp_path / "ct.nii", (chest + moved).astype(dtype), 1.0, -moved)
    tamper = inject(path, at=(35, 60, 12), size_mm=8, seed=3)
    assert np.array_equal(tamper.image.pixels, forged)
    host = read(path)
    again = write_altered_volume(host, tamper.image, path, tmp_path, description="x", synthetic=True)
    assert np.array_equal(stored_in(again).astype(np.float64) - moved, forged)


def sealed(source, folder, change):
    """Seals a copy as Scanward writes it, changes a voxel of that by `change(path)`, and asserts what each answers."""
    host = read(source)
    (folder / "copy").mkdir()
    written = write_altered_volume(host, host, source, folder / "copy", description="x", synthetic=False)
    scanward.seal(source, KEY, folder)
    scanward.seal(written, KEY, folder)
    assert scanward.verify(written, KEY, seal=folder).label == "authentic"
    change(written)
    assert scanward.verify(written, KEY, seal=folder).label == "tampered"
    assert scanward.verify(source, KEY, seal=folder).label == "authentic"


def grain(dtype, seed):
    """(z, y, x) stored values far from the type's ends."""
    middle, spread = (130, 12) if dtype == "uint8" else (6500, 600)
    return np.rint(np.random.default_rng(seed).normal(middle, spread, (3, 40, 48))).astype(dtype)


slopes = st.one_of(st.sampled_from([1.0, 0.5, 3.0, 0.1, 1.7, 7.109804153442383, 1e-3, -1.7]),
                   st.floats(1e-3, 40).map(lambda v: float(np.float32(v))))
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@example(0.1, -1024.0, "int16", 1)
@example(7.109804153442383, -1024.0, "uint8", 2)
@example(-1.7, 31.7, "uint16", 3)
@given(slopes, st.sampled_from([-1024.0, 0.0, -1000.5, 31.7]), st.sampled_from(["uint8", "int16", "uint16"]),
       st.integers(0, 2**16))
def test_a_nifti_of_any_slope_is_authentic_until_one_stored_value_is_another(tmp_path_factory, slope, inter, dtype,
                                                                              seed):
    folder = tmp_path_factory.mktemp("seal")
    stored = grain(dtype, seed)
    path = nifti(folder / "ct.nii", stored, slope, inter)
    def change(written):
        data = bytearray(written.read_bytes())
        values = np.frombuffer(data, dtype, offset=352).copy()
        values[seed % values.size] += 1
        written.write_bytes(data[:352] + values.tobytes())

    sealed(path, folder, change)


def ct_series(phantom, folder, stored, **elements):
    for number, plane in enumerate(stored):
        part = phantom.ct_slice(2.5 * number, number, **elements)
        part.Rows, part.Columns = plane.shape
        part.BitsAllocated = part.BitsStored = 16
        part.HighBit, part.PixelRepresentation = 15, int(stored.dtype.kind == "i")
        part.PixelData = plane.tobytes()
        folder.mkdir(exist_ok=True)
        part.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return find([folder])[0][0]


@quick
@example(1.7, -1024.0, None, 1)
@example(0.1, -1000.5, -2000, 2)
@given(slopes, st.sampled_from([-1024.0, 0.0, -1000.5]), st.sampled_from([None, -2000, 30000]), st.integers(0, 2**16))
def test_a_series_of_any_slope_is_authentic_until_one_stored_value_is_another(phantom, tmp_path_factory, slope, inter,
                                                                               padding, seed):
    folder = tmp_path_factory.mktemp("seal")
    stored = grain("int16", seed)
    elements = {"RescaleSlope": f"{slope:.10g}", "RescaleIntercept": inter}
    if padding is not None:
        stored[:, :4], elements["PixelPaddingValue"] = padding, padding
    source = ct_series(phantom, folder / "ct", stored, **elements)

    def change(written):
        data = pydicom.dcmread(written / "1.dcm")
        values = data.pixel_array.copy()
        values.ravel()[200 + seed % 1700] += 1
        data.PixelData = values.tobytes()
        data.save_as(written / "1.dcm", enforce_file_format=True)

    sealed(source, folder, change)


@pytest.mark.parametrize("dtype, slope, inter", [
    ("int32", 1, 0), ("int64", 1, 0), ("uint32", 1, 0), ("int16", 0.01, 1e6)])
def test_what_float32_does_not_tell_apart_the_seal_does(tmp_path, dtype, slope, inter):
    stored = values(dtype)
    path = nifti(tmp_path / "ct.nii", stored, slope, inter)
    scanward.seal(path, KEY)
    stored[0, 0, 1] -= 1  # the largest of its type
    before = read(path).pixels
    nifti(path, stored, slope, inter)
    assert np.array_equal(read(path).pixels, before) or dtype == "int16"
    assert scanward.verify(path, KEY).label == "tampered"


def saved(path, array):
    np.save(path, array) if path.suffix == ".npy" else tifffile.imwrite(path, array, photometric="minisblack")
    return path


@pytest.mark.parametrize(("suffix", "sound", "other"), [
    (".npy", FILM, FILM + 1e-9), (".tif", FILM, FILM + 1e-9), (".npy", FILM + 1e-9, FILM + 0.0),
    (".npy", FILM * 1e-60, FILM[::-1] * 1e-60), (".tif", FILM * 1e-60, FILM[::-1] * 1e-60),
    (".npy", FILM + 0.1, FILM + 0.1 + 1e-12), (".tif", FILM / 3, FILM / 3 + 1e-12),
    (".npy", values("int32"), values("int32") + (values("int32") == 2**31 - 2)),
    (".npy", values("uint64"), values("uint64") - (values("uint64") == 2**64 - 1).astype(np.uint64)),
    (".npy", values("int64") + 2**40, values("int64") + 2**40 + (values("int64") == 7)),
], ids=["fraction", "fraction TIFF", "whole", "tiny", "tiny TIFF", "float64", "float64 TIFF", "int32", "uint64",
        "int64"])
def test_pictures_and_arrays_that_float32_does_not_tell_apart(tmp_path, suffix, sound, other):
    path = saved(tmp_path / f"a{suffix}", sound)
    scanward.seal(path, KEY, exact=True)
    assert scanward.verify(path, KEY).label == "authentic"
    before = read(path).pixels
    assert np.array_equal(read(saved(path, other)).pixels, before)
    assert scanward.verify(path, KEY).label in ("tampered", "inconclusive")


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64", ">f8"])
def test_the_same_numbers_of_another_type_are_the_same(tmp_path, suffix, dtype):
    path = saved(tmp_path / f"a{suffix}", FILM)
    scanward.seal(path, KEY, exact=True)
    assert scanward.verify(saved(path, FILM.astype(dtype)), KEY).label == "authentic"
    halves, path = FILM.astype("float32") / 2, tmp_path / f"b{suffix}"
    scanward.seal(saved(path, halves), KEY, exact=True)
    assert (scanward.verify(saved(path, halves.astype(dtype)), KEY).label == "authentic") == ("f" in dtype)


def test_half_and_long_numbers_are_sealed_where_usual_ones_hold_them(tmp_path):
    for name, array in (("half", FILM.astype("float16") / 2), ("long", FILM.astype(np.longdouble) / 2)):
        path = saved(tmp_path / f"{name}.npy", array)
        scanward.seal(path, KEY, exact=True)
        assert scanward.verify(path, KEY).label == "authentic"
    saved(path, FILM.astype(np.longdouble) / 3)
    with pytest.raises(scanward.UnsupportedError, match=r"long\.npy holds numbers of more than 64 bits"):
        scanward.verify(path, KEY)
