"""Files that ITK takes for another format than the one that Scanward reads in them: refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
from pydicom.data import get_testdata_file
from test_tiff import listed, tiff, usual
from volume_files import metaimage, nifti

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats import Source, find, read
from scanward.formats.content import read_content

FILM = np.random.default_rng(0).integers(0, 4096, (48, 64), np.uint16)
VALUES = np.random.default_rng(0).integers(-1000, 2000, (4, 34, 40), np.int16)
KINDS = {"film.png": "PNG", "film.tif": "TIFF", "film": "PNG", "ct.mha": "Meta", "ct.nii": "Nifti"}
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def written(path):
    if path.name == "film":
        path.write_bytes(written(path.with_name("film.png")).read_bytes())
        path.with_name("film.png").unlink()
    elif path.suffix in (".mha", ".nii"):
        (metaimage if path.suffix == ".mha" else nifti)(path, VALUES)
    elif path.suffix == ".npy":
        np.save(path, FILM)
    else:
        assert cv2.imwrite(str(path), FILM, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    return path


def taken_for(path):
    """The format for which SimpleITK takes a file, or the first one of a series."""
    return sitk.ImageFileReader.GetImageIOFromFileName(str(path)).removesuffix("ImageIO")


def contents(path):
    return read_content(Source((path,), "file"))


def both_refuse(path, words, error=UnsupportedError):
    for reads in (read, contents):
        with pytest.raises(error, match=words):
            reads(path)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_beside_the_parameters_of_a_bruker_image(tmp_path, monkeypatch, name):
    path = written(tmp_path / name)
    assert taken_for(path) == KINDS[name]
    read(path), contents(path)
    (tmp_path / "visu_pars").touch()
    assert taken_for(path) == "Bruker2dseq"
    both_refuse(path, f"{name} lies beside a file visu_pars, .* folder\\.$")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedError, match="beside a file visu_pars"):
        read(name)


def test_a_series_of_which_one_slice_lies_there(phantom, write, tmp_path):
    paths = tuple(write(phantom.ct_slice(z), f"{'ab'[z % 2]}/{z}.dcm") for z in range(4))
    assert read(Source(paths, "series")).shape[0] == 4
    (tmp_path / "b/visu_pars").touch()
    assert taken_for(paths[1]) == "Bruker2dseq"
    for reads in (read, read_content):
        with pytest.raises(UnsupportedError, match=r"b/1\.dcm lies beside a file visu_pars"):
            reads(Source(paths, "series"))
    (source,), errors = find([tmp_path / "b"])
    assert (len(source.paths), errors) == (2, []), "it is one image, of which one sentence is said"
    assert read(tmp_path / "a").shape[0] == 2


@pytest.mark.parametrize("beside", [".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize("name", ["film.png", "film.tif", "film", "film.npy"])
def test_a_picture_beside_a_volume_that_has_its_name_and_more(tmp_path, name, beside):
    path = written(tmp_path / name)
    read(path), contents(path)
    nifti(tmp_path / (name + beside), VALUES, zipped=beside.endswith(".gz"))
    assert taken_for(path) == "Nifti"
    both_refuse(path, f"{name} lies beside {name}{beside}, whose voxels")


@pytest.mark.parametrize(("at", "word", "taken"), [
    (7, b"SIGNA\0", "GE5"), (208, b"MAP ", "MRC"), (4374, b"AXIAL", "GE4"), (4380, b"OBLIQUE", "GE4")])
def test_a_volume_with_the_word_of_another_format(tmp_path, at, word, taken):
    """In NIfTI's texts, and in voxels."""
    path = nifti(tmp_path / "ct.nii", VALUES)
    data = bytearray(path.read_bytes())
    data[at : at + len(word)] = word[::-1]
    path.write_bytes(data)
    assert taken_for(path) == "Nifti"
    read(path), contents(path)
    data[at : at + len(word)] = word
    path.write_bytes(data)
    assert taken_for(path) == taken
    both_refuse(path, r"ct\.nii is an? (GE|MRC) .*file, too, .* again\.$")


def hdf5(folder):
    """A whole image."""
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((48, 64), np.uint16)), str(folder / "x.h5"))
    data = (folder / "x.h5").read_bytes()
    (folder / "x.h5").unlink()
    return data


def chunk(name, data):
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


@pytest.mark.parametrize("at", [512, 1024, 2048, 65536])
@pytest.mark.parametrize("name", ["film.png", "film.tif", "ct.nii"])
def test_a_file_in_which_hdf5_begins(tmp_path, name, at):
    path, image = tmp_path / name, hdf5(tmp_path)
    for shift in (8, 0):
        if name == "film.png":
            head, rest = (data := written(path).read_bytes())[:33], data[33:]
            path.write_bytes(head + chunk(b"prVt", bytes(at + shift - 41) + image) + rest)
        elif name == "film.tif":
            tiff(path, listed(usual(rows=48) | {273: (4, [2**18]), 279: (4, [FILM.nbytes])}), [])
            path.write_bytes((path.read_bytes().ljust(at + shift) + image).ljust(2**18) + FILM.tobytes())
        else:
            head = bytearray(nifti(path, VALUES).read_bytes()[:352])
            head[108:112] = np.float32(2**18).tobytes()
            path.write_bytes((head.ljust(at + shift, b"\0") + image).ljust(2**18, b"\0") + VALUES.tobytes())
        if shift:
            assert taken_for(path) in ("PNG", "TIFF", "Nifti")
            read(path), contents(path)
    assert path.read_bytes().index(image) == at
    assert taken_for(path) == "HDF5"
    both_refuse(path, "is an HDF5 file, too,")


def test_dicom_in_which_hdf5_begins(phantom, write):
    """ITK reads it where GDCM cannot."""
    data = phantom.dataset(phantom.breast())
    data.add_new(0x00091001, "OB", bytes(4096))
    path = write(data)
    read(path), contents(path)
    whole = bytearray(path.read_bytes())
    whole[1024:1032] = b"\x89HDF\r\n\x1a\n"
    path.write_bytes(whole)
    both_refuse(path, "is DICOM and an HDF5 file at once", UnreadableError)


@pytest.mark.parametrize(("name", "others"), [
    ("ct.nii", ("a", "a.Nii", "a.nii.GZ", "a.NII.GZ", "a.hdr", "a.img", "a.img.gz", "a.mrc")),
    ("ct.mha", ("a.nii", "a.mrc", "a.mnc", "a.img")), ("film.png", ("a.nii", "a.tif", "a.mrc", "a.MNC", "a.REC")),
    ("film.tif", ("a.mrc", "a.lsm", "a.gipl", "a.spr", "a.pic", "a.tif.x")), ("film.npy", ("a.mnc",))])
def test_what_is_sealed_has_the_name_of_its_format(tmp_path, name, others):
    """ITK and nibabel go by it, and look for the voxels beside it, or within."""
    data = written(tmp_path / name).read_bytes()
    contents(tmp_path / name)
    for other in others:
        (tmp_path / other).write_bytes(data)
        with pytest.raises(UnsupportedError, match=rf"{other} has not the name of its format, .* end in \..*\.$"):
            contents(tmp_path / other)
        read(tmp_path / other)


@pytest.mark.parametrize(("name", "also"), [("ct.nii", "ct.NII"), ("film.png", "FILM.PNG"), ("film.tif", "a.b.TIFF"),
                                            ("ct.mha", "ct"), ("film.png", "IM0001"), ("film.npy", "film")])
def test_names_that_lead_no_program_astray(tmp_path, name, also):
    path = written(tmp_path / name).rename(tmp_path / also)
    assert contents(path).values.size in (FILM.size, VALUES.size)


def test_a_volume_that_lies_beside_another_of_an_odd_name_is_shown_as_that(tmp_path):
    path = nifti(tmp_path / "a", VALUES)
    nifti(tmp_path / "a.nii", VALUES[:, ::-1])
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), VALUES[:, ::-1])
    both_refuse(path, r"a lies beside a\.nii")


def test_a_name_that_is_all_ending_is_one(tmp_path):
    """ITK asks BioRad's reader for `.pic`."""
    path = written(tmp_path / "film.tif")
    with pytest.raises(UnsupportedError, match="has not the name of its format"):
        contents(path.rename(tmp_path / ".pic"))


def test_dicom_beside_a_volume_of_its_name(tmp_path):
    """Where GDCM does not take it, ITK opens the volume."""
    path = tmp_path / "film"
    path.write_bytes(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    contents(path)
    nifti(tmp_path / "film.nii", VALUES)
    with pytest.raises(UnsupportedError, match=r"film lies beside film\.nii"):
        contents(path)


def test_dicom_that_gdcm_does_not_take_is_not_sealed(tmp_path):
    whole, path = Path(get_testdata_file("MR_small.dcm")).read_bytes(), tmp_path / "film.dcm"
    path.write_bytes(whole)
    contents(path)
    path.write_bytes(whole[128:])
    with pytest.raises(UnsupportedError, match="begins with DICM"):
        contents(path)


def test_dicom_under_the_name_of_voxels_beside_a_header(tmp_path):
    """nibabel takes the two for a NIfTI pair."""
    path = tmp_path / "film.img"
    path.write_bytes(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    contents(path)
    path.with_suffix(".hdr").write_bytes(nifti(tmp_path / "ct.nii", VALUES).read_bytes()[:348])
    with pytest.raises(UnsupportedError, match="lies beside a header of its name"):
        contents(path)
