"""Sealing, verifying and scanning from the command line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
from sealable import ct_slice
from small import altered

import scanward


def test_an_archive_is_sealed_and_verified_without_a_secret(run, key, series, film, tmp_path):
    code, out, err = run("seal", series, film, "--key", key, "--site", "Hospital", "--log", tmp_path / "log")
    assert (code, err) == (0, "")
    assert [line.rsplit("/", 1)[1] for line in out.splitlines()] == [
        "series.seal", "series.seal.copy", "film.dcm.seal", "film.dcm.seal.copy"]
    assert run("certificate", "--key", key, "-o", tmp_path / "site.crt", "--site", "Hospital")[0] == 0
    check = ("--certificate", tmp_path / "site.crt", "--log", tmp_path / "log")
    code, out, err = run("verify", series, film, *check)
    assert (code, err, out.count("authentic: "), out.count("Sealed by Hospital")) == (0, "", 2, 2)
    altered(film)
    code, out, _ = run("verify", series, film, "--json", *check)
    one, two = map(json.loads, out.splitlines())
    assert (code, one["label"], two["label"]) == (1, "authentic", "tampered")
    (found,) = two["findings"]
    x0, y0, _, x1, y1, _ = found["box"]
    assert (x0 <= 2500 % 120 < x1, y0 <= 2500 // 120 < y1) == (True, True)


def test_a_scan_hears_the_seal(run, bright, key, film, tmp_path):
    assert run("seal", film, "--key", key)[0] == 0
    assert run("scan", film, "--key", key)[0] in (0, 1)
    altered(film)
    code, out, _ = run("scan", film, "--key", key, "--json")
    verdict = json.loads(out)
    assert (code, verdict["label"], "It was altered in one place." in out) == (1, "tampered", True)


def test_python_seals_verifies_and_scans_as_the_command_does(run, bright, key, series, film, tmp_path):
    secret = bytes.fromhex(key.read_text().split()[1])
    assert run("certificate", "--key", key, "-o", tmp_path / "site.crt")[0] == 0
    written = scanward.seal(film, key, site="Hospital", log=tmp_path / "log")
    assert written == film.with_name("film.dcm.seal")
    elsewhere = scanward.seal(series, secret, tmp_path / "seals")
    assert elsewhere == tmp_path / "seals" / "series.seal"
    for more in ({"key": key}, {"certificates": [tmp_path / "site.crt"]}, {"key": secret, "log": tmp_path / "log"}):
        answer = scanward.verify(film, **more)
        assert (answer.label, answer.boxes, answer.signer) == ("authentic", (), "Hospital")
        assert {"voxels", "geometry", "identity", "history"} <= set(answer.parts) and answer.seal.name == "film.dcm"
    for where in (elsewhere, tmp_path / "seals"):
        assert scanward.verify(series, key, seal=where).label == "authentic"
    with pytest.raises(scanward.UnreadableError, match="seal="):
        scanward.verify(series, key)
    altered(film)
    for ask in (scanward.verify, lambda *given: scanward.scan(given[0], key=given[1])):
        assert ask(film, key).label == "tampered"
    (box,) = scanward.verify(film, key).boxes
    assert box.y0 <= 2500 // 120 < box.y1 and box.x0 <= 2500 % 120 < box.x1
    with pytest.raises(scanward.ArgumentError, match="exists already"):
        scanward.seal(film, key)
    nobody = pydicom.dcmread(series / "3.dcm")
    nobody.PatientName = "Somebody^Else"
    nobody.save_as(series / "3.dcm")
    assert scanward.verify(series, key, seal=elsewhere).label == "tampered"
    assert scanward.verify(series, key, seal=elsewhere, identity="any").label == "authentic"


def test_a_strangers_seal_hides_nothing_and_vouches_for_nothing(run, bright, key, film, old, tmp_path):
    assert run("key", tmp_path / "other.key")[0] == 0
    own, image = old / "site.key", old / "film" / "film-protected.png"
    pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
    pixels[40, 50] += 1
    assert cv2.imwrite(str(image), pixels)
    assert run("verify", image, "--key", own)[0] == 1
    assert run("seal", image, "--key", tmp_path / "other.key")[0] == 0
    code, out, _ = run("verify", image, "--key", own)
    assert (code, out.split(":")[0]) == (1, "tampered")
    assert run("seal", film, "--key", tmp_path / "other.key")[0] == 0
    code, out, _ = run("verify", film, "--key", key)
    assert (code, "whose certificate was not given" in out) == (3, True)


def test_a_log_is_checked_with_heads_that_were_kept(run, key, film, tmp_path):
    log = tmp_path / "log"
    assert run("seal", film, "--key", key, "--log", log)[0] == 0
    code, head, _ = run("log", "head", log, "--key", key)
    (tmp_path / "kept.json").write_text(head)
    code, out, _ = run("log", "check", log, "--key", key, "--head", tmp_path / "kept.json")
    assert (code, out) == (0, "1 entry, as every head says.\n")
    proof = json.loads(run("log", "prove", log, f"{film}.seal")[1])
    assert (proof["index"], proof["size"], proof["path"]) == (0, 1, [])
    assert json.loads(run("log", "list", log)[1])["name"] == "film.dcm"
    (log / "entries.jsonl").write_text("")
    code, _, err = run("log", "check", log, "--key", key, "--head", tmp_path / "kept.json")
    assert (code, "entries were taken out" in err) == (1, True)


@pytest.mark.parametrize(("given", "words"), [
    (("seal", "FILM"), "Nobody would have sealed"),
    (("seal", "FILM", "--key", "KEY", "--certificate", "KEY"), "belong together"),
    (("seal", "nowhere.dcm", "--key", "KEY"), "nowhere.dcm does not exist"),
    (("seal", "KEY", "--key", "KEY"), "site.key is of no format that can be sealed"),
    (("verify", "FILM"), "Nobody's seals would count"),
    (("verify", "FILM", "--key", "KEY", "--identity", "some"), "neither same nor any"),
    (("verify", "FILM", "--key", "KEY", "--log", "nowhere"), "--log nowhere is no folder"),
    (("verify", "FILM", "--certificate", "KEY"), "holds no certificate"),
    (("log", "check", "nowhere", "--key", "KEY"), "nowhere is no log"),
    (("log", "check", "EMPTY", "--key", "KEY"), "is no log"), (("log", "list", "nowhere"), "nowhere is no log"),
    (("log", "list", "EMPTY"), "is no log"), (("log", "head", "EMPTY", "--key", "KEY"), "is no log"),
    (("log", "head", "nowhere", "--key", "KEY"), "nowhere is no log"),
    (("log", "head", "KEY", "--key", "KEY"), "is no log"), (("log", "prove", "EMPTY", "KEY"), "is no log"),
    (("log", "list", "KEY"), "is no log"),
])
def test_what_cannot_be_is_one_sentence(run, key, film, given, words):
    places = {"FILM": film, "KEY": key, "EMPTY": film.with_name("empty")}
    places["EMPTY"].mkdir()
    code, out, err = run(*(places.get(word, word) for word in given))
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1
    assert not any(places["EMPTY"].iterdir()) and not Path("nowhere").exists()


def test_a_second_run_goes_on_and_overwrites_nothing(run, key, series, film, tmp_path):
    log, seal = tmp_path / "log", film.with_name("film.dcm.seal")
    assert run("seal", film, "--key", key)[0] == 0
    before = seal.read_bytes()
    code, out, err = run("seal", film, series, "--key", key, "--log", log)
    assert (code, out.split()) == (0, [f"{series}.seal", f"{series}.seal.copy"])
    assert err == f"scanward: {film} is sealed already, and is as it was sealed.\n"
    assert run("seal", film, series, "--key", key, "--log", log, "-q") == (0, "", "")
    assert run("verify", film, series, "--key", key, "--log", log)[0] == 0
    assert len(run("log", "list", log)[1].splitlines()) == 2
    assert run("key", tmp_path / "other.key")[0] == 0
    code, _, err = run("seal", film, "--key", tmp_path / "other.key")
    assert (code, "exists already and is not overwritten" in err) == (2, True)
    altered(film)
    code, _, err = run("seal", film, "--key", key)
    assert (code, "exists already and is not overwritten" in err, seal.read_bytes()) == (2, True, before)
    assert run("seal", film, "--key", key, "-o", tmp_path / "new")[0] == 0, "where no seal lies"
    assert run("seal", film, "--key", key, "-o", seal)[0] == 2


def test_what_lies_in_the_folder_of_a_sealed_series_is_not_passed_over(run, key, series, film):
    assert run("seal", series, "--key", key)[0] == 0
    assert run("verify", series, "--key", key)[0] == 0
    film.rename(series / "film.dcm")
    code, _, err = run("verify", series, "--key", key)
    assert code == 2
    assert "No seal lies beside" in err or "names no evidence" in err
    (series / "film.dcm").rename(series / ".film.dcm")
    code, _, err = run("verify", series, "--key", key)
    assert (code, "Passed over: 1 hidden" in err) == (3, True)


SEGMENTATION = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}
REPORT = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22", "Rows": None, "PixelData": None}


@pytest.mark.parametrize(("name", "says", "code"), [
    (".x.dcm", {}, 3), (".x.dcm", {"SeriesInstanceUID": "1.2.99"}, 3), (".hidden/.below/x.dcm", {}, 3),
    ("x.dcm", SEGMENTATION, 3), (".x.dcm", REPORT, 3),
    ("x.dcm", SEGMENTATION | {"SeriesInstanceUID": "1.2.99"}, 0),
    ("x.dcm", REPORT | {"SeriesInstanceUID": "1.2.99"}, 0),
    (".x.dcm", {"SeriesInstanceUID": "1.2.99", "StudyInstanceUID": "1.2.98"}, 0),
])
def test_what_is_passed_over_and_says_it_is_of_the_series_keeps_the_answer_from_green(run, key, series, name, says,
                                                                                      code):
    assert run("seal", series, "--key", key)[0] == 0
    path = series / name
    path.parent.mkdir(parents=True, exist_ok=True)
    ct_slice(4, SOPInstanceUID="1.2.77", **says).save_as(path, enforce_file_format=True)
    found, out, err = run("verify", series, "--key", key)
    assert (found, "Passed over: 1" in err) == (code, True)
    assert (f"inconclusive: {path}" in out) == (code == 3)
    assert run("verify", series, path, series, "--key", key)[1].count(f"inconclusive: {path}") == 0  # named itself
    said = [json.loads(line) for line in run("verify", series, series, "--key", key, "--json")[1].splitlines()]
    assert [one["label"] for one in said] == ["inconclusive", "authentic"][code == 0:]
    if code:
        with pytest.raises(scanward.InputError, match=name.rpartition("/")[2]):
            scanward.verify(series, key)
    else:
        assert scanward.verify(series, key).label == "authentic"


def test_a_sealed_image_that_is_gone_from_its_folder_is_said(run, key, film):
    folder = film.parent / "films"
    folder.mkdir()
    film.rename(folder / "a.dcm")
    (folder / "b.dcm").write_bytes((folder / "a.dcm").read_bytes())
    assert run("seal", folder, "--key", key)[0] == 0
    (folder / "b.dcm").unlink()
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, "b.dcm" in out, "is not there any more" in out) == (3, True, True)


def test_what_was_altered_is_drawn_and_mapped(run, key, series, film, tmp_path):
    assert run("seal", series, film, "--key", key)[0] == 0
    altered(film)
    for z in (4, 5):
        altered(series / f"{z}.dcm")
    code, _, err = run("verify", series, film, "--key", key, "-o", tmp_path / "out")
    assert (code, err) == (1, "")
    for name, shape in (("series", (9, 64, 80)), ("film", (1, 160, 120))):
        folder = tmp_path / "out" / name
        said = json.loads((folder / "verified.json").read_text())
        assert said["label"] == "tampered"
        expected = np.zeros(shape, bool)
        for found in said["findings"]:
            x0, y0, z0, x1, y1, z1 = found["box"]
            expected[z0:z1, y0:y1, x0:x1] = True
        if name == "film":
            mapped = cv2.imread(str(folder / "altered.png"), cv2.IMREAD_UNCHANGED)[None] == 255
        else:
            stored = nibabel.load(folder / "altered.nii.gz")
            mapped = np.asarray(stored.dataobj).transpose(2, 1, 0) == 1
            assert np.allclose(stored.affine, [[-0.6, 0, 0, 20], [0, -0.7, 0, 30], [0, 0, 2.5, 0], [0, 0, 0, 1]])
        assert mapped.any() and np.array_equal(mapped, expected)
        assert cv2.imread(str(folder / "verified.png")).shape[0] >= 480
    code, _, err = run("verify", film, "--key", key, "-o", tmp_path / "out" / "film")
    assert (code, err.count("\n")) == (2, 1)


def test_what_no_scan_reads_is_drawn_too(run, key, series, tmp_path):
    copy = pydicom.dcmread(series / "4.dcm")
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = "1.9"
    (series / "copy.dcm").write_bytes((series / "4.dcm").read_bytes())
    float_volume = tmp_path / "us.dcm"
    copy.SOPClassUID, copy.Modality = "1.2.840.10008.5.1.4.1.1.6.1", "US"
    copy.save_as(float_volume)
    assert run("seal", series, float_volume, "--key", key)[0] == 0
    altered(float_volume)
    assert run("verify", series, float_volume, "--key", key, "-o", tmp_path / "out")[0] == 1
    for name in ("series", "us"):
        assert (tmp_path / "out" / name / "verified.png").exists()
    assert (tmp_path / "out" / "us" / "altered.png").exists()


def test_several_slices_at_one_place_are_named_by_a_scan_and_a_seal(run, bright, key, series):
    other = np.full((64, 80), 7, np.uint16)
    ct_slice(4, other, SOPInstanceUID="1.7").save_as(series / "x.dcm", enforce_file_format=True)
    code, out, err = run("scan", series, "--key", key)
    assert (code, "at one position (4.dcm, x.dcm)" in " ".join((out + err).split())) == (2, True)
    code, out, err = run("seal", series, "--key", key)
    assert (code, "at one position (4.dcm, x.dcm); all are sealed" in err) == (0, True)
    assert run("verify", series, "--key", key)[0] == 0


def test_a_scan_that_goes_on_hears_what_was_sealed_or_lost_since(run, bright, key, film, tmp_path):
    assert run("certificate", "--key", key, "-o", tmp_path / "site.crt")[0] == 0
    trust, out = tmp_path / "trust.toml", tmp_path / "out"
    trust.write_text('[[certificate]]\nfile = "site.crt"\n')
    ask = ("scan", film, "--trust", trust, "-o", out)

    def said():
        return (out / "verdicts.jsonl").read_text()

    assert run(*ask)[0] in (0, 1)
    assert "voxel by voxel" not in said()
    assert run("seal", film, "--key", key)[0] == 0
    assert run(*ask)[0] in (0, 1)
    assert "voxel by voxel what was sealed" in said()
    trust.write_text('[[certificate]]\nfile = "site.crt"\ncompromised = 2026-01-01\n')
    code, _, err = run(*ask)
    assert (code, "differs in its trust" in err) == (2, True)


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zip", "tar", "tar.gz"])
def test_packed_slices_beside_a_sealed_series_keep_the_answer_from_green(run, key, series, how):
    """A PACS unpacks what is imported; what packs slices of other series is said, and no more."""
    assert run("seal", series, "--key", key)[0] == 0
    for uid, expected in (("1.2.99", 0), ("1.2.4", 3)):
        for old in series.glob("x.dcm.*"):
            old.unlink()
        path = packed(series, how, ct_slice(4, SOPInstanceUID="1.2.77", SeriesInstanceUID=uid))
        code, out, err = run("verify", series, "--key", key)
        assert (code, f"inconclusive: {path}" in out) == (expected, expected == 3)
        assert "Passed over: 1 in formats that Scanward does not read" in err


def packed(folder, how, data):
    plain, path = folder / "x.dcm", folder / f"x.dcm.{how}"
    data.save_as(plain, enforce_file_format=True)
    if how == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "x.dcm")
    elif how.startswith("tar"):
        with tarfile.open(path, f"w:{how[4:]}") as archive:
            archive.add(plain, "x.dcm")
    else:
        path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[how].compress(plain.read_bytes()))
    plain.unlink()
    return path
