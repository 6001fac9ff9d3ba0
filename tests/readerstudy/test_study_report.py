"""The report of a study: the published counts give the published figures, and the rest is checked by hand."""

import csv
import io
import json

import numpy as np
import pytest
from study_films import archive, drawn, protocol

from scanward.bench.readers import cohen, fleiss, fleiss_interval
from scanward.bench.tables import table
from scanward.readerstudy import tables
from scanward.readerstudy.averages import averages, averages_table
from scanward.readerstudy.folder import Truth, read_study, read_truth
from scanward.readerstudy.log import Log, Mark, Reading, parts_of
from scanward.readerstudy.outcome import Read, located
from scanward.readerstudy.report import _html

MASK = np.zeros((100, 80), bool)
MASK[40:60, 20:40] = True


def truth(kind, action="", name="x"):
    fake = kind == "fake"
    return Truth(kind, action, "mammo-cgan" if fake else "", f"patient {name}", f"/films/{name}.png", None,
                 (20, 40, 40, 60) if fake else None, MASK if fake else None)


def published():
    """Answers with the counts of Bar-on 2020: four readers, 80 films and then 21."""
    reads = []

    def add(part, kind, action, films, word, count, other):
        for n in range(4 * films):
            answer = word if n < count else other
            reads.append(Read(f"Reader {n % 4 + 1}", part, n, f"{part} {kind} {n // 4}",
                              truth(kind, action, f"{part} {kind} {n // 4}"), Reading(answer, 3), (80, 100)))

    add("blind", "fake", "inject", 45, "unhealthy", 124, "healthy")
    add("blind", "healthy", "", 20, "unhealthy", 36, "healthy")
    add("blind", "unhealthy", "", 15, "unhealthy", 45, "healthy")
    add("open", "healthy", "", 14, "real", 48, "fake")
    add("open", "fake", "inject", 7, "real", 15, "fake")
    return reads


def test_the_published_counts_give_the_published_figures():
    reads = published()
    blind, opened = ([r for r in reads if r.part == part] for part in ("blind", "open"))
    assert tables.blind_counts(blind) == {"healthy": (36, 44), "unhealthy": (45, 15),
                                          "fake: a lesion put in": (124, 56)}
    found = tables.comparison(blind, "healthy", "fake: a lesion put in")
    assert found.p == pytest.approx(0.00026, abs=5e-6) and found.power == pytest.approx(0.956, abs=5e-4)
    drawn_power, low, high = found.power_resampled
    assert low <= 0.968 <= high and low <= drawn_power <= high
    value, least, most = found.difference
    assert value == pytest.approx(124 / 180 - 36 / 80) and least < value < most
    text = tables.blind_table(blind) + tables.tests_table(found, tables.BLIND) + tables.open_table(opened)
    assert "| healthy | 36 / 44 | 45.0 % (36/80; " in text and "36 / 44 (45.0 %)" in text
    assert "13.35, p = 0.00026 | p = 0.00026" in text and "96.8 %" in text
    for rate in ("76.2 % (48/63", "61.9 % (13/21", "85.7 % (48/56", "46.4 % (13/28", "72.6 % (61/84"):
        assert text.count(rate) == 2  # ours, and the published one beside


def test_averages_over_readers_by_hand():
    reads = published()
    found = averages(reads)
    assert found.titles == ("blind: unhealthy from healthy", "blind: lesions put in from healthy",
                            "open: fake from real")
    made = found.estimates()
    rates = {title: [made["tasks"][title][figure]["value"] for figure in ("sensitivity", "specificity", "AUC")]
             for title in found.titles}
    # All sure to the same degree, so that the AUC is the mean of both rates; each reader has the same number of films.
    assert rates == {"blind: unhealthy from healthy": [45 / 60, 44 / 80, pytest.approx((45 / 60 + 44 / 80) / 2)],
                     "blind: lesions put in from healthy": [pytest.approx(124 / 180), 44 / 80,
                                                            pytest.approx((124 / 180 + 44 / 80) / 2)],
                     "open: fake from real": [pytest.approx(13 / 28), pytest.approx(48 / 56),
                                              pytest.approx((13 / 28 + 48 / 56) / 2)]}
    fooled, unmasked = made["comparisons"].values()
    assert fooled["value"] == pytest.approx((124 / 180 - 45 / 60) / 2) and fooled["low"] < 0 < fooled["high"]
    assert abs(unmasked["components"]["cov1"]) < 1e-6  # no film is in both parts
    text = averages_table(found)
    assert text.startswith("4 readers;") and "| open: fake from real | specificity | .857 (" in text


def test_one_reader_says_nothing_of_others_and_nobody_is_invented():
    reads = [read for read in published() if read.reader == "Reader 1"]
    text = averages_table(averages(reads))
    assert "say nothing of other readers" in text and "z² = " in text and "F(1" not in text
    assert averages_table(averages([r for r in reads if r.truth.forged])).startswith("Not averaged: no two kinds")
    lacking = [read for read in published() if read.reader != "Reader 2" or read.part == "open"]
    assert averages(lacking).readers == ("Reader 1", "Reader 3", "Reader 4")


def test_kappa_by_hand():
    # Fleiss 1971's arithmetic on three images of two readers: agreements 1, 1, 0; shares 3/6 and 3/6
    assert fleiss([(2, 0), (0, 2), (1, 1)]) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    # by hand: 10 of 14 alike; first says 0 in 8 of 14, second in 8 of 14
    first, second = [0] * 6 + [0] * 2 + [1] * 2 + [1] * 4, [0] * 6 + [1] * 2 + [0] * 2 + [1] * 4
    chance = (8 / 14) ** 2 + (6 / 14) ** 2
    assert cohen(first, second) == pytest.approx((10 / 14 - chance) / (1 - chance))
    assert fleiss([(4, 0), (0, 4)]) == 1
    assert fleiss([(3, 0), (1, 0)]) != fleiss([(3, 0), (1, 0)])  # NaN: all readings are of one category
    value, low, high = fleiss_interval([(4, 0), (3, 1), (0, 4), (1, 3)] * 5)
    assert low < value < high
    assert np.isnan(fleiss_interval([])).all() and np.isnan(cohen([], []))


def test_kappa_of_a_single_case_is_not_defined():
    reads = [Read(reader, "open", 1, "f", truth("fake", "inject"), Reading(answer, 3, []), (80, 100))
             for reader, answer in (("Ada", "fake"), ("Ben", "real"))]
    assert np.isnan(fleiss([(1, 1)])) and np.isnan(cohen([0], [1]))
    lines = tables.agreement_table(reads, ["open"]).splitlines()
    assert lines[-2:] == ["| open | all (Fleiss) | – | 1 |", "| open | Ada, Ben (Cohen) | – | 1 |"]


def placed(*marks):
    return located(Read("Ada", "open", 1, "f", truth("fake", "inject"), Reading("fake", 3, list(marks)), (80, 100)))


def test_marks_are_held_against_the_truth():
    found = placed(Mark("box", (20, 40, 40, 60)))
    assert (found.inside, found.touched, found.iou) == (True, True, 1.0)
    found = placed(Mark("box", (30, 40, 50, 60)))  # half of it: 200 of 600 pixels
    assert (found.inside, found.touched, found.iou) == (False, True, pytest.approx(1 / 3))
    found = placed(Mark("box", (0, 0, 20, 40)), Mark("box", (60, 80, 80, 100)))
    assert (found.marked, found.inside, found.touched) == (True, False, False)
    corner = (39, 59, 49, 69)  # the box touches the region with its corner, the ellipse in it does not
    assert placed(Mark("box", corner)).touched
    assert not placed(Mark("ellipse", corner)).touched
    ellipse = placed(Mark("ellipse", (20, 40, 40, 60))).iou
    assert ellipse == pytest.approx(np.pi / 4, abs=0.02)
    assert not placed().marked
    assert placed(Mark("box", (30.2, 50.2, 30.4, 50.4))).inside  # smaller than a pixel


@pytest.fixture
def study(tmp_path):
    archive(tmp_path, healthy=5, unhealthy=2, fakes=6, actions=("inject", "remove"))
    made = drawn(protocol(tmp_path, readers=["Ada", "=Ben"]), tmp_path / "study")
    return read_study(made.folder)


def answer(study, reader, part, says, **more):
    """A simulated reader: `says` takes the truth of a film and answers."""
    log, known = Log(study.answers(reader), parts_of(study.lists[reader])), read_truth(study.folder)
    for film in study.lists[reader][part]:
        one = known[film.film]
        marks = [{"shape": "box", "box": list(one.box)}] if one.box else []
        log.append({"kind": "reading", "at": "2026-01-01T00:00:00+00:00", "film": film.id, "answer": says(one),
                    "confidence": 4, "marks": marks, "remark": "=1+1", "seconds": 12.5, "save": film.id} | more)


def test_an_unfinished_study_says_what_is_missing(study, run):
    code, text, err = run("study", "report", study.folder)
    assert (code, err) == (0, "") and "0 of 26 readings by 2 readers." in text and "Not compared" in text
    answer(study, 0, "blind", lambda one: "unhealthy" if one.action == "inject" else "healthy")
    text = run("study", "report", study.folder)[1]
    assert "The study is still open." in text and "Ada lacks 3 of the open part." in text
    assert "=Ben lacks 10 of the blind part and 3 of the open part." in text
    assert "No case was answered by two readers yet." in text


def test_the_report_exports_every_answer_and_mark(study, run, tmp_path):
    for reader in (0, 1):
        answer(study, reader, "blind", lambda one: "unhealthy" if one.action == "inject" else "healthy")
        answer(study, reader, "open", lambda one: "fake" if one.forged else "real")
    assert run("study", "close", study.folder, "--yes")[1].endswith("everything was read.\n")
    code, text, err = run("study", "report", study.folder, "-o", tmp_path / "report")
    assert (code, err) == (0, "") and "26 of 26 readings by 2 readers. The study is closed." in text
    assert "| open | =Ben" not in text and "| accuracy | 100.0 % (6/6" in text
    out = tmp_path / "report"
    assert {p.name for p in out.iterdir()} == {"answers.csv", "marks.csv", "report.md", "report.html", "report.json"}
    rows = list(csv.DictReader((out / "answers.csv").read_text().splitlines()))
    assert len(rows) == 26 and {r["remark"] for r in rows} == {"'=1+1"}
    assert {r["reader"] for r in rows} == {"Ada", "'=Ben"}
    assert {r["seconds"] for r in rows} == {"12.5"}
    fakes = [r for r in rows if r["kind"] == "fake"]
    assert len(fakes) == 12 and all(r["centre_inside"] == r["touched"] == "1" for r in fakes)
    assert all(r["centre_inside"] == "" for r in rows if r["kind"] != "fake")
    marks = list(csv.DictReader((out / "marks.csv").read_text().splitlines()))
    assert len(marks) == 12 and all(float(m["x0"]) == float(m["forged_x0"]) for m in marks)
    found = json.loads((out / "report.json").read_text())
    only = {"blind: lesions put in from healthy"}  # of the other kinds there are films of one patient only
    assert set(found["averages"]["tasks"]) == only and found["averages"]["comparisons"] == {}
    assert found["averages"]["readers"]["Ada"][only.pop()]["AUC"] == 1
    assert "## Averaged over readers" in text
    assert found["groups"]["pooled"]["open"]["tp"] == 2 and found["agreement"]["blind"]["films"] == 10
    assert (out / "report.md").read_text() == text
    page = (out / "report.html").read_text()
    assert page.count("<table>") == text.count("| --- |\n") and "<script" not in page
    code, _, err = run("study", "report", study.folder, "-o", out)
    assert code == 2 and "not overwritten" in err
    code, _, err = run("study", "close", study.folder)
    assert code == 2 and "closed already" in err


class Terminal(io.StringIO):
    """A person at the keyboard."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("said", "closed"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False),
                                              ("yesterday\n", False), ("", False)])
def test_a_study_is_closed_only_by_who_says_so(study, run, monkeypatch, said, closed):
    monkeypatch.setattr("sys.stdin", Terminal(said))
    code, out, err = run("study", "close", study.folder)
    assert (code, err, study.closed) == (0, "", closed)
    assert "This cannot be undone; 26 readings of 26 will stay missing. [y/N]" in out
    assert out.endswith("will stay missing.\n" if closed else f"{study.folder} stays open.\n")


def test_a_study_is_not_closed_where_nobody_can_be_asked(study, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, _, err = run("study", "close", study.folder)
    assert code == 2 and "add --yes" in err and len(err.splitlines()) == 1
    assert not study.closed


def test_a_damaged_line_is_passed_over_and_said(study, run):
    answer(study, 0, "blind", lambda one: "healthy")
    with study.answers(0).open("ab") as file:
        file.write(b'{"kind":"reading","at":"2026\n')
    text = run("study", "report", study.folder)[1]
    assert "10 of 26 readings" in text and "1 damaged lines of Ada's log" in text


def test_one_reader_is_enough(tmp_path, run):
    path = archive(tmp_path, healthy=4, unhealthy=0, fakes=4)
    path = protocol(tmp_path, readers=["Ada"], films={"fake": ["set"], "healthy": ["healthy"]}, open_share=0)
    study = read_study(drawn(path, tmp_path / "study").folder)
    answer(study, 0, "blind", lambda one: "unhealthy" if one.forged else "healthy")
    text = run("study", "report", study.folder)[1]
    assert "8.00, p = 0.0047" in text and "## Open part" not in text


def test_a_bar_in_a_readers_name_keeps_the_tables_whole():
    text = table(("reader", "answered"), [("A | B", "1"), ("|", "2")])
    assert text.splitlines()[2:] == [r"| A \| B | 1 |", r"| \| | 2 |"]
    assert "<td>A | B</td><td>1</td></tr><tr><td>|</td><td>2</td>" in _html(text, "x")
