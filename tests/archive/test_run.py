"""A run over an archive: what it answers, what it keeps, and what it refuses."""

import fcntl
import json
import os
import shutil
import subprocess
import threading
import warnings

import cv2
import pytest
from archives import command, listed, noise, rows
from objects import ct_files, dicom_file

from scanward import formats
from scanward.archive import folder
from scanward.archive.answers import picture_path
from scanward.archive.unit import Unit
from scanward.formats import sources
from scanward.judging.case import Terms
from scanward.judging.scan import scan_source

METHOD = "copy-move"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two films, one of which is forged, a CT series, and what is none of these."""
    root = tmp_path_factory.mktemp("archive")
    noise(root / "films" / "good.png", 1)
    noise(root / "films" / "forged.png", 1, copied=True)
    noise(root / "films" / ".hidden.png", 2)
    ct_files(root / "chest", 3)
    (root / "films" / "cut.dcm").write_bytes(dicom_file(root / "x.dcm").read_bytes()[:600])
    (root / "x.dcm").unlink()
    (root / "films" / "notes.txt").write_text("nothing")
    (root / "films" / "other.jpg").write_bytes(b"\xff\xd8\xff")
    return root


@pytest.fixture(scope="module")
def out(archive, tmp_path_factory):
    """The archive, judged."""
    from scanward import cli

    out = tmp_path_factory.mktemp("out")
    assert cli.run(["archive", str(archive), "-o", str(out), "--method", METHOD, "--workers", "1"]) == 2
    return out


def test_answers_are_those_of_a_scan(archive, out):
    found = rows(out)
    assert listed(out) == len(found) == 6
    sources, errors = formats.find([archive])
    assert not errors
    for source in sources:
        first = min(source.paths)  # an archive has its slices by name
        row = found[f"{first.parent.name}/{first.name}"]
        result = scan_source(source, Terms(METHOD))
        assert (row["label"], row["files"]) == (result.label, len(source.paths))
        assert (row["error"] is None) == (result.error is None)
        if result.verdict is not None:
            said = result.verdict.to_json()
            assert row["score"] == pytest.approx(said["score"], abs=1e-5) and row["reason"] == said["reason"]
            assert json.loads(row["findings"]) == said["findings"] and row["weights"] == said["weights_sha256"]
    assert [row["label"] for row in map(found.get, ("films/.hidden.png", "films/other.jpg"))] == ["unscanned"] * 2
    assert "begins with a dot" in found["films/.hidden.png"]["reason"]


def test_an_alarm_has_its_picture_and_what_was_done(out):
    found = rows(out)
    forged, good = found["films/forged.png"], found["films/good.png"]
    assert (forged["label"], forged["kinds"], good["label"], good["kinds"]) == \
        ("tampered", [METHOD], "authentic", [])
    pictures = list((out / "pictures").rglob("*.png"))
    assert [path.relative_to(out).as_posix() for path in pictures] == \
        [f"pictures/{forged['unit'][:2]}/{forged['unit']}.png"]
    assert cv2.imread(str(pictures[0])) is not None
    assert json.loads(forged["evidence"])[0]["label"] == "tampered"


def test_a_header_says_whose_it_is_and_the_content_what_is_there_twice(tmp_path, run):
    dicom_file(tmp_path / "a" / "1.dcm", seed=1, Manufacturer="A\nB", ManufacturerModelName="M", StationName="S",
               InstitutionName="Klinik Süd", SpecificCharacterSet="ISO_IR 100", StudyDate="20240229")
    dicom_file(tmp_path / "b" / "2.dcm", seed=1, StudyDate="20240230")
    ct_files(tmp_path / "c", 2)
    run("archive", tmp_path, "-o", tmp_path.with_name("out"), "--method", METHOD, "--workers", 1)
    found = rows(tmp_path.with_name("out"))
    first, second, chest = found["a/1.dcm"], found["b/2.dcm"], found["c/0000.dcm"]
    assert [first[name] for name in ("manufacturer", "model", "station", "institution")] == \
        ["A B", "M", "S", "Klinik Süd"]
    assert (first["study_date"].isoformat(), second["study_date"]) == ("2024-02-29", None)
    assert first["content"] == second["content"] and first["unit"] != second["unit"]
    assert first["content"] != chest["content"] and len(set(chest["slices"])) == 2 and first["slices"] is None


def test_what_libraries_say_of_a_header_does_not_reach_the_terminal(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(2):
            dicom_file(films / f"{number}.dcm", shape=(100, 100), Manufacturer="M" * 849, StationName="S" * 20)
    asked, environment = command(films, "-o", tmp_path / "out", "--method", METHOD, "--workers", 1)
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["Its report"], done.stderr
    assert {row["manufacturer"] for row in rows(tmp_path / "out").values()} == {"M" * 117 + "..."}


def test_everyday_images_of_other_kinds_are_no_errors(tmp_path, run):
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BodyPartExamined": None}
    dicom_file(tmp_path / "a" / "dose.dcm", Modality=None, **capture)
    dicom_file(tmp_path / "a" / "echo.dcm", Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")
    out = tmp_path.with_name("others")
    code, said, told = run("archive", tmp_path, "-o", out, "--method", METHOD, "--workers", 1)
    assert code == 0 and said == "2 images: 2 unscanned.\n" and "--retry" not in told
    found = rows(out)
    assert [row["error"] for row in found.values()] == [None, None]
    assert "names no modality" in found["a/dose.dcm"]["reason"] and found["a/echo.dcm"]["modality"] == "US"
    dicom_file(tmp_path / "a" / "cut.dcm", Manufacturer="M").write_bytes((tmp_path / "a/cut.dcm").read_bytes()[:-90])
    dicom_file(tmp_path / "a" / "odd.dcm", Modality=None, SOPClassUID="1.2.3")
    out = tmp_path.with_name("wrong")
    assert run("archive", tmp_path, "-o", out, "--method", METHOD, "--workers", 1)[0] == 2
    found = rows(out)
    assert [found["a/cut.dcm"][name] for name in ("label", "modality", "manufacturer")] == ["inconclusive", "MG", "M"]
    assert found["a/cut.dcm"]["error"] and found["a/odd.dcm"]["error"], "who hides a film behind a class hides nothing"


def test_the_same_command_has_nothing_to_do_and_another_is_refused(archive, out, run):
    asked = ("archive", archive, "-o", out, "--workers", 1)
    part = next((out / "answers").glob("*.parquet"))
    before = part.stat().st_mtime_ns
    code, printed, err = run(*asked, "--method", METHOD)
    assert code == 2 and "6 images: 1 tampered" in printed and "scanward archive report" in err
    assert part.stat().st_mtime_ns == before
    code, _, err = run(*asked)
    assert code == 2 and "holds the answers of a run that differs in its method" in err
    code, _, err = run("archive", archive / "films", "-o", out, "--method", METHOD)
    assert code == 2 and "differs in its source" in err
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code, _, err = run(*asked, "--method", METHOD)
    os.close(handle)
    assert code == 2 and "Another run is writing into" in err


def test_a_list_names_files_from_its_own_folder_on_each_once(archive, tmp_path, run):
    slices = sorted((archive / "chest").iterdir())
    lines = [*map(str, slices), "gone.png", "films", "good.png", "good.png", str(archive), ""]
    noise(tmp_path / "good.png", 1)
    (tmp_path / "films").mkdir()
    (tmp_path / "list.txt").write_text("\n".join(lines))
    code, *_ = run("archive", tmp_path / "list.txt", "-o", tmp_path / "out", "--method", METHOD, "--workers", 1)
    found = rows(tmp_path / "out")
    assert code == 2 and len(found) == listed(tmp_path / "out") == 5
    assert found["chest/0000.dcm"]["files"] == 3 and found[f"{tmp_path.name}/good.png"]["label"] == "authentic"
    assert "does not exist" in found[f"{tmp_path.name}/gone.png"]["error"]
    assert "is a folder" in found[f"{tmp_path.name}/films"]["error"]


def test_a_list_as_other_systems_write_it(tmp_path, run):
    noise(tmp_path / "ä.png", 1, side=100)
    lines = b"\xef\xbb\xbf" + "ä.png\r\n\r\nä.png\r\n".encode()
    (tmp_path / "list.txt").write_bytes(lines)
    asked = ("-o", tmp_path / "out", "--method", METHOD, "--workers", 1)
    assert run("archive", tmp_path / "list.txt", *asked)[:2] == (0, "1 image: 1 authentic.\n")
    (tmp_path / "other.txt").write_text("ä.png\n", "utf-16")
    code, _, err = run("archive", tmp_path / "other.txt", "-o", tmp_path / "new")
    assert code == 2 and "is a list in UTF-16; save it as UTF-8." in err and not (tmp_path / "new").exists()


def test_answers_that_go_into_the_archive_itself_are_none_of_its_images(tmp_path, run):
    noise(tmp_path / "1.png", 1, copied=True)
    (tmp_path / "link").symlink_to(tmp_path / "night")
    for _ in range(2):
        asked = ("archive", tmp_path, "-o", tmp_path / "night", "--method", METHOD, "--workers", 1)
        assert run(*asked)[:2] == (1, "1 image: 1 tampered.\n")
    assert len(rows(tmp_path / "night")) == listed(tmp_path / "night") == 1
    assert run("archive", tmp_path, "-o", tmp_path / "other", "--method", METHOD, "--workers", 1)[0] == 1
    assert sorted(row["label"] for row in rows(tmp_path / "other").values()) == ["tampered", "unscanned"], \
        "another run's pictures are Scanward's own"


def test_a_source_that_goes_away_is_no_error_of_its_images(tmp_path, run):
    """As a disk that is no longer mounted."""
    for number in range(3):
        noise(tmp_path / "films" / f"{number}.png", number, side=100)
    asked = ("archive", tmp_path / "films", "-o", tmp_path / "out", "--method", METHOD, "--workers", 1)
    assert run(*asked)[0] == 0
    (tmp_path / "out" / "answers" / "part-00000000.parquet").unlink()
    (tmp_path / "films").rename(tmp_path / "away")
    (tmp_path / "films").mkdir()
    code, _, err = run(*asked)
    assert code == 2 and f"{tmp_path / 'films'} is empty or gone; when its files are back" in err
    (tmp_path / "films").rmdir()
    (tmp_path / "away").rename(tmp_path / "films")
    assert run(*asked)[:2] == (0, "3 images: 3 authentic.\n")


def test_names_that_look_like_others_are_others():
    """A line break may be in a name, and a picture's name is a hash that nobody finds twice."""
    one, two = Unit(("x/a", "x/b"), 1, True), Unit(("x/a\nx/b",), 1)
    assert one.id != two.id and picture_path(one.id) != picture_path(one.id[:16] + "0" * 16)


@pytest.mark.parametrize(("source", "words"), [
    ("gone", "does not exist"), ("film.png", "`scanward scan` is for one image"),
    ("http://pacs", "orthanc:http://pacs"), ("orthanc:pacs", "names no server"),
    ("orthanc:http://me:secret@pacs", "A password in an address"), ("nothing://there", "no URL that fsspec knows"),
    ("file:///does/not/exist", "names no folder")])
def test_what_is_no_archive_is_said_and_nothing_is_written(tmp_path, run, source, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "film.png")
    code, _, err = run("archive", source, "-o", tmp_path / "out")
    assert code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(archive, tmp_path, run):
    (tmp_path / "run.json").write_text("{}")
    code, _, err = run("archive", archive, "-o", tmp_path)
    assert code == 2 and "belongs to something else" in err and os.listdir(tmp_path) == ["run.json"]
    (tmp_path / "run.json").unlink()
    for name in ("listing", "verdicts.jsonl", "film.png"):
        (tmp_path / name).mkdir()
        code, _, err = run("archive", archive, "-o", tmp_path)
        assert code == 2 and f"{name} belongs to something else; choose an empty folder" in err
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).rmdir()


def test_answers_that_are_damaged_are_named(archive, out, tmp_path, run):
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    part = next((tmp_path / "answers").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    code, _, err = run("archive", archive, "-o", tmp_path, "--method", METHOD, "--workers", 1)
    assert code == 2 and f"{part} is damaged; remove it" in err


def test_a_file_over_which_the_disk_hangs_does_not_hold_up_the_listing(archive, monkeypatch, tmp_path):
    """It is left to those who judge, over whom there is a watch."""
    over = threading.Event()
    real = sources._kind

    def kind(path):
        if path.name == "good.png":
            over.wait(60)
        return real(path)

    monkeypatch.setattr(sources, "_kind", kind)
    monkeypatch.setattr(folder, "HANGS", 0.5)
    units = [unit for unit, _ in folder.Folder(archive).listed(None, tmp_path)]
    over.set()
    assert [unit.parts[0] for unit in units if not unit.said] == \
        ["chest/0000.dcm", "films/cut.dcm", "films/forged.png", "films/good.png"]


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_source_without_images_is_told_and_looked_at_again(kind, tmp_path, run):
    source = tmp_path / "films"
    if kind == "folder":
        source.mkdir()
    else:
        source.write_text("")
    arguments = ["archive", source, "-o", tmp_path / "out", "--method", METHOD, "--workers", "1"]
    code, _, err = run(*arguments)
    assert code == 2 and f"{source} holds no images; check it, and the same command looks again." in err
    (tmp_path / "out" / "listing" / "complete").write_text('{"parts": 0, "units": 0, "cost": 0}')  # as once kept
    code, _, err = run(*arguments)
    assert code == 2 and "holds no images" in err
    if kind == "folder":  # a list whose text has changed is another run's
        noise(source / "1.png")
        code, _, _ = run(*arguments)
        assert code == 0 and listed(tmp_path / "out") == len(rows(tmp_path / "out")) == 1


def test_a_folder_that_no_room_would_mend_is_not_told_to_free_some(tmp_path, run):
    noise(tmp_path / "films" / "1.png")
    (tmp_path / "file").write_text("mine")
    code, _, err = run("archive", tmp_path / "films", "-o", tmp_path / "file")
    assert code == 2 and "cannot be written (File exists); check the folder, or choose another." in err
