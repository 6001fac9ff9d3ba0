"""`scanward key`, `protect`, `verify` and `unprotect` on the files that hospitals have."""

import hashlib
import json

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

from scanward import formats
from scanward.protection import files


@pytest.fixture
def key(tmp_path, run):
    path = tmp_path / "site.key"
    code, printed, err = run("key", path)
    assert (code, err) == (0, "") and "secret" in printed
    return path


def slice_of(plane, number, modality="CT"):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2" if modality == "CT" else "1.2.840.10008.5.1.4.1.1.1.2"
    data.SOPInstanceUID = generate_uid(entropy_srcs=[modality, str(number)])
    data.Modality, data.SeriesInstanceUID, data.PatientName = modality, "1.2.3.4", "Doe^Jane"
    if modality == "CT":
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [0.7, 0.7], 1, -1024
    else:
        data.ImagerPixelSpacing = [0.1, 0.1]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = plane.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = plane.astype(np.uint16).tobytes()
    data["PixelData"].VR = "OW"
    return data


def grain(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.6)
    return noise / noise.std()


@pytest.fixture(params=["dicom series", "nifti", "dicom film", "png"])
def host(request, tmp_path):
    folder = tmp_path / "a hóst"
    folder.mkdir()
    if request.param == "dicom series":
        for number, plane in enumerate(np.rint(200 + 25 * grain((14, 96, 96)))):
            slice_of(plane, number).save_as(folder / f"{number}.dcm", enforce_file_format=True)
        return folder
    film = np.rint(1500 + 40 * grain((1, 300, 220)))[0]
    if request.param == "dicom film":
        slice_of(film, 0, "MG").save_as(folder / "film.dcm", enforce_file_format=True)
        return folder / "film.dcm"
    if request.param == "png":
        assert cv2.imwrite(str(folder / "film.png"), film.astype(np.uint16))
        return folder / "film.png"
    volume = np.rint(-800 + 25 * grain((96, 90, 14))).astype(np.int16)
    nibabel.Nifti1Image(volume, np.diag([0.7, 0.7, 2, 1])).to_filename(folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def image_in(folder):
    return next(p for p in sorted(folder.iterdir()) if "rotected" in p.stem and p.suffix not in (".json",)
                and p.name != "protected.png")


@pytest.mark.parametrize("slope", [0.1, 1.7, 7.109804153442383, -0.5])
def test_an_untouched_scan_is_authentic_whatever_its_slope(run, key, tmp_path, slope):
    stored = np.rint((-800 + 25 * grain((96, 90, 14)) + 1024) / slope).astype(np.int16)
    head = bytearray(nibabel.Nifti1Image(stored, np.diag([0.7, 0.7, 2, 1])).to_bytes()[:352])
    head[112:120] = np.array([slope, -1024], "<f4").tobytes()
    (tmp_path / "ct.nii").write_bytes(bytes(head) + stored.tobytes(order="F"))
    image = protected(run, tmp_path / "ct.nii", key, tmp_path)
    code, printed, err = run("verify", image, "--key", key)
    assert (code, err) == (0, "") and printed.startswith("authentic") and "voxel by voxel" in printed
    assert run("unprotect", image, "--key", key, "-o", tmp_path / "undone")[0] == 0
    undone = next(p for p in (tmp_path / "undone").iterdir() if p.suffix == ".nii")
    assert undone.read_bytes()[352:] == stored.tobytes(order="F")
    data = bytearray(image.read_bytes())
    data[352 + 2 * 70_000] ^= 1
    image.write_bytes(data)
    code, printed, _ = run("verify", image, "--key", key)
    assert code == 1 and "in one place" in printed


def test_numbers_that_cannot_hold_the_evidence_are_refused_by_the_hosts_name(run, key, tmp_path):
    host = tmp_path / "film.npy"
    np.save(host, np.rint(3000 + 40 * grain((1, 300, 220)))[0].astype(np.float16))
    code, _, err = run("protect", host, "--key", key, "-o", tmp_path / "out")
    assert code == 2 and f"{host} stores float16 numbers" in err and "save it as 16-bit" in err
    assert not (tmp_path / "out").exists()


def test_a_copy_that_does_not_come_back_is_refused_by_the_hosts_name(run, key, tmp_path, monkeypatch):
    host = tmp_path / "film.npy"
    np.save(host, np.rint(3000 + 40 * grain((1, 300, 220)))[0].astype(np.uint16))
    real = files._write
    monkeypatch.setattr(files, "_write", lambda host, altered, *more: real(host, host, *more))
    code, _, err = run("protect", host, "--key", key, "-o", tmp_path / "out")
    assert code == 2 and f"{host} does not come back from its own format" in err and "-protected" not in err
    assert not (tmp_path / "out").exists()


def protected(run, host, key, tmp_path):
    out = tmp_path / "out put"
    code, printed, err = run("protect", host, "--key", key, "-o", out)
    assert (code, err) == (0, "")
    image = image_in(out)
    assert image.name in printed and "evidence.json" in printed
    return image


def test_protect_verify_and_undo(run, host, key, tmp_path):
    before = formats.read(host)
    image = protected(run, host, key, tmp_path)
    made = formats.read(image)
    assert made.spacing == before.spacing
    assert np.abs(made.pixels - before.pixels).max() == (1 if before.modality == "MG" else 4)  # the film uses nine bits
    code, printed, err = run("verify", image, "--key", key)
    assert (code, err) == (0, "") and printed.startswith("authentic")
    code, printed, err = run("unprotect", image, "--key", key, "-o", tmp_path / "undone")
    assert (code, err) == (0, "")
    assert np.array_equal(formats.read(image_in(tmp_path / "undone")).pixels, before.pixels)


def test_an_altered_image_is_told_where(run, host, key, tmp_path):
    image = protected(run, host, key, tmp_path)
    at = (48, 45) if formats.read(host).modality == "CT" else (100, 150)
    if formats.read(host).modality == "CT":
        forged = altered_volume(image, tmp_path)
    else:
        assert run("inject", image, "--at", f"{at[0]},{at[1]}", "--size", "4", "-o", tmp_path / "forged", "--modality",
                   "MG", "--spacing", "0.1", "--method", "composed-mass")[0] == 0
        forged = next(p for p in (tmp_path / "forged").iterdir() if "-forged" in p.name and p.suffix != ".json")
    record = image.parent / "evidence.json"
    out = tmp_path / "answer"
    code, printed, err = run("verify", forged, "--key", key, "--record", record, "-o", out)
    assert (code, err) == (1, "") and printed.startswith("tampered")
    answer = json.loads((out / "verified.json").read_text())
    assert answer["label"] == "tampered" and answer["exact"] and len(answer["findings"]) >= 1
    x, y = answer["findings"][0]["centre"][:2]
    assert abs(x - at[0]) < 10 and abs(y - at[1]) < 10
    assert cv2.imread(str(out / "verified.png")) is not None
    code, _, err = run("unprotect", forged, "--key", key, "--record", record, "-o", tmp_path / "undone")
    assert code == 2 and "cannot be undone" in err and not (tmp_path / "undone").exists()


def altered_volume(image, tmp_path):
    """The protected volume with a box of voxels raised, saved by another program."""
    target = tmp_path / "forged"
    if image.is_dir():
        target.mkdir()
        for path in image.iterdir():
            data = pydicom.dcmread(path)
            plane = data.pixel_array.copy()
            if 6 <= data.ImagePositionPatient[2] / 2 < 9:
                plane[40:50, 44:52] += 40
            data.PixelData = plane.tobytes()
            data.save_as(target / path.name)
        return target
    loaded = nibabel.load(image)
    values = np.asarray(loaded.dataobj).copy()
    values[44:52, 40:50, 6:9] += 40
    target = tmp_path / "forged.nii.gz"
    nibabel.Nifti1Image(values, loaded.affine, loaded.header).to_filename(target)
    return target


def test_without_a_record_the_salt_is_read_from_the_image(run, host, key, tmp_path):
    image = protected(run, host, key, tmp_path)
    (image.parent / "evidence.json").unlink()
    code, printed, err = run("verify", image, "--key", key)
    assert (code, err) == (3, "") and printed.startswith("inconclusive")
    code, _, err = run("verify", host, "--key", key)
    assert code == 2 and err.count("\n") == 1 and "--record" in err


def test_each_protection_has_a_salt_of_its_own(run, tmp_path, key):
    path = tmp_path / "film.png"
    assert cv2.imwrite(str(path), np.rint(1500 + 40 * grain((1, 300, 220)))[0].astype(np.uint16))
    made = []
    for name in ("one", "two"):
        assert run("protect", path, "--key", key, "-o", tmp_path / name, "-q")[0] == 0
        made.append(json.loads((tmp_path / name / "evidence.json").read_text()))
    assert made[0]["salt"] != made[1]["salt"]
    assert made[0]["original_sha256"] == made[1]["original_sha256"]


def test_nothing_is_overwritten_and_nothing_half_written(run, host, key, tmp_path):
    image = protected(run, host, key, tmp_path)

    def state():
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in image.parent.rglob("*") if p.is_file()}
    before = state()
    code, _, err = run("protect", host, "--key", key, "-o", image.parent)
    assert code == 2 and err.count("\n") == 1 and "overwritten" in err
    assert state() == before


@pytest.mark.parametrize("spoil", ["no key", "other key", "other record", "broken record", "truncated"])
def test_what_cannot_be_verified_is_one_sentence(spoil, run, key, tmp_path):
    path = tmp_path / "film.png"
    assert cv2.imwrite(str(path), np.rint(1500 + 40 * grain((1, 300, 220)))[0].astype(np.uint16))
    image = protected(run, path, key, tmp_path)
    record = image.parent / "evidence.json"
    if spoil == "no key":
        key = tmp_path / "film.png"
    elif spoil == "other key":
        key = tmp_path / "other.key"
        run("key", key)
    elif spoil == "other record":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"amplitude": 9}))
    elif spoil == "broken record":
        record.write_bytes(b"\0\xff{")
    else:
        image.write_bytes(image.read_bytes()[:900])
    code, printed, err = run("verify", image, "--key", key)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "internal" not in err.lower()


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    for number, name in enumerate(("a.png", "b.png", "sub/a.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.rint(1500 + 40 * grain((1, 300, 220), number))[0].astype(np.uint16))
    return folder


def test_several_images_and_patterns_are_protected_and_verified(run, films, key, tmp_path):
    out = tmp_path / "out"
    code, printed, err = run("protect", films / "*.png", films / "sub" / "a.png", films / "b.png", "--key", key, "-o",
                             out)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == ["a", "a-2", "b"]
    for folder, name in (("a", "a"), ("b", "b"), ("a-2", "a")):
        assert f"{out / folder / name}-protected.png" in printed and (out / folder / "evidence.json").is_file()
    code, printed, err = run("verify", out / "*" / "*-protected.png", "--key", key, "--json", "-o", tmp_path / "said")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["label"] for line in lines] == ["authentic"] * 3
    assert all("reason" in line and "sentence" not in line and line["axes"] == "x, y, z" for line in lines)
    assert len(list((tmp_path / "said").glob("*/verified.json"))) == 3


def test_of_several_images_the_worst_counts_and_an_error_stops_none(run, films, key, tmp_path):
    out = tmp_path / "out"
    assert run("protect", films / "a.png", films / "b.png", "--key", key, "-o", out, "-q")[0] == 0
    kept = [out / name / f"{name}-protected.png" for name in "ab"]
    (out / "a" / "evidence.json").unlink()
    assert run("verify", *kept, "--key", key)[0] == 3
    pixels = cv2.imread(str(kept[1]), cv2.IMREAD_UNCHANGED)
    pixels[150:170, 100:120] += 20
    assert cv2.imwrite(str(kept[1]), pixels)
    assert run("verify", *kept, "--key", key)[0] == 1
    code, printed, err = run("verify", films / "a.png", *kept, "--key", key, "--json")
    assert code == 2 and err.count("\n") == 1 and "films/a.png" in err
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["label"] for line in lines] == ["inconclusive", "inconclusive", "tampered"]
    assert lines[0]["error"] == lines[0]["reason"]
    found = lines[2]["findings"][0]
    assert found["box"][:3] == found["corner"] and 100 <= found["centre"][0] <= 120 and 150 <= found["centre"][1] <= 170
    printed = run("verify", kept[1], "--key", key)[1]
    x, y, _ = found["corner"]
    assert f"corner x {x}, y {y}" in printed and "centre x " in printed


def test_of_several_nothing_is_begun_where_one_output_is_taken(run, films, key, tmp_path, monkeypatch):
    (tmp_path / "out" / "b").mkdir(parents=True)
    (tmp_path / "out" / "b" / "evidence.json").write_text("mine")
    code, printed, err = run("protect", films / "*.png", "--key", key, "-o", tmp_path / "out")
    assert (code, printed) == (2, "") and err.count("\n") == 1 and "overwritten" in err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b"]


def test_a_pattern_that_names_nothing_and_a_record_for_several(run, films, key, tmp_path):
    for command in (("protect", "-o", tmp_path / "out"), ("verify",)):
        code, _, err = run(command[0], films / "*.tif", "--key", key, *command[1:])
        assert code == 2 and "No file matches" in err and err.count("\n") == 1
    code, _, err = run("verify", films / "*.png", "--key", key, "--record", films / "a.png")
    assert code == 2 and "--record" in err and err.count("\n") == 1


def test_of_a_folder_the_image_that_was_verified_is_named(run, films, key, tmp_path):
    from scanward.report.heat import png

    assert run("protect", films / "a.png", "--key", key, "-o", tmp_path / "out", "-q")[0] == 0
    (tmp_path / "out" / "drawn.png").write_bytes(png(np.zeros((64, 64), np.uint8)))
    kept = tmp_path / "out" / "a-protected.png"
    assert run("verify", tmp_path / "out", "--key", key)[1].startswith(f"authentic: {kept}\n")
    assert json.loads(run("verify", tmp_path / "out", "--key", key, "--json")[1])["path"] == str(kept)
