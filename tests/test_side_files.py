"""Scanward's own pictures beside images: passed over by a search, for what is in them, and always said."""

import gzip
import json
import os
import shutil

import cv2
import nibabel
import numpy as np
import pytest
from small import film

from scanward import formats
from scanward.image import Image
from scanward.report.heat import png


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.full((64, 64, 3), 255, np.uint8)))
    return path


def test_a_film_named_like_a_mask_beside_a_record_is_scanned(run, bright, tmp_path):
    for name in ("mask.png", "stages.png", "before-after.png", "protected.png", "altered.png"):
        film(tmp_path / name, 65535)
    for name in ("record.json", "evidence.json", "verified.json"):
        (tmp_path / name).write_text("{}")
    code, out, _ = run("scan", tmp_path)
    assert code == 1 and "5 images: 5 tampered." in out and "Passed over" not in out


def test_own_pictures_are_passed_over_under_any_name_and_said(run, bright, tmp_path):
    film(tmp_path / "a.png", 20000)
    picture(tmp_path / "whatever.png")
    picture(tmp_path / "sub" / "film 2.png")
    code, out, err = run("scan", tmp_path)
    assert (code, err) == (0, "")
    assert "1 image: 1 authentic." in out
    said = next(line for line in out.splitlines() if line.startswith("Passed over"))
    assert "2 of Scanward's own pictures" in said and "whatever.png" in said and "film 2.png" in said


def test_what_is_passed_over_is_in_json_and_report(run, bright, tmp_path):
    film(tmp_path / "in" / "a.png", 20000)
    drawn, hidden = picture(tmp_path / "in" / "b.png"), film(tmp_path / "in" / ".c.png", 20000)
    code, out, _ = run("scan", "--json", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0
    lines = {os.path.basename(line["path"]): line for line in map(json.loads, out.splitlines())}
    assert set(lines) == {"a.png", "b.png", ".c.png"}
    assert lines["b.png"]["path"] == str(drawn) and lines[".c.png"]["path"] == str(hidden)
    for name in ("b.png", ".c.png"):
        assert lines[name]["label"] == "unscanned" and lines[name]["reason"].endswith(".")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "b.png" in page and ".c.png" in page and str(tmp_path) not in page


def test_a_hidden_image_and_a_hidden_folder_are_said(run, bright, tmp_path):
    film(tmp_path / "a.png", 20000)
    film(tmp_path / ".forged.png", 65535)
    film(tmp_path / ".more" / "b.png", 65535)
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    code, out, _ = run("scan", tmp_path)
    assert code == 0
    said = next(line for line in out.splitlines() if line.startswith("Passed over"))
    assert "2 hidden" in said and ".forged.png" in said and ".more" in said and ".DS_Store" not in said


def test_formats_that_are_not_read_are_said_and_pipes_and_links_to_nothing_are_errors(run, bright, tmp_path):
    film(tmp_path / "in" / "a.png", 20000)
    assert cv2.imwrite(str(tmp_path / "in" / "b.jpg"), np.zeros((64, 48), np.uint8))
    (tmp_path / "in" / "c.dcm.gz").write_bytes(gzip.compress(bytes(128) + b"DICM"))
    code, out, err = run("scan", tmp_path / "in")
    assert (code, err) == (0, "")
    said = next(line for line in out.splitlines() if line.startswith("Passed over"))
    assert said.startswith("Passed over: 2 in formats that Scanward does not read: ")
    assert "b.jpg" in said and "c.dcm.gz" in said
    os.mkfifo(tmp_path / "in" / "d.dcm")
    os.symlink("nowhere", tmp_path / "in" / "e.tif")
    code, out, err = run("scan", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert code == 2 and "d.dcm is not a regular file" in err and "e.tif is a link that leads to no file" in err
    labels = {os.path.basename(line["path"]): (line["label"], "error" in line) for line in map(json.loads,
                                                                                               out.splitlines())}
    assert labels == {"a.png": ("authentic", False), "b.jpg": ("unscanned", False), "c.dcm.gz": ("unscanned", False),
                      "d.dcm": ("inconclusive", True), "e.tif": ("inconclusive", True)}


def test_a_picture_named_itself_is_scanned(run, bright, tmp_path):
    path = picture(tmp_path / "a.png")
    code, out, _ = run("scan", path)
    assert code == 0 and "1 image: 1 authentic." in out and "Passed over" not in out
    assert "1 image" in run("scan", str(tmp_path / "*.png"))[1]


def test_a_folder_of_pictures_only_says_so(run, bright, tmp_path):
    picture(tmp_path / "a.png")
    code, _, err = run("scan", tmp_path)
    assert code == 2 and err.count("\n") == 1 and "passed over" in err


def test_masks_of_volumes_are_known_by_their_header(tmp_path):
    from scanward.formats.write_volume import write_mask

    image = Image(np.zeros((40, 40, 40), np.float32), "CT", (1.0, 1.0, 1.0))
    write_mask(tmp_path / "a.nii.gz", np.zeros((40, 40, 40), bool), image)
    (tmp_path / "b.nii").write_bytes(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    nibabel.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.eye(4)).to_filename(tmp_path / "mask.nii.gz")
    passed = []
    sources, _ = formats.find([tmp_path], passed=passed)
    assert [s.path.name for s in sources] == ["mask.nii.gz"]
    assert [one.path.name for one in passed] == ["a.nii.gz", "b.nii"]


def test_folders_that_scanward_wrote_are_scanned_for_their_images_alone(run, bright, old, tmp_path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :300]
    tissue = np.where(np.hypot((y - 200) / 180, x / 240) < 1, 30000 + rng.normal(0, 600, (400, 300)), 600)
    host = tmp_path / "host.png"
    assert cv2.imwrite(str(host), np.rint(tissue).astype(np.uint16))
    every = ("--modality", "MG", "--spacing", "0.2", "--method", "composed-mass")
    out = tmp_path / "out"
    assert run("inject", host, "-o", out / "forged", "--size", "10", *every)[0] == 0
    assert run("seal", host, "--key", old / "site.key", "-o", out)[0] == 0
    shutil.copytree(old / "film", out / "protected")
    run("verify", out / "protected", "--key", old / "site.key", "-o", out / "verified")
    run("scan", host, "-o", out / "scanned")
    shutil.move(out / "forged" / "mask.png", out / "elsewhere.png")
    _, printed, err = run("scan", "--json", out)
    assert err == ""
    lines = [json.loads(line) for line in printed.splitlines()]
    images = sorted(os.path.basename(line["path"]) for line in lines if line["label"] != "unscanned")
    assert images == ["film-protected.png", "host-forged.png"]
    own = sorted(os.path.basename(line["path"]) for line in lines if line["label"] == "unscanned")
    assert own == ["altered.png", "before-after.png", "elsewhere.png", "host.heat.png", "verified.png"]


@pytest.mark.parametrize("command", [
    ("scan", "LOOP"), ("calibrate", "LOOP", "-o", "OUT"), ("inject", "LOOP", "--size", "10", "-o", "OUT"),
    ("inject", "FILM", "--size", "10", "-o", "LOOP", "--spacing", "0.2", "--modality", "MG"),
    ("verify", "LOOP", "--key", "KEY"),
    ("protect", "LOOP", "--key", "KEY", "-o", "OUT"), ("protect", "FILM", "--key", "KEY", "-o", "LOOP"),
    ("unprotect", "LOOP", "--key", "KEY", "-o", "OUT"), ("scan", "LOOP", "--key", "KEY"),
    ("replay", "LOOP"), ("scan", "FILM", "-o", "LOOP"),
], ids=" ".join)
def test_links_that_lead_to_themselves_are_one_sentence(command, run, bright, tmp_path):
    os.symlink(tmp_path / "b.png", tmp_path / "a.png")
    os.symlink(tmp_path / "a.png", tmp_path / "b.png")
    run("key", tmp_path / "k")
    names = {"LOOP": tmp_path / "a.png", "OUT": tmp_path / "out", "KEY": tmp_path / "k",
             "FILM": film(tmp_path / "f.png", 20000)}
    code, _, err = run(*(names.get(word, word) for word in command))
    assert code == 2 and err.count("\n") == 1 and "internal" not in err.lower()
    assert "a.png" in err or command[0] == "calibrate"


def test_the_results_of_a_scan_are_passed_over_when_their_folder_is_scanned(run, bright, tmp_path):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3", "MG"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientID = "1.2.4", "1.2.5", "P1"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 64, 48, 16, 16, 15
    pixels = np.zeros((64, 48), np.uint16)
    pixels[10:18, 20:28] = 65535
    data.PixelData = pixels.tobytes()
    data.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    assert run("scan", tmp_path / "film.dcm", "--dicom", tmp_path / "results")[0] == 1
    shutil.copy(tmp_path / "film.dcm", tmp_path / "results")
    code, out, err = run("scan", tmp_path / "results")
    assert (code, err) == (1, "")
    assert "1 image: 1 tampered." in out
    assert "1 of Scanward's own pictures" in out and "2 that are no images" in out
