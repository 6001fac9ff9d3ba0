"""`scanward protect --method`: a perturbation, alone or with the copy sealed."""

import json

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import scanward
from scanward import formats, weights
from scanward.errors import ArgumentError
from scanward.protection import Perturb, files
from scanward.protectors.mits_gan.network import Generator


@pytest.fixture
def chest(tmp_path):
    """(z, y, x) of 30 × 64 × 60 voxels."""
    noise = np.random.default_rng(0).normal(0, 30, (60, 64, 30))
    path = tmp_path / "a chest.nii.gz"
    nibabel.Nifti1Image(np.rint(noise - 850).astype(np.int16), np.diag([0.7, 0.7, 2, 1])).to_filename(path)
    return path


PLACE = "30,32,15:8"


def test_a_perturbation_keeps_to_its_bound_and_says_what_it_did(run, chest, tmp_path):
    out = tmp_path / "out"
    code, printed, err = run("protect", chest, "--method", "mits-gan", "--around", PLACE, "--epsilon", "8", "-o", out)
    assert (code, err) == (0, "")
    written = [line.rsplit("/", 1)[-1] for line in printed.split("\n") if line]
    assert written == ["a chest-protected.nii.gz", "protected.png", "perturbation.json"]
    change = formats.read(out / "a chest-protected.nii.gz").pixels - formats.read(chest).pixels
    facts = json.loads((out / "perturbation.json").read_text())
    assert 0 < np.abs(change).max() == facts["largest_change"] <= 8
    assert facts["around"] == [[30.0, 32.0, 15.0, 8.0]] and facts["method"] == "mits-gan"
    assert len(facts["weights_sha256"]) == 64
    picture = cv2.imread(str(out / "protected.png"))
    assert picture is not None and picture.std() > 10
    mark = json.loads((out / "a chest-protected.nii.gz.scanward.json").read_text())
    assert mark["altered"] and mark["description"] == f"By mits-gan, {facts['largest_change']:g} HU at most."


def test_a_sealed_copy_is_written_to_a_folder_beside_the_user(run, key, chest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = ("protect", chest.name, "--method", "mits-gan", "--around", PLACE, "--key", key, "-o", "out")
    code, printed, err = run(*order)
    assert (code, err) == (0, "")
    written = [line for line in printed.split("\n") if line]
    assert "out/a chest-protected.nii.gz.seal" in written and all((tmp_path / path).is_file() for path in written)


def test_a_whole_scan_is_perturbed_within_a_bound_once_there_are_weights(run, chest, tmp_path, monkeypatch):
    torch.manual_seed(0)
    net = Generator()
    net.main[-1].weight.data.mul_(100)
    made = weights.Entry("mits-gan-repaired", "x", "a" * 64, 1, "nothing", "none", "none")
    monkeypatch.setattr(weights, "manifest", dict)
    order = ("protect", chest, "--method", "mits-gan-repaired", "--epsilon", "8", "-o", tmp_path / "out")
    code, _, err = run(*order)
    assert code == 2 and "scanward train" in err and not (tmp_path / "out").exists()
    monkeypatch.setattr(weights, "manifest", lambda: {made.name: made})
    monkeypatch.setattr(weights, "load", lambda name: ({k: v.numpy() for k, v in net.state_dict().items()}, made))
    code, _, err = run(*order)
    assert (code, err) == (0, "")
    change = formats.read(tmp_path / "out" / "a chest-protected.nii.gz").pixels - formats.read(chest).pixels
    facts = json.loads((tmp_path / "out" / "perturbation.json").read_text())
    assert 4 < np.abs(change).max() == facts["largest_change"] <= 8 and (change != 0).mean() > 0.5
    assert (facts["method"], facts["epsilon"], facts["weights_sha256"]) == ("mits-gan-repaired", 8.0, "a" * 64)


@pytest.mark.parametrize("dtype, slope, inter", [
    (np.int32, 1, 0), (np.int64, 1, 0), (np.int16, 0.1, -1024), (np.uint16, 7.109804153442383, -1024)])
def test_what_lies_elsewhere_keeps_its_stored_value(run, tmp_path, dtype, slope, inter):
    host = nibabel.Nifti1Image(np.zeros((60, 64, 30), dtype), np.diag([0.7, 0.7, 2, 1]), dtype=dtype)
    hu = np.random.default_rng(0).normal(-850, 30, (60, 64, 30))
    stored = np.rint((hu - inter) / slope).astype(dtype)
    data = bytearray(host.to_bytes()[:352])
    data[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "ct.nii").write_bytes(bytes(data) + stored.tobytes(order="F"))
    order = ("--method", "mits-gan", "--around", PLACE)
    code, _, err = run("protect", tmp_path / "ct.nii", *order, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    change = np.asarray(nibabel.load(tmp_path / "out" / "ct-protected.nii").dataobj.get_unscaled()).astype(int) - stored
    places = np.argwhere(change)
    # Scanward counts from the patient's right and front, as this file does not
    away = np.abs(places - (60 - 1 - 30, 64 - 1 - 32, 15)) * (0.7, 0.7, 2)
    assert len(places) and away.max() <= 16.5 and np.abs(change).max() * slope <= 16


def test_with_a_key_the_copy_is_sealed_and_nothing_else_is_added(run, chest, key, tmp_path):
    alone, out = tmp_path / "alone", tmp_path / "out"
    order = ("--method", "mits-gan", "--around", PLACE)
    assert run("protect", chest, *order, "-o", alone, "-q")[0] == 0
    code, printed, err = run("protect", chest, *order, "--key", key, "-o", out)
    assert (code, err) == (0, "")
    written = [line.rsplit("/", 1)[-1] for line in printed.split("\n") if line]
    name = "a chest-protected.nii.gz"
    assert written == [name, "protected.png", "perturbation.json", f"{name}.seal", f"{name}.seal.copy"]
    assert sorted(p.name for p in out.iterdir()) == sorted([*written, f"{name}.scanward.json"])
    image = out / name
    assert np.array_equal(formats.read(image).pixels, formats.read(alone / image.name).pixels)
    code, printed, _ = run("verify", image, "--key", key)
    assert code == 0 and printed.startswith(f"authentic: {image}\n  Sealed by Scanward site")
    values = nibabel.load(image)
    changed = np.asarray(values.dataobj).copy()
    changed[30, 32, 15] += 1
    nibabel.Nifti1Image(changed, values.affine, values.header).to_filename(image)
    assert run("verify", image, "--key", key)[0] == 1


def test_a_copy_that_cannot_be_sealed_is_not_left_there(run, chest, key, tmp_path, monkeypatch):
    def refuse(source, signer, master):
        raise ArgumentError(f"{source.path} is refused; leave it.")
    monkeypatch.setattr(files, "seal_file", refuse)
    out = tmp_path / "out"
    code, printed, err = run("protect", chest, "--method", "mits-gan", "--around", PLACE, "--key", key, "-o", out)
    assert (code, printed, err.count("\n")) == (2, "", 1) and f"{out}/a chest-protected.nii.gz is refused" in err
    assert not out.exists()


@pytest.mark.parametrize(("options", "word"), [
    ((), "--key"), (("--around", PLACE), "--method"), (("--epsilon", "8"), "--method"),
    (("--method", "mits-gan"), "--around"), (("--method", "mits-gun", "--around", PLACE), "mits-gan"),
    (("--method", "mits-gan", "--around", "30,32:8"), "X,Y,Z:MM"),
    (("--method", "tafim", "--around", PLACE), "whole scans"),
    (("--method", "mits-gan", "--around", "30,32,15"), "X,Y,Z:MM"),
    (("--method", "mits-gan", "--around", "300,32,15:8"), "outside"),
    (("--method", "mits-gan", "--around", PLACE, "--epsilon", "100"), "--epsilon"),
    (("--method", "tafim", "--epsilon", "8"), "no bound")])
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(run, chest, tmp_path, options, word):
    out = tmp_path / "out"
    code, printed, err = run("protect", chest, *options, "-o", out)
    assert (code, printed, err.count("\n")) == (2, "", 1) and word in err
    assert not out.exists()


def test_padding_and_what_was_cut_off_stay_as_they_are_stored(run, tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    stored = np.rint(np.random.default_rng(0).normal(200, 25, (14, 64, 64))).astype(np.int16)
    stored[:, :, :20] = -2000  # the reader raises it to air
    for number, plane in enumerate(stored):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"
        data.SOPInstanceUID = generate_uid(entropy_srcs=["padded", str(number)])
        data.SeriesInstanceUID, data.StudyInstanceUID = "1.2.3.4", "1.2.3"
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [0.7, 0.7], 1, -1024
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelPaddingValue = 1, "MONOCHROME2", -2000
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelData = plane.tobytes()
        data["PixelData"].VR = "OW"
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)

    def stored_in(where):
        series = next(p for p in where.iterdir() if p.is_dir())
        read = sorted((pydicom.dcmread(p) for p in series.iterdir()), key=lambda d: d.ImagePositionPatient[2])
        return np.stack([data.pixel_array for data in read])

    out = tmp_path / "out"
    options = ("--method", "mits-gan", "--around", "24,32,7:8")
    assert run("protect", folder, *options, "-o", out, "-q")[0] == 0
    made = stored_in(out)
    assert (made[:, :, :16] == -2000).all() and (made != stored).any()


@pytest.mark.parametrize("spoilt", ["huge", "flat"])
@pytest.mark.parametrize("method", ["mits-gan", "tafim", "mits-gan-published"])
def test_what_would_come_out_wrong_or_unchanged_is_refused(run, tmp_path, method, spoilt):
    values = np.full((60, 64, 30), -800.0, np.float32)
    if spoilt == "huge":
        values[30, 30, 15] = 1e30
    path = tmp_path / "ct.nii.gz"
    nibabel.Nifti1Image(values, np.diag([0.7, 0.7, 2, 1])).to_filename(path)
    around = ("--around", PLACE) if method == "mits-gan" else ()
    code, printed, err = run("protect", path, "--method", method, *around, "-o", tmp_path / "out")
    assert (code, printed, err.count("\n")) == (2, "", 1) and "nternal" not in err
    assert not (tmp_path / "out").exists()


def test_a_film_takes_no_perturbation(run, tmp_path):
    path = tmp_path / "film.png"
    assert cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 200, (64, 64)).astype(np.uint8))
    code, _, err = run("protect", path, "--method", "tafim", "-o", tmp_path / "out")
    assert code == 2 and "CT volume" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["mits-gan-published", "tafim"])
def test_the_methods_compared_with_protect_whole_scans(chest, method):
    made = scanward.protect(chest, perturb=Perturb(method))
    before = formats.read(chest)
    assert made.image.shape == before.shape
    assert (made.image.pixels != before.pixels).mean() > 0.5


def test_python_refuses_an_order_of_nothing(chest):
    with pytest.raises(ArgumentError, match="Nothing was asked for"):
        scanward.protect(chest)
