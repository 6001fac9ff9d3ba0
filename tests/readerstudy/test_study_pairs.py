"""A study of two views: CC and MLO of one breast side by side, one answer, marks and truth in either."""

import csv
import json
import shutil

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from study_films import Browser, archive, breast, protocol
from study_scans import pairs

pytest.importorskip("fastapi")

from scanward import formats
from scanward.forgery.files import forge_file
from scanward.forgery.order import Order
from scanward.readerstudy import render
from scanward.readerstudy.app import build
from scanward.readerstudy.folder import Truth, View, read_study, read_truth
from scanward.readerstudy.log import Log, Mark, Reading, parts_of
from scanward.readerstudy.make import new_study
from scanward.readerstudy.outcome import Read, box_in, in_view, located, view_of
from scanward.readerstudy.protocol import read_protocol


@pytest.fixture(scope="module")
def breasts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("breasts")
    pairs(folder)
    return folder


@pytest.fixture
def study(breasts, tmp_path):
    return new_study(read_protocol(breasts / "protocol.toml", "pair"), tmp_path / "study")


def picture(path):
    return render.picture(formats.read(path, modality="MG"), formats.read(path, modality="MG").shape[:0:-1], 8)


def test_both_views_hang_side_by_side_with_their_truth(breasts, tmp_path, run):
    """Films of 240 x 320 and 260 x 360: with a gap of 1 % of 500 pixels the MLO begins at 245."""
    out = tmp_path / "study"
    code, printed, err = run("study", "new", breasts / "protocol.toml", "-o", out, "--views")
    assert (code, err) == (0, "") and "blind part: 2 fake, 3 healthy, 0 unhealthy" in printed
    known, truth = read_study(out), read_truth(out)
    for film in known.lists[0]["blind"]:
        assert (film.width, film.height) == (505, 360)
        assert film.views == (View("CC", 0, 240), View("MLO", 245, 505))
        one, shown = truth[film.film], cv2.imread(str(known.film(film.film)), cv2.IMREAD_GRAYSCALE)
        assert not shown[:, 240:245].any() and not shown[:20, :240].any()
        if not one.forged:
            name = one.patient.removeprefix("patient ")
            for part, view in ((shown[20:340, :240], "CC"), (shown[:, 245:], "MLO")):
                assert np.array_equal(part, picture(breasts / "healthy" / f"{name}{view}.png"))
            continue
        number = one.patient[-1]
        assert number in "01" and one.mask.shape == (360, 505)
        for view, columns, rows in (("CC", slice(0, 240), slice(20, 340)), ("MLO", slice(245, 505), slice(0, 360))):
            path = breasts / "set" / f"{number}{view}" / "mask.png"
            known_mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127 if path.exists() else np.zeros(1, bool)
            assert one.mask[rows, columns].sum() == known_mask.sum()
            assert not known_mask.any() or np.array_equal(one.mask[rows, columns], known_mask)
            untouched = shown[rows, columns]
            if number == "1" and view == "CC":
                assert np.array_equal(untouched, picture(breasts / "hosts" / "hosts1CC.png"))


def test_a_view_that_was_stored_the_other_way_round_is_turned(breasts, tmp_path):
    shutil.copytree(breasts, tmp_path / "b")
    path = tmp_path / "b" / "healthy" / "healthy0MLO.png"
    film = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert cv2.imwrite(str(path), film[:, ::-1])
    made = new_study(read_protocol(tmp_path / "b" / "protocol.toml", "pair"), tmp_path / "study")
    known, truth = read_study(made.folder), read_truth(made.folder)
    film = next(f for f in known.lists[0]["blind"] if truth[f.film].patient == "patient healthy0")
    shown = cv2.imread(str(known.film(film.film)), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(shown[:, 245:], picture(breasts / "healthy" / "healthy0MLO.png"))


def film(path, pixels, view):
    """A right breast, stored with its chest wall on the left, of a woman whose study names both views."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid(entropy_srcs=[str(path)])
    data.Modality, data.PatientName, data.PatientID = "MG", "Somebody^Known", path.parent.name
    data.StudyInstanceUID = f"1.2.3.{path.parent.name[-1]}"
    data.ImageLaterality, data.ViewPosition = "R", view
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.ImagerPixelSpacing = [0.2, 0.2]
    data.Rows, data.Columns = pixels.shape
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_headers_say_which_views_belong_together(tmp_path, run):
    """Two real women and a forged one, right breasts, stored the other way round; a spot view is left out."""
    for number in (1, 2):
        for view in ("CC", "MLO"):
            film(tmp_path / "real" / f"woman{number}" / f"{view}.dcm", breast(10 * number + len(view)), view)
    film(tmp_path / "real" / "woman1" / "ML.dcm", breast(77), "ML")
    for view in ("CC", "MLO"):
        host = film(tmp_path / "hosts" / "woman3" / f"{view}.dcm", breast(30 + len(view)), view)
    forge_file(host, tmp_path / "set", Order("composed-mass", (8.0, 12.0)), "inject")
    path = protocol(tmp_path, films={"fake": ["set", "hosts"], "healthy": ["real"]}, open_share=0)
    path.write_text(path.read_text().replace('patients = "patients.csv"', ""))
    code, _, err = run("study", "new", path, "-o", tmp_path / "study", "-q", "--views")
    assert (code, err) == (0, "")
    known, truth = read_study(tmp_path / "study"), read_truth(tmp_path / "study")
    assert {one.patient for one in truth.values()} == {f"patient woman{n}" for n in (1, 2, 3)}
    for case in known.lists[0]["blind"]:
        assert [view.name for view in case.views] == ["R CC", "R MLO"]
        shown, number = cv2.imread(str(known.film(case.film)), cv2.IMREAD_GRAYSCALE), truth[case.film].patient[-1]
        if number == "3":
            kept = cv2.imread(str(tmp_path / "set" / "mask.png"), cv2.IMREAD_GRAYSCALE) > 127
            assert np.array_equal(truth[case.film].mask[:, -240:], kept[:, ::-1])
            assert not truth[case.film].mask[:, :240].any()
        else:
            assert np.array_equal(shown[:, :240], picture(tmp_path / "real" / f"woman{number}" / "CC.dcm")[:, ::-1])


def test_marks_count_in_their_own_view_by_hand():
    """Two squares of 10 in one case; a mark over one of them has nothing to do with the other."""
    views = (View("CC", 0, 50), View("MLO", 55, 105))
    mask = np.zeros((60, 105), bool)
    mask[10:20, 10:20] = mask[30:40, 70:80] = True
    left, right = Mark("box", (10, 10, 20, 20)), Mark("box", (70, 30, 80, 50))
    assert [view_of(mark, views).name for mark in (left, right, Mark("box", (51, 0, 53, 9)))] == ["CC", "MLO", "CC"]
    assert in_view(left, mask, views).sum() == 100 == in_view(right, mask, views).sum()
    truth = Truth("fake", "inject", "m", "p", "/s", None, (10, 10, 80, 40), mask)

    def placed(*marks):
        return located(Read("Ada", "open", 1, "f", truth, Reading("fake", 3, list(marks)), (105, 60), views))

    assert placed(left).iou == 1 and placed(right).iou == 0.5 and placed(left, right).inside
    beside = placed(Mark("box", (30, 10, 40, 20)))
    assert (beside.marked, beside.inside, beside.touched) == (True, False, False)
    assert box_in(views[0], truth) == (10, 10, 20, 20) and box_in(views[1], truth) == (70, 30, 80, 40)
    only = Truth("fake", "inject", "m", "p", "/s", None, (10, 10, 20, 20), mask & (np.arange(105) < 50))
    assert box_in(views[1], only) is None
    tiny = Reading("fake", 3, [Mark("box", (60, 1, 60.2, 1.2))])
    assert located(Read("Ada", "open", 1, "f", only, tiny, (105, 60), views)).iou == 0


def test_the_report_names_the_view_of_a_mark(study, run, tmp_path):
    known, truth = read_study(study.folder), read_truth(study.folder)
    log = Log(known.answers(0), parts_of(known.lists[0]))
    for film in known.lists[0]["blind"]:
        one, marks = truth[film.film], []
        for view in film.views:
            box = box_in(view, one) if one.forged else None
            marks += [{"shape": "box", "box": list(box)}] if box else []
        log.append({"kind": "reading", "at": "t", "film": film.id, "answer": "unhealthy" if one.forged else "healthy",
                    "confidence": 4, "marks": marks, "remark": "", "seconds": 9.0, "save": film.id})
    code, text, _ = run("study", "report", study.folder, "-o", tmp_path / "report")
    assert code == 0 and "| blind | fake: a lesion put in | all answered | 100.0 % (2/2" in text
    marks = list(csv.DictReader((tmp_path / "report" / "marks.csv").read_text().splitlines()))
    assert sorted(mark["view"] for mark in marks) == ["CC", "MLO", "MLO"]
    assert all(float(mark["x0"]) == float(mark["forged_x0"]) for mark in marks)
    assert json.loads((tmp_path / "report" / "report.json").read_text())["answered"] == 5


def test_the_pages_say_what_there_is_to_see(study):
    reader = Browser(build(read_study(study.folder)), study.links[0][1])
    text = reader.page().text
    assert "breasts, each in its CC and MLO view" in text and "in each view where you see it" in text
    part = reader.part()
    assert part["noun"] == "case" and [view["name"] for view in part["films"][0]["views"]] == ["CC", "MLO"]
    mark = {"shape": "box", "box": [250, 10, 280, 40]}
    assert reader.answer(part["films"][0]["id"], "unhealthy", marks=[mark]).status_code == 200
    point = {"shape": "point", "at": [1, 1, 0], "rating": 3}
    assert reader.answer(part["films"][0]["id"], "unhealthy", marks=[point]).status_code == 422


def no_other_view(folder):
    (folder / "healthy" / "healthy1MLO.png").unlink()


def no_host(folder):
    (folder / "hosts" / "hosts1CC.png").unlink()


def twice(folder):
    assert cv2.imwrite(str(folder / "healthy" / "more.png"), breast(7))
    with (folder / "patients.csv").open("a") as file:
        file.write("more.png,healthy1,healthy1 L,CC\n")


def unknown(folder):
    assert cv2.imwrite(str(folder / "healthy" / "more.png"), breast(7))


@pytest.mark.parametrize(("harm", "words"), [
    (no_other_view, "healthy1CC.png (CC) has no MLO"), (no_host, "name the folder of its host under fake, too"),
    (twice, "are both the CC of one breast"), (unknown, "does not say of which breast it is and which view")],
    ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_pair_is_one_sentence(breasts, tmp_path, run, harm, words):
    shutil.copytree(breasts, tmp_path / "b")
    for record in (tmp_path / "b" / "set").rglob("record.json"):
        found = json.loads(record.read_text())
        record.write_text(json.dumps(found | {"host": found["host"].replace(str(breasts), str(tmp_path / "b"))}))
    harm(tmp_path / "b")
    code, _, err = run("study", "new", tmp_path / "b" / "protocol.toml", "-o", tmp_path / "study", "--views")
    assert code == 2 and words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_a_study_of_before_is_read_as_it_was(tmp_path, run):
    """Films were a list of width and height, and no study said what it shows."""
    made = new_study(read_protocol(protocol_of_films(tmp_path)), tmp_path / "study")
    path = made.folder / "study.json"
    now = json.loads(path.read_text())
    old = {key: value for key, value in now.items() if key != "shows"}
    old["films"] = {name: [row["width"], row["height"]] for name, row in now["films"].items()}
    truth = json.loads((made.folder / "truth.json").read_text())
    truth = {key: value for key, value in truth.items() if key != "margin_mm"}
    for row in truth["films"].values():
        del row["to_mm"]
    before = read_study(made.folder), run("study", "report", made.folder)[1]
    path.write_text(json.dumps(old))
    (made.folder / "truth.json").write_text(json.dumps(truth))
    assert (read_study(made.folder), run("study", "report", made.folder)[1]) == before


def protocol_of_films(folder):
    archive(folder, healthy=3, unhealthy=1, fakes=2)
    return protocol(folder, readers=["Ada"])
