"""What a gateway seals, what it holds against that, and what a forger's copy comes to."""

import dataclasses
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO

import cv2
import numpy as np
import pydicom
import pytest
from chests import CT, PACS, SLICES, blurred, chest, entries, forged, seals, series
from pydicom.uid import generate_uid

from scanward.errors import UnreadableError
from scanward.formats.identity import SENDER, head_in, identity_of
from scanward.gateway.receive import Node, take_file
from scanward.gateway.scanning import Scanner
from scanward.protectors.seal import make_key
from scanward.settings import Seal


def test_what_comes_from_a_modality_is_sealed_once_and_no_voxel_changes(gate, dicom, tmp_path):
    paths = series(dicom, tmp_path / "ct", chest(1))
    record = gate(paths)
    (image,) = record.images
    assert (record.label, image.evidence["label"], image.evidence["known_by"]) == ("authentic", "authentic", "now")
    assert len(seals(gate)) == 1 and entries(gate) == [seals(gate)[0].removesuffix(".seal")]
    kept = [pydicom.dcmread(path) for path in (gate.root / "done" / record.key / "objects").iterdir()]
    assert {hashlib.sha256(data.PixelData).digest() for data in kept} == \
        {hashlib.sha256(pydicom.dcmread(path).PixelData).digest() for path in paths}
    again = gate(paths, PACS)
    assert (again.label, again.images[0].evidence["known_by"]) == ("authentic", "uids")
    assert len(seals(gate)) == 1 and len(entries(gate)) == 1


def test_what_comes_from_a_pacs_is_not_sealed_and_the_rule_says_so(gate, dicom, tmp_path):
    record = gate(series(dicom, tmp_path / "ct", chest(1)), PACS)
    assert (record.label, seals(gate)) == ("inconclusive", [])
    assert record.images[0].reason == "It has to be sealed, and there is no seal of it that counts."
    other = gate(series(dicom, tmp_path / "other", chest(2)), "CR_1")
    assert (other.label, other.images[0].evidence) == ("inconclusive", {"label": "unsealed"})  # too few slices
    vip = gate(series(dicom, tmp_path / "vip", chest(3), PatientID="VIP-7"), "CR_1")
    assert vip.label == "inconclusive"


@pytest.mark.parametrize("sender", [PACS, CT])
def test_a_sealed_study_forged_at_one_place_under_new_uids_is_an_alarm_and_gets_no_seal(gate, dicom, tmp_path, sender):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    before = seals(gate)
    copy = series(dicom, tmp_path / "copy", forged(volume), PatientID="PID-4711")
    record = gate(copy, sender)
    (image,) = record.images
    assert record.label == "tampered" and seals(gate) == before and len(entries(gate)) == 1
    assert image.reason.startswith(f"It looks like what was sealed as {before[0].removesuffix('.seal')} on 20")
    assert "under other UIDs" in image.reason and "altered in one place" in image.reason
    x0, y0, z0, x1, y1, z1 = image.findings[0].box
    assert x0 <= 120 < x1 and y0 <= 140 < y1 and z0 <= 3 and z1 >= 6
    again = gate(copy, sender)
    assert (again.label, seals(gate)) == ("tampered", before)


@pytest.mark.parametrize("sender", [PACS, CT])
def test_the_same_uids_with_other_content_are_an_alarm(gate, dicom, tmp_path, sender):
    volume = chest(1)
    paths = series(dicom, tmp_path / "ct", volume)
    gate(paths)
    shutil.rmtree(gate.root / "done")
    (gate.root / "done").mkdir()  # as after `keep_days`
    for path, plane in zip(paths, forged(volume), strict=True):
        data = pydicom.dcmread(path)
        data.PixelData = plane.tobytes()
        data.save_as(path)
    record = gate(paths, sender)
    assert record.label == "tampered" and len(seals(gate)) == 1
    assert "says by its UIDs" in record.images[0].reason



CHANGES = {
    "blurred": blurred,
    "blurred and forged": lambda volume: blurred(forged(volume)),
    "brighter": lambda volume: (volume * 1.2 + 40).astype(np.uint16),
    "cropped": lambda volume: np.ascontiguousarray(volume[:, 4:-2, 3:-3]),
    "padded": lambda volume: np.pad(volume, ((0, 0), (16, 16), (16, 16))),
    "smaller": lambda volume: np.array([cv2.resize(p, (192, 192), interpolation=cv2.INTER_AREA) for p in volume]),
    "mirrored": lambda volume: np.ascontiguousarray(volume[:, :, ::-1]),
    "one slice, brighter": lambda volume: volume[5:6] + 7,
    "some slices, blurred": lambda volume: blurred(volume)[3:7],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("sender", [PACS, CT])
def test_a_copy_changed_as_a_whole_under_new_uids_is_known_and_gets_no_seal(gate, dicom, tmp_path, change, sender):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    record = gate(series(dicom, tmp_path / "copy", CHANGES[change](volume), PatientID="PID-4711"), sender)
    assert record.label in ("inconclusive", "tampered") and len(seals(gate)) == 1
    assert "looks like what was sealed as" in record.images[0].reason


def test_what_is_put_into_a_sealed_series_from_elsewhere_is_no_pass(gate, dicom, tmp_path):
    uids = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    gate(series(dicom, tmp_path / "ct", chest(1), **uids))
    shutil.rmtree(gate.root / "done")
    (gate.root / "done").mkdir()
    record = gate(series(dicom, tmp_path / "other", chest(2), **uids), "CR_1")
    assert record.label == "inconclusive" and "of the series of what was sealed" in record.images[0].reason


def test_an_exact_copy_under_new_uids_is_the_same_voxels_of_whoever_it_says(gate, dicom, tmp_path):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    same = gate(series(dicom, tmp_path / "copy", volume), PACS)
    assert same.label == "authentic" and "under other UIDs" in same.images[0].reason
    other = gate(series(dicom, tmp_path / "other", volume, PatientID="P-2", PatientName="Roe^John"), CT)
    assert other.label == "tampered" and "PatientID" in other.images[0].reason
    assert other.images[0].evidence["parts"]["voxels"] == "It is voxel by voxel what was sealed."
    assert len(seals(gate)) == 1


def test_another_patient_and_a_later_scan_of_the_same_get_seals_of_their_own(gate, dicom, tmp_path):
    labels = [gate(series(dicom, tmp_path / str(seed), chest(seed), **of)).label
              for seed, of in ((1, {}), (2, {}), (3, {"PatientID": "P-2"}))]
    assert labels == ["authentic"] * 3 and len(seals(gate)) == 3


def test_a_film_is_sealed_and_its_forged_copy_known(gate, dicom, tmp_path):
    pixels = chest(1, 1)[0]
    first = dicom.file(tmp_path / "a.dcm", shape=pixels.shape, PixelData=pixels.tobytes())
    assert gate([first], "MAMMO").images[0].evidence["known_by"] == "now"
    forgery = forged(pixels[None], slice(None))[0]
    record = gate([dicom.file(tmp_path / "b.dcm", shape=pixels.shape, PixelData=forgery.tobytes())], "MAMMO")
    assert record.label == "tampered" and len(seals(gate)) == 1


@pytest.mark.parametrize("upside_down", ["MONOCHROME1", "INVERSE", "slope"])
def test_a_copy_that_is_stored_upside_down_and_shown_as_it_was_is_known(gate, dicom, tmp_path, upside_down):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    before = seals(gate)
    paths = series(dicom, tmp_path / "copy", forged(volume))
    for path in paths:
        data = pydicom.dcmread(path)
        stored = 4095 - data.pixel_array.astype(int)
        data.PixelData = stored.clip(0, 4095).astype("<u2").tobytes()
        slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
        if upside_down == "slope":
            data.RescaleSlope, data.RescaleIntercept = -slope, intercept + 4095 * slope + 0.25
        elif upside_down == "INVERSE":
            data.PresentationLUTShape = "INVERSE"
        else:
            data.PhotometricInterpretation = "MONOCHROME1"
        data.save_as(path)
    record = gate(paths, PACS)
    assert record.label != "authentic" and seals(gate) == before
    assert "It looks like what was sealed" in record.images[0].reason


def test_reconstructions_that_come_together_are_sealed_and_a_late_copy_is_not(gate, dicom, tmp_path):
    volume, study = chest(1), generate_uid()
    soft = series(dicom, tmp_path / "soft", volume, StudyInstanceUID=study)
    sharp = series(dicom, tmp_path / "sharp", blurred(volume), StudyInstanceUID=study)
    record = gate([*soft, *sharp])
    assert [image.label for image in record.images] == ["authentic"] * 2 and len(seals(gate)) == 2
    time.sleep(2.1)  # a seal's time has whole seconds
    late = series(dicom, tmp_path / "late", blurred(forged(volume)), StudyInstanceUID=study)
    uid = pydicom.dcmread(late[0]).SeriesInstanceUID
    image = next(one for one in gate(late).images if one.series_instance_uid == uid)
    assert image.label in ("inconclusive", "tampered") and len(seals(gate)) == 2


def test_a_forged_series_among_those_that_come_together_is_no_reconstruction(gate, dicom, tmp_path):
    volume, study = chest(1), generate_uid()
    record = gate([*series(dicom, tmp_path / "a", volume, StudyInstanceUID=study),
                   *series(dicom, tmp_path / "b", forged(volume), StudyInstanceUID=study)])
    assert sorted(image.label for image in record.images) == ["authentic", "tampered"] and len(seals(gate)) == 1


def test_slices_that_come_late_from_the_modality_get_a_newer_seal_and_from_a_pacs_an_alarm(gate, dicom, tmp_path):
    paths = series(dicom, tmp_path / "ct", chest(1))
    gate(paths[:4])
    assert gate(paths[4:6]).label == "authentic"
    assert (len(seals(gate)), len(entries(gate))) == (2, 2)
    assert gate(paths[6:], PACS).label == "tampered"
    assert len(seals(gate)) == 2


def test_versions_of_one_slice_are_all_named_and_none_is_sealed(gate, dicom, tmp_path):
    volume = chest(1)
    paths = series(dicom, tmp_path / "ct", volume)
    for i in range(8):
        data = pydicom.dcmread(paths[5])
        data.PixelData = (volume[5] + 10 * (i + 1)).tobytes()
        paths.append(tmp_path / "ct" / f"again{i}.dcm")
        data.save_as(paths[-1])
    record = gate(paths)
    assert record.label == "inconclusive" and seals(gate) == []
    assert len({name for image in record.images for name in image.files}) == SLICES + 8
    assert "not sealed" in record.images[0].reason


def test_a_stranger_s_seal_counts_only_by_its_certificate(gate, dicom, tmp_path):
    from scanward.seals.signing import pem_of, signer_of

    paths = series(dicom, tmp_path / "ct", chest(1))
    make_key(tmp_path / "other.key")
    other = dataclasses.replace(gate.gateway, seal=Seal(key=tmp_path / "other.key", senders=(CT,)))
    gate(paths, CT, other)
    assert gate(paths, PACS).label == "inconclusive"
    from scanward.protection import key_in
    (tmp_path / "other.crt").write_bytes(pem_of(signer_of(key_in(tmp_path / "other.key")).certificate))
    both = dataclasses.replace(gate.gateway, seal=dataclasses.replace(gate.gateway.seal,
                                                                      also=(tmp_path / "other.crt",)))
    assert gate(paths, PACS, both).label == "authentic"


def test_another_site_s_seal_laid_beside_ours_counts_by_its_certificate(gate, dicom, tmp_path):
    from scanward.formats import Source
    from scanward.seals.files import seal_file
    from scanward.seals.signing import pem_of, signer_of

    paths, other = series(dicom, tmp_path / "ct", chest(1)), signer_of(bytes(32), "Other")
    (tmp_path / "other.crt").write_bytes(pem_of(other.certificate))
    seal_file(Source(tuple(paths), "series"), other, gate.root / "seals" / "")
    assert gate(paths, PACS).label == "inconclusive"
    both = dataclasses.replace(gate.gateway, seal=dataclasses.replace(gate.gateway.seal,
                                                                      also=(tmp_path / "other.crt",)))
    (image,) = gate(paths, PACS, both).images
    assert (image.label, image.evidence["signer"]) == ("authentic", "Other")
    shutil.rmtree(gate.root / "done")
    (gate.root / "done").mkdir()
    for path, plane in zip(paths, forged(chest(1)), strict=True):
        data = pydicom.dcmread(path)
        data.PixelData = plane.tobytes()
        data.save_as(path)
    assert gate(paths, CT, both).label == "tampered"


def test_a_seal_that_comes_with_the_study_as_a_dicom_object_counts_by_its_certificate(gate, dicom, tmp_path):
    from scanward.formats import Source
    from scanward.seals.files import seal_file
    from scanward.seals.objects import write_object
    from scanward.seals.signing import pem_of, signer_of

    volume, other = chest(1), signer_of(bytes(32), "Other")
    paths = series(dicom, tmp_path / "ct", volume)
    source = Source(tuple(paths), "series")
    (tmp_path / "other.crt").write_bytes(pem_of(other.certificate))
    note = write_object(source, seal_file(source, other))
    assert gate([*paths, note], PACS).label == "inconclusive"
    both = dataclasses.replace(gate.gateway, seal=dataclasses.replace(gate.gateway.seal,
                                                                      also=(tmp_path / "other.crt",)))
    (image,) = gate([*paths, note], PACS, both).images
    assert (image.label, image.evidence["known_by"], seals(gate)) == ("authentic", "object", [])


def test_two_workers_with_the_same_image_make_one_seal(gate, dicom, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from scanward.formats import Source
    from scanward.gateway.sealing import Asked, Sealer

    def hold(number):
        paths = tuple(series(dicom, tmp_path / str(number), chest(1)))
        members = tuple(dataclasses.replace(identity_of(path), sender=CT) for path in paths)
        return Sealer(gate.gateway, gate.inbox).hold(Asked(Source(paths, "series"), members)).how

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(hold, range(3))) == ["content", "content", "now"]
    assert len(seals(gate)) == 1


def test_what_cannot_be_read_is_no_way_round_the_seal(gate, dicom, tmp_path):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    copy = series(dicom, tmp_path / "copy", forged(volume))
    for path in copy:
        data = pydicom.dcmread(path)
        del data.ImagePositionPatient
        data.save_as(path)
    assert gate(copy, PACS).label in ("inconclusive", "tampered")


def test_the_index_is_made_anew_and_a_torn_one_mended(gate, dicom, tmp_path):
    volume = chest(1)
    gate(series(dicom, tmp_path / "ct", volume))
    gate(series(dicom, tmp_path / "two", chest(2)))
    index = gate.root / "seals" / "index"
    whole = index.read_bytes()
    for number, damage in enumerate((b"", whole[:1000], whole[:-5], whole + b"x" * 700)):
        index.write_bytes(damage)
        if not damage:
            index.unlink()
        record = gate(series(dicom, tmp_path / f"copy{number}", forged(volume)), PACS)
        assert record.label == "tampered"
        assert len(index.read_bytes()) == len(whole)


DIES = """
import os, sys
from pathlib import Path
from scanward.formats import Source
from scanward.formats.identity import identity_of
from scanward.gateway.sealing import Asked, Sealer
from scanward.inbox.folders import Inbox
from scanward.seals import archive, log
from scanward.settings import Gateway, Seal, Store

root, key, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
steps = 0
def dying(real):
    def call(*arguments, **named):
        global steps
        done = real(*arguments, **named)
        if steps == at:
            os.kill(os.getpid(), 9)
        steps += 1
        return done
    return call
for name in ("_write", "_end", "_index"):
    setattr(archive.Archive, name, dying(getattr(archive.Archive, name)))
log.Log.add = dying(log.Log.add)
archive.sync_folder = dying(archive.sync_folder)
inbox = Inbox(root)
job = inbox.take(0, 9)
sealer = Sealer(Gateway(store=Store(folder=root), seal=Seal(key=key, senders=("CT_*",))), inbox)
sealer.hold(Asked(Source(tuple(job.objects), "series"), tuple(map(identity_of, job.objects))))
"""


def test_a_kill_at_any_step_leaves_one_whole_seal_or_none(gate, dicom, tmp_path):
    paths = series(dicom, tmp_path / "ct", chest(1, 3))
    for at in range(20):
        gate.arrive(paths, CT)
        done = subprocess.run([sys.executable, "-c", DIES, str(gate.root), str(tmp_path / "site.key"), str(at)],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        record = gate([])
        assert record.label == "authentic" and len(record.images[0].files) == len(paths)
        assert len(seals(gate)) == 1 and entries(gate) == [seals(gate)[0].removesuffix(".seal")]
        assert sorted(path.suffix for path in (gate.root / "seals").iterdir()) == ["", "", ".print", ".seal"]
        for name in ("seals", "log", "done"):
            shutil.rmtree(gate.root / name)
        (gate.root / "done").mkdir()
    assert 5 < at < 19


def test_what_was_pulled_has_no_ae_title_whatever_its_file_says(gate, dicom, tmp_path):
    (path, *_) = series(dicom, tmp_path / "ct", chest(1))
    data = pydicom.dcmread(path)
    setattr(data.file_meta, SENDER, CT)
    data.save_as(path)
    key = take_file(path, gate.inbox, Node())
    (kept,) = (gate.root / "incoming" / key / "objects").iterdir()
    assert identity_of(kept).sender == ""
    assert pydicom.dcmread(kept).PixelData == data.PixelData


def test_of_an_object_from_two_senders_the_modality_counts(gate, dicom, tmp_path):
    paths = series(dicom, tmp_path / "ct", chest(1))
    gate.arrive(paths, PACS)
    gate.arrive(paths, CT)
    gate.arrive(paths, PACS)
    record = gate([], CT)
    assert (record.label, len(record.images[0].files)) == ("authentic", SLICES)


def test_facts_are_json_without_paths(gate, dicom, tmp_path):
    gate(series(dicom, tmp_path / "ct", chest(1)))
    record = gate(series(dicom, tmp_path / "copy", forged(chest(1))), PACS)
    text = json.dumps(record.to_json())
    assert str(tmp_path) not in text and '"known_by": "content"' in text


def test_a_head_without_a_sender_stays_as_it_is(dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    data = path.read_bytes()
    head = head_in(BytesIO(data))
    assert data.startswith(head)


def test_a_key_that_is_none_is_refused_at_the_start(gate, tmp_path):
    (tmp_path / "site.key").write_text("no key")
    with pytest.raises(UnreadableError):
        Scanner(gate.gateway, gate.inbox)
