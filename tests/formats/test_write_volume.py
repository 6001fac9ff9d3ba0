"""Altered CT in its host's own format: only what was changed differs, and every file says that it was."""

from __future__ import annotations

import json
import zlib

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses

from scanward.errors import UnsupportedError
from scanward.formats import find, read
from scanward.formats.write_volume import hash_of, write_altered_volume, write_mask

TURN = (0, -1, 0, 0, 0, 1, 1, 0, 0)
WHERE = (slice(4, 9), slice(10, 14), slice(20, 27))


@pytest.fixture
def stored():
    values = np.random.default_rng(0).integers(-1024, 2000, (34, 40, 50)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-30.0, 12.5, 400.0))
    image.SetDirection(TURN)
    return image


def altered(host, change=55):
    import dataclasses

    pixels = host.pixels.copy()
    pixels[WHERE] += change
    return dataclasses.replace(host, pixels=pixels)


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd", "packed.mha", "packed.mhd", "a ct.nii", "ct.nii.gz"])
def test_a_volume_comes_back_with_only_its_change(tmp_path, stored, name):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    sitk.WriteImage(stored, str(path), useCompression=name.startswith("packed"))
    host = read(path)
    (tmp_path / "out").mkdir()
    written = write_altered_volume(host, altered(host), path, tmp_path / "out", description="A nodule.", synthetic=True)
    again = read(written)
    assert np.array_equal(again.pixels, altered(host).pixels)
    assert again.spacing == host.spacing
    assert again.provenance.to_world == host.provenance.to_world
    theirs = sitk.ReadImage(str(written))
    assert theirs.GetOrigin() == pytest.approx(stored.GetOrigin())
    assert theirs.GetDirection() == pytest.approx(stored.GetDirection())
    changed = sitk.GetArrayFromImage(theirs) != sitk.GetArrayFromImage(stored)
    assert changed.sum() == np.prod([s.stop - s.start for s in WHERE])
    if "nii" in name:
        assert b"synthetic" in bytes(nibabel.load(written).header["descrip"])
    else:
        assert b"Comment = Scanward: synthetic" in written.read_bytes()
    note = json.loads((written.parent / (written.name + ".scanward.json")).read_text())
    assert note["synthetic"] and note["file"] == written.name


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("sign", [" = ", ": ", "\t=\t"])
def test_an_odd_metaimage_header_stays_as_it_is(tmp_path, stored, sign, ends):
    values = sitk.GetArrayFromImage(stored)
    packed = zlib.compress(values.tobytes())
    lines = ["ObjectType = Image", "NDims = 3", "PatientName = Mueller", " Comment = x", "DimSize = 50 40 34",
             "ElementSpacing = 0.5 0.75 2.0", "CompressedData = True", f" CompressedDataSize = {len(packed)}",
             "ElementType = MET_SHORT", "ElementDataFile = LOCAL"]
    head = "".join(line.replace(" = ", sign) + ends for line in lines).encode()
    path = tmp_path / "ct.mha"
    path.write_bytes(head + packed)
    host = read(path)
    written = write_altered_volume(host, altered(host), path, tmp_path, description="x", synthetic=True)
    theirs = sitk.ReadImage(str(written))
    assert np.array_equal(sitk.GetArrayFromImage(theirs), altered(host).pixels)
    assert theirs.GetSpacing() == (0.5, 0.75, 2.0)
    assert b"PatientName" in written.read_bytes() and b"Mueller" in written.read_bytes()


@pytest.mark.parametrize("name", ["Gr\xf6\xdfe 5%", "\u2003ct", "ct\udcff"])
def test_voxels_beside_a_header_have_a_name_that_every_program_reads_alike(tmp_path, stored, name):
    sitk.WriteImage(stored, str(tmp_path / "ct.mhd"))
    path = (tmp_path / "ct.mhd").rename(tmp_path / f"{name}.mhd")
    host = read(path)
    written = write_altered_volume(host, altered(host), path, tmp_path, description="x", synthetic=True)
    assert written.name == f"{name}-forged.mhd" and written.read_bytes().isascii()
    assert np.array_equal(read(written).pixels, altered(host).pixels)
    shown = written.rename(tmp_path / "shown.mhd")
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(shown)), "LPS")
    assert np.array_equal(sitk.GetArrayFromImage(theirs), altered(host).pixels)


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_a_hash_covers_voxels_that_lie_beside_their_header(tmp_path, stored, suffix):
    sitk.WriteImage(stored, str(tmp_path / "ct.mhd"))
    path = (tmp_path / "ct.mhd").rename(tmp_path / f"a ct{suffix}")
    host = read(path)
    (tmp_path / "out").mkdir()
    written = write_altered_volume(host, altered(host), path, tmp_path / "out", description="x", synthetic=True)
    before, raw = hash_of(written), next(written.parent.glob("*.raw"))
    raw.write_bytes(raw.read_bytes()[:-1] + b"?")
    assert hash_of(written) != before


def test_voxels_lie_in_the_patient_where_simpleitk_puts_them(tmp_path, stored):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(stored, str(path))
    image = read(path)
    turned = sitk.DICOMOrient(stored, "LPS")
    for voxel in ((0, 0, 0), (3, 7, 11)):
        ours = np.array(image.provenance.to_world) @ (*voxel, 1)
        assert ours == pytest.approx(turned.TransformIndexToPhysicalPoint(voxel), abs=1e-3)


def test_a_scaled_nifti_keeps_its_scale(tmp_path):
    values = np.random.default_rng(1).integers(0, 3000, (40, 36, 20)).astype(np.int16)
    picture = nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0]))
    picture.header.set_slope_inter(0.5, -1024)
    path = tmp_path / "ct.nii"
    nibabel.save(picture, path)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, -1024], "<f4").tobytes()
    path.write_bytes(data)
    host = read(path)
    written = write_altered_volume(host, altered(host), path, tmp_path, description="x", synthetic=False,
                                   ending="altered")
    assert written.name == "ct-altered.nii"
    assert np.array_equal(read(written).pixels, altered(host).pixels)


def test_a_mask_lies_over_its_image(tmp_path, stored):
    path = tmp_path / "ct.mha"
    sitk.WriteImage(stored, str(path))
    host = read(path)
    mask = np.zeros(host.shape, bool)
    mask[WHERE] = True
    write_mask(tmp_path / "mask.nii.gz", mask, host)
    again = read(tmp_path / "mask.nii.gz")
    assert np.array_equal(again.pixels > 0, mask)
    assert np.array(again.provenance.to_world) == pytest.approx(np.array(host.provenance.to_world), abs=1e-3)


def test_a_series_keeps_its_tags_and_its_other_slices(phantom, write, tmp_path):
    for i in range(12):
        part = phantom.ct_slice(2.5 * i, 900 + i, PatientName="Doe^Jane", KVP="120", RescaleSlope=2)
        write(part, f"ct/{11 - i:02d}.dcm")
    (source,), _ = find([tmp_path / "ct"])
    host = read(source)
    written = write_altered_volume(host, altered(host, 56), source, tmp_path / "out", description="A nodule.",
                                   synthetic=True)
    assert np.array_equal(read(written).pixels, altered(host, 56).pixels)
    files = sorted(written.iterdir())
    assert [f.name for f in files] == sorted(p.name for p in source.paths)
    made = [pydicom.dcmread(f) for f in files]
    before = {f.name: pydicom.dcmread(f) for f in source.paths}
    assert len({m.SOPInstanceUID for m in made}) == 12
    assert len({m.SeriesInstanceUID for m in made}) == 1
    for path, data in zip(files, made, strict=True):
        old = before[path.name]
        assert data.SOPInstanceUID != old.SOPInstanceUID and data.SeriesInstanceUID != old.SeriesInstanceUID
        assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
        assert data.ImageType[0] == "DERIVED" and data[0x0008001C].value == "YES"
        assert "synthetic" in data.DerivationDescription
        assert data.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        for keyword in ("PatientName", "KVP", "StudyInstanceUID", "ImagePositionPatient", "PixelSpacing",
                        "RescaleIntercept", "Modality", "BitsStored"):
            assert data[keyword].value == old[keyword].value
        z = round(float(data.ImagePositionPatient[2]) / 2.5)
        differ = int((data.pixel_array != old.pixel_array).sum())
        assert differ == (28 if 4 <= z < 9 else 0)


def test_untouched_slices_keep_their_compressed_pixels(phantom, write, tmp_path):
    for i in range(12):
        part = phantom.ct_slice(2.5 * i, 900 + i)
        part.compress(pydicom.uid.RLELossless)
        write(part, f"ct/{i:02d}.dcm")
    (source,), _ = find([tmp_path / "ct"])
    host = read(source)
    written = write_altered_volume(host, altered(host), source, tmp_path / "out", description="x", synthetic=True)
    assert np.array_equal(read(written).pixels, altered(host).pixels)
    kinds = [pydicom.dcmread(f).file_meta.TransferSyntaxUID for f in sorted(written.iterdir())]
    assert [kind == pydicom.uid.RLELossless for kind in kinds] == [not 4 <= i < 9 for i in range(12)]


def test_what_cannot_be_written_is_said(phantom, write, tmp_path):
    path = write(phantom.ct_slice(0.0))
    host = read(path)
    with pytest.raises(UnsupportedError, match="give the series, as its folder"):
        write_altered_volume(host, host, path, tmp_path / "out", description="x", synthetic=True)
