"""Files that are of two formats at once, and may show each program another image, are refused."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
import tifffile
from PIL import Image as Pillow

from scanward.errors import ScanwardError, UnreadableError
from scanward.formats import read

HEADS = {"png": b"\x89PNG\r\n\x1a\n", "npy": b"\x93NUMPY\1\0", "pgm": b"P5 30 40 255\n",
         "metaimage": b"ObjectType = Image\nNDims = 3\n", "jpeg": b"\xff\xd8\xff\xe0", "gif": b"GIF89a",
         "tiff": b"II*\0\x10\0\0\0", "big tiff": b"MM\0+\0\x08\0\0" + (132).to_bytes(8, "big"),
         "swapped": b"MM*\0\0\0\0\x84", "document": b"EP*\0\x84\0\0\0"}
"""The last two are no TIFF for Scanward; Pillow opens the one, and libtiff and tifffile the other."""


@pytest.mark.parametrize("name", HEADS)
def test_dicom_whose_preamble_begins_another_picture(phantom, write, name):
    path = write(phantom.dataset(phantom.breast()))
    before = read(path)
    data = path.read_bytes()
    path.write_bytes(HEADS[name].ljust(128, b"\0") + data[128:])
    with pytest.raises(UnreadableError, match=r"is DICOM and .* at once"):
        read(path)
    path.write_bytes(b"made by a modality".ljust(128, b"\0") + data[128:])
    assert np.array_equal(read(path).plane, before.plane)


@pytest.mark.parametrize(("head", "width"), [(b"II*\0", 4), (b"MM\0*", 4), (b"MM\0+\0\x08\0\0", 8), (b"EP*\0", 4)])
def test_dicom_whose_preamble_names_a_directory_that_is_nowhere(phantom, write, head, width):
    """As scanners write it. Where the name says TIFF, some program may look for one all the same."""
    path = write(phantom.dataset(phantom.breast()))
    before, data = read(path), path.read_bytes()
    order = "big" if head[:1] == b"M" else "little"
    for at in (0, 7, len(data), 2**31):
        path.write_bytes((head + at.to_bytes(width, order)).ljust(128, b"\0") + data[128:])
        assert np.array_equal(read(path).plane, before.plane)
    for at in (8, len(data) - 1):
        path.write_bytes((head + at.to_bytes(width, order)).ljust(128, b"\0") + data[128:])
        with pytest.raises(UnreadableError, match=r"is DICOM and a file of another format \(tiff\) at once"):
            read(path)
    if head != b"EP*\0":
        path = path.rename(path.with_suffix(".TIF"))
        path.write_bytes(head.ljust(128, b"\0") + data[128:])
        with pytest.raises(UnreadableError, match="at once"):
            read(path)


@pytest.mark.parametrize("where", ["private", "behind"])
@pytest.mark.parametrize("name", ["film.dcm", "film", "film.tif"])
def test_dicom_that_holds_a_whole_tiff(phantom, write, where, name):
    """Which Pillow, OpenCV, tifffile and, where it lies behind, ITK show in its place."""
    data, hidden = phantom.dataset(phantom.breast()), np.full((48, 40), 7, np.uint8)
    data.add_new(0x00091001, "OB", b"\1" * 4096)
    path = write(data)
    before, data = read(path), path.read_bytes()
    begin = data.index(b"\1" * 4096) if where == "private" else len(data)
    tags = [(256, 40), (257, 48), (258, 8), (259, 1), (262, 1), (273, begin + 114), (277, 1), (278, 48), (279, 1920)]
    tiff = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", code, 4 if code == 273 else 3, 1, value)
                                           for code, value in tags) + bytes(4) + hidden.tobytes()
    path = path.rename(path.with_name(name))
    for preamble in (bytes(8), b"II*\0" + begin.to_bytes(4, "little")):
        path.write_bytes(preamble + data[8:begin] + tiff + data[begin + len(tiff):])
        if not any(preamble):
            assert np.array_equal(read(path).plane, before.plane)
    assert np.array_equal(np.asarray(Pillow.open(path)), hidden)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), hidden)
    with pytest.raises(UnreadableError, match=r"is DICOM and a file of another format \(tiff\) at once"):
        read(path)


def test_dicom_that_is_a_biorad_image_by_its_name_and_preamble(phantom, write):
    path = write(phantom.dataset(phantom.breast()))
    data = bytearray(path.read_bytes())
    data[54:56] = (12345).to_bytes(2, "little")
    path.write_bytes(data)
    read(path)
    path = path.rename(path.with_suffix(".pic"))
    assert sitk.ImageFileReader.GetImageIOFromFileName(str(path)) == "BioRadImageIO"
    with pytest.raises(UnreadableError, match=r"is DICOM and a file of another format \(BioRad\) at once"):
        read(path)


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
    with pytest.raises(UnreadableError, match=r"says twice|its tag 324 as type 5"):
        read(path)


@pytest.mark.parametrize("data", [
    b"P5 #\r64 64 255 " + bytes(4096) + b"\n64 64 255\n" + bytes(range(256)) * 16,
    b"P2 64 64 255\n#\r" + b"7 " * 4096 + b"\n" + b"9 " * 4096, b"P2 64 64 255\n" + b"1_0 " * 4096,
    b"P5 #" + b" " * 5000 + b"\n64 64 255\n" + bytes(4096)], ids=["head", "body", "number", "long"])
def test_graymap_whose_comments_end_elsewhere_for_others(tmp_path, data):
    path = tmp_path / "film.pgm"
    path.write_bytes(b"P5 # a comment\n64 64 255\n" + bytes(4095) + b"\1")
    assert read(path).plane.sum() == 1
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged PGM"):
        read(path)


@pytest.mark.parametrize(("key", "value", "words"), [
    ("ElementDataFile", "LoCaL", "missing|keeps its voxels"), ("ElementDataFile", "LIST.raw", "keeps its voxels"),
    ("ElementSpacing", "1 1 2.7_5", "write numbers"), ("DimSize", "32 32 1_0", "write numbers"),
    ("HeaderSize\u00a0", "7", "no plain text"), ("HeaderSize\x1c", "7", "no plain text"),
    ("HeaderSize", "1_0", "write numbers")])
def test_metaimage_that_others_read_otherwise(tmp_path, key, value, words):
    fields = {"ObjectType": "Image", "NDims": "3", "DimSize": "32 32 10", "ElementType": "MET_SHORT",
              "ElementSpacing": "1 1 2.75", "Comment": "of Mueller", "ElementDataFile": "LOCAL"}

    def write(given):
        head = "".join(f"{name} = {text}\n" for name, text in given.items()).encode()
        (tmp_path / "v.mha").write_bytes(head + bytes(2 * 32 * 32 * 10))

    write(fields)
    assert read(tmp_path / "v.mha").shape == (10, 32, 32)
    last = fields.pop("ElementDataFile")
    write({**fields, key: value} if key == "ElementDataFile" else {**fields, key: value, "ElementDataFile": last})
    with pytest.raises(ScanwardError, match=words):
        read(tmp_path / "v.mha")


def test_tiff_with_more_parts_than_it_needs(tmp_path):
    path, values = tmp_path / "film.tif", np.random.default_rng(0).integers(0, 4096, (64, 64), np.uint16)
    tifffile.imwrite(path, values, rowsperstrip=32)
    assert np.array_equal(read(path).plane, values)
    with tifffile.TiffFile(path) as tiff:
        at = next(tag.offset for tag in tiff.pages.first.tags if tag.code == 278)
    data = bytearray(path.read_bytes())
    data[at + 8 : at + 10] = (64).to_bytes(2, "little")  # rows of each strip: of the two, one is enough now
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="says where 2 parts"):
        read(path)


@pytest.mark.parametrize("word", ["descr", "fortran_order", "shape"])
def test_npy_that_says_a_thing_twice(tmp_path, word):
    path = tmp_path / "film.npy"
    np.save(path, np.zeros((64, 64), np.uint8))
    data = path.read_bytes()
    assert read(path).shape == (1, 64, 64)
    path.write_bytes(data.replace(b"}" + b" " * 30, b"'" + word.encode() + b"': 0, }" + b" " * 30)[: len(data)])
    with pytest.raises(ScanwardError):
        read(path)


@pytest.mark.parametrize("tag", [278, 322, 323])
def test_tiff_whose_parts_have_no_rows_or_columns(tmp_path, tag):
    path, values = tmp_path / "film.tif", np.random.default_rng(0).integers(0, 4096, (64, 64), np.uint16)
    tifffile.imwrite(path, values, **({"rowsperstrip": 64} if tag == 278 else {"tile": (64, 64)}))
    assert np.array_equal(read(path).plane, values)
    with tifffile.TiffFile(path) as tiff:
        at = next(one.offset for one in tiff.pages.first.tags if one.code == tag)
    data = bytearray(path.read_bytes())
    data[at + 8 : at + 12] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(ScanwardError, match=r"film\.tif"):
        read(path)
