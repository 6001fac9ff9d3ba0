"""Images that an earlier version wove into: verified, scanned and given back; nothing is woven any more."""

import io
import json

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.uid import RLELossless
from woven import HOSTS, NAMES, grain

import scanward

KINDS = list(NAMES)


def slices(folder):
    return sorted(folder.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])


def stored(path):
    """Stored values by another library, as `HOSTS` has them."""
    if path.is_dir():
        return np.stack([pydicom.dcmread(one).pixel_array for one in slices(path)]).astype(int)
    if path.suffix == ".png":
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)
    return np.asarray(nibabel.load(path).dataobj.get_unscaled()).astype(int)


def store(path, values):
    """Other voxels put into the same file, as another program saves it."""
    if path.is_dir():
        for one, plane in zip(slices(path), values, strict=True):
            data = pydicom.dcmread(one)
            data.PixelData = plane.astype(np.uint16).tobytes()
            data.save_as(one)
    elif path.suffix == ".png":
        assert cv2.imwrite(str(path), values.astype(np.uint16))
    else:
        loaded = nibabel.load(path)
        slope, intercept = loaded.dataobj.slope, loaded.dataobj.inter
        made = nibabel.Nifti1Image(values.astype(loaded.get_data_dtype()), loaded.affine, loaded.header)
        made.header.set_slope_inter(slope, intercept)
        made.to_filename(path)


def forged(values):
    """A nodule of six voxels, three slices high, about (x 27, y 19)."""
    made = values.copy()
    if made.ndim == 2:
        made[16:22, 24:30] += 40
    elif made.shape[0] == 8:
        made[3:6, 16:22, 24:30] += 40
    else:
        made[24:30, 16:22, 2:5] += 40
    return made


def noisy(values):
    """Another encoding, of which each voxel may be one more."""
    return values + grain((1, *values.shape) if values.ndim == 2 else values.shape, 2).reshape(values.shape)


def said(run, image, key, *more):
    """What `verify` says, and that `scan` with the key says the same."""
    code, out, err = run("verify", image, "--key", key, "--json", *more)
    answer = json.loads(out)
    assert (code, err) == ({"authentic": 0, "tampered": 1, "inconclusive": 3}[answer["label"]], "")
    seen = json.loads(run("scan", image, "--key", key, "--json", *more)[1])
    if answer["label"] == "tampered" or not image.name.endswith(".png"):
        assert seen["label"] == answer["label"]
    return answer


@pytest.fixture(params=KINDS)
def image(request, old):
    return old / request.param / NAMES[request.param]


def test_what_was_left_alone_is_authentic_and_given_back_to_the_last_bit(run, bright, image, old, tmp_path):
    key, host = old / "site.key", HOSTS[image.parent.name]
    assert (stored(image) != host).any()
    answer = said(run, image, key)
    assert (answer["label"], answer["findings"]) == ("authentic", [])
    assert set(answer) == {"path", "label", "reason", "voxels", "geometry", "axes", "findings"}  # not whose it is
    code, out, err = run("unprotect", image, "--key", key, "-o", tmp_path / "undone")
    assert (code, err) == (0, "") and "voxel for voxel the original" in out
    undone = next(path for path in (tmp_path / "undone").iterdir() if path.suffix != ".json")
    assert np.array_equal(stored(undone), host)
    facts = json.loads((tmp_path / "undone" / "unprotected.json").read_text())
    assert facts["image"] == undone.name and len(facts["original_sha256"]) == 64


def test_a_forgery_is_found_where_it_is_and_cannot_be_undone(run, bright, image, old, tmp_path):
    key, out = old / "site.key", tmp_path / "answer"
    store(image, forged(stored(image)))
    answer = said(run, image, key)
    assert (answer["label"], answer["reason"]) == ("tampered", "It was altered in one place.")
    x0, y0, z0, x1, y1, z1 = answer["findings"][0]["box"]
    shape = scanward.load(image).shape
    x, y = (27, 19) if image.name[-3:] in ("png", "ted") else (shape[2] - 1 - 27, shape[1] - 1 - 19)
    assert x0 <= x < x1 and y0 <= y < y1 and (x1 - x0) * (y1 - y0) <= 24 * 24
    assert shape[0] == 1 or (z0 <= 3 < z1 and z1 - z0 <= 6)
    assert run("verify", image, "--key", key, "-o", out)[0] == 1
    assert json.loads((out / "verified.json").read_text())["label"] == "tampered"
    assert cv2.imread(str(out / "verified.png")) is not None
    if shape[0] > 1:
        drawn = np.asarray(nibabel.load(out / "altered.nii.gz").dataobj)
        assert drawn.sum() == (x1 - x0) * (y1 - y0) * (z1 - z0)
    else:
        assert (cv2.imread(str(out / "altered.png"), cv2.IMREAD_UNCHANGED) > 0).sum() == (x1 - x0) * (y1 - y0)
    code, _, err = run("unprotect", image, "--key", key, "-o", tmp_path / "undone")
    assert code == 2 and "cannot be undone" in err and not (tmp_path / "undone").exists()


def test_one_voxel_is_enough(run, bright, image, old):
    values = stored(image)
    values.flat[values.size // 2] += 1
    store(image, values)
    assert said(run, image, old / "site.key")["label"] == "tampered"


@pytest.mark.parametrize("change", [noisy, lambda v: noisy(forged(v)), lambda v: np.roll(v, 1, 0), lambda v: v + 1])
def test_what_was_processed_as_a_whole_is_neither_vouched_for_nor_accused(run, bright, image, old, change):
    store(image, change(stored(image)))
    answer = said(run, image, old / "site.key")
    assert (answer["label"], answer["findings"]) == ("inconclusive", []) and "vouches for nothing" in answer["reason"]


def test_a_film_through_jpeg_2000_is_inconclusive(run, old):
    film, file = old / "film" / NAMES["film"], io.BytesIO()
    Pillow.fromarray(stored(film).astype(np.uint16)).save(file, "JPEG2000", irreversible=True, quality_mode="rates",
                                                          quality_layers=[5])
    store(film, np.asarray(Pillow.open(file)))
    assert said(run, film, old / "site.key")["label"] == "inconclusive"


def test_a_forger_without_the_key_gets_no_pass(run, bright, old):
    """The blocks of 2 x 8 x 8 are public: a checkerboard of 2 HU puts the hashes out of use, and a nodule that takes
    its excess back from the blocks that it lies in moves none of their means. That used to be called authentic."""
    series = old / "series" / NAMES["series"]
    values = stored(series)
    board = np.indices((4, 8, 8)).sum(0) % 2 * 4 - 2
    nodule = np.zeros(values.shape)
    nodule[3:5, 28:36, 28:36] = 60
    means = nodule.reshape(4, 2, 8, 8, 8, 8).mean((1, 3, 5))
    spread = (board - means).repeat(2, 0).repeat(8, 1).repeat(8, 2)
    store(series, np.rint(values + nodule + spread).clip(0))
    assert said(run, series, old / "site.key")["label"] == "inconclusive"


def test_another_encoding_that_loses_nothing_is_authentic(run, bright, old):
    series = old / "series" / NAMES["series"]
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    assert said(run, series, old / "site.key")["label"] == "authentic"


@pytest.mark.parametrize(("change", "label", "words"), [
    (lambda data: setattr(data, "PixelSpacing", [2.1, 2.1]), "tampered", "2 x 2.1 x 2.1 mm now, and were 2 x 0.7"),
    (lambda data: setattr(data, "ImagePositionPatient", [9, 0, data.ImagePositionPatient[2]]), "tampered", "elsewh"),
    (lambda data: setattr(data, "PatientName", "Somebody^Else"), "authentic", "voxel by voxel")])
def test_of_the_header_only_spacing_and_place_are_held_to_the_record(run, bright, old, change, label, words):
    series = old / "series" / NAMES["series"]
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
    answer = said(run, series, old / "site.key")
    assert answer["label"] == label and words in answer["reason"]


def test_what_does_not_say_any_more_where_it_lies_is_inconclusive(old):
    image = scanward.load(old / "series" / NAMES["series"])
    for spacing, words in (((2.0, 0.7, 0.7), "where it lies"), (None, "any more, which was 2 x 0.7 x 0.7 mm")):
        answer = scanward.verify(scanward.Image(image.pixels, "CT", spacing), old / "site.key",
                                 old / "series" / "evidence.json")
        assert (answer.label, answer.parts["voxels"].label) == ("inconclusive", "authentic") and words in answer.reason


def test_a_missing_slice_is_inconclusive(run, bright, old):
    slices(old / "series" / NAMES["series"])[0].unlink()
    answer = said(run, old / "series" / NAMES["series"], old / "site.key")
    assert answer["label"] == "inconclusive" and "another size" in answer["reason"]


def test_without_its_record_nothing_is_told(run, bright, image, old, tmp_path):
    (image.parent / "evidence.json").rename(tmp_path / "kept.json")
    key = old / "site.key"
    answer = said(run, image, key)
    assert answer["label"] == "inconclusive" and "its record is not there" in answer["reason"]
    assert said(run, image, key, "--record", tmp_path / "kept.json")["label"] == "authentic"
    code, _, err = run("unprotect", image, "--key", key, "-o", tmp_path / "undone")
    assert code == 2 and "--record" in err and err.count("\n") == 1


@pytest.mark.parametrize("spoilt", ["altered", "binary", "empty", "newer", "no key", "other key", "image"])
@pytest.mark.parametrize("command", ["verify", "unprotect"])
def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(run, old, tmp_path, command, spoilt):
    image, record, key = old / "film" / NAMES["film"], old / "film" / "evidence.json", old / "site.key"
    body = json.loads(record.read_text())
    if spoilt == "no key":
        key = image
    elif spoilt == "other key":
        key = tmp_path / "other.key"
        assert run("key", key)[0] == 0
    elif spoilt == "image":
        image.write_bytes(image.read_bytes()[:900])
    else:
        record.write_bytes({"altered": json.dumps(body | {"amplitude": 9}).encode(), "binary": b"\0\xff{", "empty": b"",
                            "newer": json.dumps(body | {"scanward_evidence": 2}).encode()}[spoilt])
    code, out, err = run(command, image, "--key", key, "-o", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1) and "internal" not in err.lower()
    assert not (tmp_path / "out").exists()


def test_of_several_the_worst_counts_and_an_error_stops_none(run, old):
    one, two = old / "film" / NAMES["film"], old / "perturbed" / NAMES["perturbed"]
    store(two, forged(stored(two)))
    code, out, _ = run("verify", one, two, "--key", old / "site.key")
    assert code == 1 and out.startswith(f"authentic: {one}\n") and f"tampered: {two}\n" in out
    (one.parent / "evidence.json").write_text("{}")
    code, out, err = run("verify", one, two, "--key", old / "site.key", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 2 and [line["label"] for line in lines] == ["inconclusive", "tampered"]
    assert lines[0]["error"] == lines[0]["reason"] and err.count("\n") == 1


def test_python_hears_and_undoes_them(old, tmp_path):
    key, film = old / "site.key", old / "film" / NAMES["film"]
    record = scanward.read_record(film.parent / "evidence.json", key)
    image = scanward.load(film)
    for kept in (record, film.parent / "evidence.json", str(film.parent / "evidence.json")):
        assert scanward.verify(image, key, kept).label == "authentic"
        assert scanward.verify(film, bytes(range(32)), record=kept).label == "authentic"
        assert np.array_equal(scanward.unprotect(image, key, kept).plane, HOSTS["film"])
    assert np.array_equal(scanward.unprotect(film, key).plane, HOSTS["film"])
    store(film, forged(stored(film)))
    answer = scanward.verify(film, key)
    assert answer.label == "tampered" and answer.boxes[0].slices[1].start <= 19 < answer.boxes[0].slices[1].stop
    assert answer.signer == "" and answer.seal is None and list(answer.parts) == ["voxels", "geometry"]
    with pytest.raises(scanward.UnreadableError, match="cannot be undone"):
        scanward.unprotect(film, key)
    huge = scanward.Image(np.full(image.shape, 1e30, np.float32), "MG", (1.0, 0.1, 0.1))
    assert scanward.verify(huge, key, record).label == "inconclusive"


@pytest.mark.parametrize("key", [bytes(32), "site.key"])
def test_python_weaves_no_more_and_says_what_to_call(old, key):
    for perturb in (None, scanward.Perturb("tafim")):
        with pytest.raises(scanward.ArgumentError, match=r"scanward\.seal\(path, key\)"):
            scanward.protect(old / "film" / NAMES["film"], key, perturb=perturb)


def test_a_seal_beside_it_counts_before_the_record(run, bright, old):
    key, film = old / "site.key", old / "film" / NAMES["film"]
    (film.parent / "evidence.json").unlink()
    assert run("seal", film, "--key", key)[0] == 0
    assert said(run, film, key)["label"] == "authentic" and run("scan", film, "--key", key)[0] == 0
    store(film, forged(stored(film)))
    assert said(run, film, key)["reason"] == "It was altered in one place."
