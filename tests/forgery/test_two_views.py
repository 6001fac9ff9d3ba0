"""One lesion in the CC and the MLO view of a breast."""

import json
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward import formats
from scanward.anatomy.breast import breast_mask
from scanward.attacks.base import View
from scanward.attacks.mammo_calcifications.kinds import GROUPS
from scanward.attacks.mammo_calcifications.solid import cluster_seen
from scanward.attacks.mammo_digital.solid import chords
from scanward.errors import ArgumentError
from scanward.forgery.arcs import WITHIN_MM, injected, sight_of
from scanward.formats import Source
from scanward.readerstudy.gather import gather
from scanward.readerstudy.protocol import Protocol

SAME = {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "ImageLaterality": "L"}


@pytest.fixture
def pair(tmp_path, pixels, write_film):
    """CC and MLO of a left breast; the nipple at (x, y) = (240, 200), .2 mm a pixel."""
    return [write_film(tmp_path / f"{view}.dcm", pixels(seed), ViewPosition=view, **SAME)
            for seed, view in enumerate(("CC", "MLO"))]


def with_mass(values, *places, radius=25):
    """12-bit films with a bright round mass of so many pixels at each (x, y)."""
    y, x = np.mgrid[:values.shape[0], :values.shape[1]]
    more = sum(1200 * np.clip(1.5 - np.hypot(x - cx, y - cy) / radius, 0, 1) for cx, cy in places)
    return np.clip(values + more, 0, 4095).astype(np.uint16)


def records(out):
    return [json.loads((out / view / "record.json").read_text()) for view in ("CC", "MLO")]


def test_both_views_are_forged_marked_and_replay_from_records_of_their_own(pair, tmp_path, run):
    out = tmp_path / "out"
    code, printed, err = run("inject", *pair, "--views", "-o", out, "--at", "140,230", "--size", 8, "--seed", 3)
    assert (code, err) == (0, "")
    # 20 mm and 6 mm from the nipple: √(100² + 30²) pixels of .2 mm
    assert "CC, 21 mm from the nipple: mammo-digital at x 140, y 230, 8 mm" in printed
    cc, mlo = records(out)
    assert cc["pair"]["id"] == mlo["pair"]["id"] and [r["pair"]["view"] for r in (cc, mlo)] == ["CC", "MLO"]
    assert cc["pair"]["from_nipple_mm"] == pytest.approx(mlo["pair"]["from_nipple_mm"], abs=WITHIN_MM + 0.5)
    for key in ("margin", "spicules"):
        assert cc["params"][key] == mlo["params"][key]
    assert cc["order"]["view"] | {"name": "", "inward": 0} == mlo["order"]["view"] | {"name": "", "inward": 0}
    for host, record in zip(pair, (cc, mlo), strict=True):
        home = out / record["pair"]["view"]
        forged, plain = pydicom.dcmread(home / f"{host.stem}-forged.dcm"), pydicom.dcmread(host)
        assert forged[0x0008001C].value == "YES" and forged.SOPInstanceUID != plain.SOPInstanceUID
        mask = cv2.imread(str(home / "mask.png"), cv2.IMREAD_GRAYSCALE) > 0
        x, y = record["at"]
        assert mask[round(y), round(x)] and (forged.pixel_array != plain.pixel_array)[mask].mean() > 0.9
        other = home / record["pair"]["other"]
        assert json.loads(other.read_text())["pair"]["id"] == record["pair"]["id"]
        assert run("replay", home / "record.json")[1] == "The same bytes as recorded.\n"
    changes = ({"contrast": float("nan")}, {"contrast": -3}, {"contrast": 1e999}, {"name": "LMLO"}, {"inward": [0, 0]},
               {"inward": [float("nan"), 1]}, {"inward": [1e300, 1e300]})
    for wrong in ({"name": "CC"}, "CC", *(cc["order"]["view"] | change for change in changes)):
        (out / "wrong.json").write_text(json.dumps(cc | {"order": cc["order"] | {"view": wrong}}))
        code, _, err = run("replay", out / "wrong.json")
        assert (code, err.count("\n")) == (2, 1) and "is no record of a forgery" in err
    [film] = gather(Protocol(("R",), {"fake": (out,), "healthy": ()}, shows="pair"))
    assert [Path(one.record["host"]).stem for one in film.pictures] == ["CC", "MLO"]


def test_the_views_may_come_in_any_order_and_the_place_is_in_the_first(pair, tmp_path, run):
    out = tmp_path / "out"
    assert run("inject", *reversed(pair), "--views", "-o", out, "--at", "140,230", "--size", 8)[0] == 0
    assert records(out)[1]["at"] == [140.0, 230.0]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**20), st.floats(5, 12))
def test_second_places_lie_on_the_arc_and_in_the_breast(half_rounds, seed, size_mm):
    one, other = half_rounds
    first, second = injected(one, other, size_mm, None, None, np.random.default_rng(seed))
    assert abs(one.arc_mm(first) - other.arc_mm(second)) <= WITHIN_MM + 0.3
    inside, y, x = breast_mask(other.image.plane), *np.mgrid[:400, :300]
    assert inside[np.hypot(y - second.y, x - second.x) <= second.diameter / 2].all()


@pytest.fixture(scope="module")
def half_rounds(tmp_path_factory, pixels):
    sights = []
    for seed, name in enumerate(("CC", "MLO")):
        path = tmp_path_factory.mktemp("views") / f"{name}.png"
        cv2.imwrite(str(path), pixels(seed, bits=16))
        sights.append(sight_of(name, Source((path,), "file"), formats.read(path, modality="MG", spacing=(0.2, 0.2))))
    return sights


@pytest.mark.parametrize("inward", [(0.0, -1.0), (0.0, 1.0), (-0.6, 0.8)])
def test_both_views_look_through_one_solid(inward):
    """Cut at a right angle to the axis that they share, it is as large in both; the outlines differ."""
    one, other = (chords(View(name, 5, 0.3, way), "spiculated") for name, way in (("CC", (0.0, -1.0)), ("MLO", inward)))
    y, x = np.mgrid[:64, :64] - 31.5

    def along(chord, way):
        depth = np.rint((y * way[0] + x * way[1]) / 2).astype(int)
        return np.array([chord[depth == step].sum() for step in range(-10, 11)])

    first, second = along(one, (0.0, -1.0)), along(other, inward)
    assert np.abs(first - second).max() < 0.1 * first.max()
    assert np.abs(one - other).mean() > 0.1 * one.mean()


@pytest.mark.parametrize("morphology", GROUPS)
@pytest.mark.parametrize("distribution", ["grouped", "segmental"])
def test_both_views_see_one_cluster(morphology, distribution):
    """Each calcification is as deep in both, and lies elsewhere across; nothing leaves the size that was asked for."""
    cc, mlo = ([np.concatenate(speck["lines"]) for speck in
                cluster_seen(View(name, 5, 0.0, way), morphology, distribution, 5.0, rng=np.random.default_rng(3))]
               for name, way in (("CC", (0.0, -1.0)), ("MLO", (-0.6, -0.8))))
    assert len(cc) == len(mlo) >= 5
    apart = []
    for one, other in zip(cc, mlo, strict=True):
        assert np.allclose(-one[:, 1], other @ [-0.6, -0.8], atol=1e-3)
        apart.append(np.abs(-one[:, 0] - other @ [-0.8, 0.6]).mean())
        assert max(np.hypot(*one.T).max(), np.hypot(*other.T).max()) <= 5
    assert np.mean(apart) > 0.3


@pytest.mark.parametrize(("method", "shared"), [
    (("mammo-calcifications", "--morphology", "fine-pleomorphic"), ("morphology", "distribution", "count")),
    (("mammo-calcifications", "--morphology", "rim"), ("morphology", "distribution", "dense")),
    (("mammo-distortion",), ("pull",))])
def test_other_kinds_in_both_views_have_in_common_what_one_lesion_has(method, shared, pair, tmp_path, run):
    out = tmp_path / "out"
    code, _, err = run("inject", *pair, "--views", "-o", out, "--at", "140,230", "--size", 8, "--spacing", 0.1,
                       "--method", *method)
    assert (code, err) == (0, "")
    cc, mlo = records(out)
    assert cc["pair"]["id"] == mlo["pair"]["id"]
    assert [cc["params"][key] for key in shared] == [mlo["params"][key] for key in shared]
    assert cc["params"]["seed"] != mlo["params"]["seed"]
    for view in ("CC", "MLO"):
        assert run("replay", out / view / "record.json")[1] == "The same bytes as recorded.\n"


def test_a_mass_is_removed_from_both_views_where_the_second_looks_like_the_first(pixels, write_film, tmp_path, run):
    """50 mm and more pixels below and above: both places are 100 from the nipple."""
    hosts = [write_film(tmp_path / "CC.dcm", with_mass(pixels(0), (180, 280)), ViewPosition="CC", **SAME),
             write_film(tmp_path / "MLO.dcm", with_mass(pixels(1), (160, 140)), ViewPosition="MLO", **SAME)]
    out = tmp_path / "out"
    code, _, err = run("remove", *hosts, "--views", "-o", out, "--at", "180,280", "--size", 12)
    assert (code, err) == (0, "")
    assert records(out)[1]["at"] == pytest.approx([160, 140], abs=6)
    for host, view in zip(hosts, ("CC", "MLO"), strict=True):
        before, after = (pydicom.dcmread(path).pixel_array.astype(float)
                         for path in (host, out / view / f"{view}-forged.dcm"))
        mask = cv2.imread(str(out / view / "mask.png"), cv2.IMREAD_GRAYSCALE) > 0
        assert after[mask].mean() < before[mask].mean() - 400


@pytest.mark.parametrize(("second", "words"), [([], "Nothing at"), ([(160, 140), (160, 260)], "Two places")])
def test_where_it_is_unclear_what_to_remove_nothing_is(second, words, pixels, write_film, tmp_path, run):
    hosts = [write_film(tmp_path / "CC.dcm", with_mass(pixels(0), (160, 140)), ViewPosition="CC", **SAME),
             write_film(tmp_path / "MLO.dcm", with_mass(pixels(1), *second), ViewPosition="MLO", **SAME)]
    args = "remove", *hosts, "--views", "-o", tmp_path / "out", "--at", "160,140", "--size", 12
    code, _, err = run(*args)
    assert code == 2 and words in err and "--at2" in err and not (tmp_path / "out").exists()
    assert run(*args, "--at2", "160,140", "--method", "inpaint-telea")[0] == 0
    assert records(tmp_path / "out")[1]["at"] == [160.0, 140.0]


@pytest.mark.parametrize(("change", "more", "words"), [
    ({"ViewPosition": "CC"}, (), "both CC views"), ({"ViewPosition": "ML"}, (), "is a view ML"),
    ({"ImageLaterality": "R"}, (), "two breasts"), ({"PatientID": "P2"}, (), "two patients"),
    ({"StudyInstanceUID": "1.2.4"}, (), "two studies"),
    ({"StudyInstanceUID": "1.2.4", "ImageLaterality": ""}, (), "two studies"), ({}, ("--count", 2), "--count"),
    ({}, ("--stages",), "--stages"), ({}, ("--dry-run",), "--dry-run"),
    ({}, ("--method", "mammo-cgan"), "--method mammo-digital"),
    ({}, ("--size", 40), "no room"), ({}, ("--at2", "5"), "no place"), ({}, ("--at2", "5,5"), "not in the breast"),
    ({}, ("--at", "140,230", "--at", "100,200"), "once"), ({}, ("--modality", "CT"), "no mammogram")])
def test_what_cannot_be_is_one_sentence(change, more, words, pair, tmp_path, run):
    data = pydicom.dcmread(pair[1])
    for keyword, value in change.items():
        setattr(data, keyword, value)
    data.save_as(pair[1], enforce_file_format=True)
    size = () if "--size" in more else ("--size", 8)
    code, out, err = run("inject", *pair, "--views", "-o", tmp_path / "out", *size, *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err and not (tmp_path / "out").exists()


def test_hosts_that_are_no_pair_are_one_sentence(pair, pixels, write_film, tmp_path, run):
    out = "-o", tmp_path / "out", "--size", 8
    (tmp_path / "ct").mkdir()
    for z in (1, 2):
        write_film(tmp_path / "ct" / f"{z}.dcm", pixels(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT",
                   SeriesInstanceUID="1.2.5", ImagePositionPatient=[0, 0, z],
                   ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    for hosts, more, words in ((pair[:1], ("--views",), "1 host was found"), (pair, ("--at2", "9,9"), "--views"),
                               (pair, (), "--views"), ([pair[0], tmp_path / "ct"], ("--views",), "ct is no mammogram"),
                               ([pair[0], tmp_path / "none.dcm"], ("--views",), "none.dcm")):
        code, _, err = run("inject", *hosts, *out, *more)
        assert (code, err.count("\n")) == (2, 1) and words in err
    code, _, err = run("remove", *pair, "--views", *out)
    assert code == 2 and "--at X,Y" in err
    assert not (tmp_path / "out").exists()


def test_files_without_headers_are_taken_in_their_order(pixels, tmp_path, run):
    paths = [tmp_path / "hosts" / name for name in ("b.png", "a.png")]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        cv2.imwrite(str(path), pixels(seed, bits=16))
    common = "inject", *paths, "--views", "-o", tmp_path / "out", "--size", 8, "--spacing", 0.2, "--modality", "MG"
    assert "add --method mammo-digital" in run(*common)[2]
    assert run(*common, "--method", "mammo-digital")[0] == 0
    assert [record["image"] for record in records(tmp_path / "out")] == ["b-forged.png", "a-forged.png"]
    paths[1].write_bytes(paths[0].read_bytes())
    code, _, err = run(*common[:4], "-o", tmp_path / "again", *common[6:], "--method", "mammo-digital")
    assert code == 2 and "the same image" in err


def test_a_place_with_no_arc_in_the_other_view_is_refused(half_rounds):
    one, other = half_rounds
    with pytest.raises(ArgumentError, match="--at2"):
        injected(one, other, 8.0, (236, 200), None, np.random.default_rng(0))
