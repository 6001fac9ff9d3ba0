"""The CT bench: what is forged where, what counts as found, and tables whose figures are worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scanward.anatomy.lung import lungs_of
from scanward.bench import ct
from scanward.bench.ct import DIAMETERS, STEPS, TRAINED, UNSEEN, Item, Row, items_of, peaks_of
from scanward.bench.ct_tables import kinds, left_out, level_at, report
from scanward.datasets.thorax import SCANS, Scan, Thorax, maker_of, scans
from scanward.detectors.ct_self_reference.kind import KINDS
from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.verdict import Evidence, Verdict


def row(scan="a", attack="", number=0, score=0.1, label="authentic", peaks=(), overlap=0.0, step=STEPS[0]):
    return Row(Item(scan, attack, number, step), label, score, "", DIAMETERS[number] if attack else 0.0, list(peaks),
               overlap, 2.0)


def test_attackers_leave_out_scans_whose_lung_they_learned():
    learned = Thorax("a", "test", "", "", known_to=("ct-gan-b", "ct-diffusion"))
    attacks = {item.attack for item in items_of(learned)}
    assert attacks == {"", *TRAINED, *UNSEEN} - {"ct-gan-b", "ct-diffusion"}
    assert sum(item.attack == "ct-gan" for item in items_of(learned)) == len(DIAMETERS)
    assert [item.step for item in items_of(learned) if not item.attack] == list(STEPS)


def test_no_scan_is_in_two_splits_and_none_that_is_trained_on_may_not_be():
    assert len({one.name for one in SCANS}) == len(SCANS)
    assert all("NC" not in one.source for one in SCANS if one.split == "train")


def test_the_level_that_so_many_false_findings_a_scan_allow():
    calm = [row("a", peaks=[(0.9, False), (0.5, False), (0.2, False)]), row("b", peaks=[(0.7, False), (0.1, False)])]
    assert level_at(0.5, calm) == 0.7
    assert level_at(1.0, calm) == 0.5
    assert level_at(2.0, calm) == 0.1
    assert level_at(4.0, calm) == 0.0


def test_tables_say_what_was_counted():
    rows = [row("a", peaks=[(0.3, False)]), row("b", score=0.2, peaks=[(0.2, False)]),
            row("a", "ct-gan-b", 0, 0.9, "tampered", [(0.95, True), (0.3, False)], 0.6),
            row("b", "ct-gan-b", 1, 0.15, "authentic", [(0.4, False), (0.25, True)], 0.2)]
    text = report(rows)
    line = next(line for line in text.splitlines() if line.startswith("| ct-gan-b "))
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    assert cells[0] == "2"
    assert cells[1].startswith(".750")  # 0.9 beats both; 0.15 one of two
    assert cells[2].startswith("50.0 % (1/2;")
    assert cells[3].startswith("100.0 % (2/2;")  # one false finding in two scans: what is louder than 0.2
    assert cells[6].startswith("50.0 % (1/2;")
    assert cells[7].startswith(".400")
    assert "| a | authentic (0.100) |" in text


def test_kinds_are_counted_by_what_the_reason_says_of_those_that_were_called_tampered():
    put, taken = (f"There is less noise; {words}." for words in KINDS.values())
    rows = [replace(row(attack=attack, label=label), reason=reason) for attack, label, reason in (
        ("projection", "tampered", put), ("projection", "tampered", "There is less noise."),
        ("projection", "tampered", taken), ("projection", "authentic", put),
        ("ct-gan-b-remove", "tampered", taken), ("", "tampered", put))]
    assert [line.split(" | ")[1:] for line in kinds(rows).splitlines()[2:]] == [
        ["3", "1", "1", "1 |"], ["1", "1", "0", "0 |"]]


def test_makers_left_out_are_told_beside_all_makers_and_the_shipped_where_it_judged_the_same():
    def judged(*heats):
        return [row("a", peaks=[(0.5, False), (0.4, False)]),
                *(row("a", "ct-gan-b", number, 0.9, "tampered", [(heat, True)]) for number, heat in enumerate(heats))]

    networks = {"all makers": judged(0.6, 0.6, 0.3), "without this one": judged(0.6, 0.3, 0.6)}
    text = left_out({"GE": networks, "Philips": {name: rows[:2] for name, rows in networks.items()}}, judged(0.6)[:2])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert [(line[0], line[1], line[6].split(";")[0]) for line in lines[2:7]] == [
        ("GE", "all makers", "66.7 % (2/3"), ("GE", "without this one", "66.7 % (2/3"),
        ("Philips", "all makers", "100.0 % (1/1"), ("Philips", "without this one", "100.0 % (1/1"),
        ("Philips", "as shipped", "100.0 % (1/1")]
    assert all(line[-1].startswith("0.0 % (0/1") for line in lines[2:7])
    assert lines[-2:] == [["GE", "1", "1", "1", "0"], ["Philips", "1", "0", "0", "0"]]


def test_makers_are_told_by_the_table_and_by_headers():
    named = {one.name: one.maker for one in SCANS}
    assert named["lidc-idri-0314"] == "Philips" and named["r01-001"] == "Siemens" and named["tcga-slices"] == ""
    assert all(one.maker for one in SCANS if not one.single)
    assert [maker_of(said) for said in ("GE MEDICAL SYSTEMS", "SIEMENS", "Philips Healthcare", "TOSHIBA", "")] == [
        "GE", "Siemens", "Philips", "TOSHIBA", ""]


def test_a_forgery_is_found_once_and_other_peaks_are_false():
    heat, truth = np.zeros((20, 100, 100), np.float32), np.zeros((20, 100, 100), bool)
    truth[8:12, 20:50, 20:50] = True
    heat[10, 24, 24], heat[10, 44, 44], heat[5, 80, 80], heat[10, 80, 20] = 0.9, 0.8, 0.7, 0.6
    image = Image(np.zeros(heat.shape, np.float32), "CT", (2.0, 1.0, 1.0))
    found = peaks_of(heat, truth, image)
    assert [(round(value, 2), inside) for value, inside in found] == [(0.9, True), (0.7, False), (0.6, False)]


def test_a_bench_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    pixels = np.full((30, 96, 96), -850, np.float32)
    pixels[:, :12] = pixels[:, -12:] = pixels[:, :, :12] = pixels[:, :, -12:] = 40
    image = Image(pixels, "CT", (2.0, 1.5, 1.5))
    judged = []

    def judge(case, method):
        judged.append(case.image)
        evidence = Evidence("ct-self-reference", 0.2, 0.5, np.zeros(case.image.shape, np.float32), 0.5)
        return Verdict(0.2, 0.5, "authentic", evidence.heat, (), (evidence,), method, "CT")

    table = (Thorax("one", "test", "", "", known_to=(*TRAINED, *UNSEEN)), Thorax("absent", "test", "", ""))
    monkeypatch.setattr(ct, "SCANS", table)
    scan = Scan("one", image, lungs_of(image))
    monkeypatch.setattr(ct, "read", lambda one, data: iter([scan] if one is table[0] else []))
    monkeypatch.setattr(ct, "judge", judge)
    keep = tmp_path / "answers.jsonl"
    first = ct.run(None, keep)
    assert [one.item.step for one in first] == list(STEPS) and len(judged) == len(STEPS)
    assert judged[2].shape == (60, 144, 144)
    lines = keep.read_text().splitlines(keepends=True)
    keep.write_text("".join(lines[:2]) + lines[2][:40])  # as a kill leaves it
    again = ct.run(None, keep)
    assert [one.item for one in again] == [one.item for one in first] and again[:2] == first[:2]
    assert len(judged) == len(STEPS) + 2
    assert list(ct.kept(keep)) == again


def test_without_a_scan_the_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "mias").mkdir()
    (tmp_path / "mias" / "annotations.csv").write_text("film\n")
    with pytest.raises(UnreadableError, match="holds no chest CT of the split val"):
        list(scans("val", tmp_path))


def test_the_command_says_which_scans_it_wants(tmp_path, run):
    (tmp_path / "mias").mkdir()
    (tmp_path / "mias" / "annotations.csv").write_text("film\n")
    code, _, error = run("bench", "ct", "--data", tmp_path, "-o", tmp_path / "out")
    assert code == 2 and "ct-more" in error and "Traceback" not in error


def test_the_command_says_which_protocols_there_are(tmp_path, run):
    code, _, error = run("bench", "ct", "leave-none-out", "-o", tmp_path / "out")
    assert code == 2 and "leave-one-out" in error and "Traceback" not in error and not (tmp_path / "out").exists()
