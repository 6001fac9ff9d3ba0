"""DICOM results of a CT series: every voxel in its slice, whatever the files are called."""

import dataclasses
import random
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
from outside import DATA

from scanward.box import Box
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats import read
from scanward.formats.derived import write_dicom
from scanward.formats.sources import Source
from scanward.image import Image, Provenance
from scanward.regions import mask_of
from scanward.verdict import Evidence, Finding, Verdict

SHA = "5e" * 32
SLICES = 7
STEP = 2.5
WHOSE = {"PatientID": "77", "PatientName": "Roe^Jane", "PatientSex": "F", "PatientBirthDate": "19500131",
         "StudyDate": "20240229", "StudyTime": "101112", "StudyID": "S", "AccessionNumber": "A9"}
GEOMETRY = {
    "head first": {},
    "feet first": {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
    "oblique": {"ImageOrientationPatient": [0.9848, 0.1736, 0, 0, 0, -1]},
}


@pytest.fixture
def series(phantom, write):
    """Writes a series of which no two slices are alike; the files' names follow `order`."""

    def _write(order=range(SLICES), each=lambda z: {}, **elements):
        axes = np.array(elements.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), float).reshape(2, 3)
        normal = np.cross(*axes)
        for z, name in zip(range(SLICES), order, strict=True):
            place = np.array([-100, -120, 30]) + z * STEP * normal
            data = phantom.ct_slice(0, 1000 + 10 * z, **{
                "FrameOfReferenceUID": "1.2.9", "ImagePositionPatient": [float(f"{v:.6f}") for v in place],
                "SOPInstanceUID": f"1.2.3.4.{z + 1}"} | elements | each(z))
            path = write(data, f"ct/{name:03d}.dcm")
        return path.parent

    return _write


def verdict_for(image: Image, label="tampered") -> Verdict:
    """Two regions that are no boxes, and heat that is in none."""
    heat = np.zeros(image.shape, np.float32)
    heat[1:4, 10:20, 5:9] = 0.9
    heat[2, 10, 5:9] = 0.3
    heat[3, 15:, 5:9] = 0
    heat[5, 30, 30] = np.float32(0.4)
    heat[0, 40, 2] = 0.95
    findings = (Finding(Box(1, 10, 5, 4, 20, 9), 0.9, method="ct-self-reference"),
                Finding(Box(5, 30, 30, 6, 31, 31), 0.4, method="ct-self-reference"))
    found = findings if label == "tampered" else ()
    evidence = Evidence("ct-self-reference", 0.9, 0.6, heat, 0.4, found, weights_sha256=SHA)
    return Verdict(0.873, 0.5, label, heat, found, (evidence,), "default", "CT", image.provenance, "0.1.0", SHA,
                   {"detectors": ["ct-self-reference"]}, 1.0)


def expected_mask(image: Image) -> np.ndarray:
    mask = np.zeros(image.shape, bool)
    mask[1, 10:20, 5:9] = mask[2, 11:20, 5:9] = mask[3, 10:15, 5:9] = mask[5, 30, 30] = True
    return mask


PICTURE = np.full((50, 70, 3), (10, 120, 250), np.uint8)


def results(image, folder, label="tampered"):
    return write_dicom(image, verdict_for(image, label), folder, overlay=PICTURE)


def uids_of(image):
    return [uid for _, uid in image.provenance.slices]


def valid(path):
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()] == []


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_comes_back_voxel_by_voxel_in_its_slices_whatever_the_order_of_files(series, tmp_path, seed):
    order = list(range(SLICES))
    random.Random(seed).shuffle(order)
    folder = series(order)
    paths = sorted(folder.iterdir())
    image = read(Source(tuple(paths), "series"))
    assert uids_of(image) == [f"1.2.3.4.{z + 1}" for z in range(SLICES)]
    path = results(image, tmp_path / "out")[0]

    seg = hd.seg.segread(path)
    expected = expected_mask(image)
    got = seg.get_pixels_by_source_instance(uids_of(image), combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(got, expected)
    assert seg.NumberOfFrames == 4
    referenced = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in referenced} == set(uids_of(image))


@pytest.mark.parametrize("geometry", GEOMETRY)
def test_each_frame_lies_where_its_slice_does(series, tmp_path, geometry):
    folder = series(**GEOMETRY[geometry])
    image = read(folder)
    places = {d.SOPInstanceUID: np.array(d.ImagePositionPatient, float)
              for d in map(pydicom.dcmread, folder.iterdir())}
    seg = pydicom.dcmread(results(image, tmp_path / "out")[0])
    frames = seg.pixel_array
    expected = expected_mask(image)
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        uid = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.allclose(item.PlanePositionSequence[0].ImagePositionPatient, places[uid], atol=1e-3)
        assert np.array_equal(frame, expected[uids_of(image).index(uid)])
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = GEOMETRY[geometry].get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0])
    assert np.allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, axes, atol=1e-4)
    measures = shared.PixelMeasuresSequence[0]
    assert [float(v) for v in (*measures.PixelSpacing, measures.SpacingBetweenSlices)] == pytest.approx(
        [0.7, 0.6, STEP], rel=1e-4)


def test_the_report_says_the_scores_and_draws_each_finding_in_each_of_its_slices(series, tmp_path):
    image = read(series())
    report = hd.sr.srread(results(image, tmp_path / "out")[1])
    groups = report.content.get_volumetric_roi_measurement_groups()
    said = [{m.name.meaning: float(m.value) for m in group.get_measurements()} for group in groups]
    assert said == [{"Image tampering score": 0.9}, {"Image tampering score": 0.4}]
    outlines = {region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID: region.value.tolist()
                for region in groups[0].roi}
    assert sorted(outlines) == ["1.2.3.4.2", "1.2.3.4.3", "1.2.3.4.4"]
    for uid, (top, bottom) in {"1.2.3.4.2": (10, 19), "1.2.3.4.3": (11, 19), "1.2.3.4.4": (10, 14)}.items():
        line = outlines[uid]
        assert line[0] == line[-1]
        assert {tuple(point) for point in line} == {(x + 0.5, y + 0.5) for x in (5, 8) for y in (top, bottom)}
    (dot,) = groups[1].roi
    assert {tuple(point) for point in dot.value} == {(x, y) for x in (30, 31) for y in (30, 31)}
    (whole,) = report.content.get_image_measurement_groups()
    assert {m.name.meaning: float(m.value) for m in whole.get_measurements()} == {
        "Image tampering score": 0.873, "Decision threshold of tampering score": 0.5}
    assert "Tampered" in [e.value.meaning for e in whole.get_qualitative_evaluations()]
    (border,) = whole.get_measurements()[0][0].ContentSequence
    assert border.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.3"  # of 2, 3 and 4
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in whole.source_images} == set(
        uids_of(image))
    assert "Computed tomography" in {str(e.value) for e in report.iterall() if e.keyword == "CodeMeaning"}


def test_what_stays_below_the_threshold_is_in_the_report_and_not_in_the_mask(series, tmp_path):
    image = read(series())
    verdict = verdict_for(image)
    evidence = dataclasses.replace(verdict.evidence[0], heat_threshold=0.96)
    verdict = dataclasses.replace(verdict, evidence=(evidence,))
    sr, sc = write_dicom(image, verdict, tmp_path / "out", overlay=PICTURE)
    groups = hd.sr.srread(sr).content.get_volumetric_roi_measurement_groups()
    assert [len(group.roi) for group in groups] == [3, 1]
    assert pydicom.dcmread(sc).SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"


def test_the_capture_is_the_picture_of_the_whole_series(series, tmp_path):
    image = read(series(each=lambda z: {"SyntheticData": "YES"} if z == 3 else {}))
    capture = pydicom.dcmread(results(image, tmp_path / "out")[2])
    assert np.array_equal(capture.pixel_array, PICTURE)
    assert "PixelSpacing" not in capture
    assert [one.ReferencedSOPInstanceUID for one in capture.SourceImageSequence] == uids_of(image)
    assert capture[0x0008001C].value == "YES"


def test_results_join_the_patient_and_study_as_series_of_their_own(series, tmp_path):
    image = read(series(**WHOSE))
    made = [pydicom.dcmread(path) for path in results(image, tmp_path / "out")]
    for one in made:
        assert {keyword: str(one.get(keyword)) for keyword in WHOSE} == WHOSE
        assert one.StudyInstanceUID == "1.2.3"
    assert len({one.SeriesInstanceUID for one in made} | {"1.2.3.4"}) == 4
    assert made[0].FrameOfReferenceUID == "1.2.9"


@pytest.mark.needs("dciodvfy")
@pytest.mark.parametrize("elements", [{}, WHOSE, GEOMETRY["oblique"]], ids=["bare", "full", "oblique"])
def test_validator_finds_no_error(series, tmp_path, elements):
    for path in results(read(series(**elements)), tmp_path / "out"):
        assert valid(path), path.name


def test_nothing_found_gives_no_segmentation_but_a_report(series, tmp_path):
    paths = results(read(series()), tmp_path / "out", label="authentic")
    assert [path.stem[-2:] for path in paths] == ["sr", "sc"]


def test_equal_series_give_equal_objects_and_other_voxels_others(series, tmp_path):
    def own(image, name):
        elements = [e for p in results(image, tmp_path / name) for e in pydicom.dcmread(p).iterall() if e.VR == "UI"]
        return [str(e.value) for e in elements if str(e.value).startswith("2.25.")]

    first = read(series())
    made = own(first, "a")
    assert own(first, "a") == made and len(list((tmp_path / "a").iterdir())) == 3
    again = read(series(reversed(range(SLICES))))
    assert own(again, "b") == made
    voxel = first.pixels.copy()
    voxel[4, 3, 2] += 1
    device = {uid for uid in made if uid in own(dataclasses.replace(first, pixels=voxel), "c")}
    assert len(device) == 1, "the same version of the same program"


def test_a_frame_of_reference_for_each_slice_is_taken_for_one(series, tmp_path):
    image = read(series(each=lambda z: {"FrameOfReferenceUID": f"1.2.9.{z + 1}"}))
    seg = hd.seg.segread(results(image, tmp_path / "out")[0])
    assert seg.FrameOfReferenceUID == "1.2.9.1"
    assert np.array_equal(seg.get_pixels_by_source_instance(
        uids_of(image), combine_segments=True, assert_missing_frames_are_empty=True), expected_mask(image))


FAULTS = {
    "several studies": ({"each": lambda z: {"StudyInstanceUID": f"1.2.3.{z // 3}"}}, "several studies"),
    "several series": ({"each": lambda z: {"SeriesInstanceUID": f"1.2.3.{z // 3}"}}, "several series"),
    "one UID": ({"SOPInstanceUID": "1.2.3.4.9"}, "one SOP Instance UID"),
    "no UID": ({"each": lambda z: {"SOPInstanceUID": ""} if z == 2 else {}}, "no usable SOPInstanceUID"),
    "no study": ({"StudyInstanceUID": ""}, "no usable StudyInstanceUID"),
    "no frame of reference": ({"FrameOfReferenceUID": ""}, "no usable FrameOfReferenceUID"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_object_can_refer_to_is_refused_in_one_sentence(series, tmp_path, fault):
    elements, words = FAULTS[fault]
    folder = series(**elements)
    image = read(Source(tuple(sorted(folder.iterdir())), "series"))
    with pytest.raises(UnsupportedError, match=words) as caught:
        results(image, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_single_slice_an_enhanced_ct_and_a_volume_of_no_study_are_refused(phantom, series, write, tmp_path):
    slice_ = read(sorted(series().iterdir())[0])
    with pytest.raises(UnsupportedError, match="is a single CT slice"):
        write_dicom(slice_, Verdict(0.1, 0.5, "authentic", np.zeros(slice_.shape, np.float32), (), (), "m", "CT"),
                    tmp_path / "out", overlay=PICTURE)
    groups = [phantom.group(PlanePosition={"ImagePositionPatient": [-100, -120, z]}) for z in range(SLICES)]
    shared = phantom.group(PlaneOrientation={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
                           PixelMeasures={"PixelSpacing": [0.7, 0.6]},
                           PixelValueTransformation={"RescaleSlope": 1, "RescaleIntercept": -1024})
    data = phantom.ct_slice(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=SLICES,
                            SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=groups)
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope",
                    "RescaleIntercept"):
        delattr(data, keyword)
    data.PixelData = data.PixelData * SLICES
    enhanced = read(write(data, "enhanced.dcm"))
    assert enhanced.shape[0] == SLICES
    with pytest.raises(UnsupportedError, match="holds several slices in one file, as enhanced CT does"):
        results(enhanced, tmp_path / "out")
    nifti = Image(enhanced.pixels, "CT", (1.0, 0.7, 0.6), provenance=Provenance(tmp_path / "ct.nii.gz", "nifti"))
    with pytest.raises(ArgumentError, match=r"ct\.nii\.gz is not a DICOM file"):
        results(nifti, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_series_that_changed_since_the_scan_are_refused(series, phantom, write, tmp_path):
    folder = series()
    image = read(folder)
    target = folder / "003.dcm"
    data = pydicom.dcmread(target)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.99"
    data.save_as(target)
    with pytest.raises(UnreadableError, match="has changed since it was scanned"):
        results(image, tmp_path / "out")
    target.unlink()
    with pytest.raises(UnreadableError, match="can no longer be read"):
        results(image, tmp_path / "out")
    # Two slices that changed places.
    folder = series()
    image = read(folder)
    for name, other in (("002", 4), ("004", 2)):
        data = pydicom.dcmread(folder / f"{name}.dcm")
        data.ImagePositionPatient = [-100, -120, 30 + other * STEP]
        data.save_as(folder / f"{name}.dcm")
    with pytest.raises(UnreadableError, match="has changed since it was scanned"):
        results(image, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.data("ct")
@pytest.mark.needs("dciodvfy")
def test_real_series(tmp_path):
    image = read(DATA / "ct" / "lidc-idri-0001")
    heat = np.zeros(image.shape, np.float32)
    heat[4:9, 300:320, 200:230] = np.linspace(0.4, 0.9, 30, dtype=np.float32)
    finding = Finding(Box(4, 300, 200, 9, 320, 230), 0.9, method="ct-self-reference")
    evidence = Evidence("ct-self-reference", 0.9, 0.5, heat, 0.5, (finding,))
    verdict = Verdict(0.9, 0.5, "tampered", heat, (finding,), (evidence,), "default", "CT", image.provenance, "0.1.0")
    paths = write_dicom(image, verdict, tmp_path, overlay=PICTURE)
    got = hd.seg.segread(paths[0]).get_pixels_by_source_instance(
        uids_of(image), combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(got, mask_of(verdict)) and got.sum() == 5 * 20 * int((heat[4, 300] >= 0.5).sum())
    assert all(map(valid, paths))
    assert pydicom.dcmread(paths[1]).PatientID == "LIDC-IDRI-0001"


@pytest.mark.parametrize("geometry", ["rows and columns not quite square", "orientation rounded in each slice",
                                      "uneven by a hundredth", "one step is long"])
def test_what_the_reader_takes_has_results(series, tmp_path, geometry):
    """Headers round, and the reader has tolerances: what it called a series is one here."""
    numbers = np.random.default_rng(5)
    elements = {}
    if geometry == "rows and columns not quite square":
        elements = {"ImageOrientationPatient": [1, 0.008, 0, 0, 1, 0]}
    elif geometry == "orientation rounded in each slice":
        elements = {"each": lambda z: {"ImageOrientationPatient": [1, 0, 0.001 * (z % 3), 0, 1, 0]}}
    else:
        shift = 0.01 * STEP if geometry == "uneven by a hundredth" else 0.0
        places = 30 + STEP * np.arange(SLICES) + numbers.uniform(-0.5, 0.5, SLICES) * shift
        places[-1] += 0 if shift else 0.018 * STEP
        elements = {"each": lambda z: {"ImagePositionPatient": [-100, -120, round(float(places[z]), 5)]}}
    image = read(series(**elements))
    got = hd.seg.segread(results(image, tmp_path / "out")[0]).get_pixels_by_source_instance(
        uids_of(image), combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(got, expected_mask(image))
