"""What a study comes to, without a process around it."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from scanward.gateway.scanning import Scanner
from scanward.inbox.folders import Inbox
from scanward.protectors.seal import make_key
from scanward.settings import Gateway, Seal, Store, Work

OLD = Path(__file__).parents[1] / "protection" / "old"
"""What an earlier version wove evidence into, with the key and the records."""


@pytest.fixture
def study(tmp_path, bright, dicom):
    """Takes files in from a modality, scans the study, and gives back what was made of it."""
    make_key(tmp_path / "site.key")
    inbox = Inbox(tmp_path / "in box")
    plain = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference"))

    def _scan(paths, gateway=plain, sender="CT_1"):
        for path in paths:
            dicom.arrive(inbox, path, sender)
        job = inbox.take(0, 3)
        scanned = Scanner(gateway, inbox).scan(job)
        inbox.finish(job, scanned.record)
        return scanned

    _scan.inbox, _scan.plain = inbox, plain
    _scan.sealing = dataclasses.replace(plain, seal=Seal(key=tmp_path / "site.key", senders=("CT_*",)))
    _scan.old = dataclasses.replace(plain, work=Work(method="self-reference", verify_key=OLD / "site.key", records=OLD))
    return _scan


def enhanced(slices, folder, frames):
    """The slices of a series as enhanced CT, `frames` to a file, which say where they lie in their groups alone."""
    folder.mkdir(exist_ok=True)
    made = []
    for i in range(0, len(slices), frames):
        each = [pydicom.dcmread(path) for path in slices[i:i + frames]]
        data = each[0]
        data.SharedFunctionalGroupsSequence = [Dataset()]
        data.PerFrameFunctionalGroupsSequence = [_groups(one) for one in each]
        data.PixelData, data.NumberOfFrames = b"".join(one.PixelData for one in each), len(each)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(data, keyword)
        made.append(folder / f"{(7 * i) % 97:03}.dcm")  # in another order than they lie
        data.save_as(made[-1])
    return made


def _groups(one):
    made = Dataset()
    for macro, keyword in (("PlanePosition", "ImagePositionPatient"), ("PlaneOrientation", "ImageOrientationPatient"),
                           ("PixelMeasures", "PixelSpacing")):
        item = Dataset()
        setattr(item, keyword, getattr(one, keyword))
        setattr(made, f"{macro}Sequence", [item])
    return made


def altered(paths, change):
    for path in paths:
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
    return paths


def brighter(data):
    pixels = data.pixel_array.copy()
    if 2 <= float(data.ImagePositionPatient[2]) <= 10:
        pixels[20:40, 20:40] ^= 64
    data.PixelData = pixels.astype(np.uint16).tobytes()


def woven(folder):
    """A series of old, as files that can be altered."""
    return sorted(Path(shutil.copytree(OLD / "series" / "ct-protected", folder)).iterdir())


def forget(study):
    """As after `keep_days`."""
    shutil.rmtree(study.inbox.root / "done")
    (study.inbox.root / "done").mkdir()


def known(way, study, dicom, tmp_path):
    """A series that was woven into, or that was sealed as it came; its files, and the gateway that knows it."""
    if way == "woven":
        return woven(tmp_path / "ct"), study.old
    paths = dicom.ct(tmp_path / "ct", 8)
    study(paths, study.sealing)
    forget(study)
    return paths, study.sealing


@pytest.mark.parametrize("way", ["woven", "sealed"])
def test_an_odd_slice_is_no_way_round_the_evidence(study, dicom, tmp_path, way):
    paths, gateway = known(way, study, dicom, tmp_path)
    altered(paths, brighter)
    data = pydicom.dcmread(paths[0])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "2.25.5"
    del data.ImagePositionPatient
    data.save_as(tmp_path / "odd.dcm")
    assert study([*paths, tmp_path / "odd.dcm"], gateway).record.label == "tampered"


def test_what_an_earlier_version_wove_into_is_still_verified(study, tmp_path):
    assert study(woven(tmp_path / "ct"), study.old).record.label == "authentic"
    forget(study)
    assert study(altered(woven(tmp_path / "changed"), brighter), study.old).record.label == "tampered"


@pytest.mark.parametrize("way", ["woven", "sealed"])
def test_a_slice_taken_out_is_no_pass(study, dicom, tmp_path, way):
    paths, gateway = known(way, study, dicom, tmp_path)
    assert study(paths[:4] + paths[5:], gateway).record.label in ("tampered", "inconclusive")


def test_a_film_that_calls_itself_ct_is_judged_as_the_film_it_is(study, dicom, tmp_path):
    record = study([dicom.file(tmp_path / "a.dcm", Modality="CT")]).record
    assert record.images[0].modality == "MG"
    assert record.images[0].error is None


def test_a_broken_film_is_not_hidden_by_a_good_one(study, dicom, tmp_path):
    good = dicom.file(tmp_path / "good.dcm", StudyInstanceUID="1.2")
    cut = dicom.file(tmp_path / "cut.dcm", StudyInstanceUID="1.2", Rows=500)
    record = study([good, cut]).record
    assert record.label == "inconclusive"
    assert str(tmp_path) not in json.dumps(record.to_json())


def seals(study):
    return sorted(path.name for path in (study.inbox.root / "seals").glob("*.seal"))


def test_a_series_is_sealed_once_whatever_comes_late(study, dicom, tmp_path):
    paths = dicom.ct(tmp_path / "ct", 16)
    first = study(paths, study.sealing)
    report = dicom.file(tmp_path / "sr.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR",
                        StudyInstanceUID=pydicom.dcmread(paths[0]).StudyInstanceUID)
    before = seals(study)
    second = study([report], study.sealing)
    assert [scanned.record.label for scanned in (first, second)] == ["authentic"] * 2
    assert seals(study) == before and len(before) == 1


def test_what_says_in_one_slice_that_it_is_synthetic_is_not_sealed(study, dicom, tmp_path):
    paths = dicom.ct(tmp_path / "ct", 16)
    altered(paths[5:6], lambda data: setattr(data, "SyntheticData", "YES"))
    (image,) = study(paths, study.sealing).record.images
    assert (image.label, seals(study)) == ("inconclusive", []) and "synthetic" in image.reason


def test_phases_at_the_same_places_are_not_mixed_and_each_is_sealed(study, dicom, tmp_path):
    """Two phases of one series that came slice by slice in turn: 100 HU apart."""
    first = dicom.ct(tmp_path / "a", 16)
    series = pydicom.dcmread(first[0])
    second = dicom.ct(tmp_path / "b", 16, SeriesInstanceUID=series.SeriesInstanceUID,
                      StudyInstanceUID=series.StudyInstanceUID, AcquisitionNumber=2)
    altered(second, lambda data: setattr(data, "PixelData", (4000 - data.pixel_array // 2).astype("u2").tobytes()))
    scanned = study([path for pair in zip(first, second, strict=True) for path in pair], study.sealing)
    images = scanned.record.images
    assert [image.label for image in images] == ["authentic"] * 2 and len(seals(study)) == 2
    for image in images:
        phases = {pydicom.dcmread(study.inbox.root / "done" / scanned.record.key / name).get("AcquisitionNumber")
                  for name in image.files}
        assert len(phases) == 1


@pytest.mark.parametrize("frames", [1, 4, 16])
def test_enhanced_ct_is_sealed_and_a_change_of_it_shows(study, dicom, tmp_path, frames):
    paths = enhanced(dicom.ct(tmp_path / "ct", 16), tmp_path / "enhanced", frames)
    (image,) = study(paths, study.sealing).record.images
    assert (image.shape, image.label) == ((16, 64, 64), "authentic")
    assert (image.note or "", len(image.results)) == ("", 2) if frames == 1 else (
        "holds several slices in one file, as enhanced CT does" in image.note and not image.results)
    forget(study)
    assert study(paths, study.sealing, "PACS").record.label == "authentic"
    forget(study)
    data = pydicom.dcmread(paths[0])
    pixels = data.pixel_array.copy()
    pixels[..., 20:40, 20:40] ^= 64
    data.PixelData = pixels.astype(np.uint16).tobytes()
    data.save_as(paths[0])
    assert study(paths, study.sealing, "PACS").record.label == "tampered"


def test_volumes_of_one_enhanced_series_stay_apart_and_are_sealed_each(study, dicom, tmp_path):
    """Two phases of the same places, a file each; and a third far below, which nothing continues."""
    places = dicom.ct(tmp_path / "a", 96)
    first, last = enhanced(places[:16], tmp_path / "b", 16) + enhanced(places[80:], tmp_path / "c", 16)
    again = tmp_path / "again.dcm"
    data = pydicom.dcmread(first)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PixelData = (data.pixel_array[::-1] // 2 + 2000).astype(np.uint16).tobytes()
    data.save_as(again)
    scanned = study([first, last, again], study.sealing)
    assert [(image.shape, image.label, len(image.files)) for image in scanned.record.images] == \
        3 * [((16, 64, 64), "authentic", 1)]
    assert len(seals(study)) == 3


def test_a_file_of_frames_and_slices_that_go_on_from_it_are_one_volume(study, dicom, tmp_path):
    slices = dicom.ct(tmp_path / "ct", 16)
    (image,) = study([*enhanced(slices[:12], tmp_path / "e", 12), *slices[12:]], study.sealing).record.images
    assert (image.shape, image.label, len(image.files), len(seals(study))) == ((16, 64, 64), "authentic", 5, 1)


def test_a_film_is_not_scanned_again_for_a_late_one_but_is_under_other_settings(study, dicom, tmp_path, bright):
    films = [dicom.file(tmp_path / f"{i}.dcm", seed=i, StudyInstanceUID="1.2") for i in range(2)]
    before = study(films[:1]).record.images[0]
    after = study(films[1:]).record.images
    assert [i.seconds for i in after if i.id == before.id] == [before.seconds]
    assert len(after) == 2
    other = dataclasses.replace(study.plain, work=Work(method="copy-move"))
    third = dicom.file(tmp_path / "3.dcm", seed=3, StudyInstanceUID="1.2")
    assert {i.method for i in study([third], other).record.images} == {"copy-move"}


def test_what_a_page_hangs_it_by_is_kept(study, dicom, tmp_path):
    path = dicom.file(tmp_path / "film.dcm", ImageLaterality="R", ViewPosition="CC", IssuerOfPatientID="HOSPITAL")
    record = study([path]).record
    assert record.issuer == "HOSPITAL"
    assert (record.images[0].laterality, record.images[0].view) == ("R", "CC")
    assert record.images[0].chest_wall in ("left", "right", "")
    assert record.images[0].heat is not None and 0 <= record.images[0].heat <= 1
