"""`find`: what a user types becomes images, each once, in a fixed order, and every argument that names none says so."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image as Pillow

from scanward.errors import InputError
from scanward.formats import Source, find, read
from scanward.report.heat import png

OTHERS = {"report.dcm": "1.2.840.10008.5.1.4.1.1.88.11", "cad.dcm": "1.2.840.10008.5.1.4.1.1.88.50",
          "letter": "1.2.840.10008.5.1.4.1.1.104.1", "raw.dcm": "1.2.840.10008.5.1.4.1.1.66",
          "vendor.dcm": "1.3.12.2.1107.5.9.1"}
"""Objects that lie beside images and say of themselves that they are of modality MG: their SOP classes."""


@pytest.fixture
def study(phantom, write, tmp_path):
    """A folder as a PACS exports it: films, a CT series in two folders, reports, junk and hidden files."""
    write(phantom.dataset(phantom.breast()), "study/b/left")
    write(phantom.dataset(phantom.breast()), "study/a/right.dcm")
    for i, z in enumerate([2.0, 0.0, 1.0]):
        write(phantom.ct_slice(z), f"study/ct/{i}.dcm")
    for name, uid in OTHERS.items():
        about = phantom.dataset(phantom.breast(), SOPClassUID=uid, Rows=None, Columns=None, PixelData=None)
        write(about, f"study/a/{name}")
    write(phantom.dataset(phantom.breast()), "study/.hidden/film.dcm")
    Pillow.fromarray(phantom.breast(8)).save(tmp_path / "study/a/film.png")
    (tmp_path / "study/a/.film.png").write_bytes((tmp_path / "study/a/film.png").read_bytes())
    (tmp_path / "study/notes.txt").write_text("P5 is a magic number, but not here")
    Pillow.new("RGB", (64, 64)).save(tmp_path / "study/photo.jpg")
    return tmp_path / "study"


def names(sources: list[Source], root) -> list[str]:
    return [str(s.path.relative_to(root)) for s in sources]


def test_a_folder_is_searched_whole(study):
    passed = []
    sources, errors = find([study], passed=passed)
    assert {one.path.name for one in passed if one.what == "that are no images"} == set(OTHERS)
    assert names(sources, study) == ["a/film.png", "a/right.dcm", "b/left", "ct"]
    assert [s.kind for s in sources] == ["file", "file", "file", "series"]
    assert [p.name for p in sources[3].paths] == ["1.dcm", "2.dcm", "0.dcm"]
    assert errors == []


def test_a_folder_is_searched_without_what_lies_below(study):
    sources, errors = find([study / "a", study / "ct"], below=False)
    assert names(sources, study) == ["a/film.png", "a/right.dcm", "ct"]
    assert errors == []
    sources, errors = find([study], below=False)
    assert (sources, ["study holds no images" in str(e) for e in errors]) == ([], [True])


def test_nothing_is_found_twice_and_arguments_keep_their_order(study):
    os.symlink(study, study / "b/loop")
    sources, errors = find([study / "b/left", study, str(study / "a/right.dcm"), study])
    assert names(sources, study) == ["b/left", "a/film.png", "a/right.dcm", "ct"]
    assert errors == []


def test_a_file_named_by_hand_is_always_a_source(study):
    sources, errors = find([study / "notes.txt", study / ".hidden/film.dcm", study / "ct/0.dcm"])
    assert names(sources, study) == ["notes.txt", ".hidden/film.dcm", "ct/0.dcm"]
    assert errors == []
    with pytest.raises(InputError, match="of no format that Scanward knows"):
        read(sources[0])


def test_globs_that_the_shell_left_alone(study, monkeypatch):
    monkeypatch.chdir(study)
    sources, errors = find(["a/r[ei]*.dcm", "**/film.png", "c*"])
    assert [str(s.path) for s in sources] == ["a/report.dcm", "a/right.dcm", "a/film.png", "ct"]
    assert errors == []


def test_a_name_with_glob_characters_is_first_taken_as_it_is(phantom, write):
    path = write(phantom.dataset(phantom.breast()), "film [1].dcm")
    assert find([path])[0] == [Source((path,), "file")]


def test_arguments_that_name_nothing_each_get_a_sentence(study, tmp_path):
    (tmp_path / "empty").mkdir()
    sources, errors = find([tmp_path / "nowhere.dcm", tmp_path / "empty", str(tmp_path / "*.dcm"), study / "b", ""])
    assert names(sources, study) == ["b/left"]
    words = [str(e) for e in errors]
    assert len(words) == 4
    assert "nowhere.dcm does not exist" in words[0]
    assert "empty holds no images" in words[1]
    assert "No file matches" in words[2]
    assert "An empty argument" in words[3]
    assert all("\n" not in w and w.endswith(".") for w in words)


def test_two_series_in_one_folder_stay_apart(phantom, write):
    for uid in ("1.2.9", "1.2.8"):
        for z in (1.0, 0.0):
            path = write(phantom.ct_slice(z, SeriesInstanceUID=uid), f"ct/{uid}-{z}.dcm")
    sources, _ = find([path.parent])
    assert [[p.name for p in s.paths] for s in sources] == [
        ["1.2.8-0.0.dcm", "1.2.8-1.0.dcm"],
        ["1.2.9-0.0.dcm", "1.2.9-1.0.dcm"],
    ]


def test_damaged_files_are_kept_for_their_error(phantom, write, tmp_path):
    path = write(phantom.dataset(phantom.breast()), "study/film.dcm")
    (path.parent / "empty.dcm").touch()
    (path.parent / "half.dcm").write_bytes(path.read_bytes()[:300])
    sources, _ = find([path.parent])
    assert names(sources, path.parent) == ["empty.dcm", "film.dcm", "half.dcm"]
    for source in (sources[0], sources[2]):
        with pytest.raises(InputError):
            read(source)


def test_pipes_and_broken_links_in_a_folder_do_not_stop_the_search(phantom, write):
    path = write(phantom.dataset(phantom.breast()), "study/film.dcm")
    os.mkfifo(path.parent / "pipe.dcm")
    os.symlink("nowhere", path.parent / "link.dcm")
    assert names(find([path.parent])[0], path.parent) == ["film.dcm"]
    with pytest.raises(InputError, match="not a regular file"):
        read(path.parent / "pipe.dcm")


def test_a_folder_of_several_images_cannot_be_read_as_one(study):
    with pytest.raises(InputError, match="holds 4 images"):
        read(study)
    assert np.array_equal(read(study / "ct").pixels[:, 0, 0], [-24, -24, -24])


def test_the_mark_hides_no_dicom_file(phantom, write):
    """A PNG's beginning fits into the preamble of a DICOM file."""
    path = write(phantom.dataset(phantom.breast()), "study/film.dcm")
    data = path.read_bytes()
    head = png(np.zeros((8, 8), np.uint8))[:128]
    path.write_bytes(head + data[128:])
    sources, errors = find([path.parent])
    assert ([s.path for s in sources], errors) == ([path], [])
