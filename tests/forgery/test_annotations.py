"""`scanward augment`: masses for those who train lesion detectors, and annotations that tools of theirs read."""

import gzip
import io
import json
import subprocess

import cv2
import numpy as np
import pydicom
import pytest

from scanward.formats.derived_lesion import lesion_report
from scanward.regions import parts_of

MASS = ("--method", "composed-mass", "--size", "8-12")
PLAIN = (*MASS, "--spacing", 0.2, "--modality", "MG")


@pytest.fixture(name="film")
def film_of_a_study(dicom):
    film = pydicom.dcmread(dicom)
    film.StudyInstanceUID, film.SeriesInstanceUID = "2.25.1", "2.25.2"
    film.save_as(dicom)
    return dicom


def coco(folder):
    return json.loads((folder / "annotations.json").read_text())


def test_boxes_areas_and_polygons_are_the_masks(png, tmp_path, run):
    code, printed, err = run("augment", png, "-o", tmp_path / "set", "--count", 3, *PLAIN)
    assert (code, err) == (0, "") and "3 images annotated" in printed
    made = coco(tmp_path / "set")
    assert [one["file_name"] for one in made["images"]] == [f"{n:05d}/a füm-forged.png" for n in (1, 2, 3)]
    assert {(one["width"], one["height"]) for one in made["images"]} == {(300, 400)}
    assert made["categories"] == [{"id": 1, "name": "mass", "supercategory": "lesion"}]
    for image, one in zip(made["images"], made["annotations"], strict=True):
        assert one["image_id"] == image["id"] and one["attributes"]["synthetic"] is True
        assert 8 <= one["attributes"]["size_mm"] <= 12
        mask = cv2.imread(str(tmp_path / "set" / image["file_name"].split("/")[0] / "mask.png"), 0) > 127
        x, y, w, h = one["bbox"]
        assert mask[y:y + h, x:x + w].sum() == mask.sum() == one["area"]
        assert mask[y].any() and mask[y + h - 1].any() and mask[:, x].any() and mask[:, x + w - 1].any()
        drawn = np.zeros(mask.shape, np.uint8)
        for line in one["segmentation"]:
            points = np.array(line).reshape(-1, 2) - 0.5
            cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], 1)
        assert (drawn.astype(bool) & mask).sum() / (drawn.astype(bool) | mask).sum() > 0.98
    assert not list((tmp_path / "set").rglob("*.dcm")), "a PNG has no study to write a report into"


def test_polygons_of_a_square_and_a_bar_by_hand():
    plane = np.zeros((8, 9), bool)
    plane[2:5, 1:5] = plane[6, 6:9] = True
    square, bar = parts_of(plane)
    assert sorted(map(tuple, square)) == [(1.5, 2.5), (1.5, 4.5), (4.5, 2.5), (4.5, 4.5)]
    assert sorted(map(tuple, bar)) == [(6, 6), (6, 7), (9, 6), (9, 7)], "too thin for an outline: its box"


def test_a_dicom_host_gets_a_report_that_outlines_the_mass_and_says_that_it_is_synthetic(film, tmp_path, run):
    code, _, err = run("augment", film, "-o", tmp_path / "set", "--count", 1, *MASS)
    assert (code, err) == (0, "")
    home = tmp_path / "set" / "00001"
    report, forged = pydicom.dcmread(home / "annotation.dcm"), pydicom.dcmread(home / "film-forged.dcm")
    assert report[0x0008001C].value == "YES" and "SYNTHETIC" in report.SeriesDescription
    assert report.PatientName == forged.PatientName
    items = list(_items(report))
    outlines = [item for item in items if item.ValueType == "SCOORD"]
    mask = cv2.imread(str(home / "mask.png"), 0) > 127
    assert len(outlines) == 1
    points = np.array(outlines[0].GraphicData).reshape(-1, 2)
    y, x = np.nonzero(mask)
    assert np.allclose([points.min(0), points.max(0)], [(x.min() + .5, y.min() + .5), (x.max() + .5, y.max() + .5)])
    diameter, = (item.MeasuredValueSequence[0] for item in items
                 if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "81827009")
    kept = coco(tmp_path / "set")["annotations"][0]["attributes"]["size_mm"]
    assert float(diameter.NumericValue) == pytest.approx(kept)
    assert diameter.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    seen = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items if item.ValueType == "IMAGE"]
    assert set(seen) == {forged.SOPInstanceUID}


@pytest.mark.needs("dciodvfy")
def test_dciodvfy_has_no_error_to_tell_of(film, tmp_path, run):
    run("augment", film, "-o", tmp_path / "set", "--count", 1, *MASS)
    report = tmp_path / "set" / "00001" / "annotation.dcm"
    done = subprocess.run(["dciodvfy", "-new", str(report)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    # its dictionary is older than Synthetic Data
    assert not [line for line in said if line.startswith("Error") and "(0008,001c)" not in line]
    assert any(line.strip() == "ComprehensiveSR" for line in said)


def _items(item):
    for one in item.get("ContentSequence", []):
        yield one
        yield from _items(one)


def test_specks_beside_the_mass_are_no_masses(film, tmp_path, run):
    out = tmp_path / "set"
    run("inject", film, "-o", out, "--count", 1, *MASS)
    truth = np.zeros((400, 300), np.uint8)
    truth[100:120, 50:80] = truth[98, 48] = truth[60:62, 200:203] = 255
    truth[120, 80] = 255  # joined by a corner
    assert cv2.imwrite(str(out / "00001" / "mask.png"), truth)
    assert run("augment", film, "-o", out, "--count", 1, *MASS)[0] == 0
    one, = coco(out)["annotations"]
    assert (one["bbox"], one["area"], len(one["segmentation"])) == ([50, 100, 31, 21], 20 * 30 + 1, 1)
    report = pydicom.dcmread(out / "00001" / "annotation.dcm")
    outline, = (item for item in _items(report) if item.ValueType == "SCOORD")
    points = np.array(outline.GraphicData).reshape(-1, 2)
    assert [*points.min(0), *points.max(0)] == [50.5, 100.5, 80.5, 120.5]


def test_it_goes_on_and_leaves_out_what_was_harmed(film, tmp_path, run):
    out = tmp_path / "set"
    run("augment", film, "-o", out, "--count", 2, *MASS)
    report = (out / "00001" / "annotation.dcm").read_bytes()
    (out / "00002" / "mask.png").write_bytes(b"none")
    code, _, err = run("augment", film, "-o", out, "--count", 3, *MASS)
    assert code == 0 and err == ""
    assert [one["id"] for one in coco(out)["images"]] == [1, 3]
    assert (out / "00001" / "annotation.dcm").read_bytes() == report


def test_a_header_that_nothing_can_refer_to_costs_the_report_alone(film, tmp_path, run):
    data = pydicom.dcmread(film)
    del data.StudyInstanceUID
    data.save_as(film)
    code, _, err = run("augment", film, "-o", tmp_path / "set", "--count", 1, *MASS)
    assert (code, err.count("\n")) == (2, 1) and "film-forged.dcm" in err
    assert len(coco(tmp_path / "set")["images"]) == 1
    assert not (tmp_path / "set" / "00001" / "annotation.dcm").exists()


def test_the_same_forgery_has_the_same_report_uid(film):
    mask = np.zeros((400, 300), bool)
    mask[100:120, 50:80] = True
    first, again, other = (
        pydicom.dcmread(io.BytesIO(lesion_report(film, mask, 8.0, "m", "1", {"seed": seed}))).SOPInstanceUID
        for seed in (1, 1, 2))
    assert first == again != other


def test_chest_ct_is_refused_with_one_sentence(tmp_path, run):
    path = tmp_path / "chest.nii.gz"
    path.write_bytes(gzip.compress(b"\0" * 344 + b"n+1\0"))
    code, printed, err = run("augment", path, "-o", tmp_path / "set", "--count", 1)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "set").exists()
