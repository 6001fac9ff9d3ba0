"""Images that were encoded anew as a whole, held to the reduced copy beside their seal."""

from __future__ import annotations

import json
import os
import shutil

import cv2
import nibabel
import numpy as np
import openjpeg.utils
import pydicom
import pytest
from scipy import ndimage
from sealable import ct_slice

import scanward
from scanward.formats.content import read_content
from scanward.formats.sources import series_or_file
from scanward.seals.consistent import held
from scanward.seals.copies import copy_path, read_copy, stored_of
from scanward.seals.files import read_seal

DEPTH, SIDE = 8, 192
LESION = (4, 80, 96)
"""(z, y, x) of a ball between the lungs."""


def chest() -> np.ndarray:
    """HU (z, y, x): soft tissue about two lungs with vessels, in noise that is blurred as a scanner's is."""
    draw = np.random.default_rng(5)
    z, y, x = np.ogrid[:DEPTH, :SIDE, :SIDE]
    body = ((y - 96) / 70) ** 2 + ((x - 96) / 84) ** 2 < 1
    lungs = ((y - 96) / 36) ** 2 + ((abs(x - 96) - 46) / 20) ** 2 < 1
    vessels = ndimage.gaussian_filter(draw.normal(size=(DEPTH, SIDE, SIDE)), 2) > 0.06
    volume = np.where(body, np.where(lungs, np.where(vessels, -300, -860), 40), -1000)
    noise = ndimage.gaussian_filter(draw.normal(0, 40, volume.shape), (0, 0.7, 0.7))
    return np.rint(ndimage.gaussian_filter(volume.astype(float), (0, 0.8, 0.8)) + noise + 0 * z).clip(-1024, 3071)


CHEST = chest()


def ball(hu: float, mm: float) -> np.ndarray:
    z, y, x = np.ogrid[:DEPTH, :SIDE, :SIDE]
    radius = np.sqrt(((z - LESION[0]) * 2.5) ** 2 + ((y - LESION[1]) * 0.7) ** 2 + ((x - LESION[2]) * 0.7) ** 2)
    return hu / (1 + np.exp(np.clip((radius - mm / 2) / 0.3, -50, 50)))


def write(folder, volume):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for z, plane in enumerate(volume):
        ct_slice(z, (np.rint(plane) + 1024).clip(0, 4095).astype(np.uint16), PixelSpacing=[0.7, 0.7]).save_as(
            folder / f"{z}.dcm")


def jpeg2000(volume, ratio=8):
    """OpenJPEG, which set no tolerance: those come from another encoder's build of it, at another ratio."""
    return np.stack([openjpeg.utils.decode(openjpeg.utils.encode_array(
        np.rint(plane).astype(np.int16), compression_ratios=[ratio], codec_format=0, use_mct=False))
        for plane in volume])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A folder with a key, a sealed series, its seal and its reduced copy."""
    folder = tmp_path_factory.mktemp("sealed")
    scanward.make_key(folder / "site.key")
    write(folder / "chest", CHEST)
    scanward.seal(folder / "chest", folder / "site.key")
    return folder


@pytest.fixture
def site(sealed, tmp_path):
    """A copy of that folder for one test."""
    return shutil.copytree(sealed, tmp_path / "site")


def answer(site, volume, key="site.key"):
    write(site / "chest", volume)
    return scanward.verify(site / "chest", site / key)


def test_what_was_encoded_anew_is_consistent_and_says_what_is_vouched_for(run, site):
    code, out, _ = run("verify", site / "chest", "--key", site / "site.key")
    assert (code, out.startswith("authentic: ")) == (0, True)
    write(site / "chest", jpeg2000(CHEST))
    code, out, err = run("verify", site / "chest", "--key", site / "site.key", "--json")
    facts = json.loads(out)
    assert (code, err, facts["label"], facts["findings"]) == (3, "", "inconclusive", [])
    assert "consistent with its seal: no change of more than" in facts["voxels"]["reason"]
    assert "HU in 4 mm" in facts["voxels"]["reason"] and "HU in 10 mm" in facts["voxels"]["reason"]


TREATED = {
    "a step of noise": lambda v: v + np.random.default_rng(1).integers(-1, 2, v.shape),
    "10 HU of noise": lambda v: v + np.random.default_rng(2).normal(0, 10, v.shape),
    "JPEG 2000, 15:1": lambda v: jpeg2000(v, 15),
    "blur": lambda v: ndimage.gaussian_filter(v, (0, 0.5, 0.5)),
    "half and back": lambda v: np.stack([cv2.resize(cv2.resize(p, (96, 96), interpolation=cv2.INTER_AREA),
                                                    (SIDE, SIDE)) for p in v]),
    "8 bits": lambda v: np.rint((v + 1024) / 8) * 8 - 1024,
}


@pytest.mark.parametrize("name", TREATED)
def test_a_forgery_shows_through_every_allowed_treatment_and_the_treatment_alone_does_not(site, name):
    honest, forged = TREATED[name](CHEST), TREATED[name](CHEST + ball(250, 6))
    said = answer(site, honest)
    assert (said.label, "consistent" in said.reason, said.boxes) == ("inconclusive", True, ())
    said = answer(site, forged)
    assert (said.label, said.parts["voxels"].label) == ("tampered", "tampered")
    assert any(all(low <= at < high for low, at, high in zip(box[:3], LESION, box[3:], strict=True))
               for box in said.boxes)


def test_a_lesion_whose_excess_is_taken_back_about_it_shows_too(site):
    ring = ball(1, 11) - ball(1, 6)
    change = 250 * (ball(1, 6) - ring * ball(1, 6).sum() / ring.sum())
    assert abs(change.sum()) < 1
    assert answer(site, jpeg2000(CHEST + change)).label == "tampered"


def test_what_no_seal_allows_for_is_not_called_a_forgery(site):
    for worse in (CHEST * 1.1, jpeg2000(CHEST, 60), CHEST + np.random.default_rng(3).normal(0, 60, CHEST.shape),
                  ndimage.shift(CHEST, (0, 1, 1), order=1, mode="nearest")):
        said = answer(site, worse)
        assert (said.label, "does not allow for" in said.reason, said.boxes) == ("inconclusive", True, ())


def test_what_a_window_cut_off_is_not_vouched_for_and_what_is_left_is(site):
    def window(volume):
        return np.rint((volume.clip(-500, 520) + 500) / 4) * 4 - 500

    said = answer(site, window(CHEST))
    assert said.label == "inconclusive" and "Its values end at -500 and " in said.reason
    assert answer(site, window(CHEST + ball(250, 6))).label == "tampered"
    said = answer(site, CHEST.clip(-100, -90))
    assert said.label == "inconclusive" and "vouches for nothing" in said.reason


def test_no_tolerance_depends_on_what_was_received(sealed):
    """A forger makes the image noisy to widen what is allowed: nothing widens."""
    seal = read_seal(sealed / "chest.seal")
    secret = bytes.fromhex((sealed / "site.key").read_text().split()[1])
    known = read_copy(copy_path(sealed / "chest.seal"), seal, [secret])
    stored = stored_of(read_content(series_or_file(sealed / "chest")), seal)
    board = 2 * (np.indices(CHEST.shape).sum(0) % 2) - 1
    before = [allowed.values.copy() for allowed in known.tolerance]
    for values in (CHEST + 8 * board, CHEST + 8 * board + ball(250, 6)):
        changed = type(stored)(np.rint(values).astype(np.int16), ((1.0, 0.0),), stored.steps, True)
        label = held(changed, known).label
    assert label == "tampered"
    assert all((now.values == was).all() for now, was in zip(known.tolerance, before, strict=True))


@pytest.mark.parametrize("broken", ["gone", "cut", "altered", "another's", "of another key", "empty"])
def test_without_its_copy_a_seal_says_nothing_of_what_was_encoded_anew(run, site, broken):
    copy = copy_path(site / "chest.seal")
    data = copy.read_bytes()
    if broken == "gone":
        copy.unlink()
    elif broken == "another's":
        scanward.seal(site / "chest" / "3.dcm", site / "site.key", site)
        shutil.copy(site / "3.dcm.seal.copy", copy)
    elif broken == "of another key":
        shutil.copytree(site / "chest", site / "other")
        scanward.make_key(site / "other.key")
        theirs = scanward.seal(site / "other", site / "other.key")
        copy.write_bytes(data[:48] + copy_path(theirs).read_bytes()[48:])
    else:
        copy.write_bytes({"cut": data[: len(data) // 2], "empty": b"",
                          "altered": data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]}[broken])
    write(site / "chest", jpeg2000(CHEST + ball(250, 6)))
    code, out, err = run("verify", site / "chest", "--key", site / "site.key")
    assert (code, err, "vouches for nothing" in out) == (3, "", True)
    write(site / "chest", CHEST)
    assert run("verify", site / "chest", "--key", site / "site.key")[0] == 0, "the exact part needs no copy"


def test_the_copy_shows_nothing_without_the_secret(sealed, site):
    data = copy_path(sealed / "chest.seal").read_bytes()
    scanward.seal(site / "chest", site / "site.key", site / "again")
    again = (site / "again" / "chest.seal.copy").read_bytes()
    assert len(np.unique(np.frombuffer(data[60:], np.uint8))) == 256
    assert np.mean(np.frombuffer(data, np.uint8, 60_000, 60) == np.frombuffer(again, np.uint8, 60_000, 60)) < 0.01
    assert len(data) < 0.25 * CHEST.size * 2


def test_a_certificate_alone_leaves_it_at_hashes(run, site):
    assert run("certificate", "--key", site / "site.key", "-o", site / "site.crt")[0] == 0
    write(site / "chest", jpeg2000(CHEST))
    code, out, _ = run("verify", site / "chest", "--certificate", site / "site.crt")
    assert (code, "vouches for nothing" in out) == (3, True)


def test_exact_seals_and_what_cannot_be_reduced_have_no_copy(run, site, tmp_path):
    assert run("seal", site / "chest", "--key", site / "site.key", "--exact", "-o", tmp_path / "exact")[0] == 0
    cv2.imwrite(str(tmp_path / "colour.png"), np.random.default_rng(1).integers(0, 255, (90, 90, 3)))
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((90, 90), 7, np.uint8))
    np.save(tmp_path / "small.npy", np.random.default_rng(1).integers(0, 255, (40, 40)).astype(np.uint8))
    assert run("seal", tmp_path / "flat.png", tmp_path / "small.npy", "--key", site / "site.key")[0] == 0
    run("seal", tmp_path / "colour.png", "--key", site / "site.key")
    assert not list(tmp_path.rglob("exact/*.copy")) and not list(tmp_path.glob("*.copy"))


def test_a_film_in_its_own_values(run, site, tmp_path):
    draw = np.random.default_rng(8)
    film = ndimage.gaussian_filter(draw.normal(size=(300, 240)), 12) * 30_000 + draw.normal(0, 8, (300, 240)) + 2000
    cv2.imwrite(str(tmp_path / "film.png"), np.rint(film).clip(0, 65535).astype(np.uint16))
    assert run("seal", tmp_path / "film.png", "--key", site / "site.key")[0] == 0
    noisy = film + draw.normal(0, 4, film.shape)
    cv2.imwrite(str(tmp_path / "film.png"), np.rint(noisy).clip(0, 65535).astype(np.uint16))
    said = scanward.verify(tmp_path / "film.png", site / "site.key")
    assert said.label == "inconclusive" and "consistent" in said.reason and "in 20 pixels" in said.reason
    y, x = np.ogrid[:300, :240]
    mass = 600 / (1 + np.exp((np.hypot(y - 150, x - 100) - 12) / 2))
    cv2.imwrite(str(tmp_path / "film.png"), np.rint(noisy + mass).clip(0, 65535).astype(np.uint16))
    said = scanward.verify(tmp_path / "film.png", site / "site.key")
    assert said.label == "tampered" and said.boxes[0][1] <= 150 < said.boxes[0][4]


def test_a_scan_hears_the_copy(run, site):
    write(site / "chest", jpeg2000(CHEST + ball(250, 6)))
    code, out, _ = run("scan", site / "chest", "--key", site / "site.key", "--json")
    assert (code, json.loads(out)["label"]) == (1, "tampered")


def test_what_is_drawn_is_the_place(run, site, tmp_path):
    write(site / "chest", jpeg2000(CHEST + ball(250, 6)))
    assert run("verify", site / "chest", "--key", site / "site.key", "-o", tmp_path / "said", "-q")[0] == 1
    altered = np.asarray(nibabel.load(tmp_path / "said" / "altered.nii.gz").dataobj)
    x, y, z = LESION[::-1]
    assert altered[x, y, z] and 0 < altered.mean() < 0.05


def test_a_lossy_dicom_file_as_an_archive_sends_it(run, site):
    """JPEG 2000 in the files themselves, with what the standard wants said of it."""
    for path in sorted((site / "chest").iterdir()):
        data = pydicom.dcmread(path)
        plane = data.pixel_array.astype(np.uint16)
        stream = openjpeg.utils.encode_array(plane, bits_stored=12, compression_ratios=[8], codec_format=0,
                                             use_mct=False, photometric_interpretation=2)
        data.PixelData = pydicom.encaps.encapsulate([stream])
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000
        data.LossyImageCompression = "01"
        data.save_as(path)
    code, out, _ = run("verify", site / "chest", "--key", site / "site.key")
    assert (code, "consistent with its seal" in out) == (3, True)


def test_another_encoding_excuses_no_geometry(run, site):
    """Voxels as the treatment left them, and a header that lays them the other way round."""
    write(site / "chest", jpeg2000(CHEST))
    for path in (site / "chest").iterdir():
        data = pydicom.dcmread(path)
        data.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        data.save_as(path)
    code, out, _ = run("verify", site / "chest", "--key", site / "site.key")
    assert (code, "Its orientation is another than was sealed" in out) == (1, True)


def test_an_offset_is_no_treatment(site):
    said = answer(site, CHEST + 19)
    assert said.label == "inconclusive" and "consistent" not in said.reason


def test_what_was_brightest_cannot_vanish_under_the_cover_of_a_cut_range(site):
    """A bright nodule that is taken away takes the image's own maximum with it."""
    bright = CHEST.clip(-1024, 900) + ball(1500, 8)
    write(site / "bright", bright)
    scanward.seal(site / "bright", site / "site.key")
    write(site / "bright", jpeg2000(CHEST.clip(-1024, 900)))
    said = scanward.verify(site / "bright", site / "site.key")
    assert said.label == "tampered" and "consistent" not in said.reason


def test_lung_at_the_rim_of_a_small_field_of_view_is_judged(site):
    part = (slice(None), slice(20, 172), slice(44, 184))
    write(site / "part", CHEST[part])
    scanward.seal(site / "part", site / "site.key")
    write(site / "part", jpeg2000((CHEST + shifted(250, 8))[part], 6))
    assert scanward.verify(site / "part", site / "site.key").label == "tampered"


def shifted(hu, mm):
    """The ball in the lung that the part's left rim cuts."""
    return np.roll(ball(hu, mm), (16, -44), (1, 2))


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6])
def test_the_unit_of_the_values_makes_no_difference(site, tmp_path, unit):
    draw = np.random.default_rng(4)
    tissue = ndimage.gaussian_filter(draw.normal(size=(6, 120, 120)), (0, 4, 4)) * 3 + 2 + draw.normal(
        0, 0.02, (6, 120, 120))
    path = tmp_path / "map.nii.gz"

    def put(values):
        nibabel.Nifti1Image((values * unit).astype(np.float32).T, np.eye(4)).to_filename(path)

    put(tissue)
    scanward.seal(path, site / "site.key")
    noisy = tissue * (1 + draw.normal(0, 1e-5, tissue.shape))
    put(noisy)
    assert "consistent" in scanward.verify(path, site / "site.key").reason
    y, x = np.ogrid[:120, :120]
    put(noisy + 0.5 * (np.hypot(y - 60, x - 60) < 9))
    assert scanward.verify(path, site / "site.key").label == "tampered"
    put(tissue[:, ::-1])
    said = scanward.verify(path, site / "site.key")
    assert said.label != "authentic" and "consistent" not in said.reason


def test_a_film_that_is_mostly_black_is_told_by_what_is_not(site, tmp_path):
    """Its border is black before and after any encoding, and no sign of calm."""
    draw, y, x = np.random.default_rng(9), *np.ogrid[:400, :400]
    breast = np.hypot(y - 200, x) < 150
    film = np.where(breast, ndimage.gaussian_filter(draw.normal(size=(400, 400)), 9) * 300 + 120 + draw.normal(
        0, 2, (400, 400)), 0)
    path = tmp_path / "film.png"

    def put(values):
        cv2.imwrite(str(path), np.rint(values).clip(0, 255).astype(np.uint8))

    put(film)
    scanward.seal(path, site / "site.key")
    half = cv2.resize(cv2.resize(np.rint(film).clip(0, 255).astype(np.uint8), (200, 200)), (400, 400))
    put(half)
    assert "consistent" in scanward.verify(path, site / "site.key").reason
    put(half + 30 / (1 + np.exp((np.hypot(y - 200, x - 70) - 12) / 2)))
    assert scanward.verify(path, site / "site.key").label == "tampered"


def test_a_pipe_by_the_name_of_a_copy_holds_nobody_up(run, site):
    os.mkfifo(site / "pipe.copy")
    write(site / "chest", jpeg2000(CHEST))
    assert run("verify", site / "chest", "--key", site / "site.key")[0] == 3


@pytest.mark.parametrize("mm", [0.02, 0.005])
def test_the_finest_pixels_have_tiles_enough_and_cost_no_more(site, tmp_path, mm):
    """A ball of 10 mm is 2,000 of these pixels wide, and a tile of 4 mm as large as the image."""
    draw = np.random.default_rng(4)
    tissue = ndimage.gaussian_filter(draw.normal(size=(6, 96, 96)), (0, 4, 4)) * 3000 + 900 + draw.normal(
        0, 9, (6, 96, 96))
    path = tmp_path / "micro.nii.gz"

    def put(values):
        nibabel.Nifti1Image(np.rint(values).astype(np.int16).T, np.diag([mm, mm, mm, 1])).to_filename(path)

    put(tissue)
    scanward.seal(path, site / "site.key")
    put(tissue + draw.integers(-2, 3, tissue.shape))
    said = scanward.verify(path, site / "site.key")
    assert (said.label, "consistent" in said.reason) == ("inconclusive", True)
