"""MetaImage and NIfTI volumes, checked against SimpleITK, which wrote them."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
from volume_files import nifti

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats import Source, find, read
from scanward.formats.content import read_content

# Directions of the axes x, y, z, each a column of the matrix: as stored, mirrored, sagittal, and turned by ten degrees.
TURNS = {
    "straight": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "mirrored": (-1, 0, 0, 0, 1, 0, 0, 0, -1),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),
    "cyclic": (0, -1, 0, 0, 0, 1, 1, 0, 0),
    "oblique": (0.9848078, -0.1736482, 0, 0.1736482, 0.9848078, 0, 0, 0, 1),
}


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 2000, (34, 40, 50)).astype(np.int16)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd", "ct.nii", "ct.nii.gz", "packed.mha", "packed.mhd"])
def test_volumes_are_turned_as_simpleitk_turns_them(tmp_path, volume, name, turn):
    stored = sitk.GetImageFromArray(volume)
    stored.SetSpacing((0.5, 0.75, 2.0))
    stored.SetDirection(TURNS[turn])
    sitk.WriteImage(stored, str(tmp_path / name), useCompression=name.startswith("packed"))
    expected = sitk.DICOMOrient(stored, "LPS")
    image = read(tmp_path / name)
    assert np.array_equal(image.pixels, sitk.GetArrayFromImage(expected))
    assert image.spacing == pytest.approx(expected.GetSpacing()[::-1])
    assert (image.modality, image.integer) == ("CT", True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_metaimage_types(tmp_path, dtype):
    values = np.arange(40 * 40 * 2).reshape(2, 40, 40).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "ct.mha"))
    assert np.array_equal(read(tmp_path / "ct.mha").pixels, values)


def test_nifti_scale_and_unit_are_applied(tmp_path, volume):
    picture = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-500.0, -750.0, 2000.0, 1.0]))
    picture.header.set_slope_inter(0.5, 10)
    picture.header.set_xyzt_units("micron")
    nibabel.save(picture, tmp_path / "ct.nii")
    image = read(tmp_path / "ct.nii")
    assert np.allclose(image.pixels, volume * 0.5 + 10)
    assert image.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert not image.integer


def test_nifti_2_reads(tmp_path, volume):
    nibabel.save(nibabel.Nifti2Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "ct.nii")
    assert np.array_equal(read(tmp_path / "ct.nii").pixels, volume)


def test_four_axes_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 40, 4, 3), np.int16), np.eye(4)), tmp_path / "ct.nii")
    with pytest.raises(UnsupportedError, match="4 axes"):
        read(tmp_path / "ct.nii")
    sitk.WriteImage(sitk.Image([40, 40, 4, 2], sitk.sitkInt16), str(tmp_path / "ct.mha"))
    with pytest.raises(UnsupportedError, match="4 axes"):
        read(tmp_path / "ct.mha")


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "LIST", "slice%03d.raw"])
def test_a_header_may_not_point_elsewhere(tmp_path, volume, name):
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "ct.mhd"))
    header = (tmp_path / "ct.mhd").read_text().replace("ct.raw", name)
    (tmp_path / "ct.mhd").write_text(header)
    with pytest.raises(UnsupportedError, match="keeps its voxels in"):
        read(tmp_path / "ct.mhd")


def test_missing_and_short_data_files(tmp_path, volume):
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "ct.mhd"))
    assert [s.path.name for s in find([tmp_path])[0]] == ["ct.mhd"]
    raw = tmp_path / "ct.raw"
    raw.write_bytes(raw.read_bytes()[:-100])
    with pytest.raises(UnreadableError, match="cut short"):
        read(tmp_path / "ct.mhd")
    raw.unlink()
    with pytest.raises(UnreadableError, match="is missing"):
        read(tmp_path / "ct.mhd")


def test_headers_that_promise_far_more_than_the_file_holds(tmp_path, volume):
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "ct.mha"), useCompression=True)
    raw = (tmp_path / "ct.mha").read_bytes()
    (tmp_path / "ct.mha").write_bytes(raw.replace(b"DimSize = 50 40 34", b"DimSize = 9000 9000 9"))
    with pytest.raises(UnreadableError, match="cut short"):
        read(tmp_path / "ct.mha")
    (tmp_path / "ct.mha").write_bytes(raw.replace(b"DimSize = 50 40 34", b"DimSize = 60000 60000 9"))
    with pytest.raises(UnsupportedError, match="60000 x 60000"):
        read(tmp_path / "ct.mha")


def test_a_gzipped_bomb_is_refused_by_its_header(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((9000, 9000, 9))
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    import gzip

    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with pytest.raises(UnreadableError, match="cut short"):
        read(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("qfac", [-2, -0.5, 2, 0.5, -np.inf, np.inf, np.nan, -1e-30])
def test_nifti_whose_qform_has_another_sign_than_1(tmp_path, qfac, zipped):
    """ITK goes by the sign, and nibabel by whether it is -1."""
    values, path = np.random.default_rng(0).integers(-1024, 2000, (4, 40, 50)).astype(np.int16), tmp_path / "ct.nii.gz"
    for known in (-1, 0, 1):
        nifti(path, values, codes=(1, 0), qfac=known, zipped=zipped)
        upright = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
        assert np.array_equal(read(path).pixels, sitk.GetArrayFromImage(upright))
        assert np.array_equal(read(path).pixels, values[::-1] if known == -1 else values)
    nifti(path, values, codes=(1, 0), qfac=qfac, zipped=zipped)
    with pytest.raises(UnreadableError, match=r"ct\.nii\.gz has a pixdim\[0\] of .*; write 1 or -1\.$"):
        read(path)
    nifti(path, values, codes=(0, 1), qfac=qfac, zipped=zipped)
    assert np.array_equal(read(path).pixels, values), "the sform knows no such sign"


@pytest.mark.parametrize("code", [1003, 1005, 1006, 1007, 2003, 3, -1])
def test_nifti_that_is_sealed_is_a_picture_by_its_intent(tmp_path, code):
    values, path = np.random.default_rng(0).normal(0, 9, (4, 40, 50)).astype(np.float32), tmp_path / "ct.nii"
    data = bytearray(nifti(path, values).read_bytes())
    for known in (0, 1001, 1002, code):
        data[68:70] = np.int16(known).tobytes()
        path.write_bytes(data)
        assert np.array_equal(read(path).pixels, values)
        if known != code:
            assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
            assert np.array_equal(read_content(Source((path,), "file")).values, values)
    if code == 1006:  # displacements, of which ITK turns signs
        assert not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
    with pytest.raises(UnsupportedError, match=rf"ct\.nii has an intent_code of {code}, .*; write 0\.$"):
        read_content(Source((path,), "file"))


@pytest.mark.parametrize("zeros", [1, 4, 2000])
@pytest.mark.parametrize("cut", [100, 352, 9000])
def test_nifti_that_is_sealed_has_nothing_between_its_gzip_members(tmp_path, cut, zeros):
    """zlib ends there, and Python passes over zeros."""
    values, path = np.random.default_rng(0).integers(-1024, 2000, (4, 40, 50)).astype(np.int16), tmp_path / "ct.nii.gz"
    whole = gzip.decompress(nifti(path, values, zipped=True).read_bytes())
    parts = gzip.compress(whole[:cut]), gzip.compress(whole[cut:])
    for between, behind in ((b"", b""), (b"", bytes(zeros)), (gzip.compress(b""), gzip.compress(bytes(zeros)))):
        path.write_bytes(between.join(parts) + behind)
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
        assert np.array_equal(read_content(Source((path,), "file")).values, values)
    path.write_bytes(bytes(zeros).join(parts))
    assert np.array_equal(read(path).pixels, values)
    if cut == 9000:
        assert not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
    with pytest.raises(UnreadableError, match=r"ct\.nii\.gz holds bytes between its gzip members, .* again\.$"):
        read_content(Source((path,), "file"))
