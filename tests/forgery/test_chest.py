"""Nodules injected into and removed from chest CT by the command line, in every format of a volume."""

import gzip
import json
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
from objects import axial_series
from pydicom.uid import generate_uid

from scanward import formats, inject, scan
from scanward.errors import UnsupportedError
from scanward.formats.write_volume import hash_of

PLACE = "35,60,12"



def hounsfield():
    _, y, x = np.mgrid[:24, :120, :120]
    plane = np.where(np.hypot((y - 60) / 55, (x - 60) / 58) < 1, 40.0, -1000.0)
    for side in (35, 85):
        plane = np.where(np.hypot((y - 60) / 40, (x - side) / 18) < 1, -860.0, plane)
    return np.rint(plane + np.random.default_rng(0).normal(0, 15, plane.shape)).astype(np.int16)


@pytest.fixture(scope="session")
def series(tmp_path_factory):
    return axial_series(tmp_path_factory.mktemp("hosts") / "a chest", hounsfield(), 2.5, SeriesInstanceUID="1.2.3.4",
                        SOPInstanceUID=lambda number: generate_uid(entropy_srcs=[str(number)]), PatientName="Doe^Jane")


def test_a_nodule_in_a_series_changes_its_surroundings_only(run, series, tmp_path):
    out = tmp_path / "out put"
    code, printed, err = run("inject", series, "--at", PLACE, "--diameter", "12", "-o", out)
    assert (code, err) == (0, "")
    assert "ct-gan at x 35, y 60, z 12, 12 mm" in printed
    record = json.loads((out / "record.json").read_text())
    before, after = formats.read(series), formats.read(out / record["image"])
    truth = formats.read(out / "mask.nii.gz").pixels > 0
    changed = before.pixels != after.pixels
    near = np.zeros(changed.shape, bool)
    near[7:18, 50:71, 25:46] = True
    assert changed.any() and not changed[~near].any()
    assert truth[12, 60, 35]
    assert 0.3 < truth.sum() * 2.5**3 / (np.pi / 6 * 12**3) < 4
    assert (after.pixels - before.pixels)[truth].mean() > 200
    data = pydicom.dcmread(out / record["image"] / "012.dcm")
    assert data[0x0008001C].value == "YES" and data.PatientName == "Doe^Jane" and data.KVP == 120
    assert "ct-gan" in data.DerivationDescription and "12 mm" in data.DerivationDescription


def test_the_same_place_in_millimetres_and_from_the_record(run, series, tmp_path):
    run("inject", series, "--at", PLACE, "--size", "12", "-o", tmp_path / "a")
    code, _, err = run("inject", series, "--at=-62.5,10,30", "--world", "--size", "12", "-o", tmp_path / "b")
    assert (code, err) == (0, "")
    name = "a chest-forged"
    first, second = (formats.read(tmp_path / part / name).pixels for part in "ab")
    assert np.array_equal(first, second)
    code, printed, _ = run("replay", tmp_path / "a" / "record.json")
    assert code == 0 and "same bytes" in printed


def test_a_record_that_names_no_extent_replays_as_it_was_made(run, series, tmp_path):
    place = ("--at", PLACE, "--size", "12", "--seed", "2")
    assert run("inject", series, *place, "-o", tmp_path / "now")[0] == 0
    assert run("inject", series, *place, "--extent", "cuboid", "-o", tmp_path / "then")[0] == 0
    now, then = (json.loads((tmp_path / part / "record.json").read_text()) for part in ("now", "then"))
    assert now["pixels_sha256"] != then["pixels_sha256"]
    assert now["params"]["places"][0]["extent"] == "lesion" and "extent" not in then["params"]["places"][0]
    then["order"]["options"] = {}  # as records were when there was no choice
    (tmp_path / "then" / "record.json").write_text(json.dumps(then))
    for part in ("now", "then"):
        code, printed, err = run("replay", tmp_path / part / "record.json")
        assert (code, printed, err) == (0, "The same bytes as recorded.\n", "")


@pytest.mark.parametrize("places", [5, [5], "extent", [None]])
def test_a_record_whose_places_are_none_is_one_sentence(run, series, tmp_path, places):
    assert run("inject", series, "--at", PLACE, "--size", "12", "-o", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "record.json"
    record = json.loads(path.read_text())
    record["params"]["places"] = places
    path.write_text(json.dumps(record))
    code, _, err = run("replay", path)
    assert code == 2 and err.count("\n") == 1 and "internal" not in err.lower()


def test_a_nodule_through_the_projections_and_away_again(run, series, tmp_path):
    at = ("--at", PLACE, "--size", "12")
    code, printed, err = run("inject", series, *at, "--method", "projection", "--density", "40", "-o", tmp_path / "in")
    assert (code, err) == (0, "") and "projection at x 35, y 60, z 12, 12 mm" in printed
    assert run("replay", tmp_path / "in" / "record.json")[1] == "The same bytes as recorded.\n"
    forged = tmp_path / "in" / "a chest-forged"
    code, printed, err = run("remove", forged, *at, "--method", "projection-remove", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    clean = tmp_path / "out" / "a chest-forged-forged"
    before, during, after = (formats.read(path).pixels for path in (series, forged, clean))
    assert during[12, 60, 35] > before[12, 60, 35] + 600
    assert after[12, 60, 35] < -750
    assert run("replay", tmp_path / "out" / "record.json")[1] == "The same bytes as recorded.\n"
    code, _, err = run("remove", forged, *at, "--method", "projection-remove", "--noise", "none", "-o", tmp_path / "x")
    assert code == 2 and "has no option --noise" in err


def test_several_places_at_once_and_removal(run, series, tmp_path):
    places = ("--at", "35,50,12", "--at", "85,60,10")
    code, _, err = run("inject", series, *places, "--size", "8-14", "-o", tmp_path / "two")
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert [[round(v) for v in place] for place in record["at"]] == [[35, 50, 12], [85, 60, 10]]
    forged = tmp_path / "two" / record["image"]
    before, during = formats.read(series).pixels, formats.read(forged).pixels
    assert during[12, 50, 35] > before[12, 50, 35] + 200 and during[10, 60, 85] > before[10, 60, 85] + 200
    code, printed, _ = run("remove", forged, "--at", "35,50,12", "--size", "14", "-o", tmp_path / "gone")
    assert code == 0 and "ct-gan-remove" in printed
    after = formats.read(next((tmp_path / "gone").glob("*-forged"))).pixels
    assert after[12, 50, 35] < -600
    assert after[10, 60, 85] == during[10, 60, 85]


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.mha", "ct.mhd"])
def test_volumes_come_back_in_their_own_format(run, tmp_path, name):
    image = sitk.GetImageFromArray(hounsfield())
    image.SetSpacing((2.5, 2.5, 2.5))
    path = tmp_path / name
    sitk.WriteImage(image, str(path))
    code, _, err = run("inject", path, "--at", "auto", "--size", "10", "--seed", "3", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["image"] == name.replace("ct.", "ct-forged.")
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / record["image"])))
    assert 0 < (theirs != hounsfield()).sum() < 5000
    assert sitk.ReadImage(str(tmp_path / "out" / "mask.nii.gz")).GetSize() == image.GetSize()


@pytest.mark.parametrize("name, made", [
    ("plain.nii.gz", "plain-forged.nii"), ("zipped.nii", "zipped-forged.nii.gz"), ("0a1b2c", "0a1b2c-forged.nii.gz"),
    ("Members.NII.GZ", "Members-forged.NII.GZ")])
def test_a_volume_is_forged_by_what_it_is_and_named_so(run, tmp_path, name, made):
    image = sitk.GetImageFromArray(hounsfield())
    image.SetSpacing((2.5, 2.5, 2.5))
    sitk.WriteImage(image, str(tmp_path / "ct.nii"))
    data = (tmp_path / "ct.nii").read_bytes()
    if name != "plain.nii.gz":
        data = gzip.compress(data[:5000]) + gzip.compress(data[5000:])
    (tmp_path / name).write_bytes(data)
    code, _, err = run("inject", tmp_path / name, "--at", "auto", "--size", "10", "--seed", "3", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "out" / "record.json").read_text())["image"] == made
    assert (tmp_path / "out" / made).read_bytes().startswith(b"\x1f\x8b") == made.lower().endswith(".gz")
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / made), imageIO="NiftiImageIO"))
    assert 0 < (theirs != hounsfield()).sum() < 5000
    code, printed, _ = run("replay", tmp_path / "out" / "record.json")
    assert code == 0 and "same bytes" in printed


def test_a_single_slice_is_said_to_be_one(run, series, tmp_path):
    code, _, err = run("inject", series / "012.dcm", "--size", "10", "-o", tmp_path / "out")
    assert code == 2 and "012.dcm is a single slice" in err and "give the series" in err


def test_a_set_goes_on_where_it_stopped(run, series, tmp_path):
    out = tmp_path / "set"
    assert run("inject", series, "--count", "2", "--size", "6-20", "-o", out)[0] == 0
    before = (out / "00001" / "record.json").read_bytes()
    code, printed, _ = run("inject", series, "--count", "3", "--size", "6-20", "-o", out)
    assert code == 0 and "3 of 3 forged" in printed and "2 of them from before" in printed
    assert (out / "00001" / "record.json").read_bytes() == before
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len({tuple(row["at"][0]) for row in rows}) == 3


@pytest.mark.parametrize(("options", "word"), [
    (("--at", "60,60,12"), "lungs"), (("--at", "35,60"), "three numbers"), (("--at", "1,2,x"), "--at"),
    (("--at", "35,60,99"), "outside"), (("--size", "50"), "cannot be made"), (("--size", "1"), "cannot be made"),
    (("--noise", "pink"), "--noise"), (("--density", "9999"), "--density"), (("--method", "mammo-cgan"), "CT"),
    (("--stages",), "--stages"), (("--grain", "host"), "--grain"), (("--strength", "0"), "strength")])
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(run, series, tmp_path, options, word):
    size = () if "--size" in options else ("--size", "10")
    code, out, err = run("inject", series, "-o", tmp_path / "out", *size, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err
    assert not (tmp_path / "out").exists()


def test_what_was_forged_beside_its_host_is_no_host_and_replays(run, series, tmp_path):
    case = tmp_path / "case"
    shutil.copytree(series, case)
    assert run("inject", case, "--at", PLACE, "--size", "10", "-o", case / "first")[0] == 0
    code, _, err = run("inject", case, "--at", "85,60,12", "--size", "10", "-o", case / "second")
    assert (code, err) == (0, "")
    code, printed, err = run("replay", case / "first" / "record.json")
    assert (code, err) == (0, "") and "same bytes" in printed
    moved = case.rename(tmp_path / "moved")
    code, printed, _ = run("replay", moved / "first" / "record.json", "--host", moved)
    assert code == 0 and "same bytes" in printed


@pytest.mark.parametrize("where", [("--at", PLACE, "--at", "36,60,12"), ("--at", PLACE, "--at", PLACE)])
def test_two_lesions_do_not_share_a_place(run, series, tmp_path, where):
    code, _, err = run("inject", series, *where, "--size", "10", "-o", tmp_path / "out")
    assert code == 2 and "overlap" in err


def test_a_series_stored_in_steps_of_two_comes_back_as_it_was_returned(series, tmp_path, run):
    host = tmp_path / "coarse"
    host.mkdir()
    for path in sorted(series.iterdir()):
        data = pydicom.dcmread(path)
        data.RescaleSlope = 2
        data.PixelData = (data.pixel_array // 2).astype(np.uint16).tobytes()
        data["PixelData"].VR = "OW"
        data.save_as(host / path.name)
    run("inject", host, "--at", PLACE, "--size", "12", "-o", tmp_path / "out")
    tamper = inject(host, size_mm=12, at=(35, 60, 12))
    written = formats.read(tmp_path / "out" / "coarse-forged")
    assert np.array_equal(written.pixels, tamper.image.pixels)


def test_slices_without_preamble_are_written_whole(series, tmp_path, run):
    host = tmp_path / "odd"
    host.mkdir()
    for number, path in enumerate(sorted(series.iterdir())):
        data = pydicom.dcmread(path)
        if number % 2:
            pydicom.dcmwrite(host / path.name, data, implicit_vr=False, little_endian=True, force_encoding=True,
                             enforce_file_format=False)
        else:
            data.save_as(host / path.name)
    before = formats.read(host)
    code, _, err = run("inject", host, "--at", PLACE, "--size", "12", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    after = formats.read(tmp_path / "out" / "odd-forged")
    assert 0 < (after.pixels != before.pixels).sum() < 5000


@pytest.mark.parametrize("name", [r"a\1 50%.mhd", "UP.MHD", "x" * 230 + ".mha", "plain"])
def test_odd_names_of_volumes(run, tmp_path, name):
    image = sitk.GetImageFromArray(hounsfield())
    image.SetSpacing((2.5, 2.5, 2.5))
    sitk.WriteImage(image, str(tmp_path / "ct.mhd"), useCompression=False)
    if name == "plain":
        sitk.WriteImage(image, str(tmp_path / "ct.nii"))
        (tmp_path / "ct.nii").rename(tmp_path / name)
    elif name.endswith(".mha"):
        sitk.WriteImage(image, str(tmp_path / "ct.mha"))
        (tmp_path / "ct.mha").rename(tmp_path / name)
    else:
        (tmp_path / "ct.mhd").rename(tmp_path / name)
    code, _, err = run("inject", tmp_path / name, "--at", PLACE, "--size", "12", "--method", "ct-gan", "-o",
                       tmp_path / "out")
    assert (code, err) == (0, "")
    made = next(p for p in (tmp_path / "out").iterdir() if "-forged" in p.name and p.suffix not in (".json", ".raw"))
    assert 0 < (formats.read(made).pixels != hounsfield()).sum() < 5000
    assert run("replay", tmp_path / "out" / "record.json")[0] == 0


def test_a_single_slice_and_a_volume_without_lungs(run, series, tmp_path):
    code, _, err = run("inject", series / "005.dcm", "--method", "ct-gan", "--size", "10", "-o", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1
    empty = sitk.GetImageFromArray(np.full((20, 64, 64), 40, np.int16))
    sitk.WriteImage(empty, str(tmp_path / "empty.mha"))
    code, _, err = run("inject", tmp_path / "empty.mha", "--size", "10", "-o", tmp_path / "out")
    assert code == 2 and "no room in its lungs" in err
    assert not (tmp_path / "out").exists()


def test_the_public_face(series, run, tmp_path):
    tamper = inject(series, size_mm=10, at=(35, 60, 12), density=50)
    assert tamper.record.method == "ct-gan" and tamper.mask.any()
    assert run("inject", series, "--size", 10, "--at", "35,60,12", "--density", 50, "-o", tmp_path / "cli")[0] == 0
    theirs = json.loads((tmp_path / "cli" / "record.json").read_text())
    for number, host in enumerate((series, formats.find([series])[0][0], formats.read(series))):
        image = inject(host, size_mm=10, at=(35, 60, 12), density=50).save(tmp_path / str(number))[0]
        assert hash_of(image) == theirs["image_sha256"]
        assert run("replay", tmp_path / str(number) / "record.json")[0] == 0
    with pytest.raises(UnsupportedError):
        scan(tamper.image, method="copy-move")
