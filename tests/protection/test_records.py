"""Which record an image is held against: what a forger plants beside it, or in it, changes nothing to its favour."""

import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy import ndimage

import scanward
from scanward import formats
from scanward.formats.write import SIDECAR
from scanward.protection import Records, key_in, records
from scanward.protection.records import RECORD, sealed
from scanward.protectors.seal.record import MARK

PROTECTED = "mine-protected.nii"


def lung(seed, shape=(160, 160, 20)):
    """As it is stored: HU and 1024."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.6)
    return np.rint(224 + 25 * noise / noise.std()).astype(np.uint16)


def save(stored, path):
    image = nibabel.Nifti1Image(stored, np.diag([0.7, 0.7, 2, 1]))
    image.header.set_slope_inter(1, -1024)
    image.to_filename(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """CT under evidence, each with its record in a folder of its own; one is of another size, one of another key."""
    root = tmp_path_factory.mktemp("sealed")
    scanward.make_key(root / "site.key")
    scanward.make_key(root / "other.key")
    for name, seed, shape, key in (("mine", 0, (160, 160, 20), "site"), ("foreign", 1, (160, 160, 20), "site"),
                                   ("larger", 2, (168, 160, 20), "site"), ("abroad", 0, (160, 160, 20), "other")):
        save(lung(seed, shape), root / f"{name}.nii")
        scanward.protect(root / f"{name}.nii", root / f"{key}.key").save(root / name)
    return root


def forged(made, folder, as_name=PROTECTED, salt=None, record=None, side=16):
    """What was protected, forged by another program, under another name, with another salt, beside some record."""
    folder.mkdir()
    values = np.array(nibabel.load(made / "mine" / PROTECTED).dataobj.get_unscaled())
    values[50:50 + side, 40:40 + side] = lung(9)[:side, :side]
    save(values, folder / as_name)
    own = json.loads((made / "mine" / RECORD).read_text())["salt"]
    (folder / f"{as_name}{SIDECAR}").write_text(json.dumps({"description": f"{MARK}{own if salt is None else salt}."}))
    if record is not None:
        (folder / RECORD).write_text(record)
    return folder / as_name


def both(made, image):
    """What `verify` and what `scan` with the key say; None where there is nothing to go by."""
    answers = []
    for ask in (scanward.verify, scanward.scan):
        try:
            answers.append(ask(image, key=made / "site.key").label)
        except scanward.InputError:
            answers.append(None)
    return tuple(answers)


@pytest.mark.parametrize("salt", ["0" * 32, "", "foreign", None])
@pytest.mark.parametrize("name", [PROTECTED, "innocent.nii"])
def test_neither_a_planted_mark_nor_another_name_hides_a_forgery_from_its_record(made, tmp_path, salt, name):
    if salt == "foreign":
        salt = json.loads((made / "foreign" / RECORD).read_text())["salt"]
    image = forged(made, tmp_path / "in", name, salt, (made / "mine" / RECORD).read_text())
    assert both(made, image) == ("tampered", "tampered")


@pytest.mark.parametrize("beside", ["foreign", "larger", "abroad", "{}", "\0", None])
def test_a_foreign_record_in_place_of_its_own_is_no_way_round_the_pattern(made, tmp_path, monkeypatch, beside):
    path = made / str(beside) / RECORD
    record = path.read_text() if beside and path.is_file() else beside
    image = forged(made, tmp_path / "in", record=record)
    real = records.verify

    def sees_more(image, master, salt, record=None):
        """The pattern alone tells of forgeries that are larger than a test's: here of any."""
        answer = real(image, master, salt, record)
        return answer if record is not None else replace(answer, label="tampered")
    monkeypatch.setattr(records, "verify", sees_more)
    assert both(made, image) == ("tampered", "tampered")


@pytest.mark.parametrize("beside", ["foreign", "larger", "abroad"])
def test_a_foreign_record_neither_accuses_nor_vouches(made, tmp_path, beside):
    (tmp_path / "in").mkdir()
    kept = PROTECTED
    for name in (kept, kept + SIDECAR):
        shutil.copy(made / "mine" / name, tmp_path / "in" / name)
    shutil.copy(made / beside / RECORD, tmp_path / "in" / RECORD)
    if beside == "abroad":  # whose name and key are others: what is there cannot be read
        assert both(made, tmp_path / "in" / kept) == (None, "inconclusive")
    else:
        assert both(made, tmp_path / "in" / kept) == ("inconclusive", "inconclusive")
    never = tmp_path / "in" / "never-protected.nii"
    shutil.copy(made / "mine.nii", never)
    assert both(made, never) == (None, None)


def test_its_own_record_vouches_under_any_name(made, tmp_path):
    shutil.copytree(made / "mine", tmp_path / "in")
    (tmp_path / "in" / f"{PROTECTED}{SIDECAR}").unlink()
    image = (tmp_path / "in" / PROTECTED).rename(tmp_path / "in" / "a.nii")
    assert both(made, image) == ("authentic", "authentic")


def test_a_folder_of_records_is_asked_by_mark_and_by_series(made, tmp_path, monkeypatch):
    """The salt of another protected image, planted into the mark, does not lead away from the series' own record."""
    foreign = json.loads((made / "larger" / RECORD).read_text())["salt"]
    image = forged(made, tmp_path / "in", salt=foreign)
    monkeypatch.setattr("scanward.protection.records.identity_of", lambda path: type("Identity", (), {"series": "1.2"}))
    folder = tmp_path / "records"
    folder.mkdir()
    for name, series in (("mine", "1.2"), ("larger", "3.4")):
        for target in Records.names_of(made / name / RECORD, series):
            shutil.copy(made / name / RECORD, folder / target)
    source, master = formats.one_source(image), key_in(made / "site.key")
    seal = sealed(source, master, Records(folder, folder).find(source))
    assert seal.verify(formats.read(source)).label == "tampered"
