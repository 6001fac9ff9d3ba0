"""CT that a detector judges: every door gives its results as those of films."""

import dataclasses
import json

import highdicom as hd
import numpy as np
import pydicom
import pytest
from test_scanning import enhanced, study  # noqa: F401  (a fixture)

from scanward.detectors.base import findings_of
from scanward.gateway import mercure
from scanward.modality import MODALITIES
from scanward.settings import Work
from scanward.verdict import Evidence

SLICES = 12
PLACE = slice(4, 7), slice(20, 32), slice(30, 44)


@pytest.fixture
def judged(bright, monkeypatch):
    """CT has a detector, which calls forged what has more than 3,000 HU."""

    def detect(self, image):
        heat = np.where(image.pixels > 3000, np.float32(0.9), np.float32(0.1))
        found = findings_of(heat, 0.5, image, self.name)
        return Evidence(self.name, 0.9 if found else 0.1, 0.5, heat, 0.5, found)

    monkeypatch.setattr(bright, "detect", detect)
    row = dataclasses.replace(MODALITIES["CT"], detectors=("self-reference",))
    monkeypatch.setitem(MODALITIES, "CT", row)


@pytest.fixture
def series(dicom, tmp_path):
    """A forged series; 4,095 is 3,071 HU."""
    paths = dicom.ct(tmp_path / "ct", SLICES)
    for z, path in enumerate(paths):
        data = pydicom.dcmread(path)
        pixels = data.pixel_array % 2000
        if PLACE[0].start <= z < PLACE[0].stop:
            pixels[PLACE[1:]] = 4095
        data.PixelData = pixels.astype(np.uint16).tobytes()
        data.save_as(path)
    return paths


def mask_in(path, series):
    uids = [pydicom.dcmread(one).SOPInstanceUID for one in series]
    return hd.seg.segread(path).get_pixels_by_source_instance(uids, combine_segments=True,
                                                              assert_missing_frames_are_empty=True)


def expected():
    mask = np.zeros((SLICES, 64, 64), bool)
    mask[PLACE] = True
    return mask


def test_a_gateway_sends_the_results_of_a_series(study, judged, series):  # noqa: F811
    scanned = study(series, dataclasses.replace(study.plain, work=Work()))
    (image,) = scanned.record.images
    assert (image.label, image.note, image.shape) == ("tampered", None, (SLICES, 64, 64))
    assert [path.stem[-2:] for path in scanned.results] == ["eg", "sr", "sc"]
    done = study.inbox.root / "done" / scanned.record.key
    assert np.array_equal(mask_in(done / image.results[0], series), expected())
    report = hd.sr.srread(done / image.results[1])
    assert len(report.content.get_volumetric_roi_measurement_groups()) == 1
    assert (done / "pictures" / image.id / "heat.nii.gz").is_file()


def test_mercure_gives_the_results_of_a_series(judged, series, tmp_path):
    assert mercure.run(series[0].parent, tmp_path / "out") == 0
    (image,) = json.loads((tmp_path / "out" / "result.json").read_text())["images"]
    assert image["label"] == "tampered" and len(image["objects"]) == 3
    assert np.array_equal(mask_in(tmp_path / "out" / image["objects"][0], series), expected())


def test_the_command_line_gives_the_results_of_a_series(judged, series, tmp_path, run):
    code, _, error = run("scan", series[0].parent, "-o", tmp_path / "out", "--dicom", tmp_path / "dicom")
    assert code == 1, error
    seg, = (tmp_path / "dicom").glob("ct-*-seg.dcm")
    assert np.array_equal(mask_in(seg, series), expected())
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<img class="slices"') == 2 and "slices 5 to 7 of 12" in page


@pytest.mark.parametrize("kind", ["enhanced", "one slice"])
def test_what_has_no_dicom_results_keeps_its_other_outputs(judged, series, tmp_path, run, kind):
    if kind == "enhanced":
        (path,) = enhanced(series, tmp_path / "e", SLICES)
    else:
        path = series[5]
    code, printed, error = run("scan", path, "--json", "-o", tmp_path / "out", "--dicom", tmp_path / "dicom")
    words = "holds several slices in one file" if kind == "enhanced" else "is a single CT slice"
    assert code == 2 and error.count(words) == 1 and "Traceback" not in error
    assert json.loads(printed)["label"] == "tampered"
    assert "TAMPERED" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "dicom").exists()
