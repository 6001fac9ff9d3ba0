"""PNG, TIFF, PGM and NPY: values, depths, and refusals."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats import read
from scanward.formats.raster import stored_raster


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("save", ["png", "tif", "tif lzw", "tif deflate", "pgm"])
def test_grey_comes_back_value_for_value(phantom, tmp_path, save, bits):
    pixels = phantom.breast(bits)
    kind, _, compression = save.partition(" ")
    path = tmp_path / f"film.{kind}"
    if compression == "lzw":
        Pillow.fromarray(pixels).save(path, compression="tiff_lzw")
    elif kind == "tif":
        tifffile.imwrite(path, pixels, compression="zlib" if compression else None)
    else:
        assert cv2.imwrite(str(path), pixels)
    image = read(path)
    assert np.array_equal(image.plane, pixels)
    assert (image.bits, image.integer, image.modality, image.spacing) == (bits, True, "MG", None)


def test_the_caller_completes_what_a_picture_does_not_say(phantom, tmp_path):
    path = tmp_path / "film.png"
    Pillow.fromarray(phantom.breast(16)).save(path, dpi=(300, 300))
    image = read(path, modality="CT", spacing=(0.2, 0.1))
    assert (image.modality, image.spacing) == ("CT", (1.0, 0.2, 0.1))
    with pytest.raises(ArgumentError, match="spacing"):
        read(path, spacing=(0.2, float("nan")))
    with pytest.raises(ArgumentError, match="modality"):
        read(path, modality="XX")


@pytest.mark.parametrize("depth", [8, 16])
def test_colour_whose_channels_are_equal_is_grey(phantom, tmp_path, depth):
    pixels = phantom.breast(depth)
    opaque = np.full_like(pixels, 2**depth - 1)
    for name, channels in {"rgb": [pixels] * 3, "rgba": [pixels] * 3 + [opaque]}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.stack(channels, -1))
        image = read(tmp_path / f"{name}.png")
        assert np.array_equal(image.plane, pixels)
        assert image.bits == depth


def test_alpha_is_dropped_only_where_it_is_opaque(phantom, tmp_path):
    pixels = phantom.breast(8)
    for name, alpha in {"opaque": 255, "glass": 200}.items():
        layers = [Pillow.fromarray(pixels), Pillow.fromarray(np.full_like(pixels, alpha))]
        Pillow.merge("LA", layers).save(tmp_path / f"{name}.png")
    assert np.array_equal(read(tmp_path / "opaque.png").plane, pixels)
    with pytest.raises(UnsupportedError, match="transparent"):
        read(tmp_path / "glass.png")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_colour_photograph_is_refused(tmp_path, suffix, dtype):
    photograph = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(dtype)
    path = tmp_path / f"photo.{suffix}"
    cv2.imwrite(str(path), photograph)
    with pytest.raises(UnsupportedError, match="colour picture"):
        read(path)


def test_a_jpeg_photograph_is_named_for_what_it_is(tmp_path):
    path = tmp_path / "photo.jpg"
    Pillow.new("RGB", (64, 64), "red").save(path)
    with pytest.raises(UnsupportedError, match="is a JPEG file"):
        read(path)


def test_palette_and_low_depth_png(phantom, tmp_path):
    Pillow.fromarray(phantom.breast(8)).convert("P").save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "palette.png").plane, phantom.breast(8))
    Pillow.fromarray(phantom.breast(8) > 100).save(tmp_path / "bit.png")
    with pytest.raises(UnsupportedError, match="1 bits"):
        read(tmp_path / "bit.png")


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_tiff_is_flipped(phantom, tmp_path, bits, compression):
    pixels = phantom.breast(bits)
    path = tmp_path / "film.tif"
    if compression:
        # Pillow's own tag for the photometric interpretation; 0 is WhiteIsZero, and it stores the values as they are.
        tifffile.imwrite(tmp_path / "plain.tif", pixels, photometric="miniswhite")
        with Pillow.open(tmp_path / "plain.tif") as plain:
            plain.save(path, compression="tiff_lzw", tiffinfo={262: 0})
        with tifffile.TiffFile(path) as tiff:
            if int(tiff.pages.first.photometric) != 0:
                pytest.skip("this Pillow does not write WhiteIsZero")
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read(path).plane, stored if bits == 8 else 2**bits - 1 - stored.astype(np.float32))
        return
    tifffile.imwrite(path, pixels, photometric="miniswhite")
    image = read(path)
    assert np.array_equal(image.plane, 2**bits - 1 - pixels.astype(np.float32))
    assert image.inverted


def test_tiff_of_several_pages_and_of_floating_point(tmp_path):
    tifffile.imwrite(tmp_path / "two.tif", np.zeros((2, 40, 40), np.uint8))
    with pytest.raises(UnsupportedError, match="further pages"):
        read(tmp_path / "two.tif")
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    tifffile.imwrite(tmp_path / "float.tif", values)
    image = read(tmp_path / "float.tif")
    assert np.array_equal(image.plane, values)
    assert not image.integer


def test_plain_graymap_with_comments_and_its_own_depth(phantom, tmp_path):
    pixels = phantom.breast(10)
    path = tmp_path / "film.pgm"
    body = "\n".join(" ".join(map(str, row)) for row in pixels)
    path.write_text(f"P2 # film\n40\n# rows\n48 1023\n{body}\n")
    image = read(path)
    assert np.array_equal(image.plane, pixels)
    assert image.bits == 10
    path.write_text(f"P2 40 48 1000\n{body}\n")
    with pytest.raises(UnreadableError, match="above the 1000"):
        read(path)


@pytest.mark.parametrize(("high", "bits"), [(255, 8), (256, 10), (4095, 12), (4096, 14), (16384, 16)])
def test_npy_takes_the_smallest_depth(tmp_path, high, bits):
    values = np.zeros((40, 40), np.int32)
    values[3, 4] = high
    np.save(tmp_path / "film.npy", values)
    image = read(tmp_path / "film.npy")
    assert (image.bits, image.integer) == (bits, True)
    assert image.plane[3, 4] == high


def test_npy_of_floats_is_whole_only_where_all_are(tmp_path):
    np.save(tmp_path / "whole.npy", np.full((40, 40), 7.0))
    np.save(tmp_path / "half.npy", np.asfortranarray(np.arange(1600.0).reshape(40, 40) / 2))
    assert read(tmp_path / "whole.npy").integer
    half = read(tmp_path / "half.npy")
    assert not half.integer
    assert half.plane[1, 1] == 20.5


def test_npy_of_three_axes_is_a_ct_volume(tmp_path):
    values = np.random.default_rng(0).integers(-1024, 3000, (5, 40, 44)).astype(np.int16)
    np.save(tmp_path / "ct.npy", values)
    image = read(tmp_path / "ct.npy", spacing=(0.7, 0.6))
    assert np.array_equal(image.pixels, values)
    assert (image.modality, image.spacing) == ("CT", (1.0, 0.7, 0.6))
    with pytest.raises(UnsupportedError, match="5 slices"):
        read(tmp_path / "ct.npy", modality="MG")


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.full((40, 40), np.nan), UnreadableError, "not finite"),
        (np.full((40, 40), np.inf), UnreadableError, "not finite"),
        (np.full((40, 40), 1e300), UnreadableError, "not finite"),
        (np.full((40, 40), -5), UnsupportedError, "from -5 to -5"),
        (np.full((40, 40), 70000), UnsupportedError, "0 to 65535"),
        (np.zeros((40, 40), complex), UnsupportedError, "complex"),
        (np.zeros((40, 40), bool), UnsupportedError, "bool"),
        (np.array([["a"] * 40] * 40, object), UnsupportedError, "object"),
        (np.zeros((40, 40, 3), np.uint8), UnsupportedError, "colour"),
        (np.zeros((2, 2, 40, 40)), UnsupportedError, "4 axes"),
        (np.zeros(40), UnsupportedError, "1 axes"),
        (np.zeros((0, 40)), UnreadableError, "empty"),
        (np.zeros((1, 1)), UnsupportedError, "too small to judge: 1 x 1"),
    ],
)
def test_npy_that_is_no_image(tmp_path, values, error, words):
    np.save(tmp_path / "film.npy", values)
    with pytest.raises(error, match=words):
        read(tmp_path / "film.npy")


def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(values, *, before=b"", after=b"", between=b""):
    """A PNG of 8-bit grey with further chunks before, behind and within its image data."""
    height, width = values.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    parts = [data] if not between else [data[:9], data[9:]]
    body = between.join(chunk(b"IDAT", part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND")


FRAME = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 40, 50, 0, 0, 1, 1, 0, 0))
MOVE = chunk(b"acTL", struct.pack(">II", 1, 0))


@pytest.mark.parametrize(("parts", "words"), [
    ({"before": MOVE, "after": FRAME}, "is an animation"), ({"before": MOVE + MOVE, "after": FRAME}, "is an animation"),
    ({"after": FRAME + chunk(b"fdAT", b"\0\0\0\1x")}, "is an animation"),
    ({"before": chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 50, 8, 0, 0, 0, 0))}, "says its IHDR twice"),
    ({"between": chunk(b"tEXt", b"a\0b")}, "says its IDAT twice"),
    ({"before": 2 * chunk(b"tRNS", b"\0\7")}, "says its tRNS twice"),
    ({"before": chunk(b"ABCD", b"x")}, "that the standard does not know")],
    ids=["one frame", "announced twice", "not announced", "two heads", "two runs", "two clear values", "unknown"])
def test_a_png_in_which_a_browser_may_show_another_image_is_refused(tmp_path, parts, words):
    """Browsers show the frames of an animation, which other programs pass over."""
    values = np.random.default_rng(0).integers(10, 250, (50, 40), np.uint8)
    path = tmp_path / "film.png"
    path.write_bytes(png_with(values))
    assert np.array_equal(read(path).plane, values)
    path.write_bytes(png_with(values, before=chunk(b"sBIT", b"\x08") + chunk(b"tEXt", b"Comment\0x"),
                              after=chunk(b"tIME", bytes(7))))
    assert np.array_equal(read(path).plane, values)
    path.write_bytes(png_with(values, **parts))
    with pytest.raises((UnreadableError, UnsupportedError), match=words):
        read(path)


@pytest.mark.parametrize("parts", [{"before": chunk(b"sBIT", b"\4")}, {"after": chunk(b"sBIT", b"\0")},
                                   {"before": chunk(b"sBIT", b"\x08\7")}, {"before": chunk(b"sBIT")}])
def test_significant_bits_are_read_and_not_sealed(tmp_path, parts):
    """Writers of 12 bits in 16 say so, and ITK shifts values by it."""
    values = np.random.default_rng(0).integers(10, 250, (50, 40), np.uint8)
    path = tmp_path / "film.png"
    path.write_bytes(png_with(values, **parts))
    assert np.array_equal(read(path).plane, values)
    with pytest.raises(UnsupportedError, match="fewer bits count"):
        stored_raster(path, "png")


def test_colours_of_16_bits_are_read_and_not_sealed(tmp_path):
    """Pillow shows 8 of them."""
    grey = np.random.default_rng(0).integers(0, 1 << 16, (50, 40), np.uint16)
    path = tmp_path / "film.png"
    cv2.imwrite(str(path), np.stack([grey] * 3, -1))
    assert np.array_equal(read(path).plane, grey)
    with pytest.raises(UnsupportedError, match="colours of 16 bits"):
        stored_raster(path, "png")


@pytest.mark.parametrize("name", ["slice.npy", "slice.tif"])
def test_one_slice_of_hounsfield_units_is_sealed_as_it_is(tmp_path, name):
    values = np.random.default_rng(0).integers(-1000, 3000, (50, 40), np.int16)
    path = tmp_path / name
    np.save(path, values) if name.endswith("npy") else tifffile.imwrite(path, values, photometric="minisblack")
    assert np.array_equal(stored_raster(path, "npy" if name.endswith("npy") else "tiff")[0], values)
