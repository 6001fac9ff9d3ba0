"""A site's own thresholds: how they are made, what they change, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from scanward import cli, formats
from scanward.cli import calibrating
from scanward.errors import ArgumentError
from scanward.image import Image, Provenance
from scanward.judging import sight
from scanward.judging.scan import Result, calibrate, scan
from scanward.judging.site import NEVER, Sight, Site, read_site, site_of, threshold_of
from scanward.judging.witnesses import check_site, detector, placed
from scanward.verdict import Evidence, Verdict


@given(st.lists(st.floats(0, 1), min_size=99, max_size=300), st.floats(0.01, 0.3))
def test_with_many_images_the_threshold_is_conformal(scores, rate):
    threshold = threshold_of(scores, rate)
    over = sum(score >= threshold for score in scores)
    assert over <= int(rate * (len(scores) + 1)) - 1
    assert sum(score >= np.nextafter(threshold, 0) for score in scores) >= int(rate * (len(scores) + 1))


def test_with_few_images_it_is_the_end_of_students_interval():
    logits = np.linspace(-3, -1, 10)
    found = threshold_of(1 / (1 + np.exp(-logits)), 0.02)
    bound = logits.mean() + stats.t.ppf(0.98, 9) * logits.std(ddof=1) * np.sqrt(1.1)
    assert found == pytest.approx(1 / (1 + np.exp(-bound)))


def test_thresholds_keep_to_their_rate_on_new_images_of_the_same_kind():
    rng = np.random.default_rng(0)
    for count in (10, 100):
        rates = []
        for _ in range(400):
            scores = 1 / (1 + np.exp(-rng.normal(-2, 1, count + 200)))
            rates.append(np.mean(scores[count:] >= threshold_of(scores[:count], 0.02)))
        assert np.mean(rates) < 0.03


@pytest.mark.parametrize("bad", [0, 0.5, -1, float("nan")])
def test_rates_that_are_none(bad):
    with pytest.raises(ArgumentError, match="--false-alarms"):
        threshold_of([0.1] * 20, bad)


def test_a_site_never_lowers_a_threshold_and_knows_its_weights():
    site = Site({"a": 0.3, "b": 0.9}, {"a": 0.2, "b": 0.7}, {"a": "x", "b": "x"}, 10, 0.02)

    def placed(method):
        return site.thresholds_of(Evidence(method, 0.1, 0.5, np.zeros((1, 2, 2), np.float32), 0.5))

    assert placed("a") == (0.5, 0.2)
    assert placed("b") == (0.9, 0.7)
    site.check("b", "x")
    with pytest.raises(ArgumentError, match="other weights of b"):
        site.check("b", "y")
    with pytest.raises(ArgumentError, match="no threshold of c"):
        site.check("c", "x")


@given(st.lists(st.floats(0.9, 1), min_size=10, max_size=60), st.sampled_from([0.01, 0.02, 0.2]))
def test_a_site_of_any_scores_can_be_read_again(scores, rate):
    site = site_of({"a": scores}, {"a": None}, len(scores), rate)
    with TemporaryDirectory() as folder:
        path = Path(folder, "site.json")
        path.write_text(json.dumps(site.to_json()))
        assert read_site(path) == site
    if int(rate * (len(scores) + 1)) == 0:
        assert site.thresholds["a"] > max(scores)


def test_an_alarm_that_the_site_calls_off_leaves_no_findings(bright):
    plane = np.full((1, 64, 48), 500, np.float32)
    plane[0, 10:18, 20:28] = 60000
    image = Image(plane, "MG", bits=16)
    site = Site({"bright": 0.95}, {"bright": 0.93}, {"bright": "ab"}, 12, 0.02)
    loud, calm = scan(image), scan(image, site=site)
    assert (loud.label, calm.label) == ("tampered", "authentic")
    assert all(not e.findings and not e.reason for e in calm.evidence)
    assert loud.parameters["thresholds"] != calm.parameters["thresholds"]


def film(path, value):
    pixels = np.full((64, 48), 500, np.uint16)
    pixels[10:18, 20:28] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def authentic(tmp_path, bright):
    """Twelve authentic films of a scanner that makes the stand-in detector (threshold 0.8) cry wolf."""
    for i in range(12):
        film(tmp_path / "our füms" / f"{i}.png", 53000 + 100 * i)
    return tmp_path / "our füms"


def run(*arguments):
    return cli.run([str(a) for a in arguments])


def test_a_calibrated_site_is_calm_and_still_sees_what_is_louder(authentic, bright, tmp_path, capsys, monkeypatch):
    calm, loud, out = authentic / "0.png", film(tmp_path / "forged.png", 65000), tmp_path / "site.json"
    assert run("scan", calm, "--modality", "MG") == 1
    assert run("calibrate", authentic, "-o", out, "--modality", "MG") == 0
    assert "12 authentic images, of which 12 raised an alarm before" in capsys.readouterr().out
    assert run("scan", calm, "--modality", "MG", "--site", out) == 0
    assert run("scan", loud, "--modality", "MG", "--site", out) == 1
    assert 0.8 < read_site(out).thresholds["bright"] < 1
    capsys.readouterr()
    monkeypatch.setattr(bright, "weights_sha256", "other")
    assert run("scan", authentic, "--modality", "MG", "--site", out) == 2
    err = capsys.readouterr().err
    assert "site.json" in err and "other weights" in err and err.count("\n") == 1


def test_too_few_images_write_nothing(authentic, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("1.png", "2.png"):
        shutil.copy(authentic / name, few)
    assert run("calibrate", few, "-o", tmp_path / "site.json", "--modality", "MG") == 2
    assert "10 or more" in capsys.readouterr().err
    (authentic / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for i in range(3):
        (authentic / f"{i}.png").unlink()
    assert run("calibrate", authentic, "-o", tmp_path / "site.json", "--modality", "MG") == 2
    err = capsys.readouterr().err
    assert "broken.png" in err and "10 or more" in err
    assert not (tmp_path / "site.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "scanward-site", "thresholds": {"a": 2}}',
                                  json.dumps({"format": "scanward-site", "thresholds": {"a": 2}, "doubts": {"a": 1},
                                              "weights_sha256": {}, "images": 1, "false_alarms": 0.1}),
                                  "[" * 60_000, '{"format": "scanward-site", "thresholds": {"a": ' + "9" * 400 + "}}",
                                  " " * 70_000])
def test_files_that_are_no_site(authentic, tmp_path, capsys, text):
    path = tmp_path / "no site.json"
    path.write_text(text)
    assert run("scan", authentic, "--modality", "MG", "--site", path) == 2
    err = capsys.readouterr().err
    assert "no site.json" in err and err.count("\n") == 1
    assert run("scan", authentic, "--site", tmp_path / "absent.json") == 2
    assert "absent.json" in capsys.readouterr().err


def test_what_is_still_found_is_kept_with_the_thresholds(tmp_path):
    sights = (Sight(6.0, 16, 8, 5), Sight(12.0, 16, 16, 15))
    site = Site({"a": 0.6}, {"a": 0.5}, {"a": "x"}, 20, 0.02, sights)
    site.save(tmp_path / "site.json")
    assert read_site(tmp_path / "site.json").found == sights
    older = json.loads((tmp_path / "site.json").read_text())
    del older["found"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert read_site(tmp_path / "older.json") == replace(site, found=())
    for odd in (3, [{}], [{"mm": "a"}], [[1, 2]]):
        (tmp_path / "odd.json").write_text(json.dumps({**older, "found": odd}))
        with pytest.raises(ArgumentError, match="is not a site file"):
            read_site(tmp_path / "odd.json")


def test_copies_of_one_image_count_once():
    def result(number):
        score = 1 / (1 + np.exp(3 - 0.1 * number))
        evidence = Evidence("a", score, 0.5, np.zeros((1, 2, 2), np.float32), 0.5, features=(float(number), 1.0))
        verdict = Verdict(score, 0.5, "authentic", evidence.heat, (), (evidence,), "a", "MG", Provenance())
        return Result(Path(f"{number}.dcm"), verdict=verdict)

    results = [result(number) for number in range(20)]
    alone = calibrate(results)
    assert calibrate(results + [result(19)] * 50) == alone
    assert alone.images == 20
    with pytest.raises(ArgumentError, match="Of 1 usable"):
        calibrate([result(3)] * 50)


def test_calibrate_says_what_it_still_finds(tmp_path, capsys, monkeypatch):
    """The site's thresholds are those of the images or, at `blind`, beyond every score."""
    for module in (sight, calibrating):
        monkeypatch.setattr(module, "IMAGES", 4)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:500, :360]
    inside = np.hypot(y - 250, x) < 240
    (tmp_path / "ours").mkdir()
    for number in range(10):
        plane = np.where(inside, 110 + 30 * np.sin(y / 60 + number) + rng.normal(0, 2, y.shape), 0)
        cv2.imwrite(str(tmp_path / "ours" / f"{number}.png"), plane.clip(0, 255).astype(np.uint8))
    assert run("calibrate", tmp_path / "ours", "-o", tmp_path / "site.json", "--modality", "MG") == 0
    said, found = capsys.readouterr().out, read_site(tmp_path / "site.json").found
    assert [one.mm for one in found] == [6.0, 12.0, 25.0] and all(one.forged == 4 for one in found)
    assert all(one.now <= one.before <= one.forged for one in found)
    assert sum(one.before for one in found) > 1, found
    for one in found:
        assert f"Of 4 forgeries of {one.mm:g} mm in them {one.before} were found before, and {one.now}" in said
    blind = Site({"self-reference": NEVER, "copy-move": NEVER}, {"self-reference": NEVER, "copy-move": NEVER},
                 read_site(tmp_path / "site.json").weights_sha256, 10, 0.02)
    monkeypatch.setattr(calibrating, "calibrate", lambda results, rate: blind)
    (tmp_path / "site.json").unlink()
    assert run("calibrate", tmp_path / "ours", "-o", tmp_path / "site.json", "--modality", "MG") == 2
    assert "none of 12 forgeries" in capsys.readouterr().err
    assert not (tmp_path / "site.json").exists()


def test_what_is_still_found_in_a_ct(tmp_path):
    rng = np.random.default_rng(0)
    _, y, x = np.mgrid[:40, -1:1:192j, -1:1:192j]
    values = np.where(np.hypot(y / 0.85, x / 0.95) < 1, 40.0, -1000.0)
    values = np.where(np.hypot(y / 0.6, (np.abs(x) - 0.45) / 0.32) < 1, -850.0, values)
    values += ndimage.gaussian_filter(rng.standard_normal(values.shape), (0, 0.6, 0.6)) * 50
    nibabel.Nifti1Image(np.rint(values).astype(np.int16).transpose(2, 1, 0), np.diag([1.5, 1.5, 2.5, 1])).to_filename(
        tmp_path / "chest.nii.gz")
    sources, _ = formats.find([tmp_path / "chest.nii.gz"])
    called = dict.fromkeys(("ct-self-reference", "ct-copy-move"), NEVER)
    blind = Site(called, called, dict.fromkeys(called), 10, 0.02)
    found = list(sight.forged_and_found(sources, blind))
    assert [mm for mm, _, _ in found] == [6.0, 12.0, 25.0]
    assert not any(now for _, _, now in found)


def test_a_site_that_knows_mammograms_only_leaves_ct_its_shipped_threshold():
    own = {name: detector(name).weights_sha256 for name in ("self-reference", "ct-self-reference")}
    films = {"self-reference": 0.99, "copy-move": 0.99}
    site = Site(films, films, {"self-reference": own["self-reference"], "copy-move": None}, 20, 0.02)
    check_site(site)
    ct = Evidence("ct-self-reference", 0.8, 0.7, np.zeros((1, 2, 2), np.float32), 0.5)
    assert placed(ct, site).label == "tampered" and placed(replace(ct, score=0.6), site).label == "authentic"
    with pytest.raises(ArgumentError, match="other weights"):
        check_site(replace(site, thresholds={**films, "ct-self-reference": 0.9}))
    with pytest.raises(ArgumentError, match="holds no threshold of copy-move"):
        check_site(replace(site, thresholds={"self-reference": 0.99}))
