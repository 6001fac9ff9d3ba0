"""What a study comes to, without a process around it."""

import dataclasses
import json

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from scanward.gateway.receive import Node, take_file
from scanward.gateway.scanning import Scanner
from scanward.inbox.folders import Inbox
from scanward.protectors.seal import make_key
from scanward.settings import Destination, Gateway, Protect, Store, Work


@pytest.fixture
def study(tmp_path, bright):
    """Takes files in, scans the study, and gives back what was made of it."""
    make_key(tmp_path / "site.key")
    inbox = Inbox(tmp_path / "in box")
    plain = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference"))

    def _scan(paths, gateway=plain):
        for path in paths:
            take_file(path, inbox, Node())
        job = inbox.take(0, 3)
        scanned = Scanner(gateway, inbox).scan(job)
        inbox.finish(job, scanned.record)
        return scanned

    _scan.inbox, _scan.plain = inbox, plain
    _scan.guarded = dataclasses.replace(plain, protect=Protect(key=tmp_path / "site.key", to="pacs"),
                                        destination=(Destination(name="pacs"),))
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


def protected(study, dicom, folder, **elements):
    """A CT series that went out protected, as files that can be altered."""
    return _out(study, study(dicom.ct(folder / "ct", 16, **elements), study.guarded), folder)


def _out(study, scanned, folder):
    out = []
    for i, path in enumerate(next(iter(scanned.protected.values()), ())):
        out.append(folder / f"out{i:02}.dcm")
        out[-1].write_bytes(_kept(study, path).read_bytes())
    return out


def altered(paths, change):
    for path in paths:
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
    return paths


def brighter(data):
    pixels = data.pixel_array.copy()
    if 5 <= float(data.ImagePositionPatient[2]) <= 10:
        pixels[20:40, 20:40] += 100
    data.PixelData = pixels.astype(np.uint16).tobytes()


def test_an_odd_slice_is_no_way_round_the_evidence(study, dicom, tmp_path):
    out = altered(protected(study, dicom, tmp_path), brighter)
    data = pydicom.dcmread(out[0])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "2.25.5"
    del data.ImagePositionPatient
    data.save_as(tmp_path / "odd.dcm")
    record = study([*out, tmp_path / "odd.dcm"], study.guarded).record
    assert record.label == "tampered"


def test_what_comes_back_as_it_went_out_is_authentic(study, dicom, tmp_path):
    record = study(protected(study, dicom, tmp_path), study.guarded).record
    assert sorted(image.label for image in record.images) == ["authentic", "unscanned"]
    assert record.label == "unscanned"  # the original stands beside it, and nobody looked at that


def test_a_slice_taken_out_is_no_pass(study, dicom, tmp_path):
    out = protected(study, dicom, tmp_path)
    record = study(out[:7] + out[8:], study.guarded).record
    assert record.label in ("tampered", "inconclusive")


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


def test_a_series_is_protected_once_whatever_comes_late(study, dicom, tmp_path):
    paths = dicom.ct(tmp_path / "ct", 16)
    first = study(paths, study.guarded)
    report = dicom.file(tmp_path / "sr.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR",
                        StudyInstanceUID=pydicom.dcmread(paths[0]).StudyInstanceUID)
    second = study([report], study.guarded)
    uids = [sorted(pydicom.dcmread(_kept(study, path)).SOPInstanceUID
                   for files in scanned.protected.values() for path in files) for scanned in (first, second)]
    assert uids[0] == uids[1] and len(uids[0]) == 16


def _kept(study, path):
    """Where a file of a job lies after the study was moved."""
    parts = path.parts[path.parts.index("working") + 1:]
    return study.inbox.root.joinpath("done", *parts)


def test_what_says_in_one_slice_that_it_is_synthetic_stays_here(study, dicom, tmp_path):
    paths = dicom.ct(tmp_path / "ct", 16)
    altered(paths[5:6], lambda data: setattr(data, "SyntheticData", "YES"))
    assert study(paths, study.guarded).protected == {}
    again = dataclasses.replace(study.guarded, protect=dataclasses.replace(study.guarded.protect, send_synthetic=True))
    assert len(study(paths, again).protected) == 1


def test_phases_at_the_same_places_are_not_mixed_and_not_protected(study, dicom, tmp_path):
    """Two phases of one series that came slice by slice in turn: 100 HU apart."""
    first = dicom.ct(tmp_path / "a", 16)
    series = pydicom.dcmread(first[0])
    second = dicom.ct(tmp_path / "b", 16, SeriesInstanceUID=series.SeriesInstanceUID,
                      StudyInstanceUID=series.StudyInstanceUID, AcquisitionNumber=2)
    altered(second, lambda data: setattr(data, "PixelData", (data.pixel_array // 2 + 2000).tobytes()))
    scanned = study([path for pair in zip(first, second, strict=True) for path in pair], study.guarded)
    assert scanned.protected == {}
    images = scanned.record.images
    assert len(images) == 2 and all("several volumes" in image.note for image in images)
    for image in images:
        phases = {pydicom.dcmread(study.inbox.root / "done" / scanned.record.key / name).get("AcquisitionNumber")
                  for name in image.files}
        assert len(phases) == 1


@pytest.mark.parametrize("frames", [1, 4, 16])
def test_enhanced_ct_goes_out_protected_and_comes_back_authentic(study, dicom, tmp_path, frames):
    paths = enhanced(dicom.ct(tmp_path / "ct", 16), tmp_path / "enhanced", frames)
    scanned = study(paths, study.guarded)
    (image,) = scanned.record.images
    assert (image.shape, image.label, image.note) == ((16, 64, 64), "unscanned", None)
    out = _out(study, scanned, tmp_path)
    assert len(out) == len(paths)
    assert not {pydicom.dcmread(path).SOPInstanceUID for path in out} & {pydicom.dcmread(p).SOPInstanceUID
                                                                           for p in paths}
    back = study(out, study.guarded).record.images
    assert sorted(one.label for one in back) == ["authentic", "unscanned"]


def test_an_enhanced_ct_altered_on_its_way_is_tampered(study, dicom, tmp_path):
    (out,) = _out(study, study(enhanced(dicom.ct(tmp_path / "ct", 16), tmp_path / "e", 16), study.guarded), tmp_path)
    data = pydicom.dcmread(out)
    pixels = data.pixel_array.copy()
    pixels[5:10, 20:40, 20:40] += 100
    data.PixelData = pixels.astype(np.uint16).tobytes()
    data.save_as(out)
    assert study([out], study.guarded).record.label == "tampered"


def test_volumes_of_one_enhanced_series_stay_apart_and_say_why_they_are_not_protected(study, dicom, tmp_path):
    """Two phases of the same places, a file each; and a third far below, which nothing continues."""
    places = dicom.ct(tmp_path / "a", 96)
    first, last = enhanced(places[:16], tmp_path / "b", 16) + enhanced(places[80:], tmp_path / "c", 16)
    again = tmp_path / "again.dcm"
    data = pydicom.dcmread(first)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PixelData = (data.pixel_array // 2 + 2000).astype(np.uint16).tobytes()
    data.save_as(again)
    scanned = study([first, last, again], study.guarded)
    assert scanned.protected == {}
    assert [(image.shape, image.label, len(image.files)) for image in scanned.record.images] == \
        3 * [((16, 64, 64), "unscanned", 1)]
    assert {image.note for image in scanned.record.images} == {
        "It is not protected: its series holds several volumes."}


def test_a_file_of_frames_and_slices_that_go_on_from_it_are_one_volume(study, dicom, tmp_path):
    slices = dicom.ct(tmp_path / "ct", 16)
    scanned = study([*enhanced(slices[:12], tmp_path / "e", 12), *slices[12:]], study.guarded)
    (image,) = scanned.record.images
    assert (image.shape, len(next(iter(scanned.protected.values())))) == ((16, 64, 64), 5)


def test_a_film_is_not_scanned_again_for_a_late_one_but_is_under_other_settings(study, dicom, tmp_path, bright):
    films = [dicom.file(tmp_path / f"{i}.dcm", seed=i, StudyInstanceUID="1.2") for i in range(2)]
    before = study(films[:1]).record.images[0]
    after = study(films[1:]).record.images
    assert [i.seconds for i in after if i.id == before.id] == [before.seconds]
    assert len(after) == 2
    other = dataclasses.replace(study.plain, work=Work(method="copy-move"))
    third = dicom.file(tmp_path / "3.dcm", seed=3, StudyInstanceUID="1.2")
    assert {i.method for i in study([third], other).record.images} == {"copy-move"}
