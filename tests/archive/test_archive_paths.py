"""What a file is called, what it is called for people, and which names are one file."""

import csv
import os
from pathlib import Path

import made_answers as made
import pyarrow as pa
import pytest
from archives import noise
from pyarrow import parquet
from test_archive_report import Page

from scanward.archive.answers import LATER, part_path, read_answers
from scanward.archive.folder import Local

ODD = [b"new\nline.png", b"new\rline.png", b"latin\xe9.png", "gp\u202egnp.png".encode()]


@pytest.fixture
def named(tmp_path, run):
    """A run over films of odd names, and a link."""
    films = tmp_path / "films"
    for number, name in enumerate([*ODD, b"plain.png"]):
        os.rename(noise(films / "film.png", number, side=100), os.path.join(os.fsencode(films), name))
    (films / "alias.png").symlink_to("plain.png")
    assert run("archive", films, "-o", tmp_path / "out", "--method", "copy-move", "--workers", 1)[0] == 0
    return tmp_path / "out"


def test_every_path_of_the_answers_opens_its_file(named, tmp_path, run):
    films, table = os.fsencode(tmp_path / "films"), tmp_path / "paths.csv"
    found = parquet.read_table(part_path(named, 0)).to_pylist()
    assert {row["raw_path"] for row in found} - {None} == {os.path.join(films, name) for name in ODD}
    assert all("\n" not in row["path"] and "\u202e" not in row["path"] for row in found)
    assert [row["path"].rpartition("/")[2] for row in found if row["real_path"]] == ["alias.png"]
    query = "select raw_path, real_path from answers"
    assert run("archive", "report", named, "--sql", query, "--csv", table) == (0, "", "")
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        raw, real = zip(*list(csv.reader(lines))[1:], strict=True)
    assert {os.path.basename(os.fsencode(path)) for path in raw} == {*ODD, b"plain.png", b"alias.png"}
    assert {os.path.basename(os.fsencode(path)) for path in real} == {*ODD, b"plain.png"}
    assert all(map(os.path.isfile, (*raw, *real)))
    code, said, _ = run("archive", "report", named, "--sql", query)
    assert code == 0 and r"new\nline.png" in said and "\u202e" not in said


def test_a_link_is_no_copy_of_its_file(named, run):
    run("archive", "report", named)
    page = Page(named / "report.html")
    assert page.part("repeats").count("None.") == 4 and "in several studies" not in page.part("answers")


def test_what_names_no_study_is_not_copied_between_studies(run, tmp_path):
    same = {"content": "f" * 32, "study_uid": None}
    rows_ = [made.row(0, **same), made.row(4, **same), made.row(8, "tampered", **same, real_path="/archive/film"),
             made.row(12, **same, real_path="/archive/film"), made.row(16)]
    run("archive", "report", made.run(tmp_path / "none", rows_))
    page = Page(tmp_path / "none" / "report.html")
    assert "in several studies" not in page.part("answers")
    assert "One image in several studies None." in page.part("repeats")
    assert "in one study or where none is named 1 content, 3 images." in page.part("repeats")
    assert page.part("repeats").endswith(" 3 0 1"), "three images of no study, one an alarm"
    rows_ += [made.row(20, content="f" * 32), made.row(24, content="f" * 32)]
    run("archive", "report", made.run(tmp_path / "two", rows_))
    page = Page(tmp_path / "two" / "report.html")
    assert "1 image in several studies :" in page.part("answers"), "and nothing is said of no slices"
    assert "One image in several studies 1 content, 5 images." in page.part("repeats")


def test_slices_of_a_series_behind_a_link_are_its_own(run, tmp_path):
    slices = {"modality": "CT", "files": 9, "slices": tuple(f"{s:032x}" for s in range(9)), "real_path": "/archive/ct"}
    found = [made.row(0, **slices, content="a" * 32), made.row(1, **slices, content="a" * 32)]
    run("archive", "report", made.run(tmp_path / "one", found))
    assert Page(tmp_path / "one" / "report.html").part("repeats").count("None.") == 4
    found.append(made.row(2, **{**slices, "real_path": None}))
    run("archive", "report", made.run(tmp_path / "two", found))
    page = Page(tmp_path / "two" / "report.html")
    assert "1 set of slices is each in more than one series." in page.part("repeats")
    assert " 9 2 0 One image more than once" in page.part("repeats"), "nine slices, two series, no alarm"
    assert "images in several studies" not in page.part("answers") and "1 set of slices in sev" in page.part("answers")


def test_a_list_that_names_a_file_by_detours_names_it_once(tmp_path, run):
    noise(tmp_path / "films" / "a.png", 1, side=100)
    noise(tmp_path / "far" / "a.png", 2, side=100)
    (tmp_path / "films" / "link").symlink_to(tmp_path / "far" / "away", target_is_directory=True)
    (tmp_path / "far" / "away").mkdir()
    lines = ["films/a.png", "./films/../films/a.png", str(tmp_path / "films" / "a.png"), "films//a.png",
             "films/link/../a.png"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    out = tmp_path / "out"
    assert run("archive", tmp_path / "list.txt", "-o", out, "--method", "copy-move", "--workers", 1)[0] == 0
    found = parquet.read_table(part_path(out, 0)).to_pylist()
    assert sorted(row["path"] for row in found) == [f"{tmp_path}/films/a.png", f"{tmp_path}/films/link/../a.png"]
    assert sorted(os.fsdecode(row["real_path"] or row["path"]) for row in found) == [
        f"{tmp_path}/far/a.png", f"{tmp_path}/films/a.png"]


def test_a_line_of_a_list_that_is_a_url_is_said_to_be_one(tmp_path, run):
    noise(tmp_path / "a.png", 1, side=100)
    (tmp_path / "list.txt").write_text("file:///etc/passwd\na.png\ns3://bucket/a.png\nfile:///etc/passwd\n")
    out = tmp_path / "out"
    assert run("archive", tmp_path / "list.txt", "-o", out, "--method", "copy-move", "--workers", 1)[0] == 2
    found = {row["path"]: row["error"] for row in parquet.read_table(part_path(out, 0)).to_pylist()}
    mend = "is a URL; list files of this machine, or name the URL of a folder in the place of the list."
    assert found == {f"{tmp_path}/a.png": None, "file:///etc/passwd": f"file:///etc/passwd {mend}",
                     "s3://bucket/a.png": f"s3://bucket/a.png {mend}"}


def test_answers_of_an_earlier_version_are_read_beside_new_ones(run, tmp_path):
    out = made.run(tmp_path, [made.row(0, content="f" * 32)], [made.row(4, content="f" * 32, raw_path="/a/\udce9")])
    early = part_path(out, 0)
    parquet.write_table(parquet.read_table(early).drop_columns(list(LATER)), early)
    query = "select path, raw_path, real_path from answers order by unit"
    code, said, _ = run("archive", "report", out, "--sql", query)
    path = made.row(0).path
    assert code == 0 and said.split()[3:6] == [path, path, path]
    assert run("archive", "report", out)[0] == 0
    assert "1 content, 2 images" in Page(out / "report.html").part("repeats")
    assert [read_answers(out, part)[0].raw_path for part in (0, 1)] == [None, "/a/\udce9"]
    parquet.write_table(pa.Table.from_pydict({"unit": ["x"]}), early)
    assert run("archive", "report", out)[0] == 2


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_a_link_into_what_the_kernel_tells_is_not_entered(tmp_path):
    (tmp_path / "films").mkdir()
    for name, aim in (("a", "/proc/self"), ("b", "/proc"), ("c", tmp_path / "far")):
        (tmp_path / "films" / name).symlink_to(aim, target_is_directory=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "1.png").write_bytes(b"")
    assert [one.name for one in Local(tmp_path / "films").entries("") if one.folder] == ["c"]
