"""A review as a DICOM report: what a PACS stores and a validator accepts."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats.reviewed import Opinion, write_review

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
OPINION = Opinion("Dr. Ünal", WHEN, "reject", "A scratch – no forgery.\nSee the other view.", "tampered", 0.871234)


@pytest.fixture
def source(phantom, write):
    def make(name="a", **elements):
        uid = f"1.2.3.4.{len(name)}.{ord(name[0])}"
        data = phantom.dataset(phantom.breast(), SOPInstanceUID=uid, **elements)
        data.file_meta.MediaStorageSOPInstanceUID = uid
        return write(data, f"{name}.dcm")

    return make


def items(report, kind):
    return [item for item in report.ContentSequence if item.ValueType == kind]


def said(report) -> dict[str, str]:
    return {item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
            for item in items(report, "CODE")}


VARIANTS = {
    "bare": {},
    "latin": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen", "PatientID": "7"},
    "greek": {"SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος", "PatientSex": "F",
              "StudyDate": "20240229", "AccessionNumber": "A9", "StudyDescription": "Μαστογραφία"},
    "broken": {"PatientSex": "x", "PatientBirthDate": "1950", "PatientOrientation": "CC"},
}


@pytest.mark.needs("dciodvfy")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # of the broken source, while it is made
@pytest.mark.parametrize("decision", ["accept", "reject", "comment"])
def test_a_validator_accepts_it(source, tmp_path, variant, decision):
    opinion = Opinion("Dr. Ünal", WHEN, decision, OPINION.comment, "authentic", 0.1)
    path = write_review([source(**VARIANTS[variant])], opinion, tmp_path / "out")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert lines == []


def test_what_it_says(source, tmp_path):
    first, second = source("a", **VARIANTS["latin"]), source("bb", **VARIANTS["latin"])
    report = pydicom.dcmread(write_review([first, second], OPINION, tmp_path / "out"))
    assert said(report) == {"Observer Type": "Person", "Outcome of review": "Rejected: the reviewer disagrees",
                            "Image integrity decision": "Tampered"}
    assert {i.ConceptCodeSequence[0].CodingSchemeDesignator for i in items(report, "CODE")[1:]} == {"99SCANWARD"}
    assert str(items(report, "PNAME")[0].PersonName) == "Dr. Ünal^"
    assert [i.TextValue for i in items(report, "TEXT")] == [
        "Dr. Ünal", "A scratch – no forgery.\r\nSee the other view."]
    assert float(items(report, "NUM")[0].MeasuredValueSequence[0].NumericValue) == 0.871234
    known = [pydicom.dcmread(path) for path in (first, second)]
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in items(report, "IMAGE")]
    assert named == [one.SOPInstanceUID for one in known]
    assert (report.StudyInstanceUID, report.PatientID) == (known[0].StudyInstanceUID, "7")
    assert str(report.PatientName) == "Müller^Jürgen"
    assert (report.Modality, report.CompletionFlag, report.VerificationFlag) == ("SR", "COMPLETE", "UNVERIFIED")
    assert (report.ContentDate, report.ContentTime) == ("20260102", "030405.678000")


def test_the_same_review_is_the_same_object(source, tmp_path):
    path = source()
    first, again = (write_review([path], OPINION, tmp_path / name) for name in ("one", "two"))
    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()
    uids, series = {pydicom.dcmread(first).SOPInstanceUID}, set()
    for other in (Opinion("Dr. Roe", WHEN, "reject"), Opinion("Dr. Ünal", WHEN.replace(second=6), "reject"),
                  Opinion("Dr. Ünal", WHEN, "accept")):
        report = pydicom.dcmread(write_review([path], other, tmp_path / "others"))
        uids.add(report.SOPInstanceUID)
        series.add(report.SeriesInstanceUID)
    assert len(uids) == 4
    assert series == {pydicom.dcmread(first).SeriesInstanceUID}, "reviews of a study are one series"


def test_hostile_words_do_no_harm(source, tmp_path):
    who = "^=\\\x00\u202e" + "x" * 200
    report = pydicom.dcmread(write_review([source()], Opinion(who, WHEN, "comment", "a\\b\x1b$)C\x00 " * 200),
                                          tmp_path))
    name = str(items(report, "PNAME")[0].PersonName)
    assert len(name) <= 64
    assert name.strip("^").isprintable()
    assert not set("=\\\x00\x1b") & set(name)
    assert "\x1b" not in items(report, "TEXT")[1].TextValue


def test_what_cannot_be_reviewed(source, tmp_path, write, phantom):
    with pytest.raises(ArgumentError, match="none is left"):
        write_review([], OPINION, tmp_path)
    with pytest.raises(UnreadableError, match="does not exist"):
        write_review([tmp_path / "gone.dcm"], OPINION, tmp_path)
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM at all")
    with pytest.raises((UnsupportedError, UnreadableError)):
        write_review([text], OPINION, tmp_path)
    with pytest.raises(UnsupportedError, match="several studies"):
        write_review([source("a"), source("bb", StudyInstanceUID="1.9")], OPINION, tmp_path)
    blocked = Path(source())
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_review([blocked], OPINION, blocked / "below-a-file")
