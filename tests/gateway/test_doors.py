"""One set of images through the command line, Python, the gateway and mercure: the same answers."""

import json
import shutil
import types
from pathlib import Path

import numpy as np
import pydicom
import pytest

import scanward
from scanward import cli
from scanward.gateway import mercure
from scanward.gateway.receive import Node, take_file
from scanward.gateway.scanning import Scanner
from scanward.inbox.folders import Inbox
from scanward.judging import witnesses
from scanward.judging.scan import calibrate
from scanward.settings import Gateway, Store, Work

FILMS = {"forged film": ("tampered", 4095), "clean film": ("authentic", 1000), "black film": ("inconclusive", 0)}


def changed(path, change):
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)


def brighter(data):
    pixels = data.pixel_array.copy()
    pixels[20:40, 20:40] ^= 64 * (2 <= float(data.ImagePositionPatient[2]) <= 10)
    data.PixelData = pixels.tobytes()


def taller(data):
    """Taller than its pixels reach."""
    data.Rows = 500


def nothing(data):
    pass


OLD = Path(__file__).parents[1] / "protection" / "old"
"""What an earlier version wove evidence into, with the key and the records."""
SEALED = {"CT as it was sealed": ("authentic", nothing, 8), "CT changed since": ("tampered", brighter, 8),
          "CT sealed, a slice missing": ("inconclusive", None, 1),
          "CT sealed, a slice broken": ("inconclusive", taller, 1)}
LABELS = {**{name: label for name, (label, _) in FILMS.items()}, "broken film": "inconclusive", "CT": "authentic",
          "broken CT": "inconclusive", **{name: label for name, (label, *_) in SEALED.items()}}


@pytest.fixture
def given(tmp_path, dicom, bright):
    """Folders with one image or series each, the key, and the folder of records."""
    key, sealed = OLD / "site.key", OLD / "series"
    images = {name: tmp_path / "images" / name for name in LABELS}
    for name, (_, value) in FILMS.items():
        pixels = np.zeros((64, 48), np.uint16)
        pixels[10:18, 20:28] = value * 16
        changed(dicom.file(images[name] / "film.dcm"), lambda data, pixels=pixels: data.update(
            {"BitsStored": 16, "HighBit": 15, "PixelData": pixels.tobytes()}))
    changed(dicom.file(images["broken film"] / "film.dcm"), taller)
    dicom.ct(images["CT"], 16)
    changed(dicom.ct(images["broken CT"], 16)[3], taller)
    for name, (_, change, slices) in SEALED.items():
        shutil.copytree(sealed, images[name])
        for path in sorted(images[name].rglob("*.dcm"))[:slices]:
            path.unlink() if change is None else changed(path, change)
    return images, key, sealed


def said(label, score=None, findings=()):
    return label, None if score is None else round(score, 6), [
        (list(one["box"]), round(one["score"], 6), one["method"]) for one in findings]


def by_command(folder, key, capsys, marked=False):
    cli.run(["scan", "--json", "--key", str(key), str(folder), *(["--marked"] if marked else [])])
    lines = capsys.readouterr().out.splitlines()
    return [said(one["label"], one.get("score"), one.get("findings", ())) for one in map(json.loads, lines)
            if "score" in one or "error" in one]  # the others are Scanward's own pictures beside the images


def by_python(folder, key, marked=False):
    sources, _ = scanward.find([folder])
    return [said(one.label, *(() if one.verdict is None else (one.verdict.score, one.verdict.to_json()["findings"])))
            for one in scanward.scan_many(sources, key=key, marked=marked)]


def by_gateway(folder, key, records, root, marked=False):
    inbox = Inbox(root)
    for path in sorted(folder.rglob("*.dcm")):
        copy = root / path.name
        shutil.copy(path, copy)
        take_file(copy, inbox, Node())
    job = inbox.take(0, 3)
    work = Work(verify_key=key, records=records, marked=marked)
    scanned = Scanner(Gateway(store=Store(folder=root), work=work), inbox).scan(job)
    return [said(one["label"], None if one["error"] else one["score"], one["findings"])
            for one in scanned.record.to_json()["images"]]


def by_mercure(folder, key, records, root, marked=False):
    shutil.copytree(folder, root / "in")
    settings = {"key": str(key), "records": str(records), "marked": marked}
    (root / "in" / "task.json").write_text(json.dumps({"process": {"settings": settings}}))
    assert mercure.run(root / "in", root / "out") == 0
    return [said(one["label"], one.get("score"), one.get("findings", ()))
            for one in json.loads((root / "out" / "result.json").read_text())["images"]]


def test_every_door_gives_the_same_answer(given, tmp_path, capsys):
    images, key, records = given
    for name, label in LABELS.items():
        answers = [by_command(images[name], key, capsys), by_python(images[name], key),
                   by_gateway(images[name], key, records, tmp_path / "inbox" / name)]
        if label != "unscanned" and "broken" not in name:  # where nothing is judged, a module of mercure has failed
            answers.append(by_mercure(images[name], key, records, tmp_path / "mercure" / name))
        assert [answer[0][0] for answer in answers] == [label] * len(answers), name
        assert all(answer == answers[0] for answer in answers), name
        assert len(answers[0]) == 1


@pytest.mark.parametrize("name", ["CT", "CT as it was sealed"])
def test_every_door_misses_the_watermark_where_all_are_marked(name, given, tmp_path, capsys, monkeypatch):
    """Also beside a record of an earlier version, whose pattern forgers without the key have passed."""
    images, key, records = given
    monkeypatch.setattr(witnesses, "lungs_alone", lambda image: types.SimpleNamespace(mask=np.ones(1, bool)))
    monkeypatch.setattr(witnesses, "read", lambda *asked: None)
    for marked, label in ((False, "authentic"), (True, "inconclusive")):
        answers = [by_command(images[name], key, capsys, marked), by_python(images[name], key, marked),
                   by_gateway(images[name], key, records, tmp_path / f"inbox{marked}", marked),
                   by_mercure(images[name], key, records, tmp_path / f"mercure{marked}", marked)]
        assert [answer[0][0] for answer in answers] == [label] * 4


def test_a_mark_taken_out_is_no_way_round_the_seal(given, capsys):
    """Neither at the command line, where the name still tells whose record lies beside, nor by --record."""
    images, key, records = given
    folder = images["CT changed since"]
    for path in folder.rglob("*.dcm"):
        changed(path, lambda data: delattr(data, "DerivationDescription"))
    for mark in folder.rglob("*.scanward.json"):
        mark.unlink()
    assert by_command(folder, key, capsys)[0][0] == "tampered"
    (folder / "evidence.json").unlink()
    assert by_command(folder, key, capsys)[0][0] == "authentic"  # its pixels' word alone
    cli.run(["scan", "--json", "--key", str(key), "--record", str(records / "evidence.json"), str(folder)])
    assert json.loads(capsys.readouterr().out)["label"] == "tampered"


def test_another_image_beside_a_record_is_not_held_against_it(given, dicom, capsys):
    images, key, _ = given
    folder = images["CT as it was sealed"]
    dicom.file(folder / "other.dcm", seed=5)
    answers = by_command(folder, key, capsys)
    assert sorted(label for label, *_ in answers)[0] == "authentic" and len(answers) == 2
    assert not any("another size" in str(answer) for answer in answers)


@pytest.mark.parametrize(("options", "words"), [
    (["--record", "evidence.json"], "--key"), (["--key", "missing.key"], "missing.key")])
def test_what_cannot_be_verified_is_said_before_anything_is_scanned(given, capsys, options, words):
    images, *_ = given
    assert cli.run(["scan", *options, str(images["CT"])]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


def test_an_image_in_memory_needs_its_record(given):
    """Silence of the seal must not look like its word."""
    images, key, records = given
    image = scanward.load(next(images["CT changed since"].rglob("*.dcm")).parent)
    with pytest.raises(scanward.ArgumentError, match="record="):
        scanward.scan(image, key=key)
    assert scanward.scan(image, key=key, record=records / "evidence.json").label == "tampered"
    assert scanward.scan(images["CT changed since"], key=key).label == "tampered"


def test_evidence_is_no_threshold_of_a_site(given):
    images, key, _ = given
    found, _ = scanward.find([images["CT as it was sealed"], images["clean film"]])
    results = [*scanward.scan_many(found, key=key)] * 12
    assert {one.label for one in results} == {"authentic"}
    assert "seal" not in calibrate(results).thresholds
