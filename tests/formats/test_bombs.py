"""Files of kilobytes that ask for gigabytes or for minutes: refused in one sentence, soon and in little memory, while
blank images of every size that exist are read."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import time
import zlib

import jpeg_ls
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from scanward.errors import InputError, UnreadableError
from scanward.formats import decoder, find, read
from scanward.formats.codestreams import check_parts
from scanward.formats.decoder import DECODER
from scanward.formats.glance import glance, origin_of

SIDE = 14000
"""Its square is below what `read` takes of any frame."""
WIDE = 7000
"""More than the largest films have."""
SMALL = np.random.default_rng(1).integers(0, 4096, (64, 64)).astype(np.uint16)
READER = """
import sys, time
from pathlib import Path
from scanward.errors import InputError
from scanward.formats import read
for path in map(Path, sys.argv[1:]):
    start = time.process_time()
    try:
        read(path)
    except InputError as error:
        print(time.process_time() - start, error)
print(*[line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")])
"""


def jpeg2000(pixels, **options):
    made = io.BytesIO()
    Pillow.fromarray(pixels).save(made, "JPEG2000", irreversible=False, no_jp2=True, **options)
    return made.getvalue()


def claims(stream, side, tile=None):
    """A JPEG 2000 stream whose SIZ says other sizes than it has."""
    made, at = bytearray(stream), stream.index(b"\xff\x51") + 6
    struct.pack_into(">II", made, at, side, side)
    struct.pack_into(">II", made, at + 16, tile or side, tile or side)
    return bytes(made)


def rle(pixels, width):
    runs = b"\x81\0" * -(-pixels // 128)
    ends = [64 + i * len(runs) for i in range(width)]
    return struct.pack("<16I", width, *ends, *[0] * (15 - width)) + runs * width


def compressed(phantom, folder, frame, syntax, side, bits=16, frames=1):
    data = phantom.dataset(np.zeros((40, 40), f"u{bits // 8}"), bits)
    if frames > 1:
        data = phantom.ct_slice(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=frames)
        del data.ImagePositionPatient
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PerFrameFunctionalGroupsSequence = [
            phantom.group(PlanePosition={"ImagePositionPatient": [0, 0, z]}) for z in range(frames)]
    data.Rows = data.Columns = side
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.PixelData = encapsulate([frame] * frames)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.save_as(folder / "image.dcm", enforce_file_format=True)
    return folder / "image.dcm"


def plain(name):
    """Blank images of two-dimensional and volume formats."""

    def made(phantom, folder):
        path = folder / name
        if name.endswith(".png"):
            header = struct.pack(">IIBBBBB", WIDE, WIDE, 16, 0, 0, 0, 0)
            engine = zlib.compressobj(9)
            rows = b"".join(engine.compress(bytes(2 * WIDE + 1)) for _ in range(WIDE)) + engine.flush()
            chunks = (b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
                for kind, body in chunks))
        elif name == "tiled.tif":
            blank = np.zeros((40, 40), np.uint8)
            tifffile.imwrite(path, blank, metadata=None, compression="deflate", tile=(16 * 800, 16 * 500))
        elif name.endswith(".tif"):
            tifffile.imwrite(path, np.zeros((WIDE, WIDE), np.uint16), metadata=None, compression="deflate",
                             rowsperstrip=1000)
        elif name.endswith(".nii.gz"):
            header = nibabel.Nifti1Header()
            header.set_data_shape((1000, 1000, 90))
            header.set_data_dtype(np.int16)
            header.set_sform(np.eye(4), 1)
            header["vox_offset"], header["magic"] = 352, b"n+1"
            with gzip.open(path, "wb") as file:
                file.write(header.binaryblock + bytes(4))
                for _ in range(90):
                    file.write(bytes(2_000_000))
        else:
            engine = zlib.compressobj()
            packed = b"".join(engine.compress(bytes(2_000_000)) for _ in range(90)) + engine.flush()
            path.write_bytes(b"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\n"
                             b"CompressedDataSize = %d\nDimSize = 1000 1000 90\nElementSpacing = 1 1 1\n"
                             b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" % len(packed) + packed)
        return path

    return made


def deflated(phantom, folder):
    data = phantom.dataset(np.zeros((40, 40), np.uint16), 16)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.Rows = data.Columns = WIDE
    data.PixelData = bytes(2 * WIDE * WIDE)
    data.save_as(folder / "image.dcm", enforce_file_format=True)
    return folder / "image.dcm"


def charls(phantom, folder):
    frame = bytearray(jpeg_ls.encode_array(SMALL))
    struct.pack_into(">HH", frame, bytes(frame).index(b"\xff\xf7") + 5, SIDE, SIDE)
    return compressed(phantom, folder, bytes(frame), JPEGLSLossless, SIDE)


def baseline(phantom, folder):
    made = io.BytesIO()
    Pillow.new("L", (10000, 10000)).save(made, "JPEG")
    return compressed(phantom, folder, made.getvalue(), JPEGBaseline8Bit, 10000, 8)


BOMBS = {
    "jpeg 2000": lambda phantom, folder: compressed(phantom, folder, claims(jpeg2000(SMALL), SIDE), JPEG2000Lossless,
                                                    SIDE),
    "jpeg 2000, tiles": lambda phantom, folder: compressed(phantom, folder, claims(jpeg2000(SMALL), 6000, 64),
                                                           JPEG2000Lossless, 6000),
    "jpeg 2000, frames": lambda phantom, folder: compressed(
        phantom, folder, jpeg2000(np.zeros((512, 512), np.uint16)), JPEG2000Lossless, 512, frames=400),
    "jpeg-ls": charls,
    "jpeg": baseline,
    "rle": lambda phantom, folder: compressed(phantom, folder, rle(SIDE**2, 2), RLELossless, SIDE),
    "deflated": deflated,
    **{name: plain(name) for name in ("f.png", "f.tif", "tiled.tif", "f.nii.gz", "f.mha")},
}


def test_each_bomb_is_one_sentence_within_seconds_and_all_of_them_take_half_a_gigabyte(phantom, tmp_path):
    """Seconds of processor time: others may use the cores."""
    paths = [make(phantom, tmp_path / name) for name, make in BOMBS.items() if not (tmp_path / name).mkdir()]
    assert max(path.stat().st_size for path in paths) < 8_000_000
    done = subprocess.run([sys.executable, "-c", READER, *paths], check=False, capture_output=True, text=True)
    *said, peak = done.stdout.splitlines()
    assert done.stderr == "" and len(said) == len(paths)
    for line, path in zip(said, paths, strict=True):
        seconds, _, sentence = line.partition(" ")
        assert sentence.startswith(str(path)) and sentence.endswith("."), line
        assert float(seconds) < 3, line
    assert int(peak.split()[1]) < 500 * 1024


@pytest.mark.parametrize("frame", [jpeg2000(np.zeros((6000, 6000), np.uint16)), rle(6000 * 6000, 2)],
                         ids=["jpeg 2000", "rle"])
def test_a_blank_film_of_the_largest_size_is_read(phantom, tmp_path, frame):
    syntax = RLELossless if frame[:2] == b"\2\0" else JPEG2000Lossless
    assert read(compressed(phantom, tmp_path, frame, syntax, 6000)).shape == (1, 6000, 6000)


def test_blank_frames_of_every_encoder_have_bytes_for_their_tiles_and_packets():
    tiled = {"tile_size": (64, 64)}
    for side, options in ((64, {}), (1000, tiled), (1000, {**tiled, "tile_offset": (0, 0), "offset": (3, 5)}),
                          (1000, {"precinct_size": (64, 64)}), (2048, {"num_resolutions": 1}),
                          (1000, {"quality_layers": [8, 4, 2]})):
        check_parts(jpeg2000(np.zeros((side, side), np.uint16), **options))


def test_packets_are_held_against_the_bytes_there():
    stream = bytearray(jpeg2000(SMALL))
    layers = stream.index(b"\xff\x52") + 6
    stream[layers : layers + 2] = b"\xff\xff"
    with pytest.raises(ValueError, match="packets"):
        check_parts(bytes(stream))


def test_what_takes_more_time_than_its_size_may_is_ended_and_the_next_is_read(phantom, tmp_path, monkeypatch):
    """Here the limit is brought down to the film, as no film takes that long."""
    noise = np.random.default_rng(2).integers(0, 65536, (3000, 3000)).astype(np.uint16)
    path = compressed(phantom, tmp_path, jpeg2000(noise), JPEG2000Lossless, 3000)
    start = time.process_time()
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "seconds_for", lambda needed, held: 0)
        with pytest.raises(UnreadableError, match="more than the 0 seconds that an image of its size may take"):
            read(path)
    assert time.process_time() - start < 5
    assert np.array_equal(read(path).plane, noise)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLosslessSV1], ids=lambda uid: uid.name)
def test_what_takes_more_memory_than_its_size_may_is_refused_and_the_next_is_read(
        phantom, write, tmp_path, monkeypatch, syntax):
    from test_read_dicom import dcmtk

    noise = phantom.breast(16, rows=2000, columns=2000)
    if syntax == JPEGLosslessSV1:
        path = dcmtk(["dcmcjpeg", "+e1"], write(phantom.dataset(noise, 16)))
    else:
        frame = jpeg2000(noise) if syntax == JPEG2000Lossless else rle(noise.size, 2)
        path = compressed(phantom, tmp_path, frame, syntax, 2000)
    DECODER.close()
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "memory_for", lambda needed, held: 4_000_000)
        with pytest.raises(InputError) as caught:
            read(path)
    assert str(caught.value).startswith(str(path))
    assert read(path).shape == (1, 2000, 2000)


def test_the_command_line_says_it_and_ends_with_2(phantom, run, tmp_path):
    path = BOMBS["jpeg 2000"](phantom, tmp_path)
    code, _, said = run("scan", path)
    assert code == 2
    assert "asks for 392,000,000 bytes of pixels and holds" in said


@pytest.mark.parametrize("head", [b"", bytes(128) + b"DICM", bytes(128) + b"DICM\2\0\0\0UL\4\0\x1a\0\0\0"
                                  b"\2\0\x10\0UI\x12\0001.2.840.10008.1.2\0"], ids=["none", "preamble", "meta"])
def test_gigabytes_of_zeros_that_take_no_room_are_no_header_without_end(tmp_path, head):
    path = tmp_path / "sparse.dcm"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(8 << 30)  # every eight zeros are an element
    assert glance(path) == (False, "") and origin_of(path).study == ""
    with pytest.raises(InputError, match=r"of no format|do not follow one another"):
        read(path)
    assert find([tmp_path])[0][0].path == path
