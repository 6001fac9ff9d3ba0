"""Enhanced CT: its functional groups say what each frame is, all frames make the volume, and copies keep them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

import scanward
from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats import Source, find, read
from scanward.formats.write_volume import write_altered_volume

ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
PLACES = [4.0, 0.0, 6.0, 2.0]
"""Of the frames, in the order of the file: mm along the axis."""
SLOPES = [1.0, 2.0, 1.0, 0.5]
STORED = np.random.default_rng(3).integers(0, 2000, (4, 48, 40)).astype(np.uint16)


@pytest.fixture
def enhanced(phantom, write):
    """Writes an enhanced CT of four frames; `shared` adds to its functional groups."""

    def made(name="ct/enhanced.dcm", frames=4, shared=None, kind="HU", compressed=False, **elements):
        data = phantom.dataset(STORED[0], SOPClassUID=ENHANCED, Modality="CT", NumberOfFrames=frames)
        data.PixelData = STORED[:frames].tobytes()
        data.SharedFunctionalGroupsSequence = [phantom.group(
            PixelMeasures={"PixelSpacing": [0.7, 0.6], "SliceThickness": 2},
            PlaneOrientation={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, **(shared or {}))]
        data.PerFrameFunctionalGroupsSequence = [phantom.group(
            PlanePosition={"ImagePositionPatient": [-100, -120, PLACES[i]]},
            PixelValueTransformation={"RescaleSlope": SLOPES[i], "RescaleIntercept": -1024, "RescaleType": kind})
            for i in range(frames)]
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        if compressed:
            data.file_meta.TransferSyntaxUID = JPEG2000Lossless
            data.PixelData = encapsulate([bytes(openjpeg.encode(frame, bits_stored=12, photometric_interpretation=2,
                                                                use_mct=False)) for frame in STORED[:frames]])
            data["PixelData"].is_undefined_length = True
        return write(data, name)

    return made


ORDER = [1, 3, 0, 2]
HU = np.stack([STORED[i] * SLOPES[i] - 1024 for i in ORDER])


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_are_sorted_and_rescaled_each_by_its_own_group(enhanced, compressed):
    path = enhanced(compressed=compressed)
    image = read(path)
    assert np.array_equal(image.pixels, HU)
    assert image.spacing == pytest.approx((2.0, 0.7, 0.6))
    assert image.provenance.to_world == ((0.6, 0, 0, -100), (0, 0.7, 0, -120), (0, 0, 2, 0))
    (source,), errors = find([path.parent])
    assert (source.kind, errors) == ("file", [])
    assert np.array_equal(read(source).pixels, HU)


def test_one_frame_is_a_slice(enhanced):
    image = read(enhanced(frames=1))
    assert np.array_equal(image.plane, STORED[0] - 1024.0)
    assert image.spacing == pytest.approx((1.0, 0.7, 0.6))


def test_a_film_of_one_frame_takes_its_spacing_from_its_groups(enhanced):
    view = enhanced(frames=1, SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3", Modality="MG")
    image = read(view)
    assert (image.modality, image.spacing) == ("MG", pytest.approx((1.0, 0.7, 0.6)))
    assert np.array_equal(image.plane, STORED[0])


def test_a_volume_in_several_enhanced_files_of_one_series_is_one(enhanced, phantom, write):
    """As a concatenation, or as scanners that start a new object after so many frames."""
    path = enhanced()
    write(phantom.ct_slice(8.0, 1000), "ct/last.dcm")
    (source,), errors = find([path.parent])
    assert (source.kind, errors) == ("series", [])
    image = read(source)
    assert np.array_equal(image.pixels[:4], HU)
    assert (image.pixels[4] == -24).all()


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_frames_of_an_altered_copy_say_that_they_are_derived(enhanced, phantom, tmp_path, where):
    path = enhanced(ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    data = pydicom.dcmread(path)
    for group in data[where].value:
        group.update(phantom.group(CTImageFrameType={"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}))
    data.save_as(path)
    image = read(path)
    folder = write_altered_volume(image, dataclasses.replace(image, pixels=image.pixels + 8), path, tmp_path,
                                  description="A test.", synthetic=True)
    copy = pydicom.dcmread(folder / path.name)
    for said in (copy.ImageType, *(group.CTImageFrameTypeSequence[0].FrameType for group in copy[where].value)):
        assert list(said) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


@pytest.mark.parametrize("compressed", [False, True])
def test_an_altered_copy_differs_where_it_was_altered(enhanced, tmp_path, compressed):
    path = enhanced(compressed=compressed)
    image = read(path)
    pixels = image.pixels.copy()
    pixels[2, 10:20, 5:9] = -500
    (tmp_path / "out").mkdir()
    folder = write_altered_volume(image, dataclasses.replace(image, pixels=pixels), Source((path,), "file"),
                                  tmp_path / "out", description="A test.", synthetic=True)
    (source,), _ = find([folder])
    assert np.array_equal(read(source).pixels, pixels)
    copy = pydicom.dcmread(source.path)
    expected = STORED.copy()
    expected[ORDER[2], 10:20, 5:9] = 524
    assert np.array_equal(copy.pixel_array, expected)
    assert copy.NumberOfFrames == 4 and copy.SOPInstanceUID != pydicom.dcmread(path).SOPInstanceUID
    assert list(copy.ImageType[:2]) == ["DERIVED", "PRIMARY"]  # enhanced images know no other


def test_what_protect_prints_of_an_enhanced_ct_is_there(enhanced, run, tmp_path):
    """The copy lies in a folder of its own, and so does its seal."""
    scanward.make_key(tmp_path / "site.key")
    code, printed, err = run("protect", enhanced(), "--method", "mits-gan", "--around", "20,24,1:8", "--key",
                             tmp_path / "site.key", "-o", tmp_path / "out")
    written = [Path(line) for line in printed.split("\n") if line]
    assert (code, err) == (0, "") and len(written) >= 4 and all(path.exists() for path in written)


@pytest.mark.parametrize(("changes", "error", "words"), [
    ({"NumberOfFrames": 3}, UnreadableError, "describes 4 frames where its NumberOfFrames is 3"),
    ({"PerFrameFunctionalGroupsSequence": []}, UnreadableError, "does not say where each lies"),
    ({"PerFrameFunctionalGroupsSequence": [], "SharedFunctionalGroupsSequence": []}, UnsupportedError,
     "4 frames and does not say where each"),
    ({"shared": {"PlanePosition": {"ImagePositionPatient": [0, 0, 0]}}, "PerFrameFunctionalGroupsSequence": []},
     UnsupportedError, "at one position .frame 1, frame 2"),
    ({"kind": "Z_EFF"}, UnsupportedError, "RescaleType Z_EFF"),
])
def test_what_is_no_volume_is_named(enhanced, changes, error, words):
    with pytest.raises(error, match=words):
        read(enhanced(**changes))


def test_more_frames_than_are_compressed(enhanced):
    path = enhanced(compressed=True)
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate(list(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=4))[:3])
    data.save_as(path)
    with pytest.raises(UnreadableError, match=r"enhanced\.dcm"):
        read(path)


def test_a_series_and_what_highdicom_makes_of_it_are_the_same_volume(phantom, write, tmp_path):
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    rng = np.random.default_rng(5)
    slices = [phantom.ct_slice(z, PixelData=rng.integers(0, 2000, (48, 40)).astype("<u2").tobytes(), PatientID="1",
                               PatientName="A^B", PatientBirthDate="", PatientSex="", AccessionNumber="", StudyID="",
                               StudyDate="", StudyTime="", ReferringPhysicianName="", FrameOfReferenceUID="1.2.9",
                               ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], SliceThickness=2.5, InstanceNumber=i,
                               RescaleIntercept=-1000 - i)
              for i, z in enumerate([5.0, 0.0, 2.5, 7.5])]
    for i, one in enumerate(slices):
        write(one, f"series/{i}")
    enhanced = LegacyConvertedEnhancedCTImage(slices, "1.2.3.9", 1, "1.2.3.9.1", 1)
    enhanced.save_as(tmp_path / "enhanced.dcm")
    series, one = read(tmp_path / "series"), read(tmp_path / "enhanced.dcm")
    assert np.array_equal(one.pixels, series.pixels)
    assert (one.spacing, one.provenance.to_world) == (series.spacing, series.provenance.to_world)
