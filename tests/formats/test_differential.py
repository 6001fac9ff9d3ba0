"""What DICOM files hold, as three other readers see it: pydicom, GDCM (through SimpleITK) and DCMTK. Ours is equal, or
says in one sentence why it does not read the file."""

from __future__ import annotations

import gzip
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openjpeg
import pydicom
import pytest
from outside import DATA, need
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless

from scanward.errors import InputError, UnsupportedError
from scanward.formats import find, read

Values = npt.NDArray[Any]
PUBLIC = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = sorted(path.relative_to(PUBLIC).as_posix() for path in PUBLIC.rglob("*")
               if path.is_file() and path.suffix not in (".dump", ".icc", ".json", ".md", ".py", ".pyc", ".txt"))
FAULTS = ("bitsstored-below-precision", "enhanced-ct-single-frame", "left-aligned-compressed", "lossy-overshoot-wraps",
          "multiframe-sentences", "no-preamble-with-meta", "series-without-modality", "trailing-pixel-bytes")


def of_pydicom(path: Path) -> Values | None:
    """(frames, rows, columns) stored values of a grey image."""
    try:
        data = pydicom.dcmread(path, force=True)
        if data.get("SamplesPerPixel", 1) != 1 or data.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
            return None
        values = data.pixel_array
    except Exception:  # whatever stops pydicom, it has no answer
        return None
    return values.reshape(-1, *values.shape[-2:])


def of_gdcm(path: Path) -> tuple[Values, tuple[float, ...]] | None:
    """(z, y, x) values after Rescale Slope and Intercept, and the spacing (z, y, x)."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError:
        return None
    values = SimpleITK.GetArrayFromImage(image)
    return (values, image.GetSpacing()[::-1]) if image.GetNumberOfComponentsPerPixel() == 1 else None


def ours(path: Path, modality: str) -> Any:
    """The image, or None where a sentence refuses it."""
    try:
        return read(path, modality=modality)
    except InputError as error:
        assert "\n" not in str(error)
        assert path.name in str(error)
        return None


def stored(image: Any, signed: bool) -> Values:
    """What the file of an image that was read as a mammogram stores."""
    pixels = image.largest - image.pixels if image.inverted else image.pixels
    return pixels - (2 ** (image.bits - 1) if signed else 0)


def compare(path: Path) -> None:
    """Holds what we read against the other readers' answers."""
    data = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    expected, film = of_pydicom(path), ours(path, "MG")
    if film is not None and expected is not None:
        assert np.array_equal(stored(film, bool(data.PixelRepresentation)), expected)
    judged, chest = of_gdcm(path), ours(path, "CT")
    if chest is not None and judged is not None:
        air = (chest.pixels == -1024) & (judged[0] < -1024)  # padding, which is raised to air
        assert np.allclose(chest.pixels[~air], judged[0][~air], atol=1e-3)
        if chest.spacing is not None:
            assert chest.spacing[1:] == pytest.approx(judged[1][1:], rel=1e-6)


@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # of pydicom, about its own file
@pytest.mark.parametrize("name", NAMES)
def test_pydicoms_own_files(name, tmp_path):
    path = PUBLIC / name
    if path.suffix == ".gz":
        path = tmp_path / "inflated"
        path.write_bytes(gzip.decompress((PUBLIC / name).read_bytes()))
    compare(path)
    expected = of_pydicom(path)
    if expected is not None and len(expected) == 1 and min(expected.shape[1:]) >= 32 and not name.startswith("liver"):
        assert ours(path, "MG") is not None, "pydicom reads it"  # the liver is a segmentation


@pytest.mark.data("../faults")
@pytest.mark.parametrize("kind", FAULTS)
def test_files_that_were_read_wrong(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    need("dcmcjpeg", "dcmcjpls")
    try:
        runpy.run_path(str(DATA / ".." / "faults" / kind / "make_input.py"))
    except FileNotFoundError:
        pytest.skip("gdcmconv is not installed (Debian: libgdcm-tools)")
    paths = sorted(path for path in tmp_path.rglob("*.dcm") if not path.name.startswith("left12"))
    assert paths or kind == "left-aligned-compressed"
    for path in paths:
        if kind != "lossy-overshoot-wraps" or path.name == "original.dcm":  # clipped, and tested below
            compare(path)


def codestream(phantom: Any, values: Values, codec: str, precision: int, **elements: Any) -> Any:
    """A film whose one frame is `values` in a codestream of `precision` bits, with a header of its own."""
    data = phantom.dataset(values.astype(np.uint16), **elements)
    if codec == "jpeg-ls":
        import jpeg_ls

        frame = jpeg_ls.encode_pixel_data((values & (1 << precision) - 1).astype("<u2").tobytes(), lossy_error=0,
                                          rows=values.shape[0], columns=values.shape[1], samples_per_pixel=1,
                                          bits_stored=precision, interleave_mode=0)
        data.file_meta.TransferSyntaxUID = JPEGLSLossless
    else:
        kept = values.astype(np.int16) if codec == "signed" else (values & (1 << precision) - 1).astype(np.uint16)
        lossy = {"compression_ratios": [8.0]} if codec == "lossy" else {}
        frame = openjpeg.encode(kept, bits_stored=precision, photometric_interpretation=2, use_mct=False, **lossy)
        data.file_meta.TransferSyntaxUID = JPEG2000 if lossy else JPEG2000Lossless
    data.PixelData = encapsulate([bytes(frame)])
    data["PixelData"].is_undefined_length = True
    return data


def signed(values: Values, bits: int) -> Values:
    return ((values & (1 << bits) - 1) ^ (1 << bits - 1)) - (1 << bits - 1)


V = np.random.default_rng(7).integers(0, 4096, (48, 40))
S = V - 2048
DEPTHS = {
    # codec, values in the codestream, its bits, BitsStored, HighBit, PixelRepresentation: what the file holds
    "as deep": ("j2k", V, 12, 12, 11, 0, V),
    "a deeper codestream": ("j2k", V, 16, 12, 11, 0, V),
    "a deeper header": ("j2k", V, 12, 16, 15, 0, V),
    "JPEG-LS, a deeper header": ("jpeg-ls", V, 12, 16, 15, 0, V),
    "JPEG-LS, a deeper codestream": ("jpeg-ls", V, 16, 12, 11, 0, V),
    "says 10, holds 12": ("j2k", V, 12, 10, 9, 0, V),
    "says 10, holds 12 of 16": ("j2k", V, 16, 10, 9, 0, V),
    "JPEG-LS says 10, holds 12": ("jpeg-ls", V, 12, 10, 9, 0, None),
    "left-aligned": ("j2k", V << 4, 16, 12, 15, 0, V),
    "left-aligned in part": ("j2k", V << 2, 16, 12, 13, 0, V),
    "JPEG-LS, left-aligned": ("jpeg-ls", V << 4, 16, 12, 15, 0, V),
    "left-aligned before, not in the codestream": ("j2k", V, 12, 12, 15, 0, V),
    "left-aligned, and a codestream in between": ("j2k", V << 2, 14, 12, 15, 0, None),
    "signed": ("j2k", S, 12, 12, 11, 1, S),
    "signed in a signed codestream": ("signed", S, 12, 12, 11, 1, S),
    "signed in a deeper codestream": ("j2k", S, 16, 12, 11, 1, S),
    "signed in a deeper signed codestream": ("signed", S, 16, 12, 11, 1, S),
    "signed, cut to 12 bits of 16": ("j2k", S & 4095, 16, 12, 11, 1, S),
    "signed and left-aligned": ("j2k", S << 4, 16, 12, 15, 1, S),
    "signed, a deeper header": ("signed", S, 12, 16, 15, 1, S),
    "signed, a deeper header, unsigned codestream": ("j2k", S, 12, 16, 15, 1, None),
    "signed, says 10 and holds 12": ("signed", S, 12, 10, 9, 1, S),
    "unsigned in a signed codestream": ("signed", signed(V, 12), 12, 12, 11, 0, V),
    "unsigned and deeper than a signed codestream": ("signed", signed(V, 12), 12, 16, 15, 0, None),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_header_and_codestream_of_different_depths(phantom, write, name):
    codec, values, precision, bits, high, sign, expected = DEPTHS[name]
    path = write(codestream(phantom, values, codec, precision, BitsStored=bits, HighBit=high, PixelRepresentation=sign))
    others = [judge for judge in (of_pydicom(path), (of_gdcm(path) or (None,))[0]) if judge is not None]
    agreed = len(others) == 2 and np.array_equal(*others)
    if expected is None:
        assert not agreed or name == "left-aligned, and a codestream in between"
        with pytest.raises(UnsupportedError, match=f"{bits} .*bits .HighBit {high}., .* {precision} .*bits"):
            read(path)
        return
    assert np.array_equal(stored(read(path), bool(sign))[0], expected)
    if agreed and "left-aligned" not in name:  # these two take no notice of HighBit; DCMTK does
        assert np.array_equal(others[0][0], expected)


@pytest.mark.parametrize("command", [["dcmcjpeg", "+e1"], ["dcmcjpls"], ["dcmcrle"], ["dcmconv", "+tb"]])
@pytest.mark.parametrize("sign", [0, 1])
def test_left_aligned_words_keep_their_values_through_dcmtk(phantom, write, tmp_path, command, sign):
    need(command[0])
    words = ((S if sign else V) << 4).astype("<i2" if sign else "<u2")
    path = write(phantom.dataset(words, HighBit=15))
    subprocess.run([*command, str(path), str(tmp_path / "through")], check=True, capture_output=True)
    assert np.array_equal(stored(read(tmp_path / "through"), bool(sign))[0], S if sign else V)


@pytest.mark.parametrize("stored_bits", [8, 12])
def test_what_a_lossy_codec_overshoots_is_clipped(phantom, write, stored_bits):
    most = 2**stored_bits - 1
    values = np.full((64, 64), most // 4)
    values[20:40, 20:40] = most
    values[44:60, 10:50:2] = most
    path = write(codestream(phantom, values, "lossy", 16, BitsStored=stored_bits, HighBit=stored_bits - 1))
    free = of_pydicom(path)[0]
    assert free.max() > most, "this codestream overshoots"
    assert np.array_equal(read(path).plane, np.clip(free, 0, most))


def test_a_copy_of_a_film_that_is_deeper_than_it_says_keeps_its_values(phantom, write, tmp_path):
    from scanward.formats.write import write_altered

    path = write(codestream(phantom, V, "j2k", 12, BitsStored=10, HighBit=9))
    image = read(path)
    made = write_altered(image.with_plane(np.where(V == 77, 4000, V)), tmp_path / "copy.dcm", description="A test.",
                         synthetic=True)
    assert np.array_equal(of_pydicom(made)[0], np.where(V == 77, 4000, V))
    assert pydicom.dcmread(made).BitsStored == 12


@pytest.mark.parametrize("start", [b"", b"DICM"])
def test_a_file_without_its_preamble(phantom, write, start):
    path = write(phantom.dataset(V.astype(np.uint16)), "folder/unnamed")
    path.write_bytes(start + path.read_bytes()[132:])
    (source,), errors = find([path.parent])
    assert errors == []
    assert np.array_equal(read(source).plane, V)


@pytest.mark.parametrize("count", [2, 128, 48 * 40 * 2 - 2])
def test_bytes_behind_the_pixels_are_padding(phantom, write, count):
    data = phantom.dataset(V.astype(np.uint16))
    data.PixelData += b"\xff" * count
    assert np.array_equal(read(write(data)).plane, V)
