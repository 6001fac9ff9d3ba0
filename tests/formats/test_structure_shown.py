"""What viewers would show of an image, or over it: each trick in a file that was made with it, and none in one that
was not."""

from __future__ import annotations

import struct
import subprocess

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from stacks import SIDE, change, repaint, stack
from test_structure import facts_in, sets, told

from scanward.formats import find, read
from scanward.formats.structure import said_of
from scanward.formats.structure_shown import bent, written

AIR, BONE = -1000.0, 700.0


def air(rng: np.random.Generator, noise: float = 12.0) -> np.ndarray:
    return rng.normal(AIR, noise, (SIDE, SIDE)).round().astype(np.float32)


def drawn(plane: np.ndarray, words: str = "DOE", value: float = BONE, scale: float = 0.5) -> np.ndarray:
    mask = np.zeros(plane.shape, np.uint8)
    for i, letter in enumerate(words):
        cv2.putText(mask, letter, (4 + round(24 * scale) * i, 20), cv2.FONT_HERSHEY_SIMPLEX, scale, 1, 1)
    return np.where(mask > 0, np.float32(value), plane)


def overlay(data, mask):
    bits = np.packbits(mask.ravel().astype(np.uint8), bitorder="little").tobytes()
    for tag, vr, value in ((0x10, "US", mask.shape[0]), (0x11, "US", mask.shape[1]), (0x40, "CS", "G"),
                           (0x50, "SS", [1, 1]), (0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", bits)):
        data.add_new(0x60000000 | tag, vr, value)


def table(data, values):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), 0, 16], np.asarray(values, "<u2").tobytes()
    item["LUTData"].VR, item["LUTDescriptor"].VR = "OW", "US"
    data.VOILUTSequence = Sequence([item])


def icon(values):
    """Grey bytes (y, x) as an icon."""
    item = Dataset()
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.Rows, item.Columns = values.shape
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 8, 8, 7, 0
    item.PixelData = np.clip(values, 0, 255).astype(np.uint8).tobytes()
    item["PixelData"].VR = "OB"
    return item


def small(values, low, high):
    """Stored values as an icon, seen through a window from `low` to `high`."""
    made = cv2.resize(((values - float(low)) * 255 / (high - low)).clip(0, 255), (48, 48), interpolation=cv2.INTER_AREA)
    return Sequence([icon(made)])


@pytest.mark.parametrize(("low", "high"), [(0, 2040), (700, 900), (990, 1010), (1300, 1500)])
def test_an_icon_of_another_image_is_named_and_its_own_is_not_at_any_window(tmp_path, low, high):
    paths = stack(tmp_path)
    change(paths, lambda data: setattr(data, "IconImageSequence", small(data.pixel_array, low, high)))
    assert told(tmp_path) == {}
    if low < 1300:  # brighter is nearly nothing
        change(paths[:1], lambda data: setattr(
            data, "IconImageSequence", small(data.pixel_array[::-1, ::-1], low, high)))
        assert told(tmp_path)["icon"].slices == (0,)


@pytest.mark.parametrize(("software", "named"), [("GIMP 2.10", True), ("Adobe Photoshop 25.0", True),
                                                 ("ffmpeg", False)])
def test_a_picture_names_the_program_for_pictures_that_wrote_it(tmp_path, software, named):
    path = tmp_path / "film.png"
    tags = PngInfo()
    tags.add_text("Software", software)
    grey = np.random.default_rng(0).integers(0, 65535, (SIDE, SIDE)).astype(np.uint16)
    Picture.fromarray(grey).save(path, pnginfo=tags)
    (source,), _ = find([path])
    facts = said_of(source, read(source, modality="MG")).facts
    assert [(fact.name, fact.harmless) for fact in facts] == ([("picture program", True)] if named else [])


@pytest.mark.parametrize("words", ["DOE JANE", "12345678"])
def test_words_beside_a_patient_are_text_and_a_few_marks_are_not(words):
    plane = air(np.random.default_rng(0))
    assert written(drawn(plane, words))
    assert not written(plane)
    assert not written(drawn(plane, words[:3]))


def test_what_is_written_on_a_patient_or_varies_is_no_text():
    rng = np.random.default_rng(0)
    body = rng.normal(40, 12, (SIDE, SIDE)).astype(np.float32)
    assert not written(drawn(body, "DOE JANE"))
    varied = drawn(air(rng), "DOE JANE")
    varied[varied > 0] += rng.normal(0, 40, int((varied > 0).sum())).astype(np.float32)
    assert not written(varied)


@given(st.integers(0, 2**31 - 1), st.floats(0, 400))
def test_noise_is_no_text(seed, noise):
    assert not written(air(np.random.default_rng(seed), noise))


@pytest.mark.parametrize(("said", "words"), [("", "beside its patient."), ("NO", "says that there is none."),
                                             ("YES", None)])
def test_text_is_told_unless_the_file_says_so_itself(tmp_path, said, words):
    def act(data):
        values = data.pixel_array.astype(np.float32)
        values[:30] = 24
        repaint(data, drawn(values, "DOE JANE", 1800))
        data.BurnedInAnnotation = said
    change(stack(tmp_path), act)
    found = told(tmp_path)
    assert ("text" in found) == (words is not None)
    assert words is None or found["text"].says.endswith(words)


@pytest.mark.parametrize(("center", "width", "black"), [
    (40, 400, False), ([2500, 40], [10, 400], False), (2500, 10, True), (-500, -1500, False), ([40], [400, 3], False),
])
def test_a_window_that_shows_nothing_is_named(tmp_path, center, width, black):
    change(stack(tmp_path), sets(WindowCenter=center, WindowWidth=width))
    assert ("window" in told(tmp_path)) == black


def test_a_lookup_table_that_turns_is_named_and_a_curve_is_not(tmp_path):
    paths = stack(tmp_path)
    change(paths, lambda data: table(data, 65535 / (1 + np.exp(-np.linspace(-6, 6, 256)))))
    assert told(tmp_path) == {}
    change(paths, lambda data: table(data, 32767 + 32767 * np.cos(np.linspace(0, 6, 256))))
    assert "order of its grey levels" in told(tmp_path)["table"].says


@pytest.mark.needs("dcmconv")
def test_big_endian_turns_no_table_and_no_icon_and_tells_nothing_of_what_is_unknown(tmp_path):
    def act(data):
        table(data, 65535 / (1 + np.exp(-np.linspace(-6, 6, 256))))
        data.IconImageSequence = Sequence([icon(data.pixel_array[::3, ::3] / 8)])
        data.IconImageSequence[0]["PixelData"].VR = "OW"
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + 100]
        data.add_new(0x00189313, "OB", struct.pack("<3d", 0.0, 0.0, z + 100))
        data[0x00189313].VR = "UN"
    paths = stack(tmp_path, Manufacturer="Vendor")
    change(paths, act)
    assert told(tmp_path) == {}
    for path in paths:
        subprocess.run(["dcmconv", "+tb", path, path.with_suffix(".new")], check=True)
        path.with_suffix(".new").replace(path)
    assert told(tmp_path) == {}
    change(paths, lambda data: data.add_new(0x00189313, "FD", [0.0, 0.0, 900.0]))
    assert set(told(tmp_path)) == {"moved"}


def test_bent_by_hand():
    assert not bent(np.array([0.0, 1, 5, 9]))
    assert not bent(np.array([9.0, 5, 1, 0]))
    assert bent(np.array([0.0, 9, 0]))
    assert bent(np.array([7.0, 7, 7]))
    assert not bent(np.array([7.0]))
    assert not bent(np.array([0.0, 100, 99, 200]))


def test_an_overlay_that_covers_is_named_and_one_of_lines_is_not(tmp_path):
    paths = stack(tmp_path)
    line = np.zeros((SIDE, SIDE), bool)
    line[40:42] = True
    change(paths, lambda data: overlay(data, line))
    assert told(tmp_path) == {}
    bar = np.zeros((SIDE, SIDE), bool)
    bar[:24] = True
    change(paths, lambda data: overlay(data, bar))
    assert "covers 25% of it" in told(tmp_path)["overlay"].says


def test_key_slices_may_have_overlays_and_icons_of_their_own(tmp_path):
    line = np.zeros((SIDE, SIDE), bool)
    line[40:42] = True

    def act(data):
        overlay(data, line)
        data.IconImageSequence = small(data.pixel_array, 0, 2040)
        data.OriginalAttributesSequence = Sequence([Dataset()])
    change(stack(tmp_path)[3:6], act)
    assert [fact.says for fact in facts_in(tmp_path) if fact.slices] == [
        "Slices 4 to 6 have overlays, unlike the rest of the series."]
    assert told(tmp_path) == {}


BAND = {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 0, "ShutterRightVerticalEdge": SIDE + 1,
        "ShutterUpperHorizontalEdge": 0, "ShutterLowerHorizontalEdge": 1 + SIDE // 2}


@pytest.mark.parametrize(("elements", "says"), [
    (BAND, "shutter has viewers cover 56% of what is there."),
    ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [48, 48], "RadiusOfCircularShutter": 20}, "cover 8"),
    ({"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, SIDE, SIDE, SIDE]}, "cover 55%"),
    ({"PixelPaddingValue": 924, "PixelPaddingRangeLimit": 1124}, "padding, which is a range of values, has viewers"),
    (BAND | {"ShutterLowerHorizontalEdge": SIDE + 1}, None),
    ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [48, 48], "RadiusOfCircularShutter": 66}, None),
    ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 24}, None), ({"PixelPaddingValue": 1024}, None),
    ({"ShutterShape": "RECTANGULAR\\CIRCULAR", "RadiusOfCircularShutter": 1} | BAND, "cover 56%"),
])
def test_a_shutter_or_padding_over_what_is_there_is_named_and_none_beside_it(tmp_path, elements, says):
    change(stack(tmp_path), lambda data: [data.add_new(tag_for_keyword(keyword), "US" if "Padding" in keyword else
                                          dictionary_VR(keyword), value) for keyword, value in elements.items()])
    found = told(tmp_path)
    assert set(found) == ({"hidden"} if says else set())
    assert says is None or says in found["hidden"].says


@pytest.mark.parametrize(("elements", "by"), [
    ({"PresentationLUTShape": "INVERSE"}, "PresentationLUTShape."), ({"PresentationLUTShape": "IDENTITY"}, None),
    ({"PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation."),
])
def test_a_negative_is_told_as_that(tmp_path, elements, by):
    change(stack(tmp_path), sets(**elements))
    found = told(tmp_path)
    assert set(found) == ({"negative"} if by else set())
    assert by is None or found["negative"].says.endswith(by)
