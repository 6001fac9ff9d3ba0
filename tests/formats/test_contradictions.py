"""DICOM that says a thing twice, or in a way that programs do not agree on, is refused: what a viewer shows and what is
judged must be the same."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from scanward.errors import InputError, UnreadableError
from scanward.formats import find, read
from scanward.formats.write import write_altered
from scanward.formats.write_volume import write_altered_volume

ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"


def size(*spacing: float) -> Dataset:
    """The item of a macro."""
    item = Dataset()
    item.PixelSpacing = list(spacing)
    return item


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """In explicit VR, little endian."""
    value += b" " * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr in (b"OB", b"OW", b"OF", b"SQ", b"UN") else \
        struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + length + value


def with_tail(phantom, write, compressed: bool, tail: bytes) -> Path:
    """A film with bytes behind its pixels."""
    data = phantom.dataset(phantom.breast())
    if compressed:
        data.compress(RLELossless)
    path = write(data)
    with path.open("ab") as file:
        file.write(tail)
    return path


def insert(path: Path, before: tuple[int, int], data: bytes) -> None:
    """Put bytes before the last element with that tag."""
    body = path.read_bytes()
    at = body.rindex(struct.pack("<HH", *before))
    path.write_bytes(body[:at] + data + body[at:])


def test_functional_groups_in_a_slice_or_a_film_are_heard_as_viewers_hear_them(phantom, write):
    planted = [phantom.group(PixelValueTransformation={"RescaleSlope": 1, "RescaleIntercept": 0})]
    with pytest.raises(UnreadableError, match="another RescaleSlope in its functional groups than in its header"):
        read(write(phantom.ct_slice(0.0, RescaleSlope=3, RescaleIntercept=0, SharedFunctionalGroupsSequence=planted)))
    sizes = [phantom.group(PixelMeasures={"PixelSpacing": [0.3, 0.2]})]
    film = phantom.dataset(phantom.breast(), ImagerPixelSpacing=[0.1, 0.1], SharedFunctionalGroupsSequence=sizes)
    assert read(write(film)).spacing == (1.0, 0.3, 0.2)
    film.PerFrameFunctionalGroupsSequence = [Dataset()] * 4
    with pytest.raises(UnreadableError, match="describes 4 frames where its NumberOfFrames is 1"):
        read(write(film, "four.dcm"))


@pytest.mark.parametrize(("change", "words"), [
    (lambda shared, each: each[1].update({"PixelMeasuresSequence": [size(0.7, 0.7)]}),
     "another PixelSpacing in its functional groups for one frame than for all"),
    (lambda shared, each: shared.append(Dataset()), "several items in its SharedFunctionalGroupsSequence"),
    (lambda shared, each: shared[0].PixelMeasuresSequence.append(size(0.9, 0.9)),
     "several items in its PixelMeasuresSequence"),
    (lambda shared, each: shared[0].update({"FrameAnatomySequence": [size(0.9, 0.9)]}),
     "another PixelSpacing in its functional groups for one frame than for all"),
])
def test_groups_that_contradict_one_another_are_refused(phantom, write, change, words):
    data = phantom.ct_slice(0.0, SOPClassUID=ENHANCED, NumberOfFrames=2)
    del data.ImagePositionPatient, data.PixelSpacing
    data.PixelData *= 2
    data.SharedFunctionalGroupsSequence = [phantom.group(PixelMeasures={"PixelSpacing": [0.5, 0.5]})]
    data.PerFrameFunctionalGroupsSequence = [
        phantom.group(PlanePosition={"ImagePositionPatient": [0, 0, z]}) for z in range(2)]
    assert read(write(data)).spacing == (1.0, 0.5, 0.5)
    change(data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence)
    with pytest.raises(UnreadableError, match=words):
        read(write(data, "other.dcm"))


@pytest.mark.parametrize("data", [
    element(0x7FE0, 0x10, b"OW", bytes(3840)), element(0x28, 0x1053, b"DS", b"3"), element(0x28, 0x30, b"DS", b"1\\1"),
    element(0x28, 0x1052, b"DS", b"-500"), element(0x20, 0x32, b"DS", b"0\\0\\0"),
], ids=["pixels", "slope", "spacing", "intercept", "position"])
def test_what_stands_behind_the_pixels_is_no_second_truth(phantom, write, data):
    path = write(phantom.ct_slice(0.0))
    with path.open("ab") as file:
        file.write(data)
    with pytest.raises(UnreadableError, match="twice, or behind its pixels"):
        read(path)
    film = write(phantom.dataset(phantom.breast()), "film.dcm")
    with film.open("ab") as file:
        file.write(data)
    with pytest.raises(UnreadableError, match="twice, or behind its pixels"):
        read(film)


def test_groups_of_more_frames_than_any_image_has_are_refused_at_once(phantom, write):
    groups = [phantom.group(PixelMeasures={"PixelSpacing": [0.5, 0.5]})]
    path = write(phantom.ct_slice(0.0, NumberOfFrames=2**31 - 1, SharedFunctionalGroupsSequence=groups), "ct/a.dcm")
    write(phantom.ct_slice(1.0), "ct/b.dcm")
    with pytest.raises(InputError, match="voxels"):
        read(path)
    sources, errors = find([path.parent])
    assert len(sources) + len(errors) > 0


@pytest.mark.parametrize("open_ended", [False, True])
def test_what_an_item_of_a_group_says_twice_is_refused(phantom, write, open_ended):
    """Some programs take the first, some the last."""
    data = phantom.ct_slice(0.0, SOPClassUID=ENHANCED)
    del data.PixelSpacing
    macro = [phantom.group(PixelMeasures={"PixelSpacing": [0.7, 0.7], "SliceThickness": 1})]
    data.SharedFunctionalGroupsSequence = macro
    data["SharedFunctionalGroupsSequence"].is_undefined_length = open_ended
    path = write(data)
    assert read(path).spacing == (1.0, 0.7, 0.7)
    path.write_bytes(path.read_bytes().replace(b"\x18\0\x50\0DS", b"\x28\0\x30\0DS").replace(
        element(0x28, 0x30, b"DS", b"1"), element(0x28, 0x30, b"DS", b"9")))
    with pytest.raises(UnreadableError, match="says its PixelSpacing twice"):
        read(path)


@pytest.mark.parametrize("vr", [b"UN", b"OB"])
def test_groups_that_are_no_sequence_are_refused(phantom, write, vr):
    path = write(phantom.dataset(phantom.breast()))
    insert(path, (0x7FE0, 0x10), element(0x5200, 0x9229, vr, b"junk"))
    with pytest.raises(UnreadableError, match=r"that is no sequence|do not follow one"):
        read(path)


def test_what_is_said_twice_before_them_is_refused_too(phantom, write):
    path = write(phantom.ct_slice(0.0))
    insert(path, (0x28, 0x1053), element(0x28, 0x1053, b"DS", b"3"))
    with pytest.raises(UnreadableError, match="says its RescaleSlope twice"):
        read(path)


@pytest.mark.parametrize("tail", [b"\0" * 300, element(0xFFFC, 0xFFFC, b"OB", bytes(100)), b"\xff" * 77,
                                  element(0x7FE1, 0x10, b"LO", b"ours")])
@pytest.mark.parametrize("compressed", [False, True])
def test_padding_and_private_elements_behind_the_pixels_are_no_trouble(phantom, write, tail, compressed):
    path = with_tail(phantom, write, compressed, tail)
    assert np.array_equal(read(path).plane, phantom.breast())


FAR = element(0x7FE1, 0x10, b"LO", b"ours") + element(0x7FE1, 0x1000, b"OB", bytes(1 << 20))
NAME = element(0x10, 0x10, b"PN", b"Other^Name")
OPEN = struct.pack("<HH2sHI", 0x7FE1, 0x1001, b"SQ", 0, 0xFFFFFFFF)
ITEM, ITEM_END, END = (struct.pack("<HHI", 0xFFFE, number, length)
                       for number, length in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("tail", [
    FAR + NAME, FAR + element(0x7FE0, 0x10, b"OW", bytes(3840)), FAR + element(0x28, 0x6, b"US", b"\1\0"),
    element(0x7FE1, 0x1000, b"OB", bytes(1 << 21)) + element(0x28, 0x30, b"DS", b"9\\9"),
    OPEN + ITEM + element(0x9, 0x10, b"LO", b"ours") + ITEM_END + END + NAME,
    b"\0" * 80 + NAME, b"\xff" * 9 + NAME, b"\0" * (1 << 20) + NAME, b"\0" * ((1 << 20) - 3) + NAME,
    element(0x7FE1, 0x10, b"ZZ", b"") + NAME, element(0x7FE1, 0x10, b"ZZ", b"ab" + NAME),
    struct.pack("<HH2sHI", 0x7FE1, 0x1000, b"OB", 0, 1 << 30) + NAME, OPEN + NAME + END,
], ids=["name", "pixels", "planar", "spacing", "sequence", "zeros", "ones", "megabyte", "seam", "unknown", "within",
        "endless", "no item"])
def test_nothing_hides_far_behind_the_pixels(phantom, write, compressed, tail):
    """pydicom and others take the last of two; what comes after bytes that are no element, each finds its own way."""
    path = with_tail(phantom, write, compressed, tail)
    with pytest.raises(UnreadableError, match=r"behind its pixels|do not follow one another"):
        read(path)


@pytest.mark.parametrize("tail", [
    FAR, b"\0" * (3 << 20), b" \n", b"\r\n--5f1a0b7c-boundary--\r\n", bytes(range(1, 8)), FAR + b"\0" * 511,
    OPEN + ITEM + element(0x10, 0x10, b"PN", b"Own^Name") + ITEM_END + END, element(0x7FE1, 0x1000, b"UN", NAME),
    element(0xFFFC, 0xFFFC, b"OB", bytes(1 << 21))])
def test_long_private_elements_and_odd_padding_are_no_trouble(phantom, write, tail):
    path = write(phantom.dataset(phantom.breast()))
    with path.open("ab") as file:
        file.write(tail)
    assert np.array_equal(read(path).plane, phantom.breast())


def fake_end():
    """A value without a length that holds, within an element of its item, what ends such a value: some look for the
    end, others follow the elements."""
    held = END + NAME + struct.pack("<HH2sHI", 0x11, 0x1001, b"OB", 0, 16)
    return (struct.pack("<HH2sHI", 0x11, 0x1000, b"OB", 0, 0xFFFFFFFF) + ITEM + element(0x11, 0x1000, b"OB", held)
            + ITEM_END + END)


@pytest.mark.parametrize("planted", [
    element(0x8, 0x60, b"CS", b"CT"), element(0x11, 0x10, b"LO", b"x") + element(0x28, 0x4, b"CS", b"MONOCHROME1"),
    element(0x28, 0x6, b"US", b"\1\0") * 2, fake_end(), element(0x11, 0x1000, b"ZZ", b"ab" + NAME),
    element(0x11, 0x1000, b"  ", b""), struct.pack("<HH2sHI", 0x11, 0x1000, b"LO", 0, 0xFFFFFFFF),
    OPEN + ITEM + element(0x10, 0x20, b"LO", b"1") * 2 + ITEM_END + END,
], ids=["modality", "polarity", "planar", "fake end", "unknown", "blank", "endless text", "in an item"])
def test_nothing_hides_before_the_pixels_either(phantom, write, planted):
    path = write(phantom.dataset(phantom.breast()))
    insert(path, (0x28, 0x10), planted)
    with pytest.raises(UnreadableError, match=r"twice, or behind its pixels|do not follow one another"):
        read(path)


def test_pixels_within_another_element_are_none(phantom, write):
    path = write(phantom.dataset(phantom.breast()))
    body = path.read_bytes()
    at = body.rindex(b"\xe0\x7f\x10\0OW")
    held = END + body[at:]
    path.write_bytes(body[:at] + struct.pack("<HH2sHI", 0x29, 0x1000, b"OB", 0, 0xFFFFFFFF) + ITEM
                     + element(0x29, 0x1001, b"OB", held) + ITEM_END + END)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, phantom.breast())
    with pytest.raises(UnreadableError, match="do not follow one another"):
        read(path)


@pytest.mark.parametrize("undefined", [False, True])
def test_a_frame_that_says_its_spacing_twice_is_refused(phantom, write, undefined):
    data = phantom.ct_slice(0.0, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    data.SharedFunctionalGroupsSequence = [phantom.group(PixelMeasures={"PixelSpacing": [0.7, 0.6]})]
    data["SharedFunctionalGroupsSequence"].is_undefined_length = undefined
    path = write(data)
    assert read(path).spacing == (1.0, 0.7, 0.6)
    once = element(0x28, 0x30, b"DS", b"0.7\\0.6")
    body, twice = path.read_bytes(), once + element(0x28, 0x30, b"DS", b"1.4\\1.2")
    at = body.rindex(once)
    head = body[at - 48:at]
    for outer in (0, 8, 20, 28):  # the lengths of items and sequences around it
        head = head.replace(struct.pack("<I", len(once) + outer), struct.pack("<I", len(twice) + outer))
    path.write_bytes(body[:at - 48] + head + twice + body[at + len(once):])
    assert pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[0] == 1.4
    with pytest.raises(UnreadableError, match="says its PixelSpacing twice"):
        read(path)


def test_a_transfer_syntax_that_is_said_twice_is_refused(phantom, write):
    """DCMTK takes the first, pydicom the last."""
    path = write(phantom.dataset(phantom.breast()))
    body = path.read_bytes()
    at = body.index(element(0x2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0"))
    path.write_bytes(body[:at] + element(0x2, 0x10, b"UI", b"1.2.840.10008.1.2\0") + body[at:])
    with pytest.raises(UnreadableError, match="says its TransferSyntaxUID twice"):
        read(path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("table", [True, False])
def test_a_second_compressed_frame_is_not_passed_over(phantom, write, syntax, table):
    data = phantom.dataset(phantom.breast())
    if syntax == RLELossless:
        data.compress(RLELossless)
        frame = next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))
    else:
        frame = bytes(openjpeg.encode(phantom.breast(), bits_stored=12, photometric_interpretation=2, use_mct=False))
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = encapsulate([frame, frame], has_bot=table)
    data["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableError, match="2 compressed frames where its NumberOfFrames is 1"):
        read(write(data))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"2,5", b"2 mm", b"2\\3", b"nan", b"1e400", b"2d0"])
def test_a_rescale_that_is_no_number_is_not_taken_for_one(phantom, write, keyword, value):
    data = phantom.ct_slice(0.0)
    delattr(data, keyword)
    path = write(data)
    tag = (0x28, 0x1053 if keyword == "RescaleSlope" else 0x1052)
    insert(path, (0x7FE0, 0x10), element(*tag, b"DS", value))
    with pytest.raises(UnreadableError, match=f"{keyword} that is not one number"):
        read(path)


def test_frames_that_say_nothing_of_their_values_are_refused(phantom, write):
    data = phantom.ct_slice(0.0, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=2)
    del data.RescaleSlope, data.RescaleIntercept, data.ImagePositionPatient
    data.PixelData *= 2
    place = [{"PlanePosition": {"ImagePositionPatient": [0, 0, z]}} for z in range(2)]
    value = {"PixelValueTransformation": {"RescaleSlope": 2, "RescaleIntercept": 0}}
    data.PerFrameFunctionalGroupsSequence = [phantom.group(**place[0], **value), phantom.group(**place[1])]
    with pytest.raises(UnreadableError, match="does not say of every frame what its values mean"):
        read(write(data))
    data.PerFrameFunctionalGroupsSequence = [phantom.group(**place[0], **value), phantom.group(**place[1], **value)]
    assert (read(write(data, "whole.dcm")).pixels == 2000).all()
    data.RescaleSlope = 3
    with pytest.raises(UnreadableError, match="another RescaleSlope in its functional groups than in its header"):
        read(write(data, "two.dcm"))


def test_a_rounded_orientation_does_not_stretch_the_steps(phantom, write):
    for z in range(3):
        write(phantom.ct_slice(2.0 * z, ImageOrientationPatient=[1.004, 0, 0, 0, 1.004, 0]), f"ct/{z}")
    assert read(write(phantom.ct_slice(6.0), "ct/3").parent).spacing[0] == pytest.approx(2.0, abs=1e-9)


@pytest.mark.parametrize("planted", [
    element(0x8, 0x70, b"FD", b"abc"), element(0x8, 0x1C, b"SQ", b""), element(0x28, 0x120, b"FD", b"ab"),
    element(0x18, 0x15, b"SQ", b"")])
def test_a_value_in_an_odd_form_costs_no_film_its_reading(phantom, write, planted):
    path = write(phantom.dataset(phantom.breast(), Manufacturer=None, BodyPartExamined=None))
    tag = struct.unpack("<HH", planted[:4])
    follower = (0x7FE0, 0x10) if tag > (0x28, 0x101) else (0x28, 0x2)
    insert(path, follower, planted)
    assert np.array_equal(read(path).plane, phantom.breast())


@pytest.mark.parametrize("vr", [b"OF", b"OD", b"OL", b"OV"])
def test_pixels_under_another_name_for_bytes(phantom, write, vr):
    path = write(phantom.dataset(phantom.breast()))
    path.write_bytes(path.read_bytes().replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x10\0" + vr))
    assert np.array_equal(read(path).plane, phantom.breast())


@pytest.mark.parametrize("volume", [False, True])
def test_a_copy_of_left_aligned_samples_is_left_aligned(phantom, write, tmp_path, volume):
    words = phantom.breast().astype(np.uint16) << 4
    if not volume:
        image = read(write(phantom.dataset(words, HighBit=15)))
        made = write_altered(image.with_plane(image.plane), tmp_path / "copy.dcm", description="A test.",
                             synthetic=False)
        copy = pydicom.dcmread(made)
        assert (copy.HighBit, copy.PixelData) == (15, words.tobytes())
        return
    for z in range(4):
        write(phantom.ct_slice(2.0 * z, BitsStored=12, HighBit=15, PixelData=words.tobytes()), f"ct/{z}")
    (source,), _ = find([tmp_path / "ct"])
    image = read(source)
    after = image.pixels.copy()
    after[1, 5, 5] += 3
    (tmp_path / "out").mkdir()
    changed = type(image)(**{**vars(image), "pixels": after})
    folder = write_altered_volume(image, changed, source, tmp_path / "out", description="A test.", synthetic=True)
    for z in range(4):
        expected = words.copy()
        expected[5, 5] += (3 << 4) * (z == 1)
        assert pydicom.dcmread(folder / str(z)).PixelData == expected.tobytes()


def test_an_overlay_in_the_pixels_words_goes_with_them(phantom, write, tmp_path):
    data = phantom.dataset(phantom.breast() | np.uint16(1 << 12))
    data.add_new(0x60000010, "US", 48)
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 12)
    image = read(write(data))
    made = write_altered(image.with_plane(image.plane), tmp_path / "copy.dcm", description="A test.", synthetic=False)
    assert not [one for one in pydicom.dcmread(made) if one.tag.group == 0x6000]


@pytest.mark.parametrize("uid", [None, "1.2.3"])
def test_copies_of_slices_that_name_themselves_alike_have_names_of_their_own(phantom, write, tmp_path, uid):
    for z in range(4):
        data = phantom.ct_slice(2.0 * z)
        if uid is None:
            del data.SOPInstanceUID
        else:
            data.SOPInstanceUID = uid
        write(data, f"ct/{z}", enforce_file_format=False)
    (source,), _ = find([tmp_path / "ct"])
    image = read(source)
    (tmp_path / "out").mkdir()
    changed = type(image)(**{**vars(image), "pixels": image.pixels + 1})
    folder = write_altered_volume(image, changed, source, tmp_path / "out", description="A test.", synthetic=True)
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir()}) == 4


def test_a_header_that_is_read_twice_over_is_one_sentence(phantom, write):
    """Bytes of every kind behind the pixels: read as before, or one sentence."""
    rng, plain = np.random.default_rng(5), io.BytesIO()
    phantom.dataset(phantom.breast()).save_as(plain, enforce_file_format=True)
    for _ in range(200):
        path = write(phantom.dataset(phantom.breast()))
        path.write_bytes(plain.getvalue() + rng.bytes(int(rng.integers(1, 60))))
        try:
            assert np.array_equal(read(path).plane, phantom.breast())
        except InputError as error:
            assert "\n" not in str(error)


def test_a_length_that_looks_like_a_representation_leads_behind_the_pixels(phantom, write):
    """33 x 257 pixels of two bytes are 0x4242: the letters BB, in implicit VR."""
    pixels = phantom.breast(rows=257, columns=33)
    planted = struct.pack("<HHI", 0x28, 0x1053, 2) + b"3 "
    pixels.reshape(-1)[: len(planted) // 2] = np.frombuffer(planted, np.uint16)
    data = phantom.dataset(pixels, bits=16)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    assert np.array_equal(read(write(data)).plane, pixels)
