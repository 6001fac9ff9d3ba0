"""A copy of a raster is viewed as its host is: turned, as large, in the same tone, and of the same numbers."""

import dataclasses
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo

from scanward.errors import UnsupportedError
from scanward.formats import read
from scanward.formats.write import write_altered

VALUES = np.random.default_rng(0).integers(0, 4000, (45, 33)).astype(np.uint16)


TURNED = {1: np.array, 2: np.fliplr, 3: lambda v: np.rot90(v, 2), 4: np.flipud, 5: np.transpose,
          6: lambda v: np.rot90(v, -1), 7: lambda v: np.rot90(v, 2).T, 8: np.rot90}
"""How each orientation is viewed (TIFF 6.0, tag 274)."""


def copy_of(path):
    """An altered copy: one pixel is another."""
    host = read(path)
    plane = host.plane.copy()
    plane[7, 9] = 100 if plane[7, 9] != 100 else 99
    return write_altered(host.with_plane(plane), path.with_name("copy" + path.suffix), description="x", synthetic=True)


def viewed(path):
    with Pillow.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["raw.tif", "lzw.tif", "zip.tif", "film.png"])
def test_a_turned_picture_is_read_as_stored_and_its_copy_viewed_as_its_host(tmp_path, name, turn):
    path = tmp_path / name
    exif = Pillow.Exif()
    exif[274] = turn
    Pillow.fromarray(VALUES).save(path, exif=exif, **({} if name == "film.png" else {"compression": {
        "raw": None, "lzw": "tiff_lzw", "zip": "tiff_adobe_deflate"}[path.stem]}))
    assert np.array_equal(read(path).plane, VALUES)
    copy = copy_of(path)
    assert (viewed(copy) != TURNED[turn](VALUES)).sum() == 1


def test_a_tiff_keeps_its_resolution_profile_and_tone(tmp_path):
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, VALUES, photometric="miniswhite", resolution=((500, 3), (250, 1)), resolutionunit=3,
                     iccprofile=b"a profile" * 9)
    with tifffile.TiffFile(copy_of(path)) as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages.first.tags}
    assert (tags[282], tags[283], tags[296]) == ((500, 3), (250, 1), 3)
    assert (tags[34675], tags[262]) == (b"a profile" * 9, 0)


def chunks(path):
    """Every chunk of a PNG with what it holds."""
    data, at, found = path.read_bytes(), 8, {}
    while at < len(data):
        length, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + length]
        assert int.from_bytes(data[at + 8 + length:at + 12 + length], "big") == zlib.crc32(kind + body)
        found[kind] = body
        at += 12 + length
    return found


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_png_keeps_gamma_size_and_a_profile_of_grey_but_no_thumbnail(tmp_path, mode):
    path, info = tmp_path / "film.png", PngInfo()
    info.add(b"gAMA", (100000).to_bytes(4, "big"))
    exif = Pillow.Exif()
    exif[274], exif[315] = 3, "A thumbnail"
    grey = Pillow.fromarray((VALUES // 16).astype(np.uint8))
    grey.convert(mode).save(path, pnginfo=info, dpi=(300, 150), icc_profile=b"a profile", exif=exif)
    host, copy = chunks(path), chunks(copy_of(path))
    assert copy[b"gAMA"] == host[b"gAMA"] and copy[b"pHYs"] == host[b"pHYs"]
    assert (copy.get(b"iCCP") == host[b"iCCP"]) == (mode == "L")
    assert b"A thumbnail" not in copy[b"eXIf"] and b"eXIf" in copy
    assert np.array_equal(np.asarray(Pillow.open(tmp_path / "copy.png"))[8:], VALUES[8:] // 16)


def test_what_is_wrong_with_how_a_host_is_viewed_does_not_keep_it_from_being_copied(tmp_path):
    path = tmp_path / "film.png"
    Pillow.fromarray(VALUES).save(path, exif=b"Exif\0\0garbage")
    assert b"eXIf" not in chunks(copy_of(path))
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, VALUES, photometric="minisblack",
                     extratags=[(274, "H", 1, 9, True), (34675, "B", 1, 7, True)])
    assert np.array_equal(tifffile.imread(copy_of(path))[8:], VALUES[8:])


def test_a_pgm_keeps_its_white(tmp_path):
    path = tmp_path / "film.pgm"
    values = (VALUES // 4).astype(">u2")
    path.write_bytes(b"P5 33 45 1000\n" + values.tobytes())
    copy = copy_of(path).read_bytes()
    assert copy.split(b"\n")[3] == b"1000"
    assert (np.frombuffer(copy[-values.nbytes:], ">u2") != values.ravel()).sum() == 1


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "float32", "float64", "float64 broken"])
@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_numbers_keep_their_type_and_what_was_not_altered(tmp_path, dtype, suffix):
    values = VALUES.astype(dtype.split()[0]) + (np.pi if "broken" in dtype else 0)
    path = tmp_path / f"film{suffix}"
    tifffile.imwrite(path, values) if suffix == ".tif" else np.save(path, values)
    copy = copy_of(path)
    again = tifffile.imread(copy) if suffix == ".tif" else np.load(copy)
    assert again.dtype == values.dtype and (again != values).sum() == 1


def test_an_array_with_one_channel_is_an_image(tmp_path):
    path = tmp_path / "film.npy"
    np.save(path, VALUES[..., None])
    assert np.array_equal(read(path).plane, VALUES)
    assert np.load(copy_of(path)).shape == (45, 33, 1)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_numbers_that_cannot_hold_it_are_refused_by_the_hosts_name(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    values = (VALUES // 2 * 2).astype(np.float16)
    tifffile.imwrite(path, values) if suffix == ".tif" else np.save(path, values)
    host = read(path)
    made = dataclasses.replace(host, pixels=host.pixels + 3001)
    with pytest.raises(UnsupportedError, match=f"{path} stores float16 numbers.*save it as"):
        write_altered(made, tmp_path / f"copy{suffix}", description="x", synthetic=True)


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGB"])
def test_transparent_pixels_are_refused_and_unused_transparency_is_not(tmp_path, mode):
    values = VALUES if mode == "I;16" else (VALUES % 200).astype(np.uint8)
    picture = Pillow.fromarray(values)
    if mode == "RGB":
        picture = picture.convert("RGB")
    if mode == "P":
        picture.putpalette(bytes(v for v in range(256) for _ in "rgb"))
    one = int(values[3, 3])
    for clear, fails in ((one, True), (5000 if mode == "I;16" else 255, False)):
        picture.save(tmp_path / "film.png", transparency=(clear,) * 3 if mode == "RGB" else clear)
        if fails:
            with pytest.raises(UnsupportedError, match="transparent pixels"):
                read(tmp_path / "film.png")
        else:
            assert np.array_equal(read(tmp_path / "film.png").plane, values)
