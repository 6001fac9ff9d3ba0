"""What functional groups say of frames is heard as viewers hear it: whose they are, how they are stored, and where they
lie on a slide."""

from __future__ import annotations

import copy
import subprocess

import numpy as np
import pydicom
import pytest
from outside import need, program
from pydicom.sequence import Sequence
from sealable import FILM, MG, made, rewritten
from test_said_besides import ENHANCED, KEY, enhanced, macro
from test_said_elsewhere import item, palette, table

import scanward

HEARD = {"EstimatedRadiographicMagnificationFactor": "2", "DistanceSourceToDetector": "1000",
         "DistanceSourceToPatient": "500", "PixelSpacingCalibrationType": "GEOMETRY", "PatientName": "Other^One",
         "PatientID": "9", "PatientBirthDate": "19700101", "StudyDate": "20200101", "StudyTime": "000000",
         "AccessionNumber": "7", "AcquisitionDate": "20200101", "Modality": "PT", "SOPClassUID": ENHANCED["PT"],
         "StartTrim": 2, "StopTrim": 2, "RecommendedViewingMode": "SUB", "PixelIntensityRelationshipLUTSequence":
         table([0, 10, 20, 30]), "Rows": 32, "Columns": 40, "BitsAllocated": 8, "BitsStored": 4, "HighBit": 3,
         "PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME1", "SamplesPerPixel": 3,
         "PlanarConfiguration": 1, "NumberOfFrames": 1, "FrameLaterality": "R", **palette(range(16))}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("laid", ["macro", "group"])
def test_groups_say_nothing_that_viewers_hear_and_the_seal_does_not(tmp_path, shared, laid):
    """Viewers lay all that groups say over the header."""
    path = tmp_path / "a.dcm"
    enhanced(path, "MR")
    data = pydicom.dcmread(path)
    for keyword in ("StudyDate", "AccessionNumber"):  # of which a header may say nothing
        delattr(data, keyword)
    data.save_as(path)
    seal, sealed = scanward.seal(path, KEY), path.read_bytes()
    for keyword, value in HEARD.items():
        path.write_bytes(sealed)

        def change(data, keyword=keyword, value=value):
            group = (data.SharedFunctionalGroupsSequence if shared else data.PerFrameFunctionalGroupsSequence)[0]
            said = item(**{keyword: copy.deepcopy(value)})
            said[keyword].VR = said[keyword].VR.removesuffix(" or SS")
            group.update(said if laid == "group" else item(XRayGeometrySequence=Sequence([said])))

        rewritten(path, change)
        try:
            assert scanward.verify(path, KEY, seal=seal).label != "authentic", keyword
        except scanward.UnreadableError as error:
            assert f"says another {keyword} in its functional groups than in its header" in str(error)


def test_groups_may_repeat_a_header(tmp_path):
    """As converters do that keep all that a slice said."""
    path = tmp_path / "a.dcm"
    enhanced(path, "legacy MR")
    data = pydicom.dcmread(path)
    data.SpecificCharacterSet, data.PatientName, data.PlanarConfiguration = "ISO_IR 192", "Müller^Jörg", 0
    for group in data.PerFrameFunctionalGroupsSequence:
        said = {element.keyword: copy.deepcopy(element.value) for element in data if element.keyword in HEARD}
        group.UnassignedPerFrameConvertedAttributesSequence = macro(**said | {"AcquisitionDate": "20260102"})
    data.save_as(path)
    seal = scanward.seal(path, KEY)
    answer = scanward.verify(path, KEY)
    assert (answer.label, "header" in answer.reason) == ("authentic", False)
    need("dcmconv")
    for option in ("+ti", "+tb", "+td"):
        subprocess.run(["dcmconv", option, str(path), str(tmp_path / "b.dcm")], check=True, capture_output=True)
        assert scanward.verify(tmp_path / "b.dcm", KEY, seal=seal).label == "authentic"


def test_each_frame_may_have_a_magnification_of_its_own(tmp_path):
    path = tmp_path / "a.dcm"
    enhanced(path, "XA")
    data = pydicom.dcmread(path)
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    data.ImagerPixelSpacing = [0.2, 0.2]
    for z, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        group.XRayGeometrySequence = macro(EstimatedRadiographicMagnificationFactor=1.1 + z / 10)
    data.save_as(path)
    scanward.seal(path, KEY)
    assert scanward.verify(path, KEY).label == "authentic"
    rewritten(path, lambda data: setattr(data.PerFrameFunctionalGroupsSequence[1].XRayGeometrySequence[0],
                                         "EstimatedRadiographicMagnificationFactor", 2))
    answer = scanward.verify(path, KEY)
    assert (answer.label, "Its EstimatedRadiographicMagnificationFactor is another" in answer.reason) == (
        "tampered", True)


def test_what_is_added_to_a_header_that_says_nothing_else_is_named(tmp_path):
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG").save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data, "WindowCenter", 40))
    assert "another WindowCenter than when it was sealed" in scanward.verify(path, KEY, seal=seal).reason
    np.save(tmp_path / "a.npy", FILM)
    answer = scanward.verify(path, KEY, seal=scanward.seal(tmp_path / "a.npy", KEY))
    assert (answer.parts["voxels"].label, "header" in answer.reason) == ("authentic", False)


@pytest.mark.parametrize("where", ["SourceImageSequence", "SharedFunctionalGroupsSequence"])
def test_what_a_nested_item_says_is_named_whatever_it_is(tmp_path, where):
    """It is of another image than this one: nothing holds it."""
    path = tmp_path / "a.dcm"
    enhanced(path, "MR")

    def nested(data, text):
        group = data if where == "SourceImageSequence" else data[where][0]
        group.SourceImageSequence = macro(PurposeOfReferenceCodeSequence=macro(PatientID=text, Rows=len(text)))

    rewritten(path, lambda data: nested(data, "A"))
    scanward.seal(path, KEY)
    rewritten(path, lambda data: nested(data, "BC"))
    answer = scanward.verify(path, KEY)
    assert answer.label == "authentic"
    assert "another SourceImageSequence than when it was sealed; the seal does not hold it." in answer.reason


def slide(path):
    """Four tiles, laid on a slide by their groups."""
    tiles = np.concatenate([FILM[:64, :64], FILM[64:128, :64], FILM[:64, 56:], FILM[64:128, 56:]])
    data = made(FILM[:64, :64], "1.2.6", SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", Modality="SM", NumberOfFrames=4,
                TotalPixelMatrixColumns=128, TotalPixelMatrixRows=128, DimensionOrganizationType="TILED_SPARSE",
                ImageOrientationSlide=[0, -1, 0, -1, 0, 0], TotalPixelMatrixOriginSequence=macro(
                    XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40))
    data.PixelData = tiles.tobytes()
    data.PerFrameFunctionalGroupsSequence = Sequence([item(PlanePositionSlideSequence=macro(
        ColumnPositionInTotalImagePixelMatrix=1 + 64 * (i % 2), RowPositionInTotalImagePixelMatrix=1 + 64 * (i // 2)))
        for i in range(4)])
    data.save_as(path, enforce_file_format=True)


def swapped(data):
    first, last = (data.PerFrameFunctionalGroupsSequence[i] for i in (0, 3))
    first.PlanePositionSlideSequence, last.PlanePositionSlideSequence = (
        last.PlanePositionSlideSequence, first.PlanePositionSlideSequence)


@pytest.mark.parametrize(("change", "keyword"), [
    (swapped, "PlanePositionSlideSequence"),
    (lambda data: setattr(data, "TotalPixelMatrixColumns", 256), "TotalPixelMatrixColumns"),
    (lambda data: setattr(data, "TotalPixelMatrixRows", 64), "TotalPixelMatrixRows"),
    (lambda data: setattr(data, "ImageOrientationSlide", [0, 1, 0, -1, 0, 0]), "ImageOrientationSlide"),
    (lambda data: setattr(data, "DimensionOrganizationType", "TILED_FULL"), "DimensionOrganizationType"),
    (lambda data: setattr(data.TotalPixelMatrixOriginSequence[0], "XOffsetInSlideCoordinateSystem", 9),
     "TotalPixelMatrixOriginSequence"),
    (lambda data: setattr(data, "StartTrim", 2), "StartTrim"), (lambda data: setattr(data, "StopTrim", 2), "StopTrim")])
def test_where_tiles_lie_on_a_slide_and_which_frames_are_shown_is_held(tmp_path, change, keyword):
    path = tmp_path / "a.dcm"
    slide(path)
    seal = scanward.seal(path, KEY)
    assert scanward.verify(path, KEY).label == "authentic"
    if program("dcmconv"):
        subprocess.run(["dcmconv", "+ti", str(path), str(tmp_path / "b.dcm")], check=True, capture_output=True)
        assert scanward.verify(tmp_path / "b.dcm", KEY, seal=seal).label == "authentic"
    rewritten(path, lambda data: setattr(data, "StartTrim", 1))  # which is the first frame
    assert scanward.verify(path, KEY).label == "authentic"
    rewritten(path, change)
    answer = scanward.verify(path, KEY)
    assert (answer.label, keyword in answer.reason) == ("tampered", True)
