"""What the file's word does to a verdict: nothing where it is ordinary, and never more than doubt but for proof."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from stacks import COUNT, change, repaint, stack

from scanward import formats
from scanward.cli.codes import CLEAN, FOUND
from scanward.cli.scanning import Request, run_scan
from scanward.formats.fact import Fact
from scanward.judging.scan import scan, scan_many
from scanward.judging.structure import LIMIT, WEIGHTS, evidence_of


def lesion(data):
    values = data.pixel_array.copy()
    values[40:52, 40:52] = values[20:32, 20:32]
    repaint(data, values)


def enhanced(paths, path):
    """The slices as one file of several frames, which has the UID of the first."""
    each = [pydicom.dcmread(one) for one in paths]
    data = each[0]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [Dataset()], []
    for one in each:
        groups = Dataset()
        for name, keyword in (("PlanePosition", "ImagePositionPatient"), ("PixelMeasures", "PixelSpacing"),
                              ("PlaneOrientation", "ImageOrientationPatient")):
            item = Dataset()
            setattr(item, keyword, getattr(one, keyword))
            setattr(groups, f"{name}Sequence", [item])
        data.PerFrameFunctionalGroupsSequence.append(groups)
    data.PixelData, data.NumberOfFrames = b"".join(one.PixelData for one in each), len(each)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "LargestImagePixelValue"):
        delattr(data, keyword)
    data.save_as(path)


def verdicts(*folders):
    return [result.verdict for result in scan_many(folders)]


def anonymous(data):
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(data, keyword, generate_uid(entropy_srcs=[str(getattr(data, keyword))]))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PatientName = data.PatientID = "ANON"
    data.PatientIdentityRemoved = "YES"


def test_an_ordinary_series_is_judged_as_without_the_file_and_its_notes_are_told(tmp_path, bright):
    stack(tmp_path / "ct")
    verdict = scan(tmp_path / "ct")
    assert verdict.label == "authentic"
    assert [one.method for one in verdict.evidence] == ["bright", "bright"]
    (note,) = verdict.to_json()["file"]["facts"]
    assert (note["name"], note["harmless"], note["weight"]) == ("written by", True, 0.0)


def test_slices_from_elsewhere_leave_the_answer_open_with_a_sentence(tmp_path, bright):
    paths = stack(tmp_path / "ct")
    change(paths[5:7], lambda data: (lesion(data), setattr(data.file_meta, "ImplementationVersionName", "PAINT")))
    verdict = scan(tmp_path / "ct")
    assert (verdict.label, verdict.findings) == ("inconclusive", ())
    assert "Slices 6 and 7 were written by another program" in verdict.reason
    told = json.loads(json.dumps(verdict.to_json()))["file"]["facts"]
    assert any(fact["slices"] == [5, 6] for fact in told if not fact["harmless"])


def test_one_method_asked_for_hears_no_file(tmp_path, bright):
    paths = stack(tmp_path / "ct")
    change(paths[5:7], lambda data: setattr(data.file_meta, "ImplementationVersionName", "PAINT"))
    verdict = scan(tmp_path / "ct", method="ct-self-reference")
    assert (verdict.label, verdict.file) == ("authentic", None)


def test_an_image_in_memory_has_no_file(tmp_path, bright):
    paths = stack(tmp_path / "ct")
    change(paths[5:7], lambda data: setattr(data.file_meta, "ImplementationVersionName", "PAINT"))
    assert scan(formats.read(tmp_path / "ct")).label == "authentic"


TWO = "one of the two is not what it was, and the files do not tell which."


def test_one_uid_with_two_images_is_proof_against_both_and_neither(tmp_path, bright):
    stack(tmp_path / "a")
    change(stack(tmp_path / "b")[5:7], lesion)
    stack(tmp_path / "c")
    found = verdicts(tmp_path)
    assert [verdict.label for verdict in found] == ["tampered"] * 3
    for verdict, other in zip(found, "bab", strict=True):
        assert [one.box[::3] for one in verdict.findings if one.method == "file"] == [(5, 7)]
        assert verdict.reason == f"Slices 6 and 7 have the SOP Instance UIDs of {tmp_path / other / '005.dcm'} and 1 " \
            f"more, with other pixels: {TWO}"


def test_an_argument_that_comes_later_leaves_the_earlier_answer_as_it_was(tmp_path, bright):
    stack(tmp_path / "a")
    change(stack(tmp_path / "b")[5:6], lesion)
    first, second = verdicts(tmp_path / "a", tmp_path / "b")
    assert (first.label, second.label) == ("authentic", "tampered")
    name = tmp_path / "a" / "005.dcm"
    assert second.reason == f"Slice 6 has the SOP Instance UID of {name}, with other pixels: {TWO}"


def test_the_command_knows_all_of_its_arguments_before_the_first_answer(tmp_path, bright, capsys):
    stack(tmp_path / "a")
    change(stack(tmp_path / "b")[5:6], lesion)
    assert run_scan(Request((tmp_path / "a", tmp_path / "b"), as_json=True)) == FOUND
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["label"] for one in told] == ["tampered", "tampered"]
    assert all(TWO in one["reason"] for one in told)


def test_copies_of_a_file_of_several_frames_contradict_nobody(tmp_path, bright):
    paths = stack(tmp_path / "ct")
    enhanced(paths, tmp_path / "a.dcm")
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert [(verdict.label, verdict.reason) for verdict in verdicts(tmp_path / "*.dcm")] == [("authentic", "")] * 2
    change(paths[5:6], lesion)
    enhanced(paths, tmp_path / "b.dcm")
    for verdict, other in zip(verdicts(tmp_path / "*.dcm"), "ba", strict=True):
        assert verdict.reason == f"Slice 6 has the SOP Instance UID of {tmp_path / other}.dcm, with other pixels: {TWO}"


def test_a_lossy_copy_under_its_uid_is_no_proof(tmp_path, bright):
    stack(tmp_path / "a")

    def lossy(data):
        repaint(data, data.pixel_array // 2 * 2)
        data.LossyImageCompression = "01"
    change(stack(tmp_path / "b"), lossy)
    assert [verdict.label for verdict in verdicts(tmp_path)] == ["authentic", "authentic"]


def test_another_patients_slice_in_a_series_is_proof(tmp_path, bright):
    stack(tmp_path / "a")
    paths = stack(tmp_path / "b", 1)
    values = pydicom.dcmread(tmp_path / "a" / "006.dcm").pixel_array
    change(paths[3:4], lambda data: repaint(data, values))
    _, second = verdicts(tmp_path)
    assert second.label == "tampered"
    assert f"Slice 4 holds the values of another patient's slice, {tmp_path / 'a' / '006.dcm'}," in second.reason


@pytest.mark.parametrize("keep", [COUNT, 6])
def test_a_copy_without_names_or_a_part_of_it_is_ordinary(tmp_path, bright, keep):
    stack(tmp_path / "b")
    paths = stack(tmp_path / "a")
    change(paths, anonymous)
    for path in paths[keep:]:
        path.unlink()
    assert [verdict.label for verdict in verdicts(tmp_path)] == ["authentic", "authentic"]


def given(folder, **elements):
    """The stack of `a`, in another folder and under new UIDs."""
    def act(data):
        anonymous(data)
        for keyword, value in elements.items():
            setattr(data, keyword, value)
    change(stack(folder), act)


@pytest.mark.parametrize(("first", "second", "label", "remark"), [
    ("", "", "inconclusive", False), ("YES", "YES", "authentic", False), ("", "YES", "authentic", False),
    ("YES", "", "authentic", True), ("NO", "NO", "inconclusive", False),
])
def test_one_image_under_two_names_is_told_unless_it_says_why(tmp_path, bright, first, second, label, remark):
    change(stack(tmp_path / "a"), lambda data: setattr(data, "PatientIdentityRemoved", first))
    given(tmp_path / "b", PatientIdentityRemoved=second)
    before, verdict = verdicts(tmp_path)
    words = "another patient's image, or of the same patient's under another name, "
    assert (before.label, verdict.label) == ("authentic", label)
    assert any(words in fact["says"] for fact in verdict.to_json()["file"]["facts"])
    assert (words in verdict.remarks, words in verdict.reason) == (remark, label != "authentic")


@pytest.mark.parametrize("elements", [{"ConvolutionKernel": "BONE"}, {"PixelSpacing": [0.7, 0.8]}])
@pytest.mark.parametrize("first", ["YES", ""])
def test_a_copy_without_names_was_taken_as_the_original_was(tmp_path, bright, first, elements):
    change(stack(tmp_path / "a"), lambda data: setattr(data, "PatientIdentityRemoved", first))
    given(tmp_path / "b", **elements)
    assert "another patient's image" in verdicts(tmp_path)[1].reason


def test_a_copy_that_is_another_in_two_slices_is_told_of(tmp_path, bright):
    stack(tmp_path / "a")
    paths = stack(tmp_path / "b")
    change(paths[5:7], lesion)
    change(paths, anonymous)
    _, second = verdicts(tmp_path)
    assert second.label == "inconclusive"
    assert "All but 2 of its slices" in second.reason


def test_facts_of_one_name_count_once_and_proof_alone_says_tampered():
    light = min((name for name, weight in WEIGHTS.items() if 0 < weight < LIMIT), key=lambda name: WEIGHTS[name])
    many = tuple(Fact(light, f"It is {i}.") for i in range(20))
    assert not evidence_of(many, (1, 4, 4)).concerned
    heavy = max(WEIGHTS, key=lambda name: WEIGHTS[name])
    doubt = evidence_of((Fact(heavy, "It is so."),), (1, 4, 4))
    assert (doubt.label, doubt.score, doubt.reason) == ("inconclusive", 0, "It is so.")
    assert not evidence_of((Fact(heavy, "It is so.", harmless=True),), (1, 4, 4)).concerned
    proof = evidence_of((Fact("same name", "It is so.", proof=True),), (2, 4, 4))
    assert (proof.label, np.unique(proof.heat).tolist()) == ("tampered", [1])


def test_what_weighs_too_little_to_be_heard_is_a_remark_in_table_and_report(tmp_path, bright, capsys):
    change(stack(tmp_path / "ct"), lambda data: setattr(data, "PatientAge", "030Y"))
    remark = "Its patient is of another age than the dates of birth and study give."
    assert run_scan(Request((tmp_path / "ct",), output=tmp_path / "out")) == CLEAN
    assert f"\n  Remark: {remark}\n" in capsys.readouterr().out
    assert remark in (tmp_path / "out" / "report.html").read_text()


def test_a_fact_that_is_heard_is_no_remark_and_a_harmless_one_neither(tmp_path, bright):
    change(stack(tmp_path / "ct")[5:7], lambda data: setattr(data.file_meta, "ImplementationVersionName", "PAINT"))
    assert scan(tmp_path / "ct").remarks == ""
    stack(tmp_path / "plain")
    plain = scan(tmp_path / "plain")
    assert plain.file and plain.remarks == ""


def test_a_report_names_the_other_image_without_its_folder(tmp_path, bright):
    stack(tmp_path / "ct" / "Doe")
    change(stack(tmp_path / "ct" / "copy")[5:6], lesion)
    assert run_scan(Request((tmp_path / "ct",), output=tmp_path / "out", quiet=True)) == FOUND
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Slice 6 has the SOP Instance UID of 005.dcm, with other pixels" in page
    assert str(tmp_path) not in page
    line = json.loads((tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()[0])
    assert str(tmp_path / "ct" / "copy" / "005.dcm") in line["reason"]
