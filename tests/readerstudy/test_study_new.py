"""`scanward study new`: what is drawn, what is written, and what is refused."""

import json
import os
import stat
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from study_films import archive, breast, drawn, protocol

from scanward.forgery.files import forge_file
from scanward.forgery.order import Order
from scanward.readerstudy import render
from scanward.readerstudy.folder import read_study, read_truth
from scanward.readerstudy.make import _notes


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    archive(folder, actions=("inject", "remove"))
    return folder


def chunks(data):
    found, at = [], 8
    while at < len(data) and (not found or found[-1] != b"IEND"):
        size = int.from_bytes(data[at:at + 4], "big")
        found.append(data[at + 4:at + 8])
        at += 12 + size
    return found, data[at:]


def test_a_study_is_whole_and_says_nothing_by_its_files(films, tmp_path, run):
    out = tmp_path / "study"
    code, printed, err = run("study", "new", protocol(films), "-o", out, "--url", "https://study.example/")
    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert "blind part: 3 fake, 5 healthy, 1 unhealthy" in lines
    assert "open part: 1 fake, 1 healthy, 1 unhealthy" in lines
    assert sum("https://study.example/r/" in line for line in lines) == 2
    pictures = sorted((out / "films").iterdir())
    assert len(pictures) == 12
    assert len({p.stat().st_size for p in pictures}) == 1 and len({p.stat().st_mtime_ns for p in pictures}) == 1
    for path in pictures:
        names, rest = chunks(path.read_bytes())
        assert names == [b"IHDR", b"IDAT", b"IEND"] and not rest.strip(b"\0")
        assert len(path.stem) == 16 and int(path.stem, 16) >= 0
    for secret in (out / "truth.json", out / "readers.json"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((out / "truth").stat().st_mode) == 0o700
    kept = (out / "readers.json").read_text() + (out / "study.json").read_text()
    assert not any(line.rsplit("/r/", 1)[-1] in kept for line in lines if "/r/" in line)
    public = (out / "study.json").read_text()
    for word in ("fake", "healthy", "composed", "inpaint", "set", "png", str(films)):
        assert word not in public


def test_the_truth_is_that_of_the_forgeries(films, tmp_path):
    made = drawn(protocol(films), tmp_path / "study")
    truth = read_truth(made.folder)
    assert sorted(t.kind for t in truth.values()) == ["fake"] * 4 + ["healthy"] * 6 + ["unhealthy"] * 2
    for one in truth.values():
        if one.forged:
            record = json.loads((films / "set" / one.source.split("/")[-2] / "record.json").read_text())
            assert (one.method, one.action) == (record["method"], record["action"])
            assert list(one.box) == record["box"]
            mask = cv2.imread(str(films / "set" / one.source.split("/")[-2] / "mask.png"), cv2.IMREAD_GRAYSCALE)
            assert np.array_equal(one.mask, mask > 127)
        else:
            assert one.mask is None and one.box is None


def test_the_seed_gives_the_draw_again_and_another_seed_another(films, tmp_path):
    def sources(name, seed):
        made = drawn(protocol(films, seed=seed), tmp_path / name)
        study, truth = read_study(made.folder), read_truth(made.folder)
        return [[truth[f.film].source for part in own.values() for f in part] for own in study.lists]

    first = sources("a", 5)
    assert first == sources("b", 5) != sources("c", 6)
    assert first[0] != first[1] and sorted(first[0]) == sorted(first[1])


def test_names_differ_by_reader_and_by_study(films, tmp_path):
    studies = [read_study(drawn(protocol(films), tmp_path / name).folder) for name in "ab"]
    shown = [{f.id for part in own.values() for f in part} for study in studies for own in study.lists]
    assert len(set().union(*shown)) == sum(map(len, shown))
    assert not set(os.listdir(tmp_path / "a/films")) & set(os.listdir(tmp_path / "b/films"))


def test_films_can_be_allotted(films, tmp_path):
    study = read_study(drawn(protocol(films, share="allotted", open_share=0), tmp_path / "study").folder)
    hands = [{f.film for f in own["blind"]} for own in study.lists]
    assert not hands[0] & hands[1] and {len(hand) for hand in hands} == {6}


def test_sixteen_bits_and_a_smaller_side(films, tmp_path):
    made = drawn(protocol(films, bits=16, longest=160), tmp_path / "study")
    path = next((made.folder / "films").iterdir())
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and values.shape == (160, 120)
    assert all(t.mask.shape == (160, 120) for t in read_truth(made.folder).values() if t.forged)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((np.uint8, np.uint16)), st.integers(0, 99))
def test_a_picture_is_read_back_as_it_was(height, width, kind, seed):
    values = np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (height, width)).astype(kind)
    data = render.png(values)
    back = cv2.imdecode(np.frombuffer(render.padded(data, len(data) + 99), np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.dtype == kind and np.array_equal(back, values)


def test_nothing_is_overwritten(films, tmp_path, run):
    out = tmp_path / "study"
    assert run("study", "new", protocol(films), "-o", out, "-q")[0] == 0
    before = (out / "study.json").read_bytes()
    code, printed, err = run("study", "new", protocol(films), "-o", out)
    assert (code, printed) == (2, "") and "exists already" in err and len(err.splitlines()) == 1
    assert (out / "study.json").read_bytes() == before


def test_a_film_that_cannot_be_read_leaves_nothing_behind(tmp_path, run):
    path = archive(tmp_path, healthy=3)
    (tmp_path / "healthy" / "healthy1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    code, _, err = run("study", "new", path, "-o", tmp_path / "study")
    assert code == 2 and "healthy1.png" in err and not (tmp_path / "study").exists()
    assert not list(tmp_path.glob(".scanward*"))


@pytest.mark.parametrize(("settings", "words"), [
    ({"title": "Which are fakes?"}, "would tell them"),
    ({"readers": ["Ada", "Ada"]}, "different names"),
    ({"readers": []}, "different names"),
    ({"colour": 1}, "'colour' is no setting"),
    ({"seed": -1}, "between 0 and"),
    ({"seed": True}, "protocol.toml: seed must be a whole number, not True."),
    ({"longest": 1.5}, "protocol.toml: longest must be a whole number, not 1.5."),
    ({"share": "some"}, "must be all or allotted"),
    ({"bits": 12}, "must be 8 or 16"),
    ({"open_share": 2}, "between 0 and 1"),
    ({"films": {"fake": ["set"]}}, "names folders"),
    ({"films": {"fake": ["healthy"], "healthy": ["healthy"]}}, "no record.json"),
    ({"films": {"fake": ["set"], "healthy": ["set"]}}, "marked as altered"),
    ({"films": {"fake": ["set"], "healthy": ["healthy"], "unhealthy": ["healthy/healthy1.png"]}}, "as unhealthy"),
    ({"films": {"fake": ["set"], "healthy": ["no such folder"]}}, "does not exist"),
    ({"blind": {"fake": 50}}, "asks for 5"),
    ({"blind": {"fake": 0}}, "no fakes"),
    ({"blind": {"fake": 1.5}}, "protocol.toml: blind.fake must be a whole number of films from 0 to 100,000, not 1.5."),
    ({"films": {"fake": 3, "healthy": ["healthy"]}}, "films.fake is a list of files and folders"),
    ({"blind": {"odd": 1}}, "knows fake, healthy, unhealthy"),
    ({"patients": "protocol.toml"}, "no table of patients"),
], ids=lambda value: str(value)[:40])
def test_nonsense_is_refused_in_one_sentence(films, tmp_path, run, settings, words):
    code, _, err = run("study", "new", protocol(films, **settings), "-o", tmp_path / "study")
    assert code == 2 and words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_a_forgery_that_was_changed_is_refused(tmp_path, run):
    path = archive(tmp_path, healthy=2, unhealthy=0, fakes=1)
    path = protocol(tmp_path, films={"fake": ["set"], "healthy": ["healthy"]}, open_share=0)
    image = next((tmp_path / "set").rglob("*-forged.png"))
    assert cv2.imwrite(str(image), breast(77))
    code, _, err = run("study", "new", path, "-o", tmp_path / "study")
    assert code == 2 and "forge it again" in err


def test_a_marked_film_is_not_taken_for_a_real_one(tmp_path, run):
    path = archive(tmp_path, healthy=2, fakes=2)
    image = next((tmp_path / "set").rglob("*-forged.png"))
    for name in (image.name, f"{image.name}.scanward.json"):
        (tmp_path / "healthy" / name).write_bytes((image.parent / name).read_bytes())
    code, _, err = run("study", "new", path, "-o", tmp_path / "study")
    assert code == 2 and "marked as altered" in err


def test_films_of_another_size_are_pointed_out(tmp_path, run):
    path = archive(tmp_path, healthy=3, unhealthy=0, fakes=2)
    for file in (tmp_path / "healthy").iterdir():
        assert cv2.imwrite(str(file), breast(int(file.stem[-1]), (300, 200)))
    path = protocol(tmp_path, films={"fake": ["set"], "healthy": ["healthy"]})
    code, _, err = run("study", "new", path, "-o", tmp_path / "study")
    assert code == 0 and "2 of 2 fakes have a size that no real film has" in err


def test_one_fake_of_a_size_or_depth_of_its_own_is_pointed_out():
    def film(kind, width, bits):
        return SimpleNamespace(candidate=SimpleNamespace(kind=kind, patient="patient p", family=f"{kind}{width}{bits}"),
                               facts={"width": width, "height": 300}, bits=bits)

    protocol = SimpleNamespace(shows="film", patients=None)
    shown = [film("fake", 200, 12), film("fake", 200, 16), film("fake", 240, 12), film("healthy", 200, 12)]
    size, depth = _notes(shown, protocol)
    assert size.startswith("1 of 3 fakes have a size that no real film has")
    assert depth.startswith("1 of 3 fakes have a depth that no real film has")
    assert _notes(shown[:1] + shown[3:], protocol) == () == _notes(shown[:3], protocol)


def dicom(path, seed, patient):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid(entropy_srcs=[path.name])
    data.Modality, data.PatientName, data.PatientID = "MG", "Somebody^Known", patient
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.ImagerPixelSpacing = [0.2, 0.2]
    values = breast(seed)
    data.Rows, data.Columns = values.shape
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW"
    path.parent.mkdir(exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_films_bring_their_patients_and_leave_their_names(tmp_path, run):
    """Two views of each of two women: they alternate, and no table is needed."""
    for number, woman in enumerate(("woman-one", "woman-two", "woman-two")):
        dicom(tmp_path / "real" / f"{number}.dcm", number, woman)
    forge_file(dicom(tmp_path / "hosts" / "host.dcm", 9, "woman-one"), tmp_path / "set",
               Order("composed-mass", (8.0, 12.0)), "inject")
    path = protocol(tmp_path, films={"fake": ["set"], "healthy": ["real"]}, open_share=0)
    path.write_text(path.read_text().replace('patients = "patients.csv"', ""))
    code, _, err = run("study", "new", path, "-o", tmp_path / "study", "-q")
    assert (code, err) == (0, "")
    truth = read_truth(tmp_path / "study")
    for own in read_study(tmp_path / "study").lists:
        women = [truth[film.film].patient for film in own["blind"]]
        assert set(women) == {"patient woman-one", "patient woman-two"} and all(a != b for a, b in pairwise(women))
    shown = [tmp_path / "study" / "study.json", *(tmp_path / "study" / "films").iterdir()]
    assert not any(word in path.read_bytes() for path in shown for word in (b"Somebody", b"woman-"))
