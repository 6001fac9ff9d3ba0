"""`scanward replay`: the same bytes, or one sentence."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from scanward.forgery import make


def test_a_png_gets_its_forgery_mask_picture_and_record(png, tmp_path, inject):
    out = tmp_path / "out"
    code, printed, err = inject(png, out, "--at", "100,210", "--seed", 4)
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


@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_replay_gives_the_same_bytes(kind, request, tmp_path, inject, run):
    host, out = request.getfixturevalue(kind), tmp_path / "out"
    assert inject(host, out, "--seed", 9)[0] == 0
    code, printed, err = run("replay", out / "record.json", "-o", tmp_path / "again")
    assert (code, err) == (0, "")
    assert "The same bytes" in printed
    name = json.loads((out / "record.json").read_text())["image"]
    assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_a_record_of_a_forgery_that_is_lost_in_noise_still_replays(png, tmp_path, inject, run, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(make, "ROSE", 0)
        assert inject(png, tmp_path / "out", "--strength", "1e-3")[0] == 0
    assert run("replay", tmp_path / "out" / "record.json")[1] == "The same bytes as recorded.\n"


@pytest.mark.parametrize(("key", "value"), [("at", [5, 5]), ("size_mm", float("nan")), ("box", [0, 0, 1, 1])])
def test_replay_refuses_a_record_whose_truth_was_altered(key, value, png, tmp_path, inject, run):
    out = tmp_path / "out"
    assert inject(png, out)[0] == 0
    record = json.loads((out / "record.json").read_text())
    (out / "record.json").write_text(json.dumps(record | {key: value}))
    code, _, err = run("replay", out / "record.json", "-o", tmp_path / "again")
    assert code == 2 and err.count("\n") == 1 and f"its {key} is not that" in err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("change", [
    {"order": {"options": True}}, {"order": {"seed": float("nan")}}, {"order": {"at": float("nan")}}, {"order": {}},
    {"order": {"size_mm": [1, 2, 3]}}, {"action": "x"}, {"spacing": 3}])
def test_an_order_that_scanward_never_wrote_is_no_record(change, png, tmp_path, inject, run):
    out = tmp_path / "out"
    assert inject(png, out)[0] == 0
    record = json.loads((out / "record.json").read_text())
    if change.get("order"):
        change = {"order": record["order"] | change["order"]}
    (out / "record.json").write_text(json.dumps(record | change))
    code, _, err = run("replay", out / "record.json")
    assert (code, err.count("\n")) == (2, 1) and "is no record of a forgery" in err


def test_replay_finds_a_host_that_has_moved_and_refuses_another(png, tmp_path, inject, run, pixels):
    out = tmp_path / "out"
    inject(png, out)
    moved = tmp_path / "moved.png"
    png.rename(moved)
    code, _, err = run("replay", out / "record.json")
    assert code == 2 and err.count("\n") == 1 and "a füm.png" in err
    # the forgery is named after its host, its bytes are not
    assert run("replay", out / "record.json", "--host", moved)[0] == 0
    assert cv2.imwrite(str(moved), pixels(seed=5, bits=16))
    code, _, err = run("replay", out / "record.json", "--host", moved)
    assert code == 2 and "differ" in err


def test_replay_searches_below_a_folder_only_where_its_user_names_it(png, tmp_path, inject, run):
    out, deep = tmp_path / "out", tmp_path / "films" / "deep"
    inject(png, out)
    deep.mkdir(parents=True)
    png.rename(deep / png.name)
    record = json.loads((out / "record.json").read_text())
    (out / "record.json").write_text(json.dumps(record | {"host": str(deep.parent)}))
    code, _, err = run("replay", out / "record.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "films holds no images" in err
    assert run("replay", out / "record.json", "--host", deep.parent)[0] == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"method": "composed-mass"}', "\0\1",
                                  '{"method": "x", "params": {}, "host": "h", "image": "i", "image_sha256": ""}'])
def test_replay_of_no_record_is_one_sentence(text, tmp_path, run):
    path = tmp_path / "record.json"
    path.write_text(text)
    code, out, err = run("replay", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert run("replay", tmp_path / "absent.json")[0] == 2


@pytest.mark.parametrize("change", [
    {"order": {}}, {"params": []}, {"host_sha256": 5}, {"spacing": "wide"}, {"order": None}, {"host": "/"},
    {"host": "/dev/zero"}, {"modality": "XX"}, {"pixels_sha256": "0"}, {"action": "rename"}], ids=str)
def test_replay_of_a_broken_record_is_one_sentence(change, png, tmp_path, inject, run):
    inject(png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, out, err = run("replay", path, "-o", tmp_path / "again")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "internal" not in err.lower()
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": "x"}, {"method": 7}, {"method": "splice"}, {"strength": 2},
                                    {"size_mm": [1e308, 1e308]}, {"size_mm": []}, {"at": [1]}, {"at": [1e300, 2]},
                                    {"options": {"through": 10**9}}, {"options": 3}, {"seed": 10**400}], ids=str)
def test_replay_of_a_broken_order_is_one_sentence(change, png, tmp_path, inject, run):
    inject(png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    record = json.loads(path.read_text())
    record["order"] |= change
    path.write_text(json.dumps(record))
    code, out, err = run("replay", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "internal" not in err.lower()


def test_altered_parameters_of_a_record_are_not_believed(png, tmp_path, inject, run):
    inject(png, tmp_path / "out")
    path = tmp_path / "out" / "record.json"
    record = json.loads(path.read_text())
    record["params"]["spicules"] = 10**9
    path.write_text(json.dumps(record))
    assert run("replay", path)[0] == 0  # the order says everything


def test_a_record_of_another_version_gives_the_same_pixels(png, tmp_path, monkeypatch, inject, run):
    inject(png, tmp_path / "out")
    monkeypatch.setattr("scanward.formats.write.__version__", "99")
    code, out, err = run("replay", tmp_path / "out" / "record.json")
    assert (code, err) == (0, "") and "same pixels" in out


@pytest.mark.parametrize(("command", "method"), [("inject", "mammo-cgan"), ("remove", "mammo-cgan-remove")])
def test_the_default_methods_show_their_stages_and_replay(command, method, png, tmp_path, run):
    out = tmp_path / "out"
    code, printed, err = run(command, png, "-o", out, "--at", "100,210", "--size", 12, "--stages", "--modality", "MG",
                             "--spacing", 0.2)
    assert (code, err) == (0, "")
    assert f"{method} at x 100, y 210, 12 mm" in printed
    assert cv2.imread(str(out / "stages.png")).shape[1] > 900
    assert run("replay", out / "record.json")[1] == "The same bytes as recorded.\n"
