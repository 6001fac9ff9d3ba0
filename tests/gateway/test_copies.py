"""Reduced copies that a gateway makes of what it sealed, while nothing waits."""

import dataclasses
import datetime
import shutil
import types

import cv2
import numpy as np
import pytest
from chests import CT, PACS, chest, forged, seals, series

from scanward.gateway import work
from scanward.gateway.copies import Copies
from scanward.inbox.folders import WAITING
from scanward.inbox.record import seal_of
from scanward.protectors.seal import make_key
from scanward.seals import archive
from scanward.settings import Seal


def encoded_anew(volume):
    """Through JPEG 2000 at about 8:1."""
    low = int(volume.min())
    planes = [cv2.imdecode(cv2.imencode(".jp2", (plane - low).astype(np.uint16),
                                        [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 120])[1], -1) for plane in volume]
    return (np.stack(planes) + low).astype(np.uint16)


def copies(gate):
    return sorted(path.name for path in (gate.root / "seals").glob("*.copy"))


@pytest.fixture
def sealed(gate, dicom, tmp_path):
    """A chest that was sealed as it came from the modality, and its copy made."""
    gate(series(dicom, tmp_path / "ct", chest(1)))
    assert copies(gate) == [] and len(list((gate.root / WAITING).iterdir())) == 1
    assert work._spare(gate.gateway, gate.inbox)
    assert copies(gate) == [f"{name}.copy" for name in seals(gate)]
    assert not list((gate.root / WAITING).iterdir()) and not work._spare(gate.gateway, gate.inbox)
    return gate


def test_one_image_sealed_twice_in_one_second_waits_for_two_copies(gate, dicom, tmp_path, monkeypatch):
    now = datetime.datetime.now(datetime.UTC)
    clock = types.SimpleNamespace(UTC=datetime.UTC, datetime=types.SimpleNamespace(now=lambda zone: now))
    monkeypatch.setattr(archive, "datetime", clock)
    paths = series(dicom, tmp_path / "ct", chest(1))
    assert gate(paths).label == "authentic"
    for name in ("seals", "log", "done"):
        shutil.rmtree(gate.root / name)
    (gate.root / "done").mkdir()
    assert gate(paths).label == "authentic"
    assert len(list((gate.root / WAITING).iterdir())) == 2


@pytest.mark.parametrize("sender", [CT, PACS])
def test_what_was_encoded_anew_is_known_and_a_forgery_in_it_found(sealed, dicom, tmp_path, sender):
    record = sealed(series(dicom, tmp_path / "anew", encoded_anew(chest(1))), sender)
    assert record.label == "inconclusive" and "consistent with its seal" in record.images[0].reason
    assert record.images[0].evidence["match"] == seal_of(record.images) == "consistent"
    record = sealed(series(dicom, tmp_path / "forged", encoded_anew(forged(chest(1)))), sender)
    assert record.label == "tampered" and "altered in one place" in record.images[0].reason
    assert seal_of(record.images) == "tampered"
    (box,) = [finding.box for finding in record.images[0].findings][:1]
    assert box[0] <= 120 < box[3] and box[1] <= 140 < box[4]
    assert len(seals(sealed)) == 1


def test_a_copy_is_made_of_what_was_sealed_though_the_study_is_gone(gate, dicom, tmp_path):
    record = gate(series(dicom, tmp_path / "ct", chest(1)))
    for path in (gate.root / "done" / record.key / "objects").iterdir():
        path.unlink()
    assert Copies(gate.gateway, gate.root).make_one() and len(copies(gate)) == 1


def test_what_cannot_be_made_is_let_go_and_what_another_makes_left_to_it(gate, dicom, tmp_path):
    gate(series(dicom, tmp_path / "ct", chest(1)))
    (waiting,) = (gate.root / WAITING).iterdir()
    for path in waiting.iterdir():
        path.unlink()
        path.write_bytes(b"cut")
    assert Copies(gate.gateway, gate.root).make_one()
    assert not copies(gate) and not Copies(gate.gateway, gate.root).make_one()
    keyless = dataclasses.replace(gate.gateway, seal=Seal())
    assert not Copies(keyless, gate.root).make_one()


def with_seal(gate, **changes):
    return dataclasses.replace(gate.gateway, seal=dataclasses.replace(gate.gateway.seal, **changes))


def test_after_a_rotation_the_older_key_counts_and_reads_its_copies(sealed, dicom, tmp_path):
    make_key(tmp_path / "new.key")
    rotated = with_seal(sealed, key=tmp_path / "new.key", older=(tmp_path / "site.key",))
    assert sealed(series(dicom, tmp_path / "again", chest(1)), PACS, rotated).label == "authentic"
    record = sealed(series(dicom, tmp_path / "anew", encoded_anew(chest(1))), PACS, rotated)
    assert "consistent with its seal" in record.images[0].reason
    record = sealed(series(dicom, tmp_path / "forged", forged(chest(1))), PACS, with_seal(
        sealed, key=tmp_path / "new.key"))
    assert record.label == "inconclusive", "without it nothing that was sealed before is known"


def test_a_compromised_key_counts_for_nothing_that_no_kept_head_covers(sealed, dicom, run, tmp_path):
    assert run("certificate", "--key", tmp_path / "site.key", "-o", tmp_path / "site.crt")[0] == 0
    trust = tmp_path / "trust.toml"
    trust.write_text('[[certificate]]\nfile = "site.crt"\ncompromised = 2026-01-01\n')
    make_key(tmp_path / "new.key")
    doubted = with_seal(sealed, key=tmp_path / "new.key", trust=trust)
    record = sealed(series(dicom, tmp_path / "again", chest(1)), PACS, doubted)
    assert record.label == "inconclusive" and "compromised on 2026-01-01" in record.images[0].reason
