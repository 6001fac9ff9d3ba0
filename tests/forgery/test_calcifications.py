"""Calcifications from the command line: marked, recorded, replayed, and refused where they cannot be."""

import json

import pydicom
import pytest

import scanward

METHOD = ("--method", "mammo-calcifications")
PLACE = ("--at", "100,210", "--size", 8)


@pytest.mark.parametrize(("morphology", "benign"), [("fine-linear", False), ("popcorn", True)])
def test_they_are_marked_recorded_with_what_they_are_and_replayed(morphology, benign, dicom, tmp_path, run):
    out = tmp_path / "out"
    code, printed, err = run("inject", dicom, "-o", out, *PLACE, "--spacing", 0.1, *METHOD, "--morphology", morphology)
    assert (code, err) == (0, "") and "mammo-calcifications at x 100, y 210, 8 mm" in printed
    forged = pydicom.dcmread(out / "film-forged.dcm")
    assert forged[0x0008001C].value == "YES" and "mammo-calcifications" in forged.DerivationDescription
    assert json.loads((out / "film-forged.dcm.scanward.json").read_text())["synthetic"] is True
    params = json.loads((out / "record.json").read_text())["params"]
    assert (params["morphology"], params["benign"]) == (morphology, benign)
    assert params["count"] == (1 if benign else len(params["specks"]))
    assert run("replay", out / "record.json")[1] == "The same bytes as recorded.\n"


@pytest.mark.parametrize(("command", "more", "said"), [
    ("inject", (*PLACE, *METHOD), "has pixels of 0.2 mm, too coarse for calcifications of 0.1 mm"),
    ("inject", (*PLACE, "--spacing", 0.1, *METHOD, "--morphology", "round"), "--morphology 'round' is not one of"),
    ("inject", ("--at", "290,20", "--size", 8, "--spacing", 0.1, *METHOD), "not in the breast"),
    ("inject", ("--at", "100,210", "--size", 2, "--spacing", 0.1, *METHOD), "choose from 3 mm"),
    ("augment", ("--count", 1, *METHOD), "annotations are of masses"),
])
def test_what_cannot_be_made_is_one_sentence(command, more, said, dicom, tmp_path, run):
    code, printed, err = run(command, dicom, "-o", tmp_path / "out", *more)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert said in err and not (tmp_path / "out").exists()


def test_from_python_as_from_the_command_line(dicom, tmp_path, run):
    given = {"method": "mammo-calcifications", "spacing": (0.1, 0.1), "seed": 4}
    tampers = [scanward.inject(dicom, size_mm=8, at=(100, 210), **given) for _ in range(2)]
    assert tampers[0].image.pixels.tobytes() == tampers[1].image.pixels.tobytes()
    assert run("inject", dicom, "-o", tmp_path / "out", *PLACE, "--spacing", 0.1, "--seed", 4, *METHOD)[0] == 0
    assert json.loads((tmp_path / "out" / "record.json").read_text())["params"] == tampers[0].record.params
