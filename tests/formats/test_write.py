"""Altered images keep their host's format and values, and say that they are altered."""

import io
import json

import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats import read
from scanward.formats.write import write_altered
from scanward.image import Image, Provenance

SHAPE = (45, 33)


def grain(bits: int, dtype=np.uint16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, SHAPE).astype(dtype)


def dicom_host(path, *, bits=12, signed=False, syntax=ExplicitVRLittleEndian, preamble=True, **elements):
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1.2"), UID("1.2.3.4.5")
    data.StudyInstanceUID, data.SeriesInstanceUID = UID("1.2.3.4"), UID("1.2.3.4.1")
    data.Modality, data.PhotometricInterpretation = "MG", "MONOCHROME2"
    data.PatientName, data.PatientID = "Roe^Jane", "77"
    data.ImageType = ["ORIGINAL", "PRIMARY", "", "LEFT"]
    data.SamplesPerPixel, data.PixelRepresentation = 1, int(signed)
    data.Rows, data.Columns = SHAPE
    allocated = 8 if bits <= 8 else 16
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits, bits - 1
    values = grain(bits, np.int64)
    if signed:
        values -= 2 ** (bits - 1)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    raw = values.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data.add_new(0x7FE00010, "OW" if allocated == 16 else "OB", raw + b"\0" * (len(raw) % 2))
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    if syntax == RLELossless:
        data.compress(RLELossless, encoding_plugin="pydicom")
    data.save_as(path, enforce_file_format=True)
    if not preamble:
        buffer = io.BytesIO()
        del data.file_meta
        data.save_as(buffer, implicit_vr=True, little_endian=True)
        path.write_bytes(buffer.getvalue())
    return path


def forged(image: Image) -> Image:
    """A square of other values inside an otherwise untouched image."""
    plane = image.plane.copy()
    plane[5:15, 7:20] = np.arange(130).reshape(10, 13) % (image.largest + 1)
    plane[20, 20] = image.largest
    return image.with_plane(plane)


DICOM = {
    "12 of 16 bits": {},
    "8 bits": {"bits": 8},
    "16 bits": {"bits": 16},
    "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
    "signed": {"signed": True},
    "signed monochrome1": {"signed": True, "PhotometricInterpretation": "MONOCHROME1", "bits": 14},
    "rle": {"syntax": RLELossless},
    "implicit": {"syntax": ImplicitVRLittleEndian},
    "big endian": {"syntax": ExplicitVRBigEndian},
    "no preamble": {"preamble": False},
    "one frame of a multi-frame": {"NumberOfFrames": 1},
}


@pytest.mark.parametrize("options", DICOM.values(), ids=list(DICOM))
def test_dicom_round_trip(tmp_path, options):
    host = dicom_host(tmp_path / "host.dcm", **options)
    image = forged(read(host))
    path = write_altered(image, tmp_path / "out" / "forged.dcm", description="A test", synthetic=True)

    again = read(path)
    assert np.array_equal(again.pixels, image.pixels)
    assert (again.bits, again.inverted, again.spacing) == (image.bits, image.inverted, image.spacing)
    source, result = pydicom.dcmread(host, force=True), pydicom.dcmread(path)
    untouched = np.ones(SHAPE, bool)
    untouched[5:15, 7:20] = untouched[20, 20] = False
    if options.get("preamble", True):
        assert np.array_equal(result.pixel_array[untouched], source.pixel_array[untouched])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "BitsStored", "BitsAllocated",
                    "HighBit", "PhotometricInterpretation", "PixelRepresentation"):
        assert result[keyword].value == source[keyword].value, keyword


def test_dicom_says_that_it_is_altered(tmp_path):
    image = forged(read(dicom_host(tmp_path / "host.dcm")))
    result = pydicom.dcmread(write_altered(image, tmp_path / "f.dcm", description="Mass added", synthetic=True))
    assert list(result.ImageType) == ["DERIVED", "SECONDARY", "", "LEFT"]
    assert result[0x0008001C].value == "YES"
    assert "Mass added" in result.DerivationDescription
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert result.SOPInstanceUID not in ("1.2.3.4.5", "")
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    note = json.loads((tmp_path / "f.dcm.scanward.json").read_text())
    assert note["synthetic"] is True and note["sop_instance_uid"] == result.SOPInstanceUID
    assert "Roe" not in json.dumps(note) and str(tmp_path) not in json.dumps(note)
    assert read(tmp_path / "f.dcm").provenance.synthetic


def test_protected_images_are_altered_but_not_synthetic(tmp_path):
    image = read(dicom_host(tmp_path / "host.dcm"))
    result = pydicom.dcmread(write_altered(image, tmp_path / "p.dcm", description="Sealed", synthetic=False))
    assert 0x0008001C not in result
    assert list(result.ImageType)[:2] == ["DERIVED", "SECONDARY"]


def test_a_synthetic_host_stays_synthetic(tmp_path):
    image = read(dicom_host(tmp_path / "host.dcm", SyntheticData="YES"))
    path = write_altered(image, tmp_path / "p.dcm", description="Sealed", synthetic=False)
    assert pydicom.dcmread(path)[0x0008001C].value == "YES"
    assert json.loads((tmp_path / "p.dcm.scanward.json").read_text())["synthetic"] is True


def test_uids_follow_from_the_pixels(tmp_path):
    image = read(dicom_host(tmp_path / "host.dcm"))
    names = {"a": image, "b": image, "c": forged(image)}
    uid = {n: pydicom.dcmread(write_altered(i, tmp_path / f"{n}.dcm", description="x", synthetic=True)).SOPInstanceUID
           for n, i in names.items()}
    assert uid["a"] == uid["b"] != uid["c"]


def test_words_of_a_big_endian_host_are_swapped(tmp_path):
    host = dicom_host(tmp_path / "host.dcm", syntax=ExplicitVRBigEndian)
    data = pydicom.dcmread(host)
    data.add_new(0x60003000, "OW", b"\x01\x02\x03\x04")
    data.save_as(host)
    path = write_altered(read(host), tmp_path / "f.dcm", description="x", synthetic=True)
    assert pydicom.dcmread(path)[0x60003000].value == b"\x02\x01\x04\x03"


def test_bright_padding_goes_back_where_nothing_was_altered(tmp_path):
    values = grain(11)
    values[:, :4] = 4095
    host = dicom_host(tmp_path / "host.dcm", PixelPaddingValue=4095, PixelData=values.tobytes())
    image = read(host)
    assert (image.plane[:, :4] == 0).all()
    plane = image.plane.copy()
    plane[3, 1] = 17
    path = write_altered(image.with_plane(plane), tmp_path / "f.dcm", description="x", synthetic=True)
    expected = values.copy()
    expected[3, 1] = 17
    assert np.array_equal(pydicom.dcmread(path).pixel_array, expected)


def test_what_other_pixels_make_untrue_is_dropped(tmp_path):
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    host = dicom_host(tmp_path / "host.dcm", IconImageSequence=[icon], SmallestImagePixelValue=9,
                      LargestImagePixelValue=11)
    image = read(host).with_plane(np.full(SHAPE, 70, np.float32))
    result = pydicom.dcmread(write_altered(image, tmp_path / "f.dcm", description="x", synthetic=True))
    assert "IconImageSequence" not in result
    assert (result.SmallestImagePixelValue, result.LargestImagePixelValue) == (70, 70)


def test_pixels_decoded_from_jpeg_stay_marked_lossy(tmp_path):
    buffer = io.BytesIO()
    Pillow.fromarray(grain(8, np.uint8)).save(buffer, "JPEG", quality=80)
    host = dicom_host(tmp_path / "host.dcm", bits=8)
    data = pydicom.dcmread(host)
    data.PixelData = encapsulate([buffer.getvalue()])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.50")
    data.save_as(host)
    image = read(host)
    result = pydicom.dcmread(write_altered(image, tmp_path / "f.dcm", description="x", synthetic=True))
    assert result.LossyImageCompression == "01"
    assert np.array_equal(result.pixel_array, image.plane)


@pytest.mark.parametrize("bits", [8, 16])
def test_png_round_trip(tmp_path, bits):
    dtype = np.uint8 if bits == 8 else np.uint16
    Pillow.fromarray(grain(bits, dtype)).save(tmp_path / "host.png")
    image = forged(read(tmp_path / "host.png"))
    path = write_altered(image, tmp_path / "f.png", description="Größe 5 mm", synthetic=True)
    with Pillow.open(path) as picture:
        assert np.asarray(picture).dtype == dtype
        assert np.array_equal(np.asarray(picture), image.plane)
        assert picture.text["Scanward"].startswith("Scanward: synthetic")
    assert np.array_equal(read(path).pixels, image.pixels)


@pytest.mark.parametrize(("values", "photometric"), [
    (grain(8, np.uint8), "minisblack"), (grain(16), "minisblack"), (grain(16), "miniswhite"),
    (grain(8, np.float32) + np.float32(0.5), "minisblack"),
], ids=["uint8", "uint16", "inverted", "float"])
def test_tiff_round_trip(tmp_path, values, photometric):
    tifffile.imwrite(tmp_path / "host.tif", values, photometric=photometric)
    image = forged(read(tmp_path / "host.tif"))
    path = write_altered(image, tmp_path / "f.tif", description="Größe", synthetic=True)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert page.description.startswith("Scanward: synthetic")
        assert page.dtype == values.dtype
        assert page.asarray()[30, 2] == values[30, 2]
    again = read(path)
    assert np.array_equal(again.pixels, image.pixels)
    assert again.inverted == (photometric == "miniswhite")


@pytest.mark.parametrize("largest", [255, 4095, 65535])
def test_pgm_round_trip(tmp_path, largest):
    values = grain(largest.bit_length())
    raw = values.astype(np.uint8 if largest < 256 else ">u2").tobytes()
    (tmp_path / "host.pgm").write_bytes(f"P5\n{SHAPE[1]} {SHAPE[0]}\n{largest}\n".encode() + raw)
    image = forged(read(tmp_path / "host.pgm"))
    path = write_altered(image, tmp_path / "f.pgm", description="two\nlines", synthetic=False)
    assert np.array_equal(read(path).pixels, image.pixels)
    with Pillow.open(path) as picture:
        assert picture.size == (SHAPE[1], SHAPE[0])
    assert path.read_bytes().split(b"\n")[1].startswith(b"# Scanward: altered image")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, ">u2"])
def test_npy_round_trip_keeps_the_type(tmp_path, dtype):
    np.save(tmp_path / "host.npy", grain(8).astype(dtype))
    image = forged(read(tmp_path / "host.npy"))
    path = write_altered(image, tmp_path / "f.npy", description="x", synthetic=True)
    values = np.load(path)
    assert values.dtype == np.dtype(dtype) and values.shape == SHAPE
    assert np.array_equal(values, image.plane)
    assert json.loads((tmp_path / "f.npy.scanward.json").read_text())["synthetic"] is True


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(2, 16), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_depth_survives_pgm(tmp_path_factory, bits, inverted, seed):
    plane = grain(bits, np.float32, seed)
    image = Image(plane[None], "MG", bits=bits, inverted=inverted)
    path = write_altered(image, tmp_path_factory.mktemp("pgm") / "f.pgm", description="x", synthetic=True)
    expected = image.largest - plane if inverted else plane
    with Pillow.open(path) as picture:
        # Pillow stretches depths between 8 and 16 bits, so the raw values are compared by our own reader.
        assert picture.size == plane.shape[::-1]
    assert np.array_equal(read(path).plane, expected)


def png_image(tmp_path) -> Image:
    Pillow.fromarray(grain(8, np.uint8)).save(tmp_path / "host.png")
    return read(tmp_path / "host.png")


@pytest.mark.parametrize("taken", ["f.png", "f.png.scanward.json"])
def test_nothing_is_overwritten(tmp_path, taken):
    image = png_image(tmp_path)
    (tmp_path / taken).write_text("mine")
    with pytest.raises(ArgumentError, match="exists already"):
        write_altered(image, tmp_path / "f.png", description="x", synthetic=True)
    assert (tmp_path / taken).read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["host.png", taken])


def test_the_host_is_not_overwritten(tmp_path):
    image = png_image(tmp_path)
    before = (tmp_path / "host.png").read_bytes()
    with pytest.raises(ArgumentError, match="exists already"):
        write_altered(image, tmp_path / "host.png", description="x", synthetic=True)
    assert (tmp_path / "host.png").read_bytes() == before
    assert not (tmp_path / "host.png.scanward.json").exists()


def test_another_formats_suffix_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.png"):
        write_altered(png_image(tmp_path), tmp_path / "f.dcm", description="x", synthetic=True)
    host = dicom_host(tmp_path / "host.dcm")
    with pytest.raises(ArgumentError, match=r"must end in \.dcm"):
        write_altered(read(host), tmp_path / "f.png", description="x", synthetic=True)


def test_dicom_without_a_host_is_refused(tmp_path):
    image = Image(np.ones((1, *SHAPE), np.float32), "MG")
    with pytest.raises(ArgumentError, match="without a DICOM host"):
        write_altered(image, tmp_path / "f.dcm", description="x", synthetic=True)


def test_volumes_are_refused(tmp_path):
    image = Image(np.ones((2, *SHAPE), np.float32), "CT")
    with pytest.raises(UnsupportedError):
        write_altered(image, tmp_path / "f.npy", description="x", synthetic=True)
    nifti = Image(np.ones((1, *SHAPE), np.float32), "MG", provenance=Provenance(tmp_path / "x.nii", "nifti"))
    with pytest.raises(UnsupportedError, match="cannot be written back"):
        write_altered(nifti, tmp_path / "f.nii", description="x", synthetic=True)
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_gone_or_another_leaves_nothing_behind(tmp_path):
    image = read(dicom_host(tmp_path / "host.dcm"))
    dicom_host(tmp_path / "host.dcm", SOPInstanceUID=UID("1.2.3.4.6"))
    with pytest.raises(UnreadableError, match="has changed"):
        write_altered(image, tmp_path / "f.dcm", description="x", synthetic=True)
    (tmp_path / "host.dcm").unlink()
    with pytest.raises(UnreadableError, match="does not exist"):
        write_altered(image, tmp_path / "f.dcm", description="x", synthetic=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_altered(png_image(tmp_path), tmp_path / "file" / "f.png", description="x", synthetic=True)
