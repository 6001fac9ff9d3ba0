"""`find`: what a user types becomes images, each once, in a fixed order, and every argument that names none says so."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scanward.errors import InputError
from scanward.formats import Source, find, read
from scanward.formats.sniff import HEAD, kind_of
from scanward.formats.sources import in_one_folder
from scanward.report.heat import png

UNREAD = "in formats that Scanward does not read"

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
    (tmp_path / "study/notes.txt").write_text("P5 is a magic number, but not here, and BM is none")
    Pillow.new("RGB", (64, 64)).save(tmp_path / "study/photo.jpg")
    return tmp_path / "study"


def names(sources: list[Source], root) -> list[str]:
    return [str(s.path.relative_to(root)) for s in sources]


def test_a_folder_is_searched_whole(study):
    passed = []
    sources, errors = find([study], passed=passed)
    assert {one.path.name for one in passed if one.what == "that are no images"} == set(OTHERS)
    assert [one.path.name for one in passed if one.what == UNREAD] == ["photo.jpg"]
    assert names(sources, study) == ["a/film.png", "a/right.dcm", "b/left", "ct"]
    assert [s.kind for s in sources] == ["file", "file", "file", "series"]
    assert [p.name for p in sources[3].paths] == ["1.dcm", "2.dcm", "0.dcm"]
    assert errors == []


@pytest.mark.parametrize("quick", [False, True])
def test_scouts_among_a_series_are_images_of_their_own(phantom, write, quick):
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImagePositionPatient": [0.0, 0.0, 9.0]}
    for z in range(3):
        write(phantom.ct_slice(float(z)), f"ct/{z}.dcm")
    for name, axes in (("front", [1, 0, 0, 0, 0, -1]), ("side", [0, 1, 0, 0, 0, -1])):
        path = write(phantom.ct_slice(9.0, **scout, ImageOrientationPatient=axes), f"ct/{name}.dcm")
    found = in_one_folder(sorted(path.parent.iterdir()), []) if quick else [one.paths for one in find([path.parent])[0]]
    names = [[one.name for one in paths] for paths in found]
    assert names == [["0.dcm", "1.dcm", "2.dcm"], ["front.dcm"], ["side.dcm"]]


def test_an_object_about_images_may_say_rows_and_one_with_pixels_is_an_image(phantom, write, tmp_path):
    write(phantom.dataset(phantom.breast()), "study/film.dcm")
    report = phantom.dataset(phantom.breast(), SOPClassUID=OTHERS["report.dcm"])
    write(report, "study/film-as-report.dcm")
    del report.PixelData
    write(report, "study/report.dcm")
    passed = []
    sources, _ = find([tmp_path / "study"], passed=passed)
    assert names(sources, tmp_path / "study") == ["film-as-report.dcm", "film.dcm"]
    assert [(one.path.name, one.what) for one in passed] == [("report.dcm", "that are no images")]


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


def test_slices_without_a_series_uid_are_one_series_by_its_number(phantom, write):
    """As some de-identification leaves them: study, series and SOP instance UID empty."""
    nothing = dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID"), "")
    for number in (3, 2):
        for z in (2.0, 1.0, 0.0):
            path = write(phantom.ct_slice(z, **nothing, SeriesNumber=number), f"ct/{number}-{z}.dcm")
    write(phantom.ct_slice(9.0, **nothing), "ct/no-number.dcm")
    sources, _ = find([path.parent])
    assert [[p.name for p in s.paths] for s in sources] == [
        ["2-0.0.dcm", "2-1.0.dcm", "2-2.0.dcm"], ["3-0.0.dcm", "3-1.0.dcm", "3-2.0.dcm"], ["no-number.dcm"]]
    assert read(sources[0]).shape[0] == 3


def test_damaged_files_are_kept_for_their_error(phantom, write, tmp_path):
    path = write(phantom.dataset(phantom.breast()), "study/film.dcm")
    (path.parent / "empty.dcm").touch()
    (path.parent / "half.dcm").write_bytes(path.read_bytes()[:300])
    sources, _ = find([path.parent])
    assert names(sources, path.parent) == ["empty.dcm", "film.dcm", "half.dcm"]
    for source in (sources[0], sources[2]):
        with pytest.raises(InputError):
            read(source)


def test_pipes_and_broken_links_named_like_images_are_errors_in_one_sentence(phantom, write):
    folder = write(phantom.dataset(phantom.breast()), "study/film.dcm").parent
    os.mkfifo(folder / "pipe.dcm")
    os.mkfifo(folder / "pipe")
    os.symlink("nowhere", folder / "link.PNG")
    os.symlink("nowhere", folder / "link")
    os.symlink("self.nii.gz", folder / "self.nii.gz")
    sources, errors = find([folder])
    assert (names(sources, folder), errors) == (["film.dcm", "link.PNG", "pipe.dcm", "self.nii.gz"], [])
    for source, words in zip(sources[1:], ("leads to no file; correct", "not a regular file; name",
                                                  "leads to no file; correct"), strict=True):
        with pytest.raises(InputError, match=rf"{source.path.name} is .*{words}[^\n]*\.$"):
            read(source)


def test_a_folder_of_several_images_cannot_be_read_as_one(study):
    with pytest.raises(InputError, match="holds 4 images"):
        read(study)
    assert np.array_equal(read(study / "ct").pixels[:, 0, 0], [-24, -24, -24])


def encoded(pixels, name):
    """A picture in memory, as OpenCV or Pillow writes it."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def foreign(phantom, write):
    """Files of formats that are not read, by name; most come again without an ending."""
    grey = phantom.breast(8)
    film = write(phantom.dataset(phantom.breast()), "film.dcm").read_bytes()
    pair = nibabel.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4))
    found = {f"a.{name}": encoded(grey, kind) for name, kind in (
        ("jpg", "JPEG"), ("jp2", "JPEG2000"), ("bmp", "BMP"), ("gif", "GIF"), ("webp", "WEBP"))}
    found |= {"colours.ppm": encoded(np.dstack([grey] * 3), "PPM"), "film.dcm.gz": gzip.compress(film),
              "film.png.gz": gzip.compress(encoded(grey, "PNG")), "n.nrrd": b"NRRD0004\ntype: short\n",
              "pair.hdr": pair.header.binaryblock, "analyze.hdr": nibabel.AnalyzeHeader().binaryblock}
    return found | {name.replace(".", "_"): data for name, data in found.items()} | {
        "pair.img": bytes(240), "cut.JPEG": b"", "cut.dcm.gz": b"\x1f\x8b"}


def test_formats_that_are_not_read_are_said(phantom, write, tmp_path):
    others = foreign(phantom, write)
    (tmp_path / "in").mkdir()
    for name, data in others.items():
        (tmp_path / "in" / name).write_bytes(data)
    passed = []
    sources, (error,) = find([tmp_path / "in"], passed=passed)
    assert sources == [] and "in holds no images but" in str(error) and "; convert it to DICOM, PNG" in str(error)
    assert {one.path.name: one.what for one in passed} == dict.fromkeys(others, UNREAD)
    for one in passed:
        with pytest.raises(InputError, match=r"is (an? |the header |empty|of no format)"):
            read(one.path)


def test_what_is_no_picture_is_not_said(tmp_path):
    for name, data in {"notes.txt": b"BMI 23, GIF or P6, RIFF", "log.gz": gzip.compress(b"P5 and so on"), "empty": b"",
                       "table.csv": b"8,9\n", "code.pyc": b"\xcb\r\r\n", "model.bin": bytes(5000)}.items():
        (tmp_path / name).write_bytes(data)
    passed = []
    sources, (error,) = find([tmp_path], passed=passed)
    assert (sources, passed) == ([], []) and "holds no images; name" in str(error)


BARE = {
    "0002": (None, b""),
    "0004": (0x00080005, struct.pack("<HH2sH", 4, 0x1130, b"CS", 4) + b"ABC "),
    "0008,0001": (0x00080005, struct.pack("<HH2sHI", 8, 1, b"UL", 4, 0)),
    "0008,0080": (0x00100010, struct.pack("<HH2sH", 8, 0x80, b"LO", 4) + b"ward"),
    "0008,1030": (0x00100010, struct.pack("<HH2sH", 8, 0x1030, b"LO", 4) + b"scan"),
    "0010": (0x00100010, b""),
}
"""By what the first element is: the first that is kept of a film's own data set, None for all of the file, and the
bytes before it, of explicit VR in little endian."""


@pytest.mark.parametrize(("first", "syntax"), [
    *((first, ExplicitVRLittleEndian) for first in BARE),
    *((first, syntax) for first in ("0002", "0010") for syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian))])
def test_dicom_without_preamble_is_read_whatever_its_first_element(phantom, tmp_path, first, syntax):
    kept, before = BARE[first]
    data = phantom.dataset(phantom.breast(), PatientName="A^B", SpecificCharacterSet="ISO_IR 100")
    data.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        data.PixelData = phantom.breast().byteswap().tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    whole = buffer.getvalue()
    if kept is None:
        body = whole[132:]
    else:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        body = before + whole[whole.index(struct.pack(order + "HH", kept >> 16, kept & 0xFFFF), 132):]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "bare"
    path.write_bytes(body)
    assert find([path.parent]) == ([Source((path,), "file")], [])
    judge = pydicom.dcmread(path, force=True)
    assert judge.Rows == 48
    assert np.array_equal(read(path, modality="MG").plane, phantom.breast())


@settings(max_examples=500, deadline=None)
@example(b"\x02\0", b"\0\x01SQ" + bytes(6))
@given(st.sampled_from([b"", *(bytes((n, 0)) for n in (2, 4, 8, 16)), *(bytes((0, n)) for n in (4, 8, 16))]),
       st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode),
                 st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).bytes(HEAD - 2)),
                 st.lists(st.integers(0, 300), max_size=99).map(lambda n: np.array(sorted(n), "<u2").tobytes())))
def test_other_bytes_are_not_taken_for_dicom(begin, rest):
    assert kind_of(Path("data"), begin + rest) != "dicom"


def test_no_file_of_the_repository_is_taken_for_dicom():
    root = Path(__file__).parents[2]
    files = [path for folder in ("src", "tests", "docs") for path in (root / folder).rglob("*")
             if path.is_file() and path.suffix != ".dcm"]
    assert len(files) > 300
    assert [path for path in files if kind_of(path, path.read_bytes()[:HEAD]) == "dicom"] == []


def test_the_mark_hides_no_dicom_file(phantom, write):
    """A PNG's beginning fits into the preamble of a DICOM file."""
    path = write(phantom.dataset(phantom.breast()), "study/film.dcm")
    data = path.read_bytes()
    head = png(np.zeros((8, 8), np.uint8))[:128]
    path.write_bytes(head + data[128:])
    sources, errors = find([path.parent])
    assert ([s.path for s in sources], errors) == ([path], [])
