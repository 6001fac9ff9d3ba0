"""What files say beside their pixels: each fact in a file that was made to show it, and none in one that was not."""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.uid import JPEGLSLossless, generate_uid
from stacks import SIDE, change, repaint, stack

from scanward.formats import find, read
from scanward.formats.structure import said_of
from scanward.formats.structure_pixels import BLOCKY, blockiness, occupancy
from scanward.formats.structure_series import odd_ones, out_of_order, which


def told(folder):
    """The facts of the one source there that are not harmless: name to fact."""
    return {fact.name: fact for fact in facts_in(folder) if not fact.harmless}


def facts_in(folder):
    (source,), _ = find([folder])
    return said_of(source, read(source)).facts


def sets(**values):
    return lambda data: [setattr(data, keyword, value) for keyword, value in values.items()]


def renamed(data):
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()


def swapped(paths):
    first, last = (pydicom.dcmread(path) for path in paths)
    first.ImagePositionPatient, last.ImagePositionPatient = last.ImagePositionPatient, first.ImagePositionPatient
    first.save_as(paths[0])
    last.save_as(paths[1])


def test_nothing_is_odd_in_a_series_as_a_scanner_writes_it(tmp_path):
    stack(tmp_path)
    assert told(tmp_path) == {}


@pytest.mark.parametrize(("act", "name", "word"), [
    (lambda data: setattr(data.file_meta, "ImplementationVersionName", "PAINT"), "odd writing", "program"),
    (lambda data: data.compress(JPEGLSLossless, generate_instance_uid=False), "odd writing", "in another form"),
    (sets(PatientComments="x"), "odd elements", "Slice 6 has PatientComments, unlike the rest"),
    (lambda data: delattr(data, "StudyTime"), "odd elements", "Slice 6 lacks StudyTime, unlike the rest"),
    (lambda data: data.remove_private_tags(), "odd blocks", "private blocks"),
    (sets(ConvolutionKernel="BONE"), "odd value", "(BONE, not STANDARD)"),
    (sets(PatientName="Roe^Jane"), "odd value", "another PatientName than the others."),
    (renamed, "odd uid", "another root"),
    (sets(AcquisitionTime="090000"), "time order", "order"),
    (sets(InstanceNumber=99), "number order", "InstanceNumber"),
    (sets(SliceLocation=99), "location", "SliceLocation"),
])
def test_a_slice_that_is_not_as_the_others_is_named(tmp_path, act, name, word):
    paths = stack(tmp_path)
    change(paths[5:6], act)
    found = told(tmp_path)
    assert found[name].slices == (5,)
    assert word in found[name].says


def test_no_patient_is_named_in_a_sentence(tmp_path):
    paths = stack(tmp_path)
    change(paths[5:6], sets(PatientName="Roe^Jane", PatientID="4711", InstitutionName="Elsewhere",
                            PatientBirthDate="20301231"))
    said = " ".join(fact.says for fact in facts_in(tmp_path))
    assert "another PatientName" in said
    assert not any(secret in said for secret in ("Roe", "Jane", "4711", "Doe", "Elsewhere", "2030", "1950"))


def test_positions_that_were_swapped_are_seen_by_number_and_location(tmp_path):
    paths = stack(tmp_path)
    swapped([paths[2], paths[9]])
    assert {"number order", "location"} <= set(told(tmp_path))


def test_a_scale_of_its_own_is_odd_unless_it_was_compressed_with_loss(tmp_path):
    paths = stack(tmp_path)
    change(paths[5:6], sets(RescaleIntercept=-1020))
    assert "RescaleIntercept" in told(tmp_path)["odd value"].says
    change(paths, sets(LossyImageCompression="01"))
    assert told(tmp_path) == {}


def test_half_of_a_series_is_no_odd_one_and_is_told(tmp_path):
    paths = stack(tmp_path)
    change(paths[6:], sets(ConvolutionKernel="BONE", StudyInstanceUID="1.2.3"))
    found = told(tmp_path)
    assert list(found) == ["parts"]
    assert found["parts"].says == "Slices 7 to 12 say another StudyInstanceUID and ConvolutionKernel (BONE, not " \
        "STANDARD) than the rest of the series."


@pytest.mark.parametrize("slices", [slice(0, 1), slice(2, 8), slice(6, 12), slice(1, 12, 2)])
def test_two_patients_in_one_series_are_told_in_whatever_parts(tmp_path, slices):
    paths = stack(tmp_path)
    change(paths[slices], sets(PatientID="4711", PatientName="Roe^Jane", PatientBirthDate="19800229"))
    fact = told(tmp_path)["two patients"]
    assert fact.slices == tuple(range(12))[slices]
    assert fact.says.endswith("of another patient than the rest of the series, by number and date of birth.")


@pytest.mark.parametrize(("elements", "names"), [
    ({"PatientName": "Roe^Jane"}, {"parts"}), ({"PatientID": "4711", "PatientName": "Roe^Jane"}, {"parts"}),
    ({"PatientID": "4711", "PatientBirthDate": ""}, {"parts"}), ({"AccessionNumber": "A1"}, set()),
    ({"PatientID": ""}, {"parts"}),
    ({"PatientBirthDate": "19500110"}, {"parts"}), ({"PatientID": "4711", "PatientSex": "M"}, {"parts"}),
])
def test_a_patient_put_right_in_half_a_series_is_told_as_that(tmp_path, elements, names):
    change(stack(tmp_path)[6:], sets(**elements))
    assert set(told(tmp_path)) == names


@pytest.mark.parametrize(("slices", "name"), [(slice(0, 3), "parts"), (slice(9, 12), "parts"),
                                              (slice(4, 7), "odd value")])
def test_a_name_put_right_while_a_scan_runs_stands_at_an_end(tmp_path, slices, name):
    change(stack(tmp_path)[slices], sets(PatientName="Roe^Jane"))
    assert set(told(tmp_path)) == {name}


@pytest.mark.parametrize("first", [6, 9])
def test_a_scan_may_run_past_midnight(tmp_path, first):
    for z, path in enumerate(stack(tmp_path)):
        second = 86400 - first + z
        day, (minute, second) = "2020060" + str(1 + second // 86400), divmod(second % 86400, 60)
        change([path], sets(AcquisitionDate=day, ContentDate=day,
                            AcquisitionTime=f"{minute // 60:02d}{minute % 60:02d}{second:02d}"))
    assert told(tmp_path) == {}


@pytest.mark.parametrize(("elements", "name"), [
    ({"PatientBirthDate": "20300101"}, "born after"), ({"StudyDate": "20201224"}, "taken before"),
    ({"StudyDate": "20200101"}, "taken after"), ({"PatientAge": "020Y"}, "age"),
    ({"ReconstructionDiameter": 0.35 * SIDE}, "diameter"), ({"Manufacturer": "SIEMENS"}, "foreign blocks"),
    ({"RescaleIntercept": -800}, "air"), ({"ConvolutionKernel": "FC13"}, "foreign kernel"),
    ({"ConvolutionKernel": "Br38f"}, "foreign kernel"), ({"ManufacturerModelName": "Aquilion ONE"}, "foreign model"),
    ({"Manufacturer": "Vendor", "ReconstructionTargetCenterPatient": [0.0, 0, 90]}, "moved"),
])
def test_a_header_that_contradicts_itself_says_so(tmp_path, elements, name):
    stack(tmp_path, **elements)
    assert name in told(tmp_path)


@pytest.mark.parametrize(("elements", "says"), [
    ({"StudyDate": "20990601"}, "It was taken 79 years before its study began."),
    ({"StudyDate": "20200603"}, "It was taken 2 days before its study began."),
    ({"StudyDate": "20181201"}, "It was taken 548 days after its study began."),
    ({"PatientBirthDate": "20200602"}, "Its patient was born 1 day after its study."),
    ({"Manufacturer": "SIEMENS", "SeriesInstanceUID": "1.3.12.2.1107.5.1.4.2017060112345678"},
     "The scanner dated its UIDs 3 years before its study."),
])
def test_dates_apart_are_said_by_how_much(tmp_path, elements, says):
    stack(tmp_path, **elements)
    assert says in [fact.says for fact in told(tmp_path).values()]


@pytest.mark.parametrize(("mm", "named"), [(50, True), (3, False)])
def test_a_series_that_was_moved_lies_elsewhere_by_slice_location(tmp_path, mm, named):
    def act(data):
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + mm]
    change(stack(tmp_path), act)
    assert set(told(tmp_path)) == ({"moved"} if named else set())


@pytest.mark.parametrize("elements", [
    {"ManufacturerModelName": "LightSpeed VCT"}, {"ConvolutionKernel": "BONEPLUS"},
    {"Manufacturer": "Vendor", "ConvolutionKernel": "FC13"}, {"Manufacturer": "Canon", "ConvolutionKernel": "FC13"},
    {"Manufacturer": "Philips", "ConvolutionKernel": "SOFT"}, {"ReconstructionDiameter": 0.7 * 512},
    {"ReconstructionDiameter": 0.35 * SIDE, "ImageType": ["DERIVED", "SECONDARY"]},
])
def test_what_makers_and_crops_say_is_no_contradiction(tmp_path, elements):
    stack(tmp_path, **elements)
    assert not set(told(tmp_path)) & {"foreign kernel", "foreign model", "diameter"}


@pytest.mark.parametrize("head", [b"MZ\x90", b"\x7fELF", b"#!/bin/sh\n", b"%PDF-1.7\n"])
def test_a_preamble_that_runs_is_named(tmp_path, head):
    paths = stack(tmp_path)
    whole = paths[0].read_bytes()
    paths[0].write_bytes(head.ljust(128, b"\0") + whole[128:])
    assert "run" in told(tmp_path)["program"].says


def test_a_uid_changed_behind_the_meta_group_is_named(tmp_path):
    change(stack(tmp_path), lambda data: setattr(data, "SOPInstanceUID", data.SOPInstanceUID + ".9"))
    assert "two names" in told(tmp_path)


def test_slices_copied_over_others_are_named_with_both(tmp_path):
    paths = stack(tmp_path)
    values = pydicom.dcmread(paths[2]).pixel_array
    change(paths[8:9], lambda data: repaint(data, values))
    fact = told(tmp_path)["slice twice"]
    assert fact.slices == (2, 8)
    assert fact.says == "Slice 9 holds the same values as slice 3, noise and all."


@pytest.mark.parametrize(("odd", "words"), [
    ((0,), "Slice 1"), ((4, 5), "Slices 5 and 6"), ((4, 5, 6), "Slices 5 to 7"), ((3, 13, 14), "Slices 4, 14 and 15"),
    ((0, 1, 2, 9), "Slices 1 to 3 and 10"), (range(0, 20, 2), "Slices 1, 3, 5, 7, 9, 11 and 4 more"),
])  # fmt: skip
def test_slices_in_a_sentence_are_listed_and_counted_from_one(odd, words):
    assert which(tuple(odd)) == words


def test_another_patients_slices_stand_out_from_their_neighbours(tmp_path):
    paths, others = stack(tmp_path / "own"), stack(tmp_path / "other", 1)
    for path, other in zip(paths[5:7], others[5:7], strict=True):
        values = pydicom.dcmread(other).pixel_array
        change([path], lambda data, values=values: repaint(data, values))
    assert set(told(tmp_path / "own")["jump"].slices) >= {5, 7}


def test_a_value_above_the_stated_largest_is_named(tmp_path):
    paths = stack(tmp_path)

    def act(data):
        values = data.pixel_array.copy()
        values[40:44, 40:44] = 4000
        repaint(data, values)
    change(paths[3:4], act)
    assert told(tmp_path)["largest"].slices == (3,)
    change(paths, act)
    assert told(tmp_path)["largest"].slices == tuple(range(len(paths)))
    change(paths, sets(LossyImageCompression="01"))
    assert "largest" not in told(tmp_path)


def test_a_picture_put_back_shows_its_eight_bits(tmp_path):
    change(stack(tmp_path), lambda data: repaint(data, np.clip(data.pixel_array / 8, 0, 255).round().astype(int) * 8))
    assert "as after eight bits" in told(tmp_path)["levels"].says
    change(sorted(tmp_path.glob("*.dcm")), sets(ImageType=["DERIVED", "PRIMARY", "PERFUSION"]))
    assert "levels" not in told(tmp_path)


def test_eight_bits_as_such_are_named(tmp_path):
    def act(data):
        data.PixelData = np.clip(data.pixel_array / 8, 0, 255).astype(np.uint8).tobytes()
        data["PixelData"].VR = "OB"
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    change(stack(tmp_path), act)
    assert "eight bits" in told(tmp_path)


@pytest.mark.parametrize("quality", [50, 85])
def test_jpeg_leaves_blocks_wherever_it_was(quality):
    grey = cv2.GaussianBlur(np.random.default_rng(0).normal(128, 60, (256, 256)), (0, 0), 1.5).clip(0, 255)
    made = cv2.imdecode(cv2.imencode(".jpg", grey.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1],
                        cv2.IMREAD_UNCHANGED)
    assert blockiness(grey.astype(np.float32)) < BLOCKY < blockiness(made.astype(np.float32) * 4 + 100)


@pytest.mark.needs("dcmconv", "dcmcrle")
@pytest.mark.parametrize("command", [("dcmconv", "+ti"), ("dcmconv", "+tb"), ("dcmconv", "+te", "+g"), ("dcmcrle",)])
def test_what_dcmtk_writes_anew_is_not_odd(tmp_path, command):
    for path in stack(tmp_path):
        subprocess.run([*command, path, path.with_suffix(".new")], check=True)
        path.with_suffix(".new").replace(path)
    assert told(tmp_path) == {}


@pytest.mark.needs("dcmconv")
@pytest.mark.parametrize(("slices", "name"), [(slice(9, 12), "parts"), (slice(5, 8), "odd writing")])
def test_the_rest_of_a_series_may_have_come_another_way(tmp_path, slices, name):
    for path in stack(tmp_path)[slices]:
        subprocess.run(["dcmconv", "+ti", path, path.with_suffix(".new")], check=True)
        path.with_suffix(".new").replace(path)
    found = told(tmp_path)
    assert set(found) == {name}
    assert f"Slices {slices.start + 1} to {slices.stop} were written by another program, have another transfer syntax" \
        in found[name].says


@pytest.mark.needs("dcmconv")
def test_padding_is_the_same_by_its_bits_whichever_sign_a_program_gave_it(tmp_path):
    def act(data):
        data.PixelRepresentation = 1
        data.add_new(0x00280120, "US", 63536)
    paths = stack(tmp_path)
    change(paths, act)
    for path in paths[9:]:
        subprocess.run(["dcmconv", "+ti", path, path.with_suffix(".new")], check=True)
        path.with_suffix(".new").replace(path)
    found = [fact.says for fact in facts_in(tmp_path) if fact.name == "odd value"]
    assert found == []
    change(paths[4:6], lambda data: data.add_new(0x00280120, "SS", -1999))
    found = [fact.says for fact in facts_in(tmp_path) if fact.name == "odd value"]
    assert found == ["Slices 5 and 6 say another PixelPaddingValue than the others (-1999, not -2000)."]


@pytest.mark.parametrize("largest", [40000, 50000])
def test_a_largest_value_that_was_written_as_signed_is_read_as_the_pixels_are(tmp_path, largest):
    def act(data):
        values = data.pixel_array.astype(np.uint16)
        values[40:44, 40:44] = 40000
        repaint(data, values)
        data.BitsStored, data.HighBit = 16, 15
        data["LargestImagePixelValue"] = DataElement(0x00280107, "SS", largest - 65536)
    change(stack(tmp_path), act)
    assert "largest" not in told(tmp_path)


def test_odd_ones_by_hand():
    assert odd_ones("aaaabaaaac") == (4, 9)
    assert odd_ones("aabb") == ()
    assert odd_ones("aaaaa") == ()
    assert odd_ones("abcdef") == ()


def test_order_by_hand():
    assert out_of_order(np.array([1.0, 2, 9, 4, 5, 6])) == (2,)
    assert out_of_order(np.array([9.0, 8, 7, 6, 99, 5])) == (4,)
    assert out_of_order(np.array([1.0, 1, 2, 2, 3]), strict=False) == ()


@given(st.integers(6, 40), st.data())
def test_one_that_is_moved_is_the_one_that_is_named(count, data):
    values = np.arange(count, dtype=np.float64)
    at = data.draw(st.integers(2, count - 3))
    values[at] = -50
    assert out_of_order(values) == (at,)


def test_levels_by_hand():
    values = np.random.default_rng(0).integers(0, 200, 50_000)
    assert occupancy(values) == 1
    assert occupancy(2 * values) == pytest.approx(0.5, abs=0.01)
    assert occupancy(values[:100]) is None


@given(st.integers(0, 2**31 - 1))
def test_noise_has_no_blocks(seed):
    noise = np.random.default_rng(seed).normal(0, 20, (128, 128)).astype(np.float32)
    assert blockiness(noise) < BLOCKY


def test_dates_are_not_told_either(tmp_path):
    stack(tmp_path, PatientBirthDate="20301231", StudyDate="20201224")
    said = " ".join(fact.says for fact in facts_in(tmp_path))
    assert "born 10 years after its study" in said
    assert not any(year in said for year in ("2030", "2020"))
