"""`scanward inject`, `remove` and `replay` as their users meet them: files, bytes, marks, sentences, exit codes."""

import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import scanward
from scanward import cli, formats
from scanward.attacks.places import auto_place
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery import sets

MASS = ("--method", "composed-mass")
"""An attack without weights: what is tested here is what surrounds the attacks."""


def pixels(seed=0, shape=(400, 300), bits=12):
    """A half-round breast on black film, chest wall on the left."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    inside = np.hypot((y - shape[0] / 2) / (0.45 * shape[0]), x / (0.8 * shape[1])) < 1
    tissue = 0.45 + 0.05 * np.sin(y / 9) * np.sin(x / 7) + rng.normal(0, 0.01, shape)
    return np.rint(np.where(inside, tissue, 0.01) * (2**bits - 1)).astype(np.uint16)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "hosts" / "a füm.png"
    path.parent.mkdir()
    assert cv2.imwrite(str(path), pixels(bits=16))
    return path


@pytest.fixture
def dicom(tmp_path):
    path = tmp_path / "film.dcm"
    values = pixels()
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid(entropy_srcs=["film"])
    data.Modality, data.PatientName = "MG", "Test^Film"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.ImagerPixelSpacing = [0.2, 0.2]
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path


def run(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def inject(capsys, host, out, *more, size=10):
    return run(capsys, "inject", host, "-o", out, "--size", size, "--spacing", 0.2, "--modality", "MG", *MASS, *more)


def test_a_png_gets_its_forgery_mask_picture_and_record(png, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, err = inject(capsys, png, out, "--at", "100,210", "--seed", 4)
    assert (code, err) == (0, "")
    assert "a füm-forged.png" in printed
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["a füm-forged.png", "a füm-forged.png.scanward.json", "mask.png", "before-after.png", "record.json"])
    before, after = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (png, out / "a füm-forged.png"))
    assert after.dtype == before.dtype == np.uint16
    mask = cv2.imread(str(out / "mask.png"), cv2.IMREAD_UNCHANGED) > 0
    assert mask.shape == before.shape
    assert (before != after)[mask].mean() > 0.9
    ys, xs = np.nonzero(mask)
    assert abs(ys.mean() - 210) < 15 and abs(xs.mean() - 100) < 15
    assert 2 * np.sqrt(mask.sum() / np.pi) == pytest.approx(50, rel=0.2)  # 10 mm at 0.2 mm
    record = json.loads((out / "record.json").read_text())
    assert (record["method"], record["seed"], record["size_mm"], record["at"]) == ("composed-mass", 4, 10, [100, 210])
    assert record["box"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert record["image_sha256"] == hashlib.sha256((out / record["image"]).read_bytes()).hexdigest()


def test_the_mark_is_in_the_file_and_beside_it(png, tmp_path, capsys):
    inject(capsys, png, tmp_path / "out")
    with Pillow.open(tmp_path / "out" / "a füm-forged.png") as image:
        assert "synthetic" in image.text["Scanward"]
    assert json.loads((tmp_path / "out" / "a füm-forged.png.scanward.json").read_text())["synthetic"] is True


def test_a_dicom_forgery_is_marked_and_says_how_it_was_made(dicom, tmp_path, capsys):
    code, _, err = run(capsys, "inject", dicom, "-o", tmp_path / "out", "--size", 8, *MASS)
    assert (code, err) == (0, "")
    host, forged = pydicom.dcmread(dicom), pydicom.dcmread(tmp_path / "out" / "film-forged.dcm")
    assert forged[0x0008001C].value == "YES"
    assert forged.ImageType[0] == "DERIVED"
    assert "composed-mass" in forged.DerivationDescription
    assert forged.SourceImageSequence[0].ReferencedSOPInstanceUID == host.SOPInstanceUID
    assert forged.SOPInstanceUID != host.SOPInstanceUID
    assert (forged.BitsStored, forged.PatientName) == (12, host.PatientName)


@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_replay_gives_the_same_bytes(kind, request, tmp_path, capsys):
    host, out = request.getfixturevalue(kind), tmp_path / "out"
    assert inject(capsys, host, out, "--seed", 9)[0] == 0
    code, printed, err = run(capsys, "replay", out / "record.json", "-o", tmp_path / "again")
    assert (code, err) == (0, "")
    assert "The same bytes" in printed
    name = json.loads((out / "record.json").read_text())["image"]
    assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_replay_finds_a_host_that_has_moved_and_refuses_another(png, tmp_path, capsys):
    out = tmp_path / "out"
    inject(capsys, png, out)
    moved = tmp_path / "moved.png"
    png.rename(moved)
    code, _, err = run(capsys, "replay", out / "record.json")
    assert code == 2 and err.count("\n") == 1 and "a füm.png" in err
    # the forgery is named after its host, its bytes are not
    assert run(capsys, "replay", out / "record.json", "--host", moved)[0] == 0
    assert cv2.imwrite(str(moved), pixels(seed=5, bits=16))
    code, _, err = run(capsys, "replay", out / "record.json", "--host", moved)
    assert code == 2 and "differ" in err


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"method": "composed-mass"}', "\0\1",
                                  '{"method": "x", "params": {}, "host": "h", "image": "i", "image_sha256": ""}'])
def test_replay_of_no_record_is_one_sentence(text, tmp_path, capsys):
    path = tmp_path / "record.json"
    path.write_text(text)
    code, out, err = run(capsys, "replay", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert run(capsys, "replay", tmp_path / "absent.json")[0] == 2


@pytest.mark.parametrize("change", [
    {"order": {}}, {"params": []}, {"host_sha256": 5}, {"spacing": "wide"}, {"order": None}, {"host": "/"},
    {"host": "/dev/zero"}, {"modality": "XX"}, {"pixels_sha256": "0"}, {"action": "rename"}], ids=str)
def test_replay_of_a_broken_record_is_one_sentence(change, png, tmp_path, capsys):
    inject(capsys, png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, out, err = run(capsys, "replay", path, "-o", tmp_path / "again")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "internal" not in err.lower()
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": "x"}, {"method": 7}, {"method": "splice"}, {"strength": 2},
                                    {"size_mm": [1e308, 1e308]}, {"size_mm": []}, {"at": [1]}, {"at": [1e300, 2]},
                                    {"options": {"through": 10**9}}, {"options": 3}, {"seed": 10**400}], ids=str)
def test_replay_of_a_broken_order_is_one_sentence(change, png, tmp_path, capsys):
    inject(capsys, png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    record = json.loads(path.read_text())
    record["order"] |= change
    path.write_text(json.dumps(record))
    code, out, err = run(capsys, "replay", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "internal" not in err.lower()


def test_altered_parameters_of_a_record_are_not_believed(png, tmp_path, capsys):
    inject(capsys, png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    record = json.loads(path.read_text())
    record["params"]["spicules"] = 10**9
    path.write_text(json.dumps(record))
    assert run(capsys, "replay", path)[0] == 0  # the order says everything


def test_a_record_of_another_version_gives_the_same_pixels(png, tmp_path, capsys, monkeypatch):
    inject(capsys, png, tmp_path / "out")
    monkeypatch.setattr("scanward.formats.write.__version__", "99")
    code, out, err = run(capsys, "replay", tmp_path / "out" / "record.json")
    assert (code, err) == (0, "") and "same pixels" in out


def test_nothing_is_overwritten(png, tmp_path, capsys):
    out = tmp_path / "out"
    inject(capsys, png, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    host = png.read_bytes()
    code, _, err = inject(capsys, png, out, "--seed", 1)
    assert code == 2 and "exists already" in err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert png.read_bytes() == host


def test_a_forgery_beside_its_host_leaves_it_alone(png, capsys):
    host = png.read_bytes()
    assert inject(capsys, png, png.parent)[0] == 0
    assert png.read_bytes() == host


@pytest.mark.parametrize(("options", "word"), [
    (("--at", "5000,10"), "outside"), (("--at", "290,10"), "breast"), (("--at", "here"), "--at"),
    (("--at", "1,2,3"), "--at"), (("--at", "nan,2"), "finite"), (("--strength", "0"), "strength"),
    (("--strength", "1.5"), "strength"), (("--method", "inpaint-telea"), "inject"), (("--sigma", "3"), "--sigma"),
    (("--stages",), "--stages"), (("--count", "0"), "--count"), (("--seed", "-1"), "--seed"),
], ids=str)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(options, word, png, tmp_path, capsys):
    code, out, err = inject(capsys, png, tmp_path / "out", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".scanward-*"))


@pytest.mark.parametrize(("size", "word"), [("2.9", "from 3 mm"), ("58", "is larger than the breast"),
                                            ("90", "does not suit"), ("nan", "nan mm"), ("big", "is no size"),
                                            ("9-4", "is no size"), ("1e9", "does not suit"), ("5-inf", "5 to inf mm")])
def test_sizes_that_cannot_be(size, word, png, tmp_path, capsys):
    code, out, err = inject(capsys, png, tmp_path / "out", "--at", "90,200", size=size)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err
    assert not (tmp_path / "out").exists()


def test_a_host_that_does_not_say_its_spacing_is_asked_for_it(png, tmp_path, capsys):
    code, _, err = run(capsys, "inject", png, "-o", tmp_path / "out", "--size", 8, "--modality", "MG", *MASS)
    assert code == 2 and "--spacing" in err


def test_a_host_of_another_modality_is_refused(png, tmp_path, capsys):
    code, _, err = run(capsys, "inject", png, "-o", tmp_path / "out", "--size", 8, "--modality", "CT", *MASS)
    assert code == 2 and "CT" in err and err.count("\n") == 1


def test_hosts_that_are_none(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.dcm").write_bytes(b"\0" * 128 + b"DICM\x02")
    tiny = tmp_path / "tiny.png"
    assert cv2.imwrite(str(tiny), np.zeros((1, 1), np.uint8))
    for host in ("absent.png", "empty", "short.dcm", "tiny.png"):
        code, _, err = inject(capsys, tmp_path / host, tmp_path / "out")
        assert code == 2 and err.count("\n") == 1 and host in err, err
        assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(png, tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, _, err = inject(capsys, png, closed / "out")
    assert code == 2 and err.count("\n") == 1


def test_count_makes_a_labelled_set_that_can_be_gone_on_with(png, tmp_path, capsys):
    other, out = png.with_name("b.png"), tmp_path / "set"
    assert cv2.imwrite(str(other), pixels(seed=1, bits=16))
    code, printed, err = inject(capsys, png.parent, out, "--count", 3, size="5-20")
    assert (code, err) == (0, "") and "3 of 3" in printed
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["a füm-forged.png", "b-forged.png", "a füm-forged.png"]
    assert len({tuple(line["at"]) for line in lines}) == 3
    assert all(5 <= line["size_mm"] <= 20 for line in lines)
    for line in lines:
        assert (out / line["folder"] / line["image"]).is_file() and (out / line["folder"] / line["mask"]).is_file()
    times = {p: p.stat().st_mtime_ns for p in out.glob("0*/record.json")}
    code, printed, _ = inject(capsys, png.parent, out, "--count", 5, size="5-20")
    assert code == 0 and "5 of 5" in printed and "3 of them from before" in printed
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 5
    assert all(p.stat().st_mtime_ns == then for p, then in times.items())
    code, _, err = inject(capsys, png.parent, out, "--count", 5, size="6-20")
    assert code == 2 and "another order" in err


def test_an_interrupted_set_goes_on(png, tmp_path, capsys, monkeypatch):
    out, real, made = tmp_path / "set", sets.forge_file, []

    def interrupted(*given, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(given)
        return real(*given, **more)

    monkeypatch.setattr(sets, "forge_file", interrupted)
    code, _, err = inject(capsys, png, out, "--count", 4)
    assert code == 130 and "2 images" in err
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 2
    monkeypatch.setattr(sets, "forge_file", real)
    code, printed, _ = inject(capsys, png, out, "--count", 4)
    assert code == 0 and "4 of 4" in printed and "2 of them from before" in printed
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 4
    assert inject(capsys, png, out, "--count", 1)[0] == 0
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 4, "a smaller count forgets nothing"


@pytest.mark.parametrize("harm", ["record", "image", "mask"])
def test_what_was_harmed_is_named_and_the_rest_kept(harm, png, tmp_path, capsys):
    out = tmp_path / "set"
    inject(capsys, png, out, "--count", 3)
    home = out / "00002"
    if harm == "record":
        (home / "record.json").write_text("{")
    elif harm == "image":
        (home / "a füm-forged.png").write_bytes(b"x")
    else:
        (home / "mask.png").unlink()
    code, printed, err = inject(capsys, png, out, "--count", 3)
    assert code == 2 and err.count("\n") == 1 and "00002" in err and "2 of 3" in printed
    assert len((out / "manifest.jsonl").read_text().splitlines()) == (2 if harm == "record" else 3)


def test_forgeries_do_not_become_hosts(png, tmp_path, capsys):
    out = png.parent / "set"
    assert inject(capsys, png.parent, out, "--count", 2)[0] == 0
    assert "2 of them from before" in inject(capsys, png.parent, out, "--count", 2)[1]
    inject(capsys, png.parent, tmp_path / "other", "--count", 2)
    lines = [json.loads(line) for line in (tmp_path / "other" / "manifest.jsonl").read_text().splitlines()]
    assert {line["image"] for line in lines} == {"a füm-forged.png"}


def test_a_first_try_that_failed_locks_nothing(png, tmp_path, capsys):
    out = tmp_path / "set"
    code, _, err = run(capsys, "inject", png, "-o", out, "--size", 10, "--modality", "MG", *MASS, "--count", 3)
    assert code == 2 and err.count("--spacing") == 1
    assert not out.exists()
    assert inject(capsys, png, out, "--count", 2)[0] == 0


def test_a_manifest_of_something_else_stays(png, tmp_path, capsys):
    (tmp_path / "manifest.jsonl").write_text("mine\n")
    code, _, err = inject(capsys, png, tmp_path, "--count", 2)
    assert code == 2 and "manifest.jsonl" in err
    assert (tmp_path / "manifest.jsonl").read_text() == "mine\n"


def test_a_broken_host_costs_the_set_its_own_share_only(png, tmp_path, capsys):
    png.with_name("b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    code, printed, err = inject(capsys, png.parent, tmp_path / "set", "--count", 4)
    assert code == 2 and err.count("b.png") == 1 and "2 of 4" in printed
    assert len((tmp_path / "set" / "manifest.jsonl").read_text().splitlines()) == 2


def test_one_host_of_two_that_is_missing_is_an_error(png, tmp_path, capsys):
    code, out, err = run(capsys, "inject", png, tmp_path / "absent.png", "-o", tmp_path / "out", "--size", 10,
                         "--spacing", 0.2, "--modality", "MG", *MASS)
    assert code == 2 and "absent.png" in err and "record.json" in out


def test_a_forgery_that_changes_nothing_is_refused(png, tmp_path, capsys):
    code, _, err = inject(capsys, png, tmp_path / "out", "--strength", "1e-9")
    assert code == 2 and "change nothing" in err
    assert not (tmp_path / "out").exists()


def test_pixels_that_are_no_squares_are_refused(png, tmp_path, capsys):
    code, _, err = run(capsys, "inject", png, "-o", tmp_path / "out", "--size", 10, "--spacing", "0.2x0.4",
                       "--modality", "MG", *MASS)
    assert code == 2 and "square" in err


def test_a_host_named_after_another_format_keeps_its_own(png, dicom, tmp_path, capsys):
    for host, name, forged in ((png, "x.dcm", "x-forged.png"), (png, "bare", "bare-forged.png"),
                               (dicom, "film.png", "film-forged.dcm"), (dicom, "1.2.840.7", "1.2.840-forged.7")):
        odd = tmp_path / "odd" / name
        odd.parent.mkdir(exist_ok=True)
        odd.write_bytes(host.read_bytes())
        code, _, err = inject(capsys, odd, tmp_path / ("out " + name))
        assert (code, err) == (0, "")
        assert (tmp_path / ("out " + name) / forged).is_file()


def test_signed_values_never_wrap_round(tmp_path, capsys):
    host = tmp_path / "signed.npy"
    np.save(host, np.clip(pixels(bits=16).astype(np.int64), 0, 32700).astype(np.int16))
    for seed in range(4):
        out = tmp_path / str(seed)
        assert inject(capsys, host, out, "--at", "100,210", "--seed", seed)[0] == 0
        assert np.load(out / "signed-forged.npy").min() >= 0


def test_long_names_are_cut(png, tmp_path, capsys):
    host = tmp_path / ("n" * 240 + ".png")
    host.write_bytes(png.read_bytes())
    assert inject(capsys, host, tmp_path / "out")[0] == 0
    code, _, err = inject(capsys, png, tmp_path / ("o" * 300))
    assert code == 2 and err.count("\n") == 1 and "internal" not in err.lower()


def test_several_hosts_need_a_count(png, tmp_path, capsys):
    assert cv2.imwrite(str(png.with_name("b.png")), pixels(seed=1, bits=16))
    code, _, err = inject(capsys, png.parent, tmp_path / "out")
    assert code == 2 and "--count" in err


def test_the_same_from_python(png):
    host = scanward.load(png, modality="MG", spacing=(0.2, 0.2))
    tamper = scanward.inject(host, size_mm=10, at=(100, 210), method="composed-mass", seed=4)
    again = scanward.inject(png, size_mm=10, at=(100, 210), method="composed-mass", seed=4, spacing=(0.2, 0.2))
    assert np.array_equal(tamper.image.pixels, again.image.pixels)
    assert tamper.mask.shape == host.shape
    removed = scanward.remove(host, size_mm=10, method="inpaint-telea")
    assert removed.record.method == "inpaint-telea"
    with pytest.raises(ArgumentError, match="inpaint-telea"):
        scanward.inject(host, size_mm=10, method="inpaint-telea")
    with pytest.raises(UnsupportedError):
        scanward.inject(scanward.load(png, modality="CT", spacing=(1, 1)), size_mm=10, method="composed-mass")


def test_auto_places_lie_in_the_breast_and_off_the_muscle(png):
    values = pixels(bits=16, shape=(500, 400)).astype(np.float32)
    y, x = np.mgrid[:500, :400]
    inside = values > 5000
    muscle = inside & (y - 40 < 260 * (1 - x / 130))
    values[muscle] += 16000
    image = formats.read(png, modality="MG", spacing=(0.2, 0.2)).with_plane(values)
    rng = np.random.default_rng(0)
    for _ in range(60):
        place = auto_place(image, rng, 40)
        disc = np.hypot(y - place.y, x - place.x) <= 20
        assert inside[disc].all()
        assert not muscle[disc].any()


@pytest.mark.data
def test_auto_places_lie_on_tissue_where_the_mask_takes_in_bare_film():
    data = os.environ.get("SCANWARD_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
    root = Path(data, "mias", "images")
    if not root.is_dir():
        pytest.skip(f"no mini-MIAS films in {root}; set SCANWARD_DATA")
    for name in ("mdb263", "mdb268"):
        image = formats.read(root / f"{name}.png", modality="MG", spacing=(0.2, 0.2))
        for seed in range(12):
            place = auto_place(image, np.random.default_rng(seed), 60)
            y, x, r = int(place.y), int(place.x), 30
            assert np.median(image.plane[y - r:y + r, x - r:x + r]) > 24


def test_no_room_is_one_sentence(png):
    with pytest.raises(ArgumentError, match="no room"):
        auto_place(formats.read(png, modality="MG", spacing=(0.2, 0.2)), np.random.default_rng(0), 290)


@pytest.mark.parametrize(("command", "method"), [("inject", "mammo-cgan"), ("remove", "mammo-cgan-remove")])
def test_the_default_methods_show_their_stages_and_replay(command, method, dicom, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, err = run(capsys, command, dicom, "-o", out, "--at", "100,210", "--size", 12, "--stages")
    assert (code, err) == (0, "")
    assert f"{method} at x 100, y 210, 12 mm" in printed
    assert cv2.imread(str(out / "stages.png")).shape[1] > 900
    assert run(capsys, "replay", out / "record.json")[1] == "The same bytes as recorded.\n"


def test_mammo_cgans_constants_can_be_given(dicom, tmp_path, capsys):
    code, _, err = run(capsys, "inject", dicom, "-o", tmp_path / "out", "--at", "100,210", "--size", 12, "--sigma", 12,
                       "--threshold", 440, "--alpha", 40, "--power", 12)
    assert (code, err) == (0, "")
    used = json.loads((tmp_path / "out" / "record.json").read_text())["params"]["intensities"]
    assert [used[name] for name in ("sigma", "threshold", "alpha", "power")] == [12, 440, 40, 12]


@pytest.mark.parametrize("option", [("--sigma", "-1"), ("--sigma", "nan"), ("--sigma", "1e39"), ("--alpha", "0"),
                                    ("--power", "inf"), ("--grain", "sand")], ids=str)
def test_constants_that_make_no_sense(option, dicom, tmp_path, capsys):
    code, out, err = run(capsys, "inject", dicom, "-o", tmp_path / "out", "--at", "100,210", "--size", 12, *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert option[0] in err
