"""TIFF written byte by byte: of what programs read each in their own way nothing is read."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
import tifffile
from PIL import Image as Pillow

from scanward.errors import InputError, UnsupportedError
from scanward.formats import read
from scanward.formats.raster import stored_raster

FILM = np.random.default_rng(0).integers(0, 4096, (48, 64), np.uint16)
FORMS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q", 99: "B"}


def tiff(path, tags, parts, order="<", big=False, following=0):
    """A file of `tags`, (code, type, numbers), whose strips or tiles are `parts`; a count may stand as a fourth."""
    wide, at = ("Q", 16) if big else ("I", 8)
    width = struct.calcsize(wide)
    behind = at + (8 if big else 2) + len(tags) * (4 + 2 * width) + width
    places, extra = [], b""
    for part in parts:
        places.append(behind + len(extra))
        extra += part
    entries = b""
    for code, kind, said, *count in tags:
        numbers = {"places": places, "sizes": [*map(len, parts)]}[said] if isinstance(said, str) else said
        value = struct.pack(f"{order}{len(numbers)}{FORMS[kind]}", *numbers)
        if len(value) > width:
            value, extra = struct.pack(order + wide, behind + len(extra)), extra + value
        entries += struct.pack(order + "HH" + wide, code, kind, *(count or [len(numbers) // (2 if kind == 5 else 1)]))
        entries += value.ljust(width, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + ("HHHQ" if big else "HI"),
                                                            *((43, 8, 0, 16) if big else (42, 8)))
    path.write_bytes(head + struct.pack(order + ("Q" if big else "H"), len(tags)) + entries
                     + struct.pack(order + wide, following) + extra)
    return path


def usual(strips=True, big=False, compression=1, rows=16):
    """Tags of `FILM` by code, in three strips or in twelve tiles."""
    tags = {256: (4, [64]), 257: (4, [48]), 258: (3, [16]), 259: (3, [compression]), 262: (3, [1]), 277: (3, [1]),
            339: (3, [1])}
    place = 16 if big else 4
    own = {273: (place, "places"), 278: (4, [rows]), 279: (place, "sizes")} if strips else {
        322: (3, [16]), 323: (3, [16]), 324: (place, "places"), 325: (place, "sizes")}
    return tags | own


def parts_of(values=FILM, strips=True, order="<", rows=16):
    stored = values.astype(values.dtype.newbyteorder(order))
    if strips:
        return [stored[at:at + rows].tobytes() for at in range(0, 48, rows)]
    return [stored[y:y + 16, x:x + 16].tobytes() for y in range(0, 48, 16) for x in range(0, 64, 16)]


def listed(tags):
    return [(code, *said) for code, said in sorted(tags.items())]


PACK = {1: lambda part: part, 8: zlib.compress, 32946: zlib.compress}


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("strips", [True, False])
def test_a_plain_tiff_is_read(tmp_path, order, big, strips, compression):
    parts = [PACK[compression](part) for part in parts_of(strips=strips, order=order)]
    path = tiff(tmp_path / "film.tif", listed(usual(strips, big, compression)), parts, order, big)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), FILM)
    assert np.array_equal(read(path).plane, FILM)


def test_the_last_strip_is_as_long_as_its_rows_or_as_the_others(tmp_path):
    parts = parts_of(rows=20)
    for last in (parts[2], parts[2] + bytes(12 * 128)):
        path = tiff(tmp_path / "film.tif", listed(usual(rows=20)), [*parts[:2], last])
        assert np.array_equal(read(path).plane, FILM)


OME = (b'<OME xmlns="x"><Image><Pixels SizeX="64" SizeY="48" SizeZ="1" SizeC="%d" SizeT="1" Type="uint16" '
       b'DimensionOrder="XYZCT"><TiffData>%s</TiffData></Pixels></Image></OME>')


@pytest.mark.parametrize("change", [
    {322: (3, [64]), 323: (3, [48])}, {323: (3, [48])}, {322: (3, [64])}, {278: None, 323: (3, [16])}, {279: None},
    {266: (1, [2])}, {266: (3, [2])}, {266: (4, [1])}, {32996: (3, [3])}, {32995: (3, [1])}, {32997: (4, [1])},
    {338: (3, [2])}, {330: (4, [8])}, {37724: (7, [0] * 8)}, {33629: (4, [0] * 6)}, {34412: (1, [0] * 9)},
    {50706: (1, [1, 4, 0, 0])}, {33550: (3, [1])}, {301: (3, [0] * 256)}, {65000: (3, [1])}, {258: (4, [16])},
    {258: (3, [16, 16])}, {277: (1, [1])}, {256: (16, [64])}, {256: (3, [64, 64])}, {262: None}, {339: (3, [2, 1])},
    {273: (5, [0, 0])}, {284: (3, [2])}, {317: (3, [2])}, {317: (3, [3])}, {254: (4, [4])}, {278: (4, [0])},
    {278: (4, [24])}, {278: (4, [47])}, {274: (2, b"1")}, {273: (4, "places", 2**20 + 1)},
    {270: (2, b"ImageJ=1.53\nimages=2\n\0")}, {270: (2, b"ImageJ=1.53\nimages = 2.0\n\0")},
    {270: (2, b"ImageJ\nnimages=3\n\0")}, {270: (2, b"ImageJ=1.53\nimages=1\nSlices=2\n\0")},
    {270: (2, b'{"shape": [2, 48, 64]}\0')}, {270: (2, OME % (2, b"") + b"\0")},
    {270: (2, OME % (1, b'<UUID FileName="other.ome.tif">urn</UUID>') + b"\0")},
    {270: (2, OME % (1, b'<UUID &#70;ileName="other.ome.tif">urn</UUID>') + b"\0")},
    {270: (2, b'<!DOCTYPE x [<!ENTITY u "a">]>' + OME % (1, b"&u;") + b"\0")},
    {270: (2, b"a\0ImageJ=1.53\nimages=2\n\0")},
], ids=lambda change: "-".join(map(str, change)))
def test_what_programs_take_each_in_their_own_way_is_refused(tmp_path, change):
    tags = {code: said for code, said in (usual() | change).items() if said}
    path = tiff(tmp_path / "film.tif", listed(tags), parts_of())
    with pytest.raises(InputError, match=r"film\.tif .*\.$"):
        read(path)


@pytest.mark.parametrize("change", [
    {}, {270: (2, b"ImageJ=1.53\nimages=1\nmin=0\n\0")}, {270: (2, b"Two frames = none\0")},
    {270: (2, b'{"shape": [48, 64]}\0')}, {270: (2, OME % (1, b"") + b"\0")}, {256: (3, [64]), 279: (3, "sizes")},
    {278: None, 273: (4, "places"), 279: (4, "sizes")}, {254: (4, [0]), 255: (3, [1]), 266: (3, [1]), 284: (3, [1])},
    {282: (5, [72, 1]), 283: (5, [72, 1]), 296: (3, [2]), 306: (2, b"2026:01:01 00:00:00\0"), 700: (1, [60])},
], ids=lambda change: "-".join(map(str, change)))
def test_what_every_program_takes_alike_is_read(tmp_path, change):
    tags = {code: said for code, said in (usual() | change).items() if said}
    path = tiff(tmp_path / "film.tif", listed(tags), parts_of() if 278 in tags else [FILM.tobytes()])
    assert np.array_equal(read(path).plane, FILM)


@pytest.mark.parametrize("count", [0, 3, 10**6, 2**32 - 1])
def test_places_said_twice_of_which_a_library_drops_the_one(tmp_path, count):
    """tifffile passes over what it cannot read, and libtiff takes the first."""
    for at in (0, 1):
        tags = listed(usual())
        tags.insert(6 + at, (273, 4, [400, 400, 400], count))
        with pytest.raises(InputError, match=r"film\.tif"):
            read(tiff(tmp_path / "film.tif", tags, parts_of()))


def test_a_directory_out_of_order_or_followed_by_another(tmp_path):
    tags = listed(usual())
    with pytest.raises(InputError, match="in their order"):
        read(tiff(tmp_path / "film.tif", [tags[1], tags[0], *tags[2:]], parts_of()))
    for following in (8, 2**31):
        with pytest.raises(InputError, match="holds further pages"):
            read(tiff(tmp_path / "film.tif", tags, parts_of(), following=following))


@pytest.mark.parametrize("parts", [
    [FILM[:15].tobytes(), FILM[15:31].tobytes(), FILM[31:].tobytes()],
    [FILM[:16].tobytes() + FILM[:1].tobytes(), FILM[17:33].tobytes(), FILM[33:].tobytes()],
    [FILM[:16].tobytes(), FILM[16:32].tobytes(), FILM[32:47].tobytes()]], ids=["short", "long", "last"])
def test_strips_that_are_not_as_long_as_their_rows(tmp_path, parts):
    """Some programs take them as they follow one another, others put each where its rows are."""
    with pytest.raises(InputError, match=r"in a strip or tile of 2,048|cut short"):
        read(tiff(tmp_path / "film.tif", listed(usual()), parts))


@pytest.mark.parametrize("compression", [8, 32946])
@pytest.mark.parametrize("strips", [True, False])
def test_streams_of_more_or_less_than_a_strip_or_tile(tmp_path, strips, compression):
    """What stands behind the first row of a strip is the picture where a program takes the strip for a tile."""
    parts = [PACK[compression](part) for part in parts_of(strips=strips)]
    for other in (PACK[compression](FILM.tobytes()), PACK[compression](parts_of(strips=strips)[0][:-2])):
        path = tiff(tmp_path / "film.tif", listed(usual(strips, compression=compression)), [other, *parts[1:]])
        with pytest.raises(InputError, match="bytes in a strip or tile of"):
            read(path)


def of_itk(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("strips", [True, False])
def test_a_part_that_begins_in_the_head_of_the_file(tmp_path, strips, order):
    """tifffile takes a place of 0 for none, and shows zeros there; libtiff reads from the file's first byte."""
    values = FILM.copy()
    values[:16, : 64 if strips else 16] = 0
    code, parts = 273 if strips else 324, parts_of(values, strips, order)
    path = tiff(tmp_path / "film.tif", listed(usual(strips)), parts, order)
    assert np.array_equal(read(path).plane, values)
    with tifffile.TiffFile(path) as file:
        places = file.pages.first.dataoffsets
    for first in (0, 4, 7):
        tiff(path, listed(usual(strips) | {code: (4, [first, *places[1:]])}), parts, order)
        assert not np.array_equal(of_itk(path), values)
        with pytest.raises(InputError, match=rf"film\.tif has a strip or tile of [\d,]+ bytes at byte {first}, .*\.$"):
            read(path)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_a_part_of_no_bytes(tmp_path, compression):
    parts = [PACK.get(compression, bytes)(part) for part in parts_of()]
    tags = usual(compression=compression) | {279: (4, [len(parts[0]), len(parts[1]), 0])}
    with pytest.raises(InputError, match=r"of 0 bytes at byte|cut short"):
        read(tiff(tmp_path / "film.tif", listed(tags), parts))


def test_numbers_of_a_tag_and_a_directory_that_begin_in_the_head_of_the_file(tmp_path):
    path = tiff(tmp_path / "film.tif", listed(usual()), parts_of())
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 273, 4, 3)) + 8
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(InputError, match="the numbers of its tag 273 at byte 0"):
        read(path)
    data[4:8] = (4).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="has its directory at byte 4"):
        read(path)


def test_packbits_is_refused(tmp_path):
    """A run may go on in the next row. OpenCV, Pillow and tifffile go by strips, and ITK by rows drops its rest."""
    values, path = (FILM >> 4).astype(np.uint8), tmp_path / "film.tif"
    Pillow.fromarray(values).save(path, compression="packbits")
    with pytest.raises(InputError, match=r"film\.tif is compressed by TIFF method 32773; save it uncompressed"):
        read(path)
    runs = [values.tobytes()[at:at + 128] for at in range(0, values.size, 128)]
    tags = usual(compression=32773, rows=48) | {258: (3, [8])}
    tiff(path, listed(tags), [b"".join(bytes([len(run) - 1]) + run for run in runs)])
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), values)
    assert not np.array_equal(of_itk(path), values)
    with pytest.raises(InputError, match="method 32773"):
        read(path)


def test_parts_and_values_outside_of_the_file(tmp_path):
    path = tiff(tmp_path / "film.tif", listed(usual() | {273: (4, [400, 2500, 10**6])}), parts_of())
    with pytest.raises(InputError, match="cut short"):
        read(path)
    path.write_bytes(tiff(path, listed(usual()), parts_of()).read_bytes()[:-20])  # the end of its sizes
    with pytest.raises(InputError, match="cut short"):
        read(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("notes", "plain"), [
    ({"Info": "a film"}, True), ({"Info": "a film", "Labels": ["a"], "Ranges": (0.0, 9.0)}, True),
    ({"Overlays": [bytes(90)]}, False), ({"Info": "a film", "ROI": b"Iout" + bytes(60)}, False),
    ({"LUTs": [np.arange(768, dtype=np.uint8)[::-1].reshape(3, 256)]}, False)],
    ids=["info", "all", "overlay", "selection", "colours"])
def test_what_imagej_notes_is_read_and_what_it_draws_is_not(tmp_path, notes, plain, order):
    tifffile.imwrite(tmp_path / "film.tif", FILM, imagej=True, metadata=notes, byteorder=order)
    if plain:
        assert np.array_equal(read(tmp_path / "film.tif").plane, FILM)
    else:
        with pytest.raises(InputError, match="holds an overlay or colours of ImageJ"):
            read(tmp_path / "film.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("writer", ["tifffile", "described", "imagej", "ome", "big", "Pillow", "LZW", "deflate",
                                    "OpenCV", "OpenCV LZW", "alpha", "RGB"])
def test_what_usual_programs_write_is_read(tmp_path, writer, dtype):
    values, path, lzw = (FILM >> 4).astype(dtype), tmp_path / "film.tif", [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    opaque = np.stack([values, np.full_like(values, 255 if dtype == np.uint8 else 65535)], -1)
    if dtype == np.float32 and writer in ("alpha", "RGB"):
        pytest.skip("colours are whole numbers")
    write = {
        "tifffile": lambda: tifffile.imwrite(path, values, compression="zlib", rowsperstrip=7,
                                             predictor=dtype != np.float32),
        "described": lambda: tifffile.imwrite(path, values, description="a film", datetime=True, tile=(16, 16)),
        "imagej": lambda: tifffile.imwrite(path, values, imagej=True, metadata={"Info": "a film", "unit": "mm"},
                                           resolution=(10, 10)),
        "ome": lambda: tifffile.imwrite(path, values, ome=True), "big": lambda: tifffile.imwrite(
            path, values, bigtiff=True, iccprofile=b"a profile" * 9),
        "Pillow": lambda: Pillow.fromarray(values).save(path, dpi=(300, 300), software="x", description="a film"),
        "LZW": lambda: Pillow.fromarray(values).save(path, compression="tiff_lzw"),
        "deflate": lambda: Pillow.fromarray(values).save(path, compression="tiff_adobe_deflate"),
        "OpenCV": lambda: cv2.imwrite(str(path), values, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        "OpenCV LZW": lambda: cv2.imwrite(str(path), values, lzw),
        "alpha": lambda: tifffile.imwrite(path, opaque, photometric="minisblack", extrasamples=["unassalpha"]),
        "RGB": lambda: tifffile.imwrite(path, np.stack([values] * 3, -1), photometric="rgb"),
    }  # fmt: skip
    write[writer]()
    assert np.array_equal(read(path).plane, values)


@pytest.mark.parametrize(("dtype", "how", "words"), [
    (np.float16, {}, "floating point of 16 bits"), (np.uint16, {"tile": (32, 32)}, "16 bits in tiles"),
    (">i2", {"compression": "deflate"}, "compressed big-endian"), (">f4", {"compression": "deflate"}, "big-endian"),
    (np.uint8, {"planarconfig": "contig", "extrasamples": ["unassalpha"], "shape": (64, 64, 2)},
     "more than one number")])
def test_what_programs_show_otherwise_is_read_and_not_sealed(tmp_path, dtype, how, words):
    """ITK takes halves for whole numbers and alpha for pixels; Pillow turns what is packed in big endian about."""
    shape = how.pop("shape", (64, 64))
    values = np.full(shape, 255, dtype) if len(shape) > 2 else np.arange(4096).reshape(shape).astype(dtype)
    path = tmp_path / "a.tif"
    order = ">" if str(dtype).startswith(">") else "<"
    tifffile.imwrite(path, values, photometric="minisblack", byteorder=order, **how)
    assert read(path).plane.shape == (64, 64)
    with pytest.raises(UnsupportedError, match=words):
        stored_raster(path, "tiff")
