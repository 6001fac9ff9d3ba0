"""What goes wrong with one image of a study stays that image's."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from scanward.errors import ArgumentError, WeightsError
from scanward.formats import derived
from scanward.gateway import mercure, scanning
from scanward.gateway.receive import Node, take_file
from scanward.gateway.scanning import Scanner
from scanward.gateway.trouble import without_paths
from scanward.gateway.work import work
from scanward.inbox.folders import Inbox
from scanward.protectors.seal import make_key
from scanward.report import pictures
from scanward.seals import archive
from scanward.settings import Gateway, Seal, Store, Work


@pytest.fixture
def desk(tmp_path, bright, dicom):
    """An inbox in a folder with a space in its name, and the scan of what was put into it."""
    make_key(tmp_path / "site.key")
    inbox = Inbox(tmp_path / "in box")
    gateway = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference"),
                      seal=Seal(key=tmp_path / "site.key", senders=("CT_1",)))

    def _scan(paths=(), attempts=1):
        for path in paths:
            dicom.arrive(inbox, path, "CT_1" if path.parent.name == "ct" else "MG_1")
        job = inbox.take(0, 3)
        job.attempts = attempts
        try:
            return Scanner(gateway, inbox).scan(job)
        except Exception:
            inbox.again(job, "")
            (inbox.root / "working" / job.key / "job.json").unlink()
            raise

    _scan.inbox, _scan.gateway = inbox, gateway
    return _scan


def films(dicom, folder, **odd):
    """A sound one and an odd one of one study."""
    with pytest.warns(UserWarning) if odd else pytest.MonkeyPatch.context():
        return [dicom.file(folder / "good.dcm", StudyInstanceUID="1.2"),
                dicom.file(folder / "odd.dcm", StudyInstanceUID="1.2", seed=1, **odd)]


def by_file(scanned, paths):
    uids = {pydicom.dcmread(path, stop_before_pixels=True).get("SOPInstanceUID"): path.stem for path in paths}
    return {uids[image.sop_instance_uid]: image for image in scanned.record.images}


@pytest.mark.filterwarnings("ignore:Incorrect value for Specific Character Set")
def test_a_header_that_no_library_takes_costs_no_object(desk, dicom, tmp_path):
    paths = films(dicom, tmp_path, SpecificCharacterSet="ISO IR 100")
    found = by_file(desk(paths), paths)
    assert {len(image.results) for image in found.values()} == {2}
    assert {(image.error, image.note) for image in found.values()} == {(None, None)}


def test_a_film_whose_objects_cannot_be_made_keeps_its_verdict_and_says_why(desk, dicom, tmp_path):
    paths = films(dicom, tmp_path, SeriesInstanceUID="a series")
    scanned = desk(paths)
    found = by_file(scanned, paths)
    assert found["good"].results and not found["good"].note
    assert (found["odd"].label, found["odd"].score > 0, found["odd"].results) == (found["good"].label, True, ())
    assert found["odd"].note.startswith("It has no DICOM results: ")
    assert "has no usable SeriesInstanceUID" in found["odd"].note
    assert len(scanned.results) == len(found["good"].results)
    assert str(tmp_path) not in json.dumps(scanned.record.to_json())


def test_a_fault_of_ours_with_one_image_does_not_cost_the_others(desk, dicom, tmp_path, bright, monkeypatch):
    paths = films(dicom, tmp_path)
    sound = bright.detect

    def detect(self, image):
        if image.provenance.sop_instance_uid == pydicom.dcmread(paths[1]).SOPInstanceUID:
            raise RuntimeError(f"broke at {image.provenance.path}")
        return sound(self, image)

    monkeypatch.setattr(bright, "detect", detect)
    scanned = desk(paths)
    found = by_file(scanned, paths)
    assert found["good"].error is None and found["good"].results
    assert found["odd"].label == scanned.record.label == "inconclusive"
    assert found["odd"].error.startswith("Internal error (RuntimeError: broke at ")
    assert str(tmp_path) not in found["odd"].error


def test_a_film_that_is_cut_short_is_told_of_without_our_name_for_it_and_the_study_has_no_score(desk, dicom, tmp_path):
    paths = films(dicom, tmp_path)
    cut = pydicom.dcmread(paths[1])
    cut.PixelData = cut.PixelData[:1000]
    cut.save_as(paths[1])
    scanned = desk(paths)
    needed = cut.Rows * cut.Columns * 2
    assert by_file(scanned, paths)["odd"].error == (
        f"The object is cut short: its header asks for {needed:,} bytes of pixels and 1,000 are there; copy it again "
        "from its source.")
    assert scanned.record.label == "inconclusive"
    assert scanned.record.score is None  # it would be the other film's


def test_missing_weights_are_no_image_s_fault(desk, dicom, tmp_path, monkeypatch):
    def missing(*_):
        raise WeightsError("The weights are gone.")

    monkeypatch.setattr(scanning, "scan_source", missing)
    with pytest.raises(WeightsError):
        desk(films(dicom, tmp_path))


def test_a_study_whose_scan_breaks_down_is_still_known_by_its_patient(desk, dicom, tmp_path, monkeypatch):
    def broken(*_):
        raise WeightsError("The weights are gone.")

    monkeypatch.setattr(scanning, "scan_source", broken)
    dicom.arrive(desk.inbox, dicom.file(tmp_path / "one.dcm", PatientID="4711", AccessionNumber="A-7"), "MG_1")
    job = desk.inbox.take(0, 3)
    with pytest.raises(WeightsError):
        Scanner(desk.gateway, desk.inbox).scan(job)
    desk.inbox.give_up(job, "The weights are gone.")
    record = desk.inbox.study(job.key).record
    assert (record.patient_id, record.accession, record.modality, record.error, record.images) == (
        "4711", "A-7", "MG", "The weights are gone.", ())
    assert record.study_uid and record.received


def test_pictures_that_cannot_be_drawn_are_missed_by_nobody_else(desk, dicom, tmp_path, monkeypatch):
    def tear(*_):
        raise ValueError("a tile cannot be encoded")

    monkeypatch.setattr(pictures, "draw", tear)
    scanned = desk(films(dicom, tmp_path))
    assert [image.note for image in scanned.record.images] == [
        "It has no pictures: Internal error (ValueError: a tile cannot be encoded); please report it."] * 2
    assert all(image.results and not image.error for image in scanned.record.images)


def test_mercure_hears_of_the_other_images(dicom, tmp_path, bright, monkeypatch):
    paths, sound = films(dicom, tmp_path / "in put"), mercure.scan_source

    def scan(source, terms):
        if source.path == paths[1]:
            raise RuntimeError(f"broke at {source.path}")
        return sound(source, terms)

    monkeypatch.setattr(mercure, "scan_source", scan)
    assert mercure.run(tmp_path / "in put", tmp_path / "out") == 0
    answer = json.loads((tmp_path / "out" / "result.json").read_text())
    assert answer["label"] == "inconclusive"
    assert {image["file"]: len(image.get("objects", ())) for image in answer["images"]} == {"good.dcm": 2, "odd.dcm": 0}
    assert str(tmp_path) not in json.dumps(answer) and "in put/" not in json.dumps(answer)


def test_mercure_is_told_of_a_full_disk_by_the_exit_code(dicom, tmp_path, bright, monkeypatch, capsys):
    films(dicom, tmp_path / "in")
    monkeypatch.setattr(derived, "write_dicom", full)
    assert mercure.run(tmp_path / "in", tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def full(*_, **__):
    raise ArgumentError("/srv/in box/x cannot be written (No space left on device); free some space.") from OSError(
        errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["scan_source", "draw", "seal_of"])
def test_a_full_disk_is_waited_for_however_often_a_study_was_tried(desk, dicom, tmp_path, monkeypatch, where):
    monkeypatch.setattr({"scan_source": scanning, "draw": pictures, "seal_of": archive}[where], where, full)
    paths = dicom.ct(tmp_path / "ct", 16)
    with pytest.raises(ArgumentError, match="No space left on device"):
        desk(paths)
    with pytest.raises(ArgumentError, match="No space left on device"):
        desk(attempts=3)


def test_a_seal_that_cannot_be_read_is_named_without_its_folder(desk, dicom, tmp_path):
    paths = dicom.ct(tmp_path / "ct", 16)
    desk(paths)
    (job,) = (desk.inbox.root / "working").iterdir()
    shutil.rmtree(job)
    for seal in (desk.inbox.root / "seals").glob("*.seal"):
        seal.write_text("{}")
    (image,) = desk(paths).record.images
    assert image.label == "inconclusive" and ".seal is no seal" in image.reason
    assert str(tmp_path) not in image.reason and "in box" not in image.reason


def test_a_record_that_cannot_be_read_is_named_without_its_folder(dicom, tmp_path, bright):
    inbox = Inbox(tmp_path / "in box")
    old = Path(__file__).parents[1] / "protection" / "old"
    for record in (old / "series").glob("*.json"):
        (inbox.root / "records" / record.name).write_text("{}")
    for path in (old / "series" / "ct-protected").iterdir():
        dicom.arrive(inbox, path, "PACS")
    gateway = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference", verify_key=old / "site.key"))
    (image,) = Scanner(gateway, inbox).scan(inbox.take(0, 3)).record.images
    assert image.label == "inconclusive"
    assert str(tmp_path) not in image.reason and "in box" not in image.reason


DIES = """
import os, sys
from pathlib import Path
from scanward.errors import InputError
from scanward.formats import derived
from scanward.gateway import mercure, scanning
from scanward.inbox.folders import Inbox
from scanward.judging.scan import Result
from scanward.settings import Gateway, Store, Work

def scan(source, terms):
    if source.path.name == sys.argv[2]:
        os._exit(9)
    return Result(source.path, error=InputError("x"))

scanning.scan_source = scan
inbox = Inbox(Path(sys.argv[1]))
gateway = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference"))
scanning.Scanner(gateway, inbox).scan(inbox.take(0, 9))
"""


def test_an_image_over_which_the_process_dies_costs_the_study_no_verdict(desk, dicom, tmp_path, monkeypatch):
    paths, sound = films(dicom, tmp_path), scanning.scan_source
    for path in paths:
        take_file(path, desk.inbox, Node())
    objects = sorted(desk.inbox.root.glob("incoming/*/objects/*.dcm"))
    uid = pydicom.dcmread(paths[1]).SOPInstanceUID
    (odd,) = (path.name for path in objects if pydicom.dcmread(path).SOPInstanceUID == uid)
    done = subprocess.run([sys.executable, "-c", DIES, str(desk.inbox.root), odd], check=False)
    assert done.returncode == 9

    def alive(source, terms):
        assert source.path.name != odd, "it would die again"
        return sound(source, terms)

    monkeypatch.setattr(scanning, "scan_source", alive)
    found = by_file(desk(attempts=3), paths)
    assert found["good"].results
    assert (found["odd"].label, found["odd"].error) == (
        "inconclusive", "It ended the process that looked at it, again and again; look at it by other means.")
    assert list(desk.inbox.root.glob("working/*/.now-*")) == []


@pytest.mark.filterwarnings("ignore:Incorrect value for Specific Character Set")
def test_such_a_study_ends_in_done(desk, dicom, tmp_path):
    class Silent:
        def record(self, *_, **__):
            """Nothing."""

    for path in films(dicom, tmp_path, SpecificCharacterSet="ISO IR 100", SeriesInstanceUID="1.2\\1.3"):
        take_file(path, desk.inbox, Node())
    work(desk.inbox.take(0, 3), Scanner(desk.gateway, desk.inbox), desk.inbox, desk.gateway, Silent())
    (study,) = [desk.inbox.study(key) for key, *_ in desk.inbox.written()]
    assert study.state == "done" and len(study.record.images) == 2


@pytest.mark.parametrize("sentence, told", [
    ("/srv/in box/records/ab.json is no record.", "ab.json is no record."),
    ("/home/somebody/a.dcm and (/x/y/b.dcm) differ; see /x/y/c.", "a.dcm and (b.dcm) differ; see c."),
    ("A CC/MLO pair at 0.1 mm/pixel, see https://a.example/b/c.", "A CC/MLO pair at 0.1 mm/pixel, see "
     "https://a.example/b/c."),
    ("/srv/in box has no room.", "The inbox has no room.")])
def test_sentences_lose_their_folders(sentence, told):
    folders = {Path("/srv/in box/records"): "The records", Path("/srv/in box"): "The inbox"}
    assert without_paths(sentence, folders) == told


def test_objects_are_told_apart_by_more_than_a_forger_can_make_equal(tmp_path, dicom):
    inbox = Inbox(tmp_path / "inbox")
    path = dicom.file(tmp_path / "a.dcm")
    take_file(path, inbox, Node())
    other = pydicom.dcmread(path)
    other.file_meta.ImplementationVersionName = "ANOTHER_WAY"
    other.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    take_file(tmp_path / "b.dcm", inbox, Node())
    (folder,) = (inbox.root / "incoming").iterdir()
    (kept,) = (folder / "objects").iterdir()
    assert all(len(part) * 4 >= 128 for part in kept.stem.split("-"))
    # The same bytes under another transfer syntax are another image.
    data = (tmp_path / "a.dcm").read_bytes()
    syntax = b"1.2.840.10008.1.2.1\0"
    assert data.count(syntax) == 1
    (tmp_path / "c.dcm").write_bytes(data.replace(syntax, b"1.2.840.10008.1.2.5\0"))
    take_file(tmp_path / "c.dcm", inbox, Node())
    assert len(list((folder / "objects").iterdir())) == 2
