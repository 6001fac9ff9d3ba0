"""Which mammograms are forged at their own pixel, and that such forgeries are marked and replay."""

import json

import numpy as np
import pydicom
import pytest

import scanward
from scanward import formats
from scanward.attacks.mammo_distortion.inject import REACH
from scanward.attacks.places import SKIN_MM, tissue_place
from scanward.errors import ArgumentError
from scanward.forgery import default_method
from scanward.forgery.make import lesions_in
from scanward.forgery.order import Order
from scanward.methods import build


def method_in(folder):
    return json.loads((folder / "record.json").read_text())["method"]


@pytest.mark.parametrize(("command", "method", "more"), [
    ("inject", "mammo-digital", ("--margin", "spiculated", "--stages")), ("remove", "mammo-digital-remove", ())])
def test_a_digital_mammogram_is_forged_at_its_own_pixel_marked_and_replayed(command, method, more, dicom, tmp_path,
                                                                            run):
    out = tmp_path / "out"
    code, printed, err = run(command, dicom, "-o", out, "--at", "100,210", "--size", 12, *more)
    assert (code, err) == (0, "")
    assert f"{method} at x 100, y 210, 12 mm" in printed
    forged = pydicom.dcmread(out / "film-forged.dcm")
    assert forged[0x0008001C].value == "YES" and method in forged.DerivationDescription
    assert json.loads((out / "film-forged.dcm.scanward.json").read_text())["synthetic"] is True
    assert run("replay", out / "record.json")[1] == "The same bytes as recorded.\n"


def test_what_was_digitised_from_film_is_forged_as_before(dicom, tmp_path, run):
    data = pydicom.dcmread(dicom)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.save_as(dicom, enforce_file_format=True)
    assert run("inject", dicom, "-o", tmp_path / "out", "--at", "100,210", "--size", 12)[0] == 0
    assert method_in(tmp_path / "out") == "mammo-cgan"


def test_an_option_that_only_one_of_both_has_chooses_it(dicom, png, tmp_path, run):
    common = "--at", "100,210", "--size", 12, "--spacing", 0.2, "--modality", "MG"
    assert run("inject", dicom, "-o", tmp_path / "a", *common, "--sigma", 3)[0] == 0
    assert run("inject", png, "-o", tmp_path / "b", *common, "--margin", "ill-defined")[0] == 0
    assert (method_in(tmp_path / "a"), method_in(tmp_path / "b")) == ("mammo-cgan", "mammo-digital")
    assert default_method("remove", "MG", digital=True, options=["through"]) == "mammo-digital-remove"


def test_python_chooses_as_the_command_line_does(dicom, png):
    assert scanward.inject(dicom, size_mm=12, at=(100, 210)).record.method == "mammo-digital"
    image = scanward.load(png, modality="MG", spacing=(0.2, 0.2))
    assert scanward.inject(image, size_mm=12, at=(100, 210)).record.method == "mammo-cgan"


@pytest.mark.parametrize(("option", "word"), [(("--margin", "round"), "--margin"), (("--grain", "none"), "--grain")])
def test_words_that_are_none_are_one_sentence(option, word, dicom, tmp_path, run):
    code, out, err = run("inject", dicom, "-o", tmp_path / "out", "--size", 12, *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err and not (tmp_path / "out").exists()


def test_chosen_places_lie_off_the_skin_the_muscle_and_the_axilla(muscular):
    image, inside, muscle = muscular
    y, x = np.mgrid[:500, :400]
    rows = np.flatnonzero(inside.any(1))
    edge = np.hypot((y - 250) / 225, x / 320)  # 1 on the skin
    rng = np.random.default_rng(0)
    for _ in range(40):
        place = tissue_place(image, rng, 40, 0.2)
        near = np.hypot(y - place.y, x - place.x)
        assert inside[near <= 20].all() and not muscle[near <= 20].any()
        assert near[edge > 1].min() > 20 + 0.8 * SKIN_MM / 0.2
        assert place.y - 20 > rows[0] + 0.2 * len(rows)


def test_a_distortion_is_chosen_off_the_muscle_as_far_as_it_reaches(muscular):
    image, _, muscle = muscular
    attack, order = build("mammo-distortion", "attack"), Order("mammo-distortion", (8.0, 8.0))
    y, x = np.mgrid[:500, :400]
    lesions = [lesions_in(attack, image, order, seed)[0][0] for seed in range(30)]
    nearest = min(np.hypot(y - one.y, x - one.x)[muscle].min() for one in lesions)
    assert REACH * 20 - 2 < nearest < REACH * 20 + 12, "no strand crosses its edge, and no room is wasted"


def test_nothing_is_placed_over_an_implant(png, pixels):
    values = pixels(bits=16, shape=(500, 400)).astype(np.float32)
    y, x = np.mgrid[:500, :400]
    values[np.hypot(y - 250, x) < 150] = 60000
    image = formats.read(png, modality="MG", spacing=(0.2, 0.2)).with_plane(values)
    with pytest.raises(ArgumentError, match="implant"):
        tissue_place(image, np.random.default_rng(0), 40, 0.2)
