"""A study of chest CT: what is written and served, which marks count, and what the report makes of them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from study_films import TELLING, Browser
from study_scans import MM, SHAPE, hounsfield, nifti, scan_protocol, scans, series

pytest.importorskip("fastapi")

from scanward import formats
from scanward.forgery.files import forge_file
from scanward.forgery.order import Order
from scanward.formats.write_volume import read_mask
from scanward.readerstudy import gather
from scanward.readerstudy.app import build
from scanward.readerstudy.averages import averages, averages_table
from scanward.readerstudy.films import read_picture
from scanward.readerstudy.folder import Truth, close, read_study, read_truth
from scanward.readerstudy.log import Log, Reading, Spot, parts_of, replay
from scanward.readerstudy.make import new_study
from scanward.readerstudy.outcome import Read, distance_mm, located, on_it
from scanward.readerstudy.protocol import read_protocol
from scanward.report.slices import volume_in

UPRIGHT = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]
"""Half a millimetre in the plane, two between slices."""


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chests")
    scans(folder)
    return folder


@pytest.fixture
def study(chests, tmp_path):
    return new_study(read_protocol(scan_protocol(chests), "scan"), tmp_path / "study")


def test_a_study_shows_the_scans_and_keeps_what_was_forged(chests, tmp_path, run):
    out = tmp_path / "study"
    code, printed, err = run("study", "new", scan_protocol(chests), "-o", out, "--modality", "CT")
    assert code == 0 and "Without a table of patients every scan counts" in err and len(err.splitlines()) == 1
    assert "blind part: 1 fake, 2 healthy, 1 unhealthy" in printed
    known, truth = read_study(out), read_truth(out)
    assert known.shows == "scan" and sorted(one.kind for one in truth.values()) == sorted(
        ["fake"] * 2 + ["healthy"] * 3 + ["unhealthy"] * 2)
    for name, one in truth.items():
        values = formats.read(Path(one.source)).pixels
        assert np.array_equal(volume_in(known.film(name)), values)
        if one.forged:
            mask = read_mask(chests / "set" / one.source.split("/")[-2] / "mask.nii.gz")
            x0, y0, z0, x1, y1, z1 = one.box
            assert np.array_equal(mask[z0:z1, y0:y1, x0:x1], one.mask) and mask.sum() == one.mask.sum()
            assert one.margin_mm == 5 and one.method == "ct-copy-move"
        else:
            assert one.mask is None and one.box is None
    public = (out / "study.json").read_text()
    for word in ("fake", "healthy", "copy", "set", str(chests)):
        assert word not in public


def test_the_truth_of_a_series_that_does_not_lie_upright(tmp_path):
    """On the side: rows go to the back and columns to the right. What was forged is what differs from the host."""
    host = series(tmp_path / "host", hounsfield(7), "P", ImageOrientationPatient=[0, 1, 0, -1, 0, 0],
                  ImagePositionPatient=lambda z: [0, 0, MM * z])
    forge_file(host, tmp_path / "forged", Order("ct-copy-move", (12.0, 12.0)), "inject", seed=3)
    found = read_picture(next(gather._fakes([tmp_path / "forged"], {}, "scan")), "scan")
    moved = found.image.pixels != formats.read(host).pixels
    assert found.mask.sum() > 10 and moved[found.mask].mean() > 0.9


def truth(mask=None, at=(0, 0, 0), to_mm=UPRIGHT, margin=5.0, kind="fake", action="inject"):
    box = None if mask is None else (*at, *(a + n for a, n in zip(at, mask.shape[::-1], strict=True)))
    return Truth(kind, action if kind == "fake" else "", "ct-gan" if kind == "fake" else "", "patient p", "/s", None,
                 box, mask, to_mm, margin)


def test_how_far_a_mark_lies_by_hand():
    """One forged voxel at x 100, y 80, slice 21 (z 20), of half a millimetre and slices of two."""
    one = truth(np.ones((1, 1, 1), bool), (100, 80, 20))
    assert distance_mm(Spot((100, 80, 20), 3), one) == 0
    assert distance_mm(Spot((110, 80, 20), 3), one) == 5.0 and on_it(Spot((110, 80, 20), 3), one)
    assert not on_it(Spot((111, 80, 20), 3), one)  # 5.5 mm
    assert distance_mm(Spot((100, 80, 22), 3), one) == 4.0 and not on_it(Spot((100, 80, 23), 3), one)  # 6 mm
    assert distance_mm(Spot((106, 80, 22), 3), one) == 5.0 and on_it(Spot((106, 80, 22), 3), one)  # 3, 4, 5
    assert not on_it(Spot((107, 80, 22), 3), one)
    assert not on_it(Spot((110, 80, 20), 3), truth(np.ones((1, 1, 1), bool), (100, 80, 20), margin=4.9))


def test_the_nearest_forged_voxel_counts_and_slanted_scans_too():
    mask = np.zeros((3, 1, 9), bool)
    mask[0, 0, 0] = mask[2, 0, 8] = True  # (x, y, z) = (10, 10, 5) and (18, 10, 7)
    two = truth(mask, (10, 10, 5))
    assert distance_mm(Spot((18, 10, 7), 1), two) == 0
    assert distance_mm(Spot((18, 10, 5), 1), two) == 4.0  # the first lies 4 mm away, the second 4 mm, too
    assert distance_mm(Spot((12, 10, 5), 1), two) == 1.0
    turned = [[0.0, 2.0, 0.0, 7.0], [-0.5, 0.0, 0.0, 9.0], [0.0, 0.0, 1.0, 1.0]]  # x goes along -y in half millimetres
    slanted = truth(np.ones((1, 1, 1), bool), (4, 4, 4), turned)
    assert distance_mm(Spot((8, 4, 4), 1), slanted) == 2.0 and distance_mm(Spot((4, 5, 4), 1), slanted) == 2.0


def read(reader, case, part, one, answer, *spots, sure=3):
    kept = Truth(one.kind, one.action, one.method, f"patient {case}", f"/{case}", None, one.box, one.mask, one.to_mm,
                 one.margin_mm)
    return Read(reader, part, 1, case, kept, Reading(answer, sure, spots=list(spots)), (512, 512))


FORGED = truth(np.ones((1, 1, 1), bool), (100, 80, 20))
HEALTHY = truth(kind="healthy")
ON, BESIDE = (102, 80, 20), (200, 80, 20)


def test_marks_on_and_beside_what_was_forged():
    found = located(read("Ada", "a", "open", FORGED, "fake", Spot(BESIDE, 5), Spot(ON, 2)))
    assert (found.marked, found.inside, found.touched) == (True, True, False)
    found = located(read("Ada", "a", "open", FORGED, "fake", Spot((100, 80, 20), 2)))
    assert (found.inside, found.touched) == (True, True)
    assert not located(read("Ada", "a", "open", FORGED, "fake", Spot(BESIDE, 5))).inside
    assert not located(read("Ada", "a", "open", FORGED, "real")).marked


def few():
    """Two readers, two forged and two healthy scans in the blind part."""
    made = []
    for reader in ("Ada", "Ben"):
        made += [
            read(reader, "f1", "blind", FORGED, "unhealthy", Spot(ON, 4), Spot(BESIDE, 5)),
            read(reader, "f2", "blind", FORGED, "unhealthy" if reader == "Ada" else "healthy", Spot(BESIDE, 5)),
            read(reader, "h1", "blind", HEALTHY, "healthy"),
            read(reader, "h2", "blind", HEALTHY, "healthy" if reader == "Ada" else "unhealthy", Spot(BESIDE, 4)),
        ]
    return made


def test_the_afroc_figure_by_hand():
    """Best marks on it: 4 and none. Highest elsewhere: none and 4. Of the pairs (4, none) is won, (4, 4) and
    (none, none) are ties, (none, 4) is lost: (1 + ½ + ½ + 0) / 4."""
    found = averages(few())
    assert found.titles == ("blind: lesions put in from healthy",)
    titles, studied = found.afroc
    assert titles == found.titles and studied.figures.tolist() == [[0.5, 0.5]]
    made = found.estimates()
    task = made["tasks"]["blind: lesions put in from healthy"]
    assert task["AFROC"]["value"] == 0.5
    # Ada calls both fakes unhealthy and both healthy ones healthy; Ben one of each wrong. All are as sure.
    assert task["AUC"]["value"] == pytest.approx((1.0 + 0.5) / 2)
    assert (task["sensitivity"]["value"], task["specificity"]["value"]) == (0.75, 0.75)
    assert made["readers"]["Ben"]["blind: lesions put in from healthy"]["AFROC"] == 0.5
    assert "| blind: lesions put in from healthy | AFROC | .500 (" in averages_table(found)


def answers(made, reader, says, spots):
    """A simulated reader: `says` and `spots` take the truth of a scan."""
    study = read_study(made.folder)
    log, known = Log(study.answers(reader), parts_of(study.lists[reader])), read_truth(study.folder)
    for part, own in study.lists[reader].items():
        for film in own:
            one = known[film.film]
            log.append({"kind": "reading", "at": "t", "film": film.id, "answer": says(part, one), "confidence": 4,
                        "marks": spots(one), "remark": "", "seconds": 60.0, "save": film.id})


def on(one):
    if not one.forged:
        return []
    x0, y0, z0 = one.box[:3]
    z, y, x = np.argwhere(one.mask)[0]
    return [{"shape": "point", "at": [int(x0 + x), int(y0 + y), int(z0 + z)], "rating": 5}]


def test_the_report_of_a_study(study, run, tmp_path):
    for reader in (0, 1):
        answers(study, reader, lambda part, one: ("unhealthy" if one.kind != "healthy" else "healthy")
                if part == "blind" else "fake" if one.forged else "real", on)
    code, text, err = run("study", "report", study.folder, "-o", tmp_path / "report")
    assert (code, err) == (0, "")
    assert "a mark within 5 mm of it" in text and "Bar-on" not in text and "film" not in text.lower()
    assert "| accuracy | 100.0 % (6/6" in text
    assert "| open | fake: a lesion put in | all answered | 100.0 % (2/2" in text
    rows = list(csv.DictReader((tmp_path / "report" / "answers.csv").read_text().splitlines()))
    assert [(r["in_it"], r["within_margin"], r["nearest_mm"]) for r in rows if r["kind"] == "fake"] == [
        ("1", "1", "0.0")] * 4
    marks = list(csv.DictReader((tmp_path / "report" / "marks.csv").read_text().splitlines()))
    assert len(marks) == 4 and all(10 <= float(r["size_mm"]) <= 12 for r in rows if r["kind"] == "fake")
    for mark in marks:  # voxels of 2.5 mm that count to the left, the back and the head from the first
        assert [float(mark[f"{axis}_mm"]) for axis in "xyz"] == [MM * int(mark[axis]) for axis in "xyz"]
        assert (mark["rating"], mark["on_it"], mark["away_mm"]) == ("5", "1", "0.0")
    json.loads((tmp_path / "report" / "report.json").read_text())


def test_slices_come_to_their_reader_and_nobody_else(study):
    app = build(read_study(study.folder))
    ada, ben = (Browser(app, link) for _, link in study.links)
    film = ada.part()["films"][0]["id"]
    facts = ada.http.get(f"/film/{film}/facts").json()
    assert facts["shape"] == list(SHAPE) and facts["spacing"] == [MM] * 3
    assert [plane["name"] for plane in facts["planes"]] == ["Axial", "Coronal", "Sagittal"]
    assert [name for name, *_ in facts["windows"]][:2] == ["Lung", "Mediastinum"]
    kept = read_study(study.folder)
    name = next(one.film for one in kept.lists[0]["blind"] if one.id == film)
    for z in (0, 11, 23):
        answer = ada.http.get(f"/film/{film}/volume/{z}")
        assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(SHAPE[1:]), volume_in(kept.film(name))[z])
    for path in ("volume/24", "volume/99999999999999999999"):
        assert ada.http.get(f"/film/{film}/{path}").status_code == 404
    assert ada.http.get(f"/film/{film}/volume/-1").status_code == 422
    opened = kept.lists[0]["open"][0].id
    assert ada.http.get(f"/film/{opened}/volume/0").status_code == 404
    for path in (f"/film/{film}/volume/0", f"/film/{film}/facts"):
        assert ben.http.get(path).status_code == 404
    assert ada.http.get(f"/film/{film}.png").status_code == 404


def test_nothing_in_the_blind_part_tells_what_the_study_is_about(study):
    reader = Browser(build(read_study(study.folder)), study.links[0][1])
    paths = ["/", "/read", "/api/part", "/static/study.css", "/static/planes.js", "/static/slices.js",
             "/static/scans.js", "/static/reading.js", "/static/keys.js"]
    paths += [f"/film/{film['id']}/facts" for film in reader.part()["films"]]
    for path in paths:
        answer = reader.http.get(path)
        text = answer.content + repr(sorted(answer.headers.items())).encode()
        assert answer.status_code == 200 and not TELLING.search(text), (path, TELLING.search(text))
    assert "Lung-RADS" in reader.page().text and "mammogram" not in reader.page().text


def test_marks_are_kept_with_their_ratings(study):
    app = build(read_study(study.folder))
    reader = Browser(app, study.links[0][1])
    film = reader.part()["films"][0]["id"]
    mark = {"shape": "point", "at": [119, 0, 23], "rating": 4}
    assert reader.answer(film, "unhealthy", marks=[mark]).status_code == 200
    again = Browser(build(read_study(study.folder)), study.links[0][1]).part()
    assert again["films"][0]["marks"] == [mark] and again["noun"] == "scan"


@pytest.mark.parametrize("mark", [
    {"shape": "point", "at": [120, 0, 0], "rating": 3}, {"shape": "point", "at": [0, 0, 24], "rating": 3},
    {"shape": "point", "at": [-1, 0, 0], "rating": 3}, {"shape": "point", "at": [0, 0], "rating": 3},
    {"shape": "point", "at": [0.5, 0, 0], "rating": 3}, {"shape": "point", "at": [0, 0, 0], "rating": 6},
    {"shape": "point", "at": [0, 0, 0]}, {"shape": "box", "box": [0, 0, 5, 5]}, {"at": [0, 0, 0], "rating": 3},
    {"shape": "point", "at": [0, 0, 0], "rating": 3, "more": 1}], ids=str)
def test_what_is_no_mark_is_refused(study, mark):
    reader = Browser(build(read_study(study.folder)), study.links[0][1])
    film = reader.part()["films"][0]["id"]
    assert reader.answer(film, "healthy", marks=[mark]).status_code == 422
    assert not (study.folder / "answers" / "001.jsonl").exists()


@pytest.mark.parametrize("mark", [{"shape": "point", "at": [1, 2], "rating": 3}, {"shape": "point", "at": "abc"},
                                  {"shape": "point", "at": [1, 2, 3], "rating": 9}, {"shape": "point"}, 7, None],
                         ids=str)
def test_a_damaged_mark_in_the_log_is_passed_over(mark):
    event = {"kind": "reading", "film": "a", "answer": "healthy", "save": "1",
             "marks": [mark, {"shape": "point", "at": [1, 2, 3], "rating": 2}]}
    state = replay([json.dumps(event).encode()], {"a": "blind"})
    assert state.reading("a").spots == [Spot((1, 2, 3), 2)] and state.reading("a").answer == "healthy"


def test_a_closed_study_shows_where_it_was_altered(study):
    answers(study, 0, lambda part, one: "healthy" if part == "blind" else "fake", on)
    reader = Browser(build(read_study(study.folder)), study.links[0][1])
    name = read_study(study.folder).lists[0]["blind"][0].id
    assert reader.http.get(f"/result/{name}.png").status_code == 404
    close(study.folder, "2026-01-01T00:00:00+00:00")
    text = reader.page().text
    assert "fake: a lesion put in" in text and "1, on what was altered" in text
    for own in read_study(study.folder).lists[0].values():
        for film in own:
            answer = reader.http.get(f"/result/{film.id}.png")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


def test_dicom_scans_bring_their_patients_and_leave_their_names(tmp_path, run):
    series(tmp_path / "real" / "a", hounsfield(1), "man-one")
    series(tmp_path / "real" / "b", hounsfield(2), "man-two")
    forge_file(series(tmp_path / "hosts" / "c", hounsfield(3), "man-three"), tmp_path / "set",
               Order("ct-copy-move", (10.0, 12.0)), "inject")
    path = scan_protocol(tmp_path, films={"fake": ["set"], "healthy": ["real"]}, open_share=0)
    code, _, err = run("study", "new", path, "-o", tmp_path / "study", "-q", "--modality", "CT")
    assert (code, err) == (0, "")
    patients = {one.patient for one in read_truth(tmp_path / "study").values()}
    assert patients == {"patient man-one", "patient man-two", "patient man-three"}
    shown = [tmp_path / "study" / "study.json", *(tmp_path / "study" / "films").iterdir()]
    assert len(shown) == 4
    assert not any(word in path.read_bytes() for path in shown for word in (b"Somebody", b"man-", b"1.2.3"))


def no_spacing(folder):
    np.save(folder / "healthy" / "healthy9.npy", hounsfield(9).astype(np.float32))


def one_slice(folder):
    nifti(folder / "healthy" / "healthy9.nii.gz", hounsfield(9)[:1])


def broken(folder):
    (folder / "healthy" / "healthy0.nii.gz").write_bytes((folder / "healthy" / "healthy0.nii.gz").read_bytes()[:900])


def other_truth(folder):
    nifti(folder / "set" / "00001" / "mask.nii.gz", np.ones((24, 60, 60), np.int16))


def altered(folder):
    path = next((folder / "set").rglob("*-forged.nii.gz"))
    path.unlink()
    nifti(path, hounsfield(77))


@pytest.mark.parametrize(("harm", "words"), [
    (one_slice, "is no CT volume"), (broken, "healthy0.nii.gz"), (other_truth, "is not the truth of the image beside"),
    (altered, "forge it again"), (no_spacing, "healthy9.npy")], ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_shown_is_one_sentence(chests, tmp_path, run, harm, words):
    for name in ("healthy", "set"):
        shutil.copytree(chests / name, tmp_path / name)
    harm(tmp_path)
    path = scan_protocol(tmp_path, films={"fake": ["set"], "healthy": ["healthy"]}, open_share=0)
    code, _, err = run("study", "new", path, "-o", tmp_path / "study", "--modality", "CT", "-q")
    assert code == 2 and words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("settings", "options", "words"), [
    ({"bits": 8}, ("--modality", "CT"), "'bits' is no setting of such a study"),
    ({"margin_mm": 51}, ("--modality", "CT"), "between 0 and 50"),
    ({"margin_mm": float("nan")}, ("--modality", "CT"), "between 0 and 50"),
    ({"margin_mm": 2}, (), "'margin_mm' is no setting of such a study"),
    ({}, (), "is a CT; this study shows mammograms"),
    ({}, ("--modality", "MR"), "is not one of MG, CT"),
    ({}, ("--modality", "CT", "--views"), "leave one of --views and --modality CT out")], ids=str)
def test_nonsense_is_refused_in_one_sentence(chests, tmp_path, run, settings, options, words):
    path = scan_protocol(chests, **settings)
    path.write_text(path.read_text().replace("NaN", "nan"))
    code, _, err = run("study", "new", path, "-o", tmp_path / "study", *options)
    assert code == 2 and words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()
