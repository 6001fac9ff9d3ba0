"""What changes how an image is seen, where or when it was taken, wherever a file says it; and what no lossless copy
changes."""

from __future__ import annotations

import copy
import dataclasses
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from outside import need
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sealable import FILM, MG, VOLUME, ct_slice, made, rewritten
from test_said_elsewhere import item, mask, meaning, palette, shutter, table

import scanward
from scanward.formats import Source, read
from scanward.formats.content import read_content
from scanward.formats.held import FIRST_IDENTITY, OLDER
from scanward.seals.files import verify_seal
from scanward.seals.record import from_json, seal_of

ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1",
            "legacy MR": "1.2.840.10008.5.1.4.1.1.4.4", "PT": "1.2.840.10008.5.1.4.1.1.130",
            "XA": "1.2.840.10008.5.1.4.1.1.13.1.1", "US": "1.2.840.10008.5.1.4.1.1.6.2",
            "SC": "1.2.840.10008.5.1.4.1.1.7.3"}
KEY = bytes(range(32))
DATES = {"StudyTime": "101500", "AcquisitionDate": "20260102", "AcquisitionDateTime": "20260102101502.25"}
SEEN = {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 63537, **shutter(120), **palette(range(300, 316)),
        **mask(1), **meaning(1.5), "RescaleType": "US", "ModalityLUTSequence": table([0, 10, 20, 30]),
        "Units": "CNTS", "DistanceSourceToDetector": "660.0", **DATES, "WindowCenter": 40, "WindowWidth": 400}
"""Everything at once."""


def macro(**elements):
    return Sequence([item(**elements)])


def enhanced(path, kind):
    """Three frames, whose groups alone say where they lie."""
    data = ct_slice(0, SOPClassUID=ENHANCED[kind], Modality=kind[-2:], NumberOfFrames=3)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
                    "RescaleIntercept"):
        delattr(data, keyword)
    data.PixelData = VOLUME[:3].tobytes()
    data.SharedFunctionalGroupsSequence = Sequence([item(
        PixelMeasuresSequence=macro(PixelSpacing=[0.7, 0.6]),
        PlaneOrientationSequence=macro(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=macro(RescaleSlope=1.5, RescaleIntercept=0, RescaleType="US"),
        FrameVOILUTSequence=macro(WindowCenter=40, WindowWidth=400))])
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [item(PlanePositionSequence=macro(ImagePositionPatient=[0, 0, 3 * z])) for z in range(3)])
    data.save_as(path, enforce_file_format=True)


def turned(shared, each):
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def reordered(shared, each):
    for group, z in zip(each, (6, 3, 0), strict=True):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, z]


def contradicting(shared, each):
    """Frames say what was sealed, what holds for all of them something else."""
    for group in each:
        group.PlaneOrientationSequence = copy.deepcopy(shared.PlaneOrientationSequence)
    turned(shared, each)


IN_GROUPS = {
    "spacing": lambda shared, each: setattr(shared.PixelMeasuresSequence[0], "PixelSpacing", [0.3, 0.3]),
    "turned": turned,
    "order": reordered,
    "slope": lambda shared, each: setattr(shared.PixelValueTransformationSequence[0], "RescaleSlope", 2.5),
    "type": lambda shared, each: setattr(shared.PixelValueTransformationSequence[0], "RescaleType", "OD"),
    "identity": lambda shared, each: setattr(each[1], "PixelValueTransformationSequence", macro(
        RescaleSlope=1, RescaleIntercept=0, RescaleType="US")),
    "meaning": lambda shared, each: shared.update(item(**meaning(3.0))),
    "laterality": lambda shared, each: setattr(shared, "FrameAnatomySequence", macro(FrameLaterality="L")),
    "shutter": lambda shared, each: setattr(each[1], "FrameDisplayShutterSequence", macro(**shutter(60))),
    "table": lambda shared, each: setattr(each[1], "PixelIntensityRelationshipLUTSequence", table([0, 10, 20, 30])),
    "steps": lambda shared, each: setattr(shared.PixelMeasuresSequence[0], "SpacingBetweenSlices", 9),
    "two truths": contradicting,
    "two items": lambda shared, each: shared.PixelMeasuresSequence.append(item(PixelSpacing=[0.3, 0.3])),
    "elsewhere": lambda shared, each: setattr(each[0], "FrameAnatomySequence", macro(PixelSpacing=[0.3, 0.3])),
}


@pytest.mark.parametrize("kind", ENHANCED)
def test_functional_groups_are_held_in_every_class(tmp_path, kind):
    path = tmp_path / "a.dcm"
    enhanced(path, kind)
    scanward.seal(path, KEY)
    assert scanward.verify(path, KEY).label == "authentic"
    for change in IN_GROUPS.values():
        enhanced(path, kind)
        rewritten(path, lambda data, change=change: change(
            data.SharedFunctionalGroupsSequence[0], data.PerFrameFunctionalGroupsSequence))
        try:
            assert scanward.verify(path, KEY).label != "authentic"
        except scanward.UnreadableError as error:
            assert "in its functional groups" in str(error) or "several items in its" in str(error)
    enhanced(path, kind)
    rewritten(path, lambda data: data.SharedFunctionalGroupsSequence.append(item(
        PixelMeasuresSequence=macro(PixelSpacing=[0.3, 0.3]))))
    with pytest.raises(scanward.UnreadableError, match="several items in its SharedFunctionalGroupsSequence"):
        scanward.verify(path, KEY)


@pytest.mark.parametrize("name", ["spacing", "turned", "slope"])
def test_what_groups_change_is_named(tmp_path, name):
    path = tmp_path / "a.dcm"
    enhanced(path, "MR")
    scanward.seal(path, KEY)
    rewritten(path, lambda data: IN_GROUPS[name](data.SharedFunctionalGroupsSequence[0],
                                                 data.PerFrameFunctionalGroupsSequence))
    answer = scanward.verify(path, KEY)
    words = {"spacing": "Its spacing is another than was sealed: 0.3 x 0.3 mm, and was 0.7 x 0.6 mm",
             "turned": "Its orientation is another", "slope": "Its rescale slope or intercept is another"}
    assert (answer.label, words[name] in answer.reason) == ("tampered", True)


@pytest.mark.parametrize("groups", [
    {"PlaneOrientationSequence": macro(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])},
    {"PixelMeasuresSequence": macro(PixelSpacing=[0.3, 0.3])},
    {"PlanePositionSequence": macro(ImagePositionPatient=[0, 0, 0])},
    {"PixelValueTransformationSequence": macro(RescaleSlope=2, RescaleIntercept=0, RescaleType="HU")},
    {"FrameDisplayShutterSequence": macro(**shutter(60))},
])
@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_groups_laid_into_a_slice_of_the_plain_class_are_heard(tmp_path, groups, where):
    path = tmp_path / "a.dcm"
    ct_slice(0, NumberOfFrames=1).save_as(path, enforce_file_format=True)
    scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data, where, Sequence([item(**groups)])))
    try:
        assert scanward.verify(path, KEY).label == "tampered"
    except scanward.UnreadableError as error:
        assert "in its functional groups than in its header" in str(error)
    if "FrameDisplayShutterSequence" not in groups:  # nor does a scan judge another geometry than viewers show
        with pytest.raises(scanward.UnreadableError, match="in its functional groups than in its header"):
            read(path)


@pytest.mark.parametrize("added", [
    {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4000}, shutter(60), palette(range(16)), mask(1)])
def test_what_hides_voxels_cannot_be_added(tmp_path, added):
    path = tmp_path / "a.dcm"
    ct_slice(0).save_as(path, enforce_file_format=True)
    scanward.seal(path, KEY)
    ct_slice(0, **added).save_as(path, enforce_file_format=True)
    answer = scanward.verify(path, KEY)
    assert (answer.label, "was added" in answer.reason) == ("tampered", True)


@pytest.mark.parametrize(("other", "part"), [
    ({"Modality": "MR"}, "geometry"), ({"SOPClassUID": ENHANCED["MR"]}, "geometry"),
    ({"StudyTime": "000000"}, "identity"), ({"AcquisitionDate": "20300101"}, "identity"),
    ({"AcquisitionDateTime": "20300101101502.25"}, "identity")])
def test_another_modality_or_time_of_acquisition_is_another_examination(tmp_path, other, part):
    path = tmp_path / "a.dcm"
    ct_slice(0, **DATES).save_as(path, enforce_file_format=True)
    scanward.seal(path, KEY)
    ct_slice(0, **DATES | other).save_as(path, enforce_file_format=True)
    answer = scanward.verify(path, KEY)
    assert (answer.label, answer.parts[part].label) == ("tampered", "tampered")
    assert next(iter(other)).removesuffix("Time") in answer.reason
    if part == "identity":
        assert scanward.verify(path, KEY, identity="any").label == "authentic"


def test_a_slice_that_is_missing_is_no_other_examination(series):
    """Each slice has times, places and much else of its own."""
    for z, path in enumerate(sorted(series.iterdir())):
        rewritten(path, lambda data, z=z: data.update(item(
            **DATES | {"AcquisitionDateTime": f"2026010210150{z}", "SliceLocation": z, **meaning(1.0 + z)})))
    seal = scanward.seal(series, KEY)
    assert scanward.verify(series, KEY, seal=seal).label == "authentic"
    (series / "4.dcm").unlink()
    answer = scanward.verify(series, KEY, seal=seal)
    assert (answer.label, answer.parts["identity"].label) == ("inconclusive", "authentic")
    assert "1 are missing, and the others are voxel by voxel" in answer.reason
    assert "Its header says another" not in answer.reason


def test_what_varies_between_slices_is_held_slice_by_slice(tmp_path):
    """Values of two slices that are exchanged are the same values."""
    for z in range(3):
        ct_slice(z, **meaning(1.0 + z)).save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    seal = scanward.seal(tmp_path, KEY)
    assert scanward.verify(tmp_path, KEY, seal=seal).label == "authentic"
    for z, other in ((0, 2), (2, 0)):
        ct_slice(z, **meaning(1.0 + other)).save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path, KEY, seal=seal).label == "tampered"


@pytest.mark.parametrize("command", [["dcmcjpeg", "+e1"], ["dcmcjpls"], ["dcmcrle"], ["dcmconv", "+tb"],
                                     ["dcmconv", "+ti"], ["dcmconv", "+td"]])
@pytest.mark.parametrize("kind", ["film", "enhanced"])
def test_a_lossless_copy_says_all_of_it_in_the_same_way(tmp_path, command, kind):
    need(command[0])
    path, other = tmp_path / "a.dcm", tmp_path / "b.dcm"
    if kind == "film":
        data = made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", PixelRepresentation=1, **SEEN)
        data["PixelPaddingValue"].VR = data["PixelPaddingRangeLimit"].VR = "US"  # as many write it
        for colour in ("Red", "Green", "Blue"):
            setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [16, 63536, 16])
    else:
        enhanced(path, "MR")
        data = pydicom.dcmread(path)
        data.SharedFunctionalGroupsSequence[0].update(item(**meaning(3.0)))
        for keyword, value in palette(range(300, 316)).items():
            setattr(data, keyword, value)
    for colour in ("Red", "Green", "Blue"):
        data[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        data[f"{colour}PaletteColorLookupTableData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    subprocess.run([*command, str(path), str(other)], check=True, capture_output=True)
    answer = scanward.verify(other, KEY, seal=seal)
    assert answer.label == "authentic"
    said = "Its header says another DerivationDescription than" if command[0] == "dcmcjpeg" else ""
    assert answer.reason.count("Its header says another") == (said in answer.reason and bool(said))


def test_new_uids_and_no_name_are_no_alarm(tmp_path):
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", FrameOfReferenceUID="1.2.88", **SEEN).save_as(
        path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)

    def anonymised(data: Dataset) -> None:
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.9.1", "1.9.2", "1.9.3"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.9.4"
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", *DATES):
            delattr(data, keyword)

    rewritten(path, anonymised)
    assert scanward.verify(path, KEY, seal=seal, identity="any").label == "authentic"
    assert scanward.verify(path, KEY, seal=seal).parts["identity"].label == "inconclusive"


def test_a_copy_in_another_format_cannot_say_it_and_is_the_same(tmp_path):
    (tmp_path / "ct").mkdir()
    for z in range(9):
        ct_slice(z, **DATES, PixelPaddingValue=0, RescaleType="HU", DistanceSourceToDetector=900,
                 PatientPosition="HFS", SpacingBetweenSlices=2.5).save_as(
            tmp_path / "ct" / f"{z}.dcm", enforce_file_format=True)
    seal = scanward.seal(tmp_path / "ct", KEY)
    affine = np.array([[-0.6, 0, 0, 20], [0, -0.7, 0, 30], [0, 0, 2.5, 0], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image((VOLUME.astype(np.int16) - 1024).transpose(2, 1, 0), affine),
                 tmp_path / "a.nii.gz")
    answer = scanward.verify(tmp_path / "a.nii.gz", KEY, seal=seal, identity="any")
    assert (answer.label, answer.reason.count("header")) == ("authentic", 0)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    assert scanward.verify(tmp_path / "a.mha", KEY, seal=seal, identity="any").label == "authentic"


def test_an_enhanced_copy_is_of_the_same_class(tmp_path):
    """The class of several frames of one acquisition is no other kind of image, but programs read it otherwise."""
    path = tmp_path / "a.dcm"
    enhanced(path, "MR")
    seal = scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data, "SOPClassUID", ENHANCED["legacy MR"]))
    answer = scanward.verify(path, KEY, seal=seal)
    assert answer.label == "inconclusive" and "see its SOPClassUID" in answer.reason


def test_seals_that_hold_less_still_verify(site, tmp_path):
    """Seals of the second format were made before it held more."""
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", ImageLaterality="L", **SEEN).save_as(
        path, enforce_file_format=True)
    content, source = read_content(Source((path,), "file")), Source((path,), "file")
    less = dataclasses.replace(content, place={word: text for word, text in content.place.items() if word in OLDER},
                               identity={word: content.identity[word] for word in FIRST_IDENTITY})
    old = dataclasses.replace(seal_of(less, "a", "2026-01-01T00:00:00+00:00", site), header=None)
    seal = from_json(old.to_json(site), "a.seal")
    assert verify_seal(source, seal, [site.certificate]).label == "authentic"
    rewritten(path, lambda data: setattr(data, "ImageLaterality", "R"))
    assert verify_seal(source, seal, [site.certificate]).label == "tampered"


def test_what_differs_in_a_header_and_is_not_held_is_said(tmp_path):
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", WindowCenter=40, SeriesDescription="A", SeriesDate="20260102",
         ContentDate="20260102", PatientAge="050Y").save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    text = seal.read_text()
    assert ("050Y" in text, "SeriesDescription" in text, len(text) < 20_000) == (False, True, True)
    rewritten(path, lambda data: (setattr(data, "WindowCenter", 90), setattr(data, "ContentDate", "20300101"),
                                  data.__delattr__("PatientAge"), setattr(data, "SliceThickness", 9)))
    answer = scanward.verify(path, KEY, seal=seal)
    assert answer.label == "authentic"
    assert ("Its header says another ContentDate, PatientAge, SliceThickness, WindowCenter than when it was sealed; "
            "the seal does not hold them.") in answer.reason


def test_of_functional_groups_the_macro_is_named_that_differs(tmp_path):
    path = tmp_path / "a.dcm"
    enhanced(path, "MR")
    scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0],
                                         "WindowCenter", 90))
    answer = scanward.verify(path, KEY)
    assert answer.label == "authentic"
    assert "another FrameVOILUTSequence than when it was sealed; the seal does not hold it." in answer.reason


@pytest.mark.parametrize(("keyword", "values"), [
    ("PatientPosition", ("HFS", "FFS")), ("PatientID", ("P1", "P2")), ("StudyTime", ("10", "11"))])
def test_what_slices_say_each_for_itself_cannot_change_places(tmp_path, key, keyword, values):
    """Though the series as a whole says the same two things still."""
    folder = tmp_path / "ct"

    def write(first, second):
        folder.mkdir(exist_ok=True)
        for z in range(4):
            ct_slice(z, **{keyword: first if z < 2 else second}).save_as(folder / f"{z}.dcm", enforce_file_format=True)

    write(*values)
    scanward.seal(folder, key)
    assert scanward.verify(folder, key).label == "authentic"
    write(*values[::-1])
    assert scanward.verify(folder, key).label != "authentic"
