"""Compressed frames: the items, the basic and the extended offset table and the codestreams name the same ones."""

from __future__ import annotations

import io
import struct

import numpy as np
import openjpeg
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders import JPEGLSLosslessEncoder, RLELosslessEncoder
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from scanward.errors import UnreadableError
from scanward.formats import Source, read
from scanward.formats.content import read_content

STORED = np.random.default_rng(8).integers(0, 2000, (3, 48, 40)).astype(np.uint16)
FORGED = np.random.default_rng(9).integers(0, 2000, (48, 40)).astype(np.uint16)
ENCODERS = {RLELossless: RLELosslessEncoder, JPEGLSLossless: JPEGLSLosslessEncoder}
CODECS = [JPEG2000Lossless, JPEGLSLossless, RLELossless]


def coded(plane, syntax) -> bytes:
    if syntax == JPEG2000Lossless:
        data = bytes(openjpeg.encode(plane, bits_stored=12, photometric_interpretation=2, use_mct=False))
    else:
        data = ENCODERS[syntax].encode(plane.copy(), rows=48, columns=40, samples_per_pixel=1, bits_allocated=16,
                                       bits_stored=12, photometric_interpretation="MONOCHROME2",
                                       pixel_representation=0, number_of_frames=1)
    return data + b"\0" * (len(data) % 2)


def item(data: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


@pytest.fixture
def enhanced(phantom, write):
    """Writes an enhanced CT of three frames, or a slice: items as they are given, the basic table's first."""

    def made(items, syntax, extended=None, frames=3):
        data = phantom.dataset(STORED[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", Modality="CT",
                               NumberOfFrames=frames)
        data.SharedFunctionalGroupsSequence = [phantom.group(
            PixelMeasures={"PixelSpacing": [0.7, 0.6]},
            PlaneOrientation={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            PixelValueTransformation={"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"})]
        data.PerFrameFunctionalGroupsSequence = [phantom.group(
            PlanePosition={"ImagePositionPatient": [0, 0, 2 * z]}) for z in range(frames)]
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = items if isinstance(items, bytes) else b"".join(map(item, items))
        data["PixelData"].is_undefined_length = True
        if extended:
            for keyword, numbers in zip(("ExtendedOffsetTable", "ExtendedOffsetTableLengths"), extended, strict=True):
                table = numbers if isinstance(numbers, bytes) else struct.pack(f"<{len(numbers)}Q", *numbers)
                setattr(data, keyword, table)
        return write(data)

    return made


def places(parts) -> list[int]:
    """Of items from the first one on."""
    return [sum(8 + len(one) for one in parts[:i]) for i in range(len(parts))]


@pytest.mark.parametrize("syntax", CODECS)
def test_honest_tables_are_read(enhanced, syntax):
    frames = [coded(plane, syntax) for plane in STORED]
    lengths = [len(one) for one in frames]
    both = encapsulate_extended(frames)
    cases = [(encapsulate(frames, has_bot=table), None) for table in (False, True)]
    cases += [(both[0], both[1:]), (encapsulate(frames, has_bot=False), (places(frames), [n - 1 for n in lengths]))]
    if syntax != RLELossless:
        cases += [(encapsulate(frames, fragments_per_frame=2, has_bot=table), None) for table in (False, True)]
    for items, extended in cases:
        path = enhanced(items, syntax, extended)
        assert np.array_equal(read(path).pixels, STORED)
        assert np.array_equal(read_content(Source((path,), "file")).values, STORED)
    if syntax != RLELossless:
        for items in ([b"", b"", frames[0]], [b"", frames[0], b""]):
            assert np.array_equal(read(enhanced(items, syntax, frames=1)).plane, STORED[0])
    alone = encapsulate_extended(frames[:1])
    assert np.array_equal(read(enhanced(alone[0], syntax, alone[1:], frames=1)).plane, STORED[0])


@pytest.mark.parametrize("syntax", CODECS)
def test_an_extended_table_that_says_otherwise_is_refused(enhanced, syntax):
    """pydicom goes by it, others do not know it."""
    frames = [coded(plane, syntax) for plane in STORED]
    where, lengths = places(frames), [len(one) for one in frames]
    path = enhanced([b"", *frames], syntax, (where[::-1], lengths[::-1]))
    assert np.array_equal(pydicom.dcmread(path).pixel_array[0], STORED[2])
    short = b"\0" * 7
    for extended in ((where[::-1], lengths[::-1]), (where, lengths[:2]), (where[:2], lengths[:2]), (where, []),
                     ([], lengths), (where, [n - 2 for n in lengths]), (short, short)):
        with pytest.raises(UnreadableError, match="an extended offset table that names other frames"):
            read(enhanced([b"", *frames], syntax, extended))
    if syntax != RLELossless:  # each of its frames is one item
        halves = [half for one in frames for half in (one[:200], one[200:])]
        with pytest.raises(UnreadableError, match="an extended offset table"):
            read(enhanced([b"", *halves], syntax, (places(halves)[::2], lengths)))


@pytest.mark.parametrize("syntax", CODECS)
def test_a_basic_table_that_says_otherwise_is_refused(enhanced, syntax):
    frames = [coded(plane, syntax) for plane in STORED]
    where = places(frames)
    for numbers in (where[::-1], where[:2], [*where, where[2]], [0, where[1], where[2] + 2], [0, 0, 0]):
        with pytest.raises(UnreadableError, match="a basic offset table that names other frames"):
            read(enhanced([struct.pack(f"<{len(numbers)}I", *numbers), *frames], syntax))
    with pytest.raises(UnreadableError, match="a basic offset table"):
        read(enhanced([b"\2\0\0\0", frames[0]], syntax, frames=1))


@pytest.mark.parametrize("syntax", CODECS)
def test_a_fragment_that_no_frame_needs_is_refused(enhanced, syntax):
    frames, more = [coded(plane, syntax) for plane in STORED], coded(FORGED, syntax)
    where, lengths = places([*frames, more]), [len(one) for one in (*frames, more)]
    table = struct.pack("<3I", *where[:3])
    chosen = [0, 3, 2]
    extended = [where[i] for i in chosen], [lengths[i] for i in chosen]
    path = enhanced([b"", *frames, more], syntax, extended)
    assert np.array_equal(pydicom.dcmread(path).pixel_array[1], FORGED)
    for first, given in ((b"", None), (table, None), (b"", extended), (table, extended)):
        path = enhanced([first, *frames, more], syntax, given)
        for reader in (read, lambda one: read_content(Source((one,), "file"))):
            with pytest.raises(UnreadableError, match="holds 4 compressed frames where its NumberOfFrames is 3"):
                reader(path)


@pytest.mark.parametrize("syntax", CODECS)
def test_an_image_behind_the_end_of_another_is_refused(enhanced, syntax):
    """With a table that points into the item, or without."""
    first, more = coded(STORED[0], syntax), coded(FORGED, syntax)
    both = first + item(more)
    extended = [8 + len(first)], [len(more)]
    path = enhanced([b"", both], syntax, extended, frames=1)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, FORGED)
    with pytest.raises(UnreadableError, match="offset table"):
        read(path)
    if syntax != RLELossless:  # its header says where everything lies
        for data in (both, first + more, first[:-2] + more):
            with pytest.raises(UnreadableError, match=r"another image behind the end|is damaged"):
                read(enhanced([b"", data], syntax, frames=1))
    path = enhanced([b"", first + b"\0" * 66], syntax, frames=1)
    assert np.array_equal(read(path).plane, STORED[0])


def test_markers_within_coded_data_are_no_other_image(enhanced):
    """Coded data of JPEG 2000 hold the first markers of a stream by chance, once a gigabyte: here a comment does."""
    first = coded(STORED[0], JPEG2000Lossless)
    tile = first.index(b"\xff\x90\x00\x0a")
    comment = b"\x00\x01" + b"\xff\x4f\xff\x51" + bytes(range(60))
    frame = first[:tile] + b"\xff\x64" + struct.pack(">H", 2 + len(comment)) + comment + first[tile:]
    path = enhanced([b"", frame + b"\0" * (len(frame) % 2)], JPEG2000Lossless, frames=1)
    assert np.array_equal(read(path).plane, STORED[0])


def test_a_tile_that_says_to_be_longer_than_its_stream_is_read(enhanced):
    """As a CT of a phantom that a public collection shows; and a stream that was cut is refused as before."""
    first = coded(STORED[0], JPEG2000Lossless).rstrip(b"\0")
    tile = first.index(b"\xff\x90\x00\x0a")
    longer = first[: tile + 6] + struct.pack(">I", len(first) + 8000) + first[tile + 10 :]
    for padding in (b"", b"\0\0"):
        data = longer + b"\0" * (len(longer) % 2) + padding
        assert np.array_equal(read(enhanced([b"", data], JPEG2000Lossless, frames=1)).plane, STORED[0])
    cut = longer[:-600]
    for data in (cut, cut + b"\xff\xd9"):
        with pytest.raises(UnreadableError, match="is damaged and cannot be decoded"):
            read(enhanced([b"", data + b"\0" * (len(data) % 2)], JPEG2000Lossless, frames=1))


def test_a_small_picture_within_a_jpeg_is_not_another_image(phantom, write):
    """As cameras write, in a segment of the application's own."""
    picture, small = (np.full(shape, 90, np.uint8) for shape in ((48, 40), (8, 8)))
    streams = []
    for plane in (picture, small):
        held = io.BytesIO()
        Pillow.fromarray(plane).save(held, "JPEG")
        streams.append(held.getvalue())
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(streams[1])) + streams[1]
    frame = streams[0][:2] + segment + streams[0][2:]
    data = phantom.dataset(picture, bits=8)
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    for extra, sound in ((b"", True), (b"\0\0", True), (streams[1], False)):
        data.PixelData = encapsulate([frame + extra])
        data["PixelData"].is_undefined_length = True
        if sound:
            assert (read(write(data)).plane == 90).all()
        else:
            with pytest.raises(UnreadableError, match="another image behind the end"):
                read(write(data))


def test_frames_in_colour_too(phantom, write):
    colours = np.random.default_rng(4).integers(0, 256, (2, 48, 40, 3)).astype(np.uint8)
    data = phantom.dataset(colours[0, ..., 0], bits=8, Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.4",
                           SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB", NumberOfFrames=2,
                           PixelData=colours.tobytes())
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.compress(RLELossless, generate_instance_uid=False)
    path = write(data)
    assert np.array_equal(read_content(Source((path,), "file")).values, colours)
    parts = list(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=2))
    data.ExtendedOffsetTable = struct.pack("<2Q", *places(parts)[::-1])
    data.ExtendedOffsetTableLengths = struct.pack("<2Q", *[len(one) for one in parts[::-1]])
    path = write(data)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, colours[::-1])
    with pytest.raises(UnreadableError, match="an extended offset table that names other frames"):
        read_content(Source((path,), "file"))
