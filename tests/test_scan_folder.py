"""`scan -o`: what a folder holds after scans that were interrupted, repeated, changed or went wrong."""

import fcntl
import hashlib
import json
import os

import pytest
from small import film

from scanward import formats
from scanward.cli import outlet


@pytest.fixture
def films(tmp_path, bright):
    folder = tmp_path / "films"
    film(folder / "a.png")
    film(folder / "b.png", 20000)
    film(folder / "c.png", 0)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The names of the files that are really scanned; an interrupt comes before the one named in `stop`."""
    names = Seen()
    real = formats.read

    def read(source, **options):
        names.append(source.path.name)
        if source.path.name == names.stop:
            raise KeyboardInterrupt
        return real(source, **options)

    monkeypatch.setattr(formats, "read", read, raising=False)
    return names


class Seen(list):
    stop = ""


def lines(out):
    return [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]


def names(out):
    return [os.path.basename(line["path"]) for line in lines(out)]


def test_an_interrupted_scan_goes_on(films, tmp_path, run, seen):
    out = tmp_path / "out"
    seen.stop = "c.png"
    code, _, err = run("scan", films, "-o", out)
    assert code == 130 and "Interrupted after 2 images; what is finished is kept" in err
    seen.stop = ""
    seen.clear()
    code, printed, err = run("scan", films, "-o", out)
    assert seen == ["c.png"] and "Kept from before: 2 images." in err
    assert code == 1, "what was found before still counts"
    assert "3 images: 1 tampered, 1 authentic, 1 inconclusive." in printed and printed.count("a.png") == 1
    assert names(out) == ["a.png", "b.png", "c.png"]
    page = (out / "report.html").read_text("utf-8")
    assert all(f'<h2 id="name-{n}">' in page for n in (1, 2, 3)) and "a.png" in page and "c.png" in page


def test_an_answer_from_before_is_the_same_in_table_and_json(films, tmp_path, run, seen):
    out = tmp_path / "out"
    first = run("scan", films, "-o", out)[1]
    assert run("scan", films, "-o", out)[1] == first
    objects = run("scan", "--json", films, "-o", out)[1]
    assert [json.loads(line) for line in objects.splitlines()] == lines(out)
    assert len(seen) == 3


def test_what_an_interrupt_leaves_is_counted_after_it(films, tmp_path, run, monkeypatch):
    """An interrupt that comes after an answer was written, and before anything was told of it."""
    real = outlet.Outlet._tell

    def tell(self, line, row):
        if line["path"].endswith("b.png"):
            raise KeyboardInterrupt
        real(self, line, row)

    monkeypatch.setattr(outlet.Outlet, "_tell", tell)
    out = tmp_path / "out"
    code, _, err = run("scan", films, "-o", out)
    assert code == 130 and "Interrupted after 2 images" in err
    assert names(out) == ["a.png", "b.png"]


def test_an_interrupt_while_a_card_is_drawn_keeps_what_it_says(films, tmp_path, run, monkeypatch):
    from scanward.report import html

    real = html.render_card

    def card(case):
        if case.name == "b.png":
            raise KeyboardInterrupt
        return real(case)

    monkeypatch.setattr(html, "render_card", card)
    out = tmp_path / "out"
    _, _, err = run("scan", films, "-o", out)
    assert "Interrupted after 1 image;" in err and names(out) == ["a.png"]
    monkeypatch.undo()


def test_without_a_folder_nothing_is_said_to_be_kept(films, run, seen):
    seen.stop = "b.png"
    code, _, err = run("scan", films)
    assert (code, err) == (130, "scanward: Interrupted after 1 image.\n")


def test_a_second_scan_of_other_films_loses_nothing(films, tmp_path, run):
    out = tmp_path / "out"
    other = film(tmp_path / "more" / "a.png", 30000)
    assert run("scan", films, "-o", out)[0] == 1
    assert run("scan", other.parent, "-o", out)[0] == 0
    assert names(out) == ["a.png", "b.png", "c.png", "a.png"]
    assert {p.name for p in out.glob("*.heat.png")} == {"a.heat.png", "b.heat.png", "c.heat.png", "a-2.heat.png"}
    assert (out / "report.html").read_text("utf-8").count("<article") == 4


def test_a_film_that_changed_is_scanned_again_in_place_of_what_was_said(films, tmp_path, run, seen):
    out = tmp_path / "out"
    run("scan", films, "-o", out)
    times = os.stat(films / "b.png")
    film(films / "b.png", 65000)
    os.utime(films / "b.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    seen.clear()
    run("scan", films, "-o", out)
    assert seen == ["b.png"]
    assert [(n, line["label"]) for n, line in zip(names(out), lines(out), strict=True)] == [
        ("a.png", "tampered"), ("b.png", "tampered"), ("c.png", "inconclusive")]
    assert len(list(out.glob("*.heat.png"))) == 3


def test_a_film_that_broke_leaves_no_stale_heat_map(films, tmp_path, run):
    out = tmp_path / "out"
    run("scan", films, "-o", out)
    (films / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    assert run("scan", films, "-o", out)[0] == 2
    assert {p.name for p in out.glob("*.heat.png")} == {"a.heat.png", "c.heat.png"}
    assert ["error" in line for line in lines(out)] == [False, True, False]


@pytest.mark.parametrize("more", [("--spacing", "0.1"), ("--method", "copy-move"), ("--modality", "MG"),
                                  ("--key", "KEY")], ids=" ".join)
def test_another_order_into_the_folder_is_refused_at_once(more, films, tmp_path, run, seen):
    out = tmp_path / "out"
    run("key", tmp_path / "k")
    run("scan", films, "-o", out)
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in out.iterdir()}
    seen.clear()
    code, printed, err = run("scan", films, "-o", out, *(tmp_path / "k" if word == "KEY" else word for word in more))
    assert (code, printed) == (2, "") and err.count("\n") == 1 and "differs in its " + more[0].strip("-") in err
    assert seen == [] and {p: hashlib.sha256(p.read_bytes()).digest() for p in out.iterdir()} == before


@pytest.mark.parametrize("name", ["verdicts.jsonl", "report.html", "resume.jsonl"])
def test_what_something_else_wrote_is_not_overwritten(name, films, tmp_path, run, seen):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"mine": 1}\n')
    code, printed, err = run("scan", films, "-o", out)
    assert (code, printed) == (2, "") and err.count("\n") == 1 and name in err and seen == []
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(name, '{"mine": 1}\n')]


def test_a_picture_of_somebody_else_keeps_its_name(films, tmp_path, run):
    out = tmp_path / "out"
    mine = film(out / "a.heat.png", 100).read_bytes()
    run("scan", films, "-o", out)
    assert (out / "a.heat.png").read_bytes() == mine and (out / "a-2.heat.png").is_file()


def test_two_scans_at_once_do_not_mix(films, tmp_path, run, seen):
    out = tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code, _, err = run("scan", films, "-o", out)
    os.close(handle)
    assert code == 2 and err.count("\n") == 1 and "Another scan" in err and seen == []
    assert run("scan", films, "-o", out)[0] == 1


@pytest.mark.parametrize("lost", [1, 30])
@pytest.mark.parametrize("cut", ["resume.jsonl", "verdicts.jsonl"])
def test_a_line_that_a_kill_cut_short_is_made_again(cut, lost, films, tmp_path, run, seen):
    out = tmp_path / "out"
    run("scan", films, "-o", out)
    (out / cut).write_bytes((out / cut).read_bytes()[:-lost])
    seen.clear()
    assert run("scan", films, "-o", out)[0] == 1
    assert seen == (["c.png"] if cut == "resume.jsonl" else [])
    assert names(out) == ["a.png", "b.png", "c.png"]


def test_the_report_lists_what_failed_and_why(films, tmp_path, run):
    (films / "d broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    out = tmp_path / "out"
    _, _, err = run("scan", films, tmp_path / "nowhere.dcm", "-o", out)
    page = (out / "report.html").read_text("utf-8")
    assert "Not scanned" in page and "d broken.png" in page and "nowhere.dcm does not exist" in page
    why = next(line for line in err.splitlines() if "d broken" in line).split("d broken.png ", 1)[1]
    assert why.rstrip(".") in page.replace("&#39;", "'") and str(tmp_path) not in page
    assert "2 could not be scanned" in page


def test_records_beside_an_image_are_part_of_its_answer(tmp_path, run, bright, seen, old):
    key, folder, out = old / "site.key", old / "film", tmp_path / "out"
    assert run("scan", folder, "--key", key, "-o", out)[0] == 0
    (folder / "evidence.json").unlink()
    seen.clear()
    assert run("scan", folder, "--key", key, "-o", out)[0] == 3
    assert seen == ["film-protected.png"]


def test_a_site_and_weights_are_part_of_what_was_asked(films, tmp_path, run, monkeypatch):
    out = tmp_path / "out"
    run("scan", films, "-o", out)
    real = outlet.asked_of
    monkeypatch.setattr(outlet, "asked_of", lambda *given: real(*given) | {"weights": ["00"]})
    assert "differs in its weights" in run("scan", films, "-o", out)[2]


def test_csv_has_a_row_an_image_and_no_formula(films, tmp_path, run, monkeypatch):
    import csv

    film(films / "=1+1.png", 20000)
    monkeypatch.chdir(films)
    table = tmp_path / "t.csv"
    assert run("scan", "=1+1.png", "a.png", "nowhere.png", "--csv", table)[0] == 2
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["nowhere.png", "'=1+1.png", "a.png"]
    assert [row["label"] for row in rows] == ["inconclusive", "authentic", "tampered"]
    assert rows[2]["findings"] == "2" and rows[2]["strongest_box"] == "20 10 28 18" and float(rows[2]["score"]) == 1
    assert "does not exist" in rows[0]["reason"] and rows[0]["score"] == ""
    assert run("scan", "a.png", "--csv", table)[0] == 1, "an earlier table is replaced"
    assert len(table.read_text().splitlines()) == 2


@pytest.mark.parametrize("taken", ["film", "folder", "no folder"])
def test_csv_replaces_nothing_else(taken, films, tmp_path, run, seen):
    target = {"film": films / "b.png", "folder": films, "no folder": tmp_path / "no" / "t.csv"}[taken]
    before = (films / "b.png").read_bytes()
    code, printed, err = run("scan", films, "--csv", target)
    assert (code, printed) == (2, "") and err.count("\n") == 1 and seen == []
    assert (films / "b.png").read_bytes() == before


def test_what_is_refused_leaves_no_empty_folder(films, tmp_path, run):
    taken = tmp_path / "out"
    taken.write_text("mine")
    for one, other in (("-o", "--dicom"), ("--dicom", "-o")):
        assert run("scan", films, one, taken, other, tmp_path / "new")[0] == 2
        assert not (tmp_path / "new").exists()


def test_with_dicom_results_an_answer_is_kept_only_where_they_were_written(films, tmp_path, run, seen):
    out, results = tmp_path / "out", tmp_path / "dicom"
    run("scan", films, "-o", out)
    seen.clear()
    code, _, err = run("scan", films, "-o", out, "--dicom", results)
    assert code == 2 and err.count("scanward: ") == 3, "films that are no DICOM have none, and that is said every time"
    assert len(seen) == 3
