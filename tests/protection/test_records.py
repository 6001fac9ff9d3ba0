"""Which old record an image is held against: what a forger plants beside it, or in it, does it no favour."""

import json
import shutil

import cv2
import nibabel
import numpy as np
import pytest
from woven import NAMES

import scanward
from scanward import formats
from scanward.formats.write import SIDECAR
from scanward.protection import Records, key_in
from scanward.protection.records import RECORD, sealed
from scanward.protectors.seal.record import MARK

PROTECTED = NAMES["sloped"]


@pytest.fixture
def forged(old, tmp_path):
    """Makes what was protected, forged by another program, under another name, with another salt, beside some record;
    and its key."""
    def make(name=PROTECTED, salt=None, record=None):
        folder = tmp_path / "in"
        folder.mkdir()
        data = bytearray((old / "sloped" / PROTECTED).read_bytes())
        values = np.frombuffer(data, np.int16, offset=352).reshape((32, 40, 6), order="F").copy(order="F")
        values[20:23, 20:23, 2] += 9
        (folder / name).write_bytes(bytes(data[:352]) + values.tobytes(order="F"))
        own = salt_of(old / "sloped" / RECORD)
        mark = {"description": f"{MARK}{own if salt is None else salt}."}
        (folder / f"{name}{SIDECAR}").write_text(json.dumps(mark))
        if record is not None:
            (folder / RECORD).write_text(record)
        return folder / name
    return make


def salt_of(record):
    return json.loads(record.read_text())["salt"]


def both(old, image):
    """What `verify` and what `scan` with the key say; None where there is nothing to go by."""
    answers = []
    for ask in (scanward.verify, scanward.scan):
        try:
            answers.append(ask(image, key=old / "site.key").label)
        except scanward.InputError:
            answers.append(None)
    return tuple(answers)


@pytest.mark.parametrize("salt", ["0" * 32, "", "foreign", None])
@pytest.mark.parametrize("name", [PROTECTED, "innocent.nii"])
def test_neither_a_planted_mark_nor_another_name_hides_a_forgery_from_its_record(old, forged, salt, name):
    salt = salt_of(old / "series" / RECORD) if salt == "foreign" else salt
    image = forged(name, salt, (old / "sloped" / RECORD).read_text())
    assert both(old, image) == ("tampered", "tampered")


@pytest.mark.parametrize("beside", ["series", "{}", "\0", None])
def test_a_foreign_record_in_place_of_its_own_vouches_for_nothing(old, forged, beside):
    record = (old / beside / RECORD).read_text() if beside == "series" else beside
    labels = both(old, forged(record=record))
    assert labels in [("inconclusive", "inconclusive"), (None, "inconclusive")]


@pytest.mark.parametrize("beside", ["series", "perturbed"])
def test_a_foreign_record_neither_accuses_nor_vouches(old, tmp_path, beside):
    (tmp_path / "in").mkdir()
    for name in (PROTECTED, PROTECTED + SIDECAR):
        shutil.copy(old / "sloped" / name, tmp_path / "in" / name)
    shutil.copy(old / beside / RECORD, tmp_path / "in" / RECORD)
    assert both(old, tmp_path / "in" / PROTECTED) == ("inconclusive", "inconclusive")
    never = tmp_path / "in" / "never-protected.nii"
    nibabel.Nifti1Image(np.full((32, 40, 6), -800, np.int16), np.diag([0.7, 0.7, 2, 1])).to_filename(never)
    assert both(old, never) == (None, None)


def test_a_record_of_another_key_cannot_be_read(old, run, tmp_path):
    assert run("key", tmp_path / "other.key")[0] == 0
    image = old / "sloped" / PROTECTED
    with pytest.raises(scanward.UnreadableError, match="another key"):
        scanward.verify(image, tmp_path / "other.key")
    assert scanward.scan(image, key=tmp_path / "other.key").label == "inconclusive"


def test_its_own_record_vouches_under_any_name(old):
    folder = old / "sloped"
    (folder / f"{PROTECTED}{SIDECAR}").unlink()
    assert both(old, (folder / PROTECTED).rename(folder / "a.nii")) == ("authentic", "authentic")


def test_a_folder_of_records_is_asked_by_mark_and_by_series(old, forged, tmp_path, monkeypatch):
    """The salt of another protected image, planted into the mark, does not lead away from the series' own record."""
    image = forged(salt=salt_of(old / "series" / RECORD))
    monkeypatch.setattr("scanward.protection.records.identity_of", lambda path: type("Identity", (), {"series": "1.2"}))
    folder = tmp_path / "records"
    folder.mkdir()
    for name, series in (("sloped", "1.2"), ("series", "3.4")):
        for target in Records.names_of(old / name / RECORD, series):
            shutil.copy(old / name / RECORD, folder / target)
    source, master = formats.one_source(image), key_in(old / "site.key")
    seal = sealed(source, master, Records(folder, folder).find(source))
    assert seal.verify(formats.read(source)).label == "tampered"


def test_a_mark_without_a_key_s_name_is_still_read(old, run):
    """Which the first version wrote."""
    film = old / "film" / NAMES["film"]
    (old / "film" / RECORD).unlink()
    assert cv2.imwrite(str(film), cv2.imread(str(film), cv2.IMREAD_UNCHANGED))  # its own mark is gone
    side = film.with_name(film.name + SIDECAR)
    note = json.loads(side.read_text())
    assert run("key", old / "other.key")[0] == 0
    for description, code in ((note["description"], 2), (note["description"].split(", key")[0] + ".", 3)):
        side.write_text(json.dumps(note | {"description": description}))
        assert run("verify", film, "--key", old / "other.key")[0] == code
