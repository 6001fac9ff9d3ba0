"""Distortions from the command line: marked, recorded, replayed, made in sets, and refused where they cannot be."""

import json

import pydicom
import pytest

METHOD = ("--method", "mammo-distortion")
PLACE = ("--at", "100,210", "--size", 12, "--spacing", 0.1)


@pytest.mark.parametrize("more", [(), ("--grain", "host", "--strength", 0.8)])
def test_one_is_marked_recorded_and_replayed(more, dicom, tmp_path, run):
    out = tmp_path / "out"
    code, printed, err = run("inject", dicom, "-o", out, *PLACE, *METHOD, *more)
    assert (code, err) == (0, "") and "mammo-distortion at x 100, y 210, 12 mm" in printed
    forged = pydicom.dcmread(out / "film-forged.dcm")
    assert forged[0x0008001C].value == "YES" and "mammo-distortion" in forged.DerivationDescription
    assert json.loads((out / "film-forged.dcm.scanward.json").read_text())["synthetic"] is True
    assert run("replay", out / "record.json")[1] == "The same bytes as recorded.\n"


def test_sets_of_them_are_made(dicom, tmp_path, run):
    out = tmp_path / "set"
    code, _, err = run("inject", dicom, "-o", out, "--count", 2, "--size", "10-12", "--spacing", 0.1, *METHOD)
    assert (code, err) == (0, "")
    made = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["method"] for line in made] == ["mammo-distortion"] * 2


@pytest.mark.parametrize(("command", "more", "said"), [
    ("inject", (*PLACE[:4], "--spacing", 0.3, *METHOD), "has pixels of 0.3 mm, too coarse for strands of 0.2 mm"),
    ("inject", (*PLACE, *METHOD, "--grain", "white"), "--grain 'white' is not one of resynthesised, host"),
    ("inject", (*PLACE, *METHOD, "--margin", "spiculated"), "has no option --margin; it has --grain"),
    ("inject", (*PLACE, *METHOD, "--strength", "nan"), "strength"),
    ("inject", ("--at", "290,20", "--size", 12, "--spacing", 0.1, *METHOD), "not in the breast"),
    ("inject", ("--at", "100,210", "--size", 80, "--spacing", 0.1, *METHOD), "does not suit"),
    ("augment", ("--count", 1, *METHOD), "makes distortions, and annotations are of masses"),
])
def test_what_cannot_be_made_is_one_sentence(command, more, said, dicom, tmp_path, run):
    code, printed, err = run(command, dicom, "-o", tmp_path / "out", *more)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert said in err and not (tmp_path / "out").exists()
