"""In which form an image says what a seal holds, and files whose pixels programs decode each in their own way."""

from __future__ import annotations

import copy

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)
from sealable import CT, FILM, MG, ct_slice, made, rewritten
from test_said_besides import ENHANCED, KEY, enhanced, macro
from test_said_elsewhere import item

import scanward


def refused_or_unsure(path, seal):
    """The reason why a file is not authentic."""
    try:
        answer = scanward.verify(path, KEY, seal=seal)
    except scanward.InputError as error:
        return str(error)
    assert answer.label != "authentic"
    return answer.reason


def swapped(data):
    """Two frames in each other's place, with their groups, so that each lies where it lay."""
    groups = data.PerFrameFunctionalGroupsSequence
    data.PixelData = data.pixel_array[[1, 0, 2]].tobytes()
    data.PerFrameFunctionalGroupsSequence = Sequence([groups[1], groups[0], groups[2]])


def jittered(data):
    position = data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    position.ImagePositionPatient = [0, 0, 3.001]


def spacing_in_the_header(data):
    shared = data.SharedFunctionalGroupsSequence[0]
    data.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    del shared.PixelMeasuresSequence


def scale_of_each_frame(data):
    shared = data.SharedFunctionalGroupsSequence[0]
    for group in data.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence = copy.deepcopy(shared.PixelValueTransformationSequence)
    del shared.PixelValueTransformationSequence


def timed(data):
    data.FrameTime, data.FrameIncrementPointer = 33, 0x00181063


@pytest.mark.parametrize("change", [swapped, jittered, spacing_in_the_header, scale_of_each_frame, timed])
def test_frames_said_in_another_form_are_inconclusive(tmp_path, change):
    path = tmp_path / "a.dcm"
    enhanced(path, "CT")
    seal = scanward.seal(path, KEY)
    assert scanward.verify(path, KEY).label == "authentic"
    rewritten(path, change)
    answer = scanward.verify(path, KEY, seal=seal)
    assert (answer.label, answer.parts["voxels"].label) == ("inconclusive", "authentic")
    assert "in another form than was sealed" in answer.reason


def spacing_in_groups(data):
    data.SharedFunctionalGroupsSequence = Sequence([item(PixelMeasuresSequence=macro(PixelSpacing=data.PixelSpacing))])
    del data.PixelSpacing


def patient_in_groups(data):
    data.SharedFunctionalGroupsSequence = Sequence([item(PatientOrientationInFrameSequence=macro(
        PatientID=data.PatientID))])
    del data.PatientID


def one_slope_less(data):
    del data.RescaleSlope


def stored_higher(data):
    data.PixelData = (data.pixel_array + 500).astype(np.uint16).tobytes()
    data.RescaleIntercept = -1524


def reclassed(data):
    data.SOPClassUID = ENHANCED["CT"]


def volume_of_old(data):
    data.add_new(0x00280005, "US", 3)
    data.add_new(0x00280012, "US", 2)


def odd_number(keyword, text):
    return lambda data: data.__setitem__(keyword, pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(keyword), pydicom.datadict.dictionary_VR(keyword), len(text), text, 0, False, True))


@pytest.mark.parametrize("change", [odd_number("NumberOfFrames", b"10e-1 "),
                                    odd_number("PixelSpacing", b"0.7\0\0\0\\0.6"),
                                    odd_number("ImagePositionPatient", b"-20\0\0\\-30\\0"), spacing_in_groups,
                                    patient_in_groups, one_slope_less, stored_higher, reclassed, volume_of_old])
def test_a_slice_said_in_another_form_is_not_authentic(tmp_path, change):
    path = tmp_path / "a.dcm"
    ct_slice(0).save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    rewritten(path, change)
    assert refused_or_unsure(path, seal)


@pytest.mark.parametrize("text", [f" {CT}", f"{CT} ", f"{CT}\0"])
def test_a_class_with_blanks_is_another(tmp_path, text):
    """As ITK has it; one zero makes the length even."""
    path = tmp_path / "a.dcm"
    ct_slice(0).save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    head, rest = path.read_bytes().rsplit(f"{CT}\0".encode(), 1)
    path.write_bytes(head + text.encode() + rest)
    assert scanward.verify(path, KEY, seal=seal).label == ("authentic" if text.endswith("\0") else "inconclusive")


def test_the_class_of_the_file_meta_group_counts_where_there_is_no_other(tmp_path):
    path = tmp_path / "a.dcm"
    data = ct_slice(0)
    del data.SOPClassUID
    data.save_as(path)
    seal = scanward.seal(path, KEY)
    assert scanward.verify(path, KEY).label == "authentic"
    rewritten(path, lambda data: setattr(data.file_meta, "MediaStorageSOPClassUID", ENHANCED["CT"]))
    assert refused_or_unsure(path, seal)


def test_a_preamble_may_go_and_not_come(tmp_path):
    """Pillow shows the picture whose head it is, under any name."""
    path = tmp_path / "a.dcm"
    ct_slice(0).save_as(path, enforce_file_format=True)
    plain, odd = path.read_bytes(), b"\x01\xda\x01\x01\0\2\0\x40\0\x40\0\1".ljust(128, b"\0")
    seal = scanward.seal(path, KEY)
    path.write_bytes(odd + plain[128:])
    assert "see its preamble" in refused_or_unsure(path, seal)
    seal = scanward.seal(path, KEY, tmp_path / "other")
    assert scanward.verify(path, KEY, seal=seal).label == "authentic"
    path.write_bytes(plain)
    assert scanward.verify(path, KEY, seal=seal).label == "authentic"


def test_a_class_that_moves_to_another_slice_is_another(tmp_path):
    """ITK goes by the first slice's."""
    def written(odd):
        for z in range(3):
            kind = ENHANCED["CT"] if z == odd else CT
            ct_slice(z, SOPClassUID=kind).save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)

    written(2)
    seal = scanward.seal(tmp_path, KEY)
    assert scanward.verify(tmp_path, KEY, seal=seal).label == "authentic"
    written(0)
    assert "SOPClassUID" in refused_or_unsure(tmp_path, seal)


def test_the_class_alone_takes_itk_the_spacing(tmp_path):
    """Why it is asked."""
    path = tmp_path / "a.dcm"
    ct_slice(0).save_as(path, enforce_file_format=True)
    assert SimpleITK.ReadImage(str(path)).GetSpacing()[:2] == (0.6, 0.7)
    rewritten(path, reclassed)
    assert SimpleITK.ReadImage(str(path)).GetSpacing()[:2] == (1.0, 1.0)


@pytest.mark.parametrize(("sealed", "other"), [
    ({"PhotometricInterpretation": "MONOCHROME1"}, {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 16,
                                                    "HighBit": 15}),
    ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
     {"PhotometricInterpretation": "MONOCHROME1"}),
    ({}, {"PixelRepresentation": 2}), ({}, {"PixelRepresentation": 65535})])
def test_how_words_are_stored_is_held(tmp_path, sealed, other):
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG", **sealed).save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG", **other).save_as(path, enforce_file_format=True)
    assert refused_or_unsure(path, seal)


@pytest.mark.parametrize("keyword", ["PixelPaddingValue", "ShutterPresentationValue"])
def test_zero_is_a_value(tmp_path, keyword):
    """Viewers hide voxels of 0 where padding is 0."""
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG").save_as(path, enforce_file_format=True)
    scanward.seal(path, KEY)
    rewritten(path, lambda data: data.add_new(keyword, "US", 0))
    answer = scanward.verify(path, KEY)
    assert answer.label == "tampered" and keyword in answer.reason


def test_colours_in_wider_words_are_not_authentic(tmp_path):
    path, colours = tmp_path / "a.dcm", np.random.default_rng(3).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    kind = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT", "SamplesPerPixel": 3,
            "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    made(colours, "1.2.9", **kind, BitsAllocated=8, BitsStored=8, HighBit=7).save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    made(colours.astype(np.uint16), "1.2.9", **kind, BitsStored=16, HighBit=15).save_as(path, enforce_file_format=True)
    assert "BitsAllocated" in refused_or_unsure(path, seal)


def test_a_copy_of_a_slice_is_inconclusive(tmp_path):
    """ITK takes it for one slice more, nearer to the next."""
    for z in range(3):
        ct_slice(z).save_as(tmp_path / f"{z}.dcm", enforce_file_format=True)
    seal = scanward.seal(tmp_path, KEY)
    ct_slice(1).save_as(tmp_path / "copy.dcm", enforce_file_format=True)
    answer = scanward.verify(tmp_path, KEY, seal=seal)
    assert answer.label == "inconclusive" and "copy.dcm" in answer.reason and "take them away" in answer.reason


def big_endian_bytes(data, path):
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data.PixelData = FILM.astype(">u2").tobytes()
    data["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, data, little_endian=False, implicit_vr=False)


def cut_deflated(data, path):
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-1])


def idle_runs(data, path):
    """A control byte of 128 at the head of the first segment, which DICOM says is nothing."""
    data.compress(RLELossless)
    frame = bytearray(next(generate_frames(data.PixelData, number_of_frames=1)))
    first, second = (int.from_bytes(frame[at : at + 4], "little") for at in (4, 8))
    frame[8:12] = (second + 2).to_bytes(4, "little")
    data.PixelData = encapsulate([bytes(frame[:first]) + b"\x80\x80" + bytes(frame[first:])])
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(("spoil", "words"), [(big_endian_bytes, "in big endian as bytes"),
                                              (cut_deflated, "ends before its deflated data set"),
                                              (idle_runs, "runs of nothing in an RLE frame")])
def test_what_programs_decode_otherwise_is_refused(tmp_path, spoil, words):
    path = tmp_path / "a.dcm"
    data = made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG")
    data.save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    spoil(data, path)
    assert words in refused_or_unsure(path, seal)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory):
    """A film in lossless JPEG."""
    import subprocess

    from outside import need

    need("dcmcjpeg")
    folder = tmp_path_factory.mktemp("jpeg")
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG").save_as(folder / "a.dcm", enforce_file_format=True)
    subprocess.run(["dcmcjpeg", "+e1", str(folder / "a.dcm"), str(folder / "b.dcm")], check=True, capture_output=True)
    return folder / "b.dcm"


def test_a_frame_is_of_the_process_that_the_syntax_names(lossless, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(lossless.read_bytes())
    seal = scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data.file_meta, "TransferSyntaxUID", JPEGBaseline8Bit))
    assert "another process than its transfer syntax says" in refused_or_unsure(path, seal)


@pytest.mark.parametrize("elements", [{"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
                                      {"PhotometricInterpretation": "PALETTE COLOR"},
                                      {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB",
                                       "PlanarConfiguration": 0}])
def test_a_decoder_that_dies_takes_nothing_along(lossless, tmp_path, elements):
    """GDCM aborts its process on the first of these."""
    path, sound = tmp_path / "a.dcm", tmp_path / "b.dcm"
    sound.write_bytes(lossless.read_bytes())
    path.write_bytes(lossless.read_bytes())
    rewritten(path, lambda data: [setattr(data, keyword, value) for keyword, value in elements.items()])
    try:
        scanward.seal(path, KEY)
    except scanward.InputError as error:
        assert "a.dcm" in str(error)
    scanward.seal(sound, KEY)
    assert scanward.verify(sound, KEY).label == "authentic"
    assert pydicom.dcmread(sound).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def test_an_escape_that_no_character_set_knows_is_refused(tmp_path):
    """pydicom leaves it out of the name, others show it."""
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG").save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data, "PatientID", "P17\x1b-A"))
    assert "switches its character set" in refused_or_unsure(path, seal)


def test_a_date_with_a_dot_elsewhere_is_another(tmp_path):
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.9", SOPClassUID=MG, Modality="MG").save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"DA\x08\x0019600101", b"DA\x0a\x00196.00101 "))
    assert path.read_bytes() != raw
    assert "PatientBirthDate" in refused_or_unsure(path, seal)
