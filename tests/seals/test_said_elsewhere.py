"""Elements that say how voxels are to be taken: where one of them changes, so does the image."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sealable import FILM, ct_slice, made

import scanward

CR = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR"}


def item(**elements):
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def table(values):
    data = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    data.add_new("LUTData", "OW", np.array(values, "<u2").tobytes())
    return Sequence([data])


def palette(red):
    colours = {"Red": red, "Green": range(16), "Blue": range(16)}
    tables = {f"{colour}PaletteColorLookupTableData": np.array(values, "<u2").tobytes() for colour, values in
              colours.items()}
    return tables | {f"{colour}PaletteColorLookupTableDescriptor": [16, 4000, 16] for colour in colours} | {
        "PixelPresentation": "COLOR"}


def shutter(edge):
    return {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 1, "ShutterRightVerticalEdge": edge,
            "ShutterUpperHorizontalEdge": 1, "ShutterLowerHorizontalEdge": 160}


def mask(frame):
    return {"MaskSubtractionSequence": Sequence([item(MaskOperation="AVG_SUB", MaskFrameNumbers=frame)]),
            "RecommendedViewingMode": "SUB"}


def meaning(slope):
    return {"RealWorldValueMappingSequence": Sequence([item(RealWorldValueSlope=slope, RealWorldValueIntercept=0.0)])}


CHANGES = {
    "padding": ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3}, {"PixelPaddingValue": 0,
                                                                       "PixelPaddingRangeLimit": 4000}),
    "shutter": (shutter(120), shutter(60)),
    "palette": (palette(range(16)), palette(range(0, 32, 2))),
    "mask": (mask(1), mask(2)),
    "meaning": (meaning(1.0), meaning(3.0)),
    "type": ({"RescaleType": "US"}, {"RescaleType": "OD"}),
    "units": ({"Units": "BQML"}, {"Units": "CNTS"}),
    "magnified": ({"EstimatedRadiographicMagnificationFactor": 1.1}, {"EstimatedRadiographicMagnificationFactor": 2}),
    "table": ({"ModalityLUTSequence": table([0, 10, 20, 30])}, {"ModalityLUTSequence": table([0, 10, 0, 30])}),
    "ultrasound": ({"SequenceOfUltrasoundRegions": Sequence([item(PhysicalDeltaX=0.1, PhysicalDeltaY=0.1)])},
                   {"SequenceOfUltrasoundRegions": Sequence([item(PhysicalDeltaX=0.2, PhysicalDeltaY=0.2)])}),
    "aspect": ({"PixelAspectRatio": [1, 1]}, {"PixelAspectRatio": [2, 1]}),
    "imager": ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.12, 0.12]},
               {"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.2]}),
    "frames": ({"SharedFunctionalGroupsSequence": Sequence([item(FrameAnatomySequence=Sequence([
        item(FrameLaterality="L")]))])}, {"SharedFunctionalGroupsSequence": Sequence([item(
            FrameAnatomySequence=Sequence([item(FrameLaterality="R")]))])}),
    "detector": ({"DetectorInformationSequence": Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])},
                 {"DetectorInformationSequence": Sequence([item(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])])}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_says_how_voxels_are_taken_is_sealed(tmp_path, name):
    was, now = CHANGES[name]
    scanward.make_key(tmp_path / "site.key")
    made(FILM, "1.2.9", **CR, **was).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "authentic"
    made(FILM, "1.2.9", **CR, **now).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    answer = scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key")
    assert (answer.label, answer.parts["voxels"].label) == ("tampered", "authentic")
    made(FILM, "1.2.9", **CR).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "inconclusive"


def test_an_inverse_presentation_cannot_be_taken_away(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    data = made(FILM, "1.2.9", **CR, PresentationLUTShape="INVERSE")
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    del data.PresentationLUTShape
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "inconclusive"


def test_only_jpeg_2000_calls_its_colours_otherwise(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    colours = np.random.default_rng(3).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    data = made(colours, "1.2.8", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", SamplesPerPixel=3,
                PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7, PhotometricInterpretation="RGB")
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    data.PhotometricInterpretation = "YBR_ICT"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "tampered"


def test_python_looks_at_nothing_less_than_the_command(tmp_path):
    """A forged slice of the same series beside the sealed ones, in a folder of its own."""
    scanward.make_key(tmp_path / "site.key")
    (tmp_path / "series" / "more").mkdir(parents=True)
    for z in range(4):
        ct_slice(z).save_as(tmp_path / "series" / f"{z}.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "series", tmp_path / "site.key")
    assert scanward.verify(tmp_path / "series", tmp_path / "site.key").label == "authentic"
    forged = ct_slice(2)
    forged.PixelData = bytes(len(forged.PixelData))
    forged.save_as(tmp_path / "series" / "more" / "2.dcm", enforce_file_format=True)
    with pytest.raises(scanward.UnreadableError):
        scanward.verify(tmp_path / "series", tmp_path / "site.key")


def test_numbers_of_one_table_in_another_representation_are_the_same(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    made(FILM, "1.2.9", **CR, ModalityLUTSequence=table([0, 10, 20, 30])).save_as(tmp_path / "a.dcm",
                                                                                 enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    part = data.ModalityLUTSequence[0]
    del part["LUTData"]
    part.add_new("LUTData", "US", [0, 10, 20, 30])
    data.save_as(tmp_path / "a.dcm")
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "authentic"


TAGS = {"PixelSpacing": (0x28, 0x30), "ImagerPixelSpacing": (0x18, 0x1164), "PixelAspectRatio": (0x28, 0x34),
        "NominalScannedPixelSpacing": (0x18, 0x2010), "EstimatedRadiographicMagnificationFactor": (0x18, 0x1114),
        "SpacingBetweenSlices": (0x18, 0x88), "ImagePositionPatient": (0x20, 0x32), "InstanceNumber": (0x20, 0x13),
        "ImageOrientationPatient": (0x20, 0x37), "Laterality": (0x20, 0x60), "ModalityLUTSequence": (0x28, 0x3000),
        "PatientSex": (0x10, 0x40)}


def plant(path, keyword, value, vr=b"DS"):
    """Any bytes as the value of an element, in its place."""
    data = pydicom.dcmread(path)
    if keyword in data:
        delattr(data, keyword)
        data.save_as(path)
    tag = TAGS[keyword]
    body, value = path.read_bytes(), value + b" " * (len(value) % 2)
    after = next(one for one in data if (one.tag.group, one.tag.elem) > tag and one.keyword != keyword)
    size = struct.pack("<HI", 0, len(value)) if vr == b"SQ" else struct.pack("<H", len(value))
    at = body.rindex(struct.pack("<HH", after.tag.group, after.tag.elem) + after.VR.encode())
    path.write_bytes(body[:at] + struct.pack("<HH", *tag) + vr + size + value + body[at:])


@pytest.mark.parametrize(("keyword", "value"), [
    ("PixelSpacing", b"0.05\\0.05\\0.05"), ("PixelSpacing", b"0.05"), ("PixelSpacing", b"-0.05\\-0.05"),
    ("PixelSpacing", b"2000\\2000"), ("PixelSpacing", b"0\\0"), ("PixelSpacing", b"0.05\\"),
    ("PixelSpacing", b"0,05\\0,05"),
    ("PixelSpacing", b"0.05mm\\0.05mm"), ("PixelSpacing", b"0.0_5\\0.0_5"), ("PixelSpacing", b"nan\\nan"),
    ("ImagerPixelSpacing", b"0.1\\0.1\\0.1"), ("ImagerPixelSpacing", b"0.1_0\\0.10"),
    ("NominalScannedPixelSpacing", b"0.05"), ("PixelAspectRatio", b"1\\1\\1"), ("PixelAspectRatio", b"-2\\1"),
    ("EstimatedRadiographicMagnificationFactor", b"2\\2"), ("EstimatedRadiographicMagnificationFactor", b"21"),
    ("EstimatedRadiographicMagnificationFactor", b"0"), ("SpacingBetweenSlices", b"2\\3"),
    ("ImagePositionPatient", b"1\\2"), ("ImageOrientationPatient", b"-1\\0\\0"), ("InstanceNumber", b"1\\2"),
])
def test_a_measure_that_is_not_as_many_numbers_is_never_passed_over(tmp_path, keyword, value):
    """Programs take the first of three values; a film whose spacing is sealed would be measured by another."""
    scanward.make_key(tmp_path / "site.key")
    for name in ("a", "b"):
        path = tmp_path / f"{name}.dcm"
        spacing = {"ImagerPixelSpacing": [0.1, 0.1]} | ({"PixelSpacing": [0.1, 0.1]} if name == "b" else {})
        made(FILM, "1.2.9", **CR, **spacing).save_as(path, enforce_file_format=True)
        scanward.seal(path, tmp_path / "site.key")
        plant(path, keyword, value, dictionary_VR(keyword).encode())
        with pytest.raises(scanward.UnreadableError, match=f"{name}.dcm does not say its {keyword} as"):
            scanward.verify(path, tmp_path / "site.key")
        with pytest.raises(scanward.UnreadableError, match=f"{name}.dcm does not say its {keyword} as"):
            scanward.seal(path, tmp_path / "site.key", tmp_path / "other")


def test_an_aspect_ratio_of_zeros_beside_a_spacing_hinders_no_seal(tmp_path):
    """As archives of real chest CT write it; without a spacing programs make something of their own of it."""
    key = tmp_path / "site.key"
    scanward.make_key(key)
    for name, spacing in (("a", {}), ("b", {"PixelSpacing": [0.1, 0.1]})):
        made(FILM, "1.2.9", **CR, PixelAspectRatio=[0, 0], **spacing).save_as(tmp_path / f"{name}.dcm",
                                                                              enforce_file_format=True)
    with pytest.raises(scanward.UnreadableError, match="does not say its PixelAspectRatio as"):
        scanward.seal(tmp_path / "a.dcm", key)
    path = tmp_path / "b.dcm"
    scanward.seal(path, key)
    assert scanward.verify(path, key).label == "authentic"
    data = pydicom.dcmread(path)
    data.PixelAspectRatio = [2, 1]
    data.save_as(path)
    assert scanward.verify(path, key).label == "tampered"


@pytest.mark.parametrize("value", [b"", b"  ", b"\\", b"\0\0"])
def test_an_element_without_a_value_says_nothing(tmp_path, value):
    scanward.make_key(tmp_path / "site.key")
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", **CR, ImagerPixelSpacing=[0.1, 0.1]).save_as(path, enforce_file_format=True)
    scanward.seal(path, tmp_path / "site.key")
    for keyword in ("PixelSpacing", "EstimatedRadiographicMagnificationFactor", "ImageOrientationPatient"):
        plant(path, keyword, value)
    assert scanward.verify(path, tmp_path / "site.key").label == "authentic"


@pytest.mark.parametrize(("keyword", "vr", "value"), [
    ("Laterality", b"FD", b"abcd"), ("ModalityLUTSequence", b"FD", b"abcd"), ("PatientSex", b"FD", b"abcd")])
def test_what_cannot_be_told_is_not_taken_for_absent(tmp_path, keyword, vr, value):
    scanward.make_key(tmp_path / "site.key")
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", **CR, PatientSex=None).save_as(path, enforce_file_format=True)
    scanward.seal(path, tmp_path / "site.key")
    plant(path, keyword, value, vr)
    with pytest.raises(scanward.UnreadableError, match=f"a.dcm has its {keyword} in the representation FD"):
        scanward.verify(path, tmp_path / "site.key")


def test_a_measure_of_one_frame_is_looked_at_like_the_images_own(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    path = tmp_path / "a.dcm"
    places = [item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, z])])) for z in range(2)]
    shared = item(PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.7, 0.6])]), PlaneOrientationSequence=Sequence([
        item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]))
    made(FILM, "1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", Modality="CT", NumberOfFrames=2,
         PixelData=FILM.tobytes() * 2, SharedFunctionalGroupsSequence=Sequence([shared]),
         PerFrameFunctionalGroupsSequence=Sequence(places)).save_as(path, enforce_file_format=True)
    scanward.seal(path, tmp_path / "site.key")
    assert scanward.verify(path, tmp_path / "site.key").label == "authentic"
    path.write_bytes(path.read_bytes().replace(b"0.7\\0.6 ", b"0.7\\.6\\3"))
    with pytest.raises(scanward.UnreadableError, match="does not say its PixelSpacing as 2 plausible numbers"):
        scanward.verify(path, tmp_path / "site.key")


@pytest.mark.parametrize(("keyword", "value"), [("NumberOfFrames", "1_0"), ("NumberOfFrames", "1.5")])
def test_a_count_that_is_no_whole_number_is_not_taken_for_one(tmp_path, keyword, value):
    scanward.make_key(tmp_path / "site.key")
    path = tmp_path / "a.dcm"
    data = made(FILM, "1.2.9", **CR)
    data.save_as(path, enforce_file_format=True)
    scanward.seal(path, tmp_path / "site.key")
    body = path.read_bytes()
    at = body.rindex(b"\x28\0\x10\0US")
    path.write_bytes(body[:at] + b"\x28\0\x08\0IS" + struct.pack("<H", 4) + value.encode().ljust(4) + body[at:])
    with pytest.raises(scanward.UnreadableError, match=f"lacks a usable {keyword}"):
        scanward.verify(path, tmp_path / "site.key")
