"""Which record an image is held against: what a forger plants beside it, or in it, changes nothing to its favour."""

import json
import shutil

import cv2
import numpy as np
import pytest
from scipy import ndimage

import scanward
from scanward import formats
from scanward.formats.write import SIDECAR
from scanward.protection import Records, key_in
from scanward.protection.records import RECORD, sealed
from scanward.protectors.seal.record import MARK


def film(seed, shape=(420, 360)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.6)
    return np.rint(1500 + 40 * noise / noise.std()).astype(np.uint16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Films under evidence of one key, each with its record in a folder of its own; the third is of another size."""
    root = tmp_path_factory.mktemp("sealed")
    scanward.make_key(root / "site.key")
    scanward.make_key(root / "other.key")
    for name, seed, shape, key in (("mine", 0, (420, 360), "site"), ("foreign", 1, (420, 360), "site"),
                                   ("larger", 2, (460, 360), "site"), ("abroad", 0, (420, 360), "other")):
        assert cv2.imwrite(str(root / f"{name}.png"), film(seed, shape))
        scanward.protect(root / f"{name}.png", root / f"{key}.key").save(root / name)
    return root


def forged(made, name, folder, as_name, salt=None, record=None, large=False):
    """A sealed film, forged, under another name, with another salt in its mark, beside some record."""
    folder.mkdir()
    values = cv2.imread(str(made / name / f"{name}-protected.png"), cv2.IMREAD_UNCHANGED)
    side = 160 if large else 24
    values[100:100 + side, 90:90 + side] = film(9)[:side, :side] + (0 if large else 60)
    assert cv2.imwrite(str(folder / as_name), values)
    mark = json.loads((made / name / f"{name}-protected.png{SIDECAR}").read_text())
    if salt is not None:
        mark["description"] = f"{MARK}{salt}." if salt else ""
    (folder / f"{as_name}{SIDECAR}").write_text(json.dumps(mark))
    if record is not None:
        (folder / RECORD).write_text(record)
    return folder / as_name


def both(made, image):
    """What `verify` and what `scan` with the seal say; None where they have nothing to go by."""
    try:
        verified = scanward.verify(image, made / "site.key").label
    except scanward.UnreadableError:
        verified = None
    spoken = [e.label for e in scanward.scan(image, method="copy-move", key=made / "site.key").evidence
              if e.method == "seal"]
    return verified, spoken[0] if spoken else None


@pytest.mark.parametrize("salt", ["0" * 32, "", "foreign", None])
@pytest.mark.parametrize("name", ["mine-protected.png", "innocent.png"])
def test_neither_a_planted_mark_nor_another_name_hides_a_forgery_from_its_record(made, tmp_path, salt, name):
    if salt == "foreign":
        salt = json.loads((made / "foreign" / RECORD).read_text())["salt"]
    image = forged(made, "mine", tmp_path / "in", name, salt, (made / "mine" / RECORD).read_text())
    assert both(made, image) == ("tampered", "tampered")


@pytest.mark.parametrize("beside", ["foreign", "larger", "abroad", "{}", "\0", None])
def test_a_foreign_record_in_place_of_its_own_changes_nothing(made, tmp_path, beside):
    """Without a record the pattern alone still tells of a large forgery."""
    path = made / str(beside) / RECORD
    record = path.read_text() if beside and path.is_file() else beside
    image = forged(made, "mine", tmp_path / "in", "mine-protected.png", record=record, large=True)
    assert both(made, image) == ("tampered", "tampered")


@pytest.mark.parametrize("beside", ["foreign", "larger", "abroad"])
def test_a_foreign_record_neither_accuses_nor_vouches(made, tmp_path, beside):
    (tmp_path / "in").mkdir()
    kept = "mine-protected.png"
    for name in (kept, kept + SIDECAR):
        shutil.copy(made / "mine" / name, tmp_path / "in" / name)
    shutil.copy(made / beside / RECORD, tmp_path / "in" / RECORD)
    if beside == "abroad":  # whose name and key are others: what is there cannot be read
        assert both(made, tmp_path / "in" / kept) == (None, "inconclusive")
    else:
        assert both(made, tmp_path / "in" / kept) == ("inconclusive", "inconclusive")
    never = tmp_path / "in" / "never-protected.png"
    shutil.copy(made / "mine.png", never)
    assert both(made, never) == (None, None)


def test_its_own_record_vouches_under_any_name(made, tmp_path):
    shutil.copytree(made / "mine", tmp_path / "in")
    (tmp_path / "in" / f"mine-protected.png{SIDECAR}").unlink()
    image = (tmp_path / "in" / "mine-protected.png").rename(tmp_path / "in" / "a.png")
    assert both(made, image) == ("authentic", "authentic")


def test_a_folder_of_records_is_asked_by_mark_and_by_series(made, tmp_path, monkeypatch):
    """The salt of another protected image, planted into the mark, does not lead away from the series' own record."""
    foreign = json.loads((made / "larger" / RECORD).read_text())["salt"]
    image = forged(made, "mine", tmp_path / "in", "mine-protected.png", foreign)
    monkeypatch.setattr("scanward.protection.records.identity_of", lambda path: type("Identity", (), {"series": "1.2"}))
    folder = tmp_path / "records"
    folder.mkdir()
    for name, series in (("mine", "1.2"), ("larger", "3.4")):
        for target in Records.names_of(made / name / RECORD, series):
            shutil.copy(made / name / RECORD, folder / target)
    source, master = formats.one_source(image), key_in(made / "site.key")
    seal = sealed(source, master, Records(folder, folder).find(source))
    assert seal.verify(formats.read(source)).label == "tampered"
