"""The watermark: woven within its bound, found again by pixels alone, missing where something was painted in."""

import dataclasses
import json

import cv2
import nibabel
import numpy as np
import pytest
from scipy import ndimage

import scanward
from scanward import formats
from scanward.anatomy.airways import lungs_alone
from scanward.bench.purify import blurred, jpeg2000, median
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.judging.case import Case, Terms, case_of
from scanward.judging.witnesses import ALARM, Watermarked
from scanward.protection.make import Perturb, perturbed
from scanward.protectors.seal import read_key
from scanward.protectors.watermark import Watermark, read
from scanward.protectors.watermark.measure import level_of, turned
from scanward.protectors.watermark.planes import COUNT, TILE, plane, tile
from scanward.seals.known import Known

KEY, OTHER = b"k" * 32, b"o" * 32
SPACING = (2.0, 1.2, 1.2)
PLACE = (slice(8, 16), slice(110, 124), slice(60, 74))
"""In the left of the pictures' lungs; about 16 mm."""


def noise(shape, seed, sigma=25.0):
    """As of a smooth kernel."""
    white = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(one, (0, 0), 0.8) for one in white])
    return sigma * soft / soft.std()


def chest(seed=0, pixels=None):
    """A body with two lungs, (24, 256, 256)."""
    y, x = np.ogrid[:256, :256]
    plane_of = np.full((256, 256), -1000.0, np.float32)
    plane_of[((y - 128) / 95) ** 2 + ((x - 128) / 115) ** 2 < 1] = 20
    for middle in (70, 186):
        plane_of[((y - 128) / 70) ** 2 + ((x - middle) / 42) ** 2 < 1] = -850
    if pixels is None:
        pixels = np.rint(plane_of + noise((24, 256, 256), seed)).clip(-1024, 3071)
    return Image(pixels.astype(np.float32), "CT", SPACING, grid=(1.0, -1024.0, 3071.0))


@pytest.fixture(scope="module")
def plain():
    return chest()


@pytest.fixture(scope="module")
def marked(plain):
    return Watermark(key=KEY).protect(plain)


def heard(image, key=KEY, marked=False):
    return Watermarked().testify(Case(image, key=key, marked=marked))


def stored(image, path):
    """As NIfTI."""
    values = image.pixels.transpose(2, 1, 0).astype(np.int16)
    nibabel.Nifti1Image(values, np.diag([SPACING[2], SPACING[1], SPACING[0], 1])).to_filename(path)
    return path


def with_values(image, values):
    pixels = image.pixels.copy()
    pixels[PLACE] = values
    return dataclasses.replace(image, pixels=pixels)


@pytest.mark.parametrize("epsilon", [4.0, 16.0])
def test_no_voxel_moves_by_more_than_the_bound_and_the_mean_stays(plain, epsilon):
    made = Watermark(key=KEY, epsilon=epsilon).protect(plain)
    change = made.pixels - plain.pixels
    assert 0.9 * epsilon <= np.abs(change).max() <= epsilon
    assert np.array_equal(made.pixels, np.rint(made.pixels)) and abs(change.mean()) < 0.02
    assert not change[plain.pixels <= -1024].any()
    assert not change[:, :20, :20].any()


def test_the_same_key_and_pixels_give_the_same_bits_and_another_key_others(plain, marked):
    assert np.array_equal(Watermark(key=KEY).protect(plain).pixels, marked.pixels)
    assert not np.array_equal(Watermark(key=OTHER).protect(plain).pixels, marked.pixels)


def test_a_marked_scan_is_known_by_its_pixels_under_its_key_alone(plain, marked):
    found = heard(marked)
    assert found is not None and found.label == "authentic" and found.findings == ()
    assert heard(marked, OTHER) is None and heard(plain) is None and heard(marked, None) is None


@pytest.mark.parametrize("step", [lambda p: p, jpeg2000, blurred(0.5)])
def test_what_was_painted_in_lacks_it_after_clean_ups_too(marked, step):
    forged = with_values(marked, np.rint(-850 + noise((8, 14, 14), 7)))
    clean, dirty = (heard(dataclasses.replace(one, pixels=step(one.pixels))) for one in (marked, forged))
    assert clean.label == "authentic"
    assert dirty.label == "tampered"
    box = dirty.findings[0].box
    assert all(a.start < b.stop and b.start < a.stop for a, b in zip(box.slices, PLACE, strict=True))


def test_a_smooth_lump_on_top_keeps_the_pattern_and_still_shows(marked):
    z, y, x = (np.linspace(-1, 1, n) for n in (8, 14, 14))
    ball = np.clip(1.6 - 1.6 * np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2), 0, 1)
    forged = with_values(marked, np.rint(marked.pixels[PLACE] + 800 * ball))
    assert heard(forged).label == "tampered"


def test_lung_copied_within_the_scan_shows(marked):
    away = (PLACE[0], slice(140, 154), slice(70, 84))
    assert heard(with_values(marked, marked.pixels[away])).label == "tampered"


@pytest.mark.parametrize(("step", "count"), [(np.copy, 1), (np.copy, 2), (blurred(0.5), 1)])
def test_slices_put_back_as_they_were_before_it_was_marked_show(plain, marked, step, count):
    some = slice(9, 9 + count)
    pixels = step(marked.pixels)
    assert heard(dataclasses.replace(marked, pixels=pixels)).label == "authentic"
    pixels[some] = step(plain.pixels)[some]
    found = heard(dataclasses.replace(marked, pixels=pixels))
    assert found.label == "tampered"
    assert all((one.box.slices[0].start, one.box.slices[0].stop) == (9, 9 + count) for one in found.findings)


def test_putting_back_the_slice_with_most_lung_does_not_hide_that_a_scan_was_marked(plain, marked):
    most = int(lungs_alone(marked).mask.sum((1, 2)).argmax())
    for put_back in (slice(most, most + 1), slice(most % 2, None, 2)):
        pixels = marked.pixels.copy()
        pixels[put_back] = plain.pixels[put_back]
        found = heard(dataclasses.replace(marked, pixels=pixels))
        assert found is not None and found.label in ("tampered", "inconclusive")


@pytest.mark.parametrize("kept", [np.delete(np.arange(24), 12), np.insert(np.arange(24), 12, 12)])
def test_a_slice_left_out_or_repeated_moves_the_rest_and_replaces_none(marked, kept):
    assert heard(dataclasses.replace(marked, pixels=marked.pixels[kept])).label == "inconclusive"


def test_some_slices_of_a_scan_and_half_a_pixel_off_are_still_known(plain, marked):
    part = dataclasses.replace(marked, pixels=marked.pixels[4:20].copy())
    found = read(part, lungs_alone(part), KEY)
    whole = read(marked, lungs_alone(marked), KEY)
    assert found.start == (whole.start + 4) % COUNT and found.shift == (0.0, 0.0)
    move = np.float32([[1, 0, 0.5], [0, 1, 0]])
    off = np.stack([cv2.warpAffine(one, move, one.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
                    for one in marked.pixels])
    found = read(dataclasses.replace(marked, pixels=np.rint(off)), lungs_alone(marked), KEY)
    assert found.start == whole.start and found.shift == (0.0, 0.5)


def test_where_it_was_filtered_out_nothing_is_vouched_for(marked):
    found = heard(dataclasses.replace(marked, pixels=blurred(1.5)(median(marked.pixels))))
    assert found is None or found.label == "inconclusive"


def unevenly_blurred(pixels, sigma):
    """Here more, there less, over some millimetres, as a learned denoiser does."""
    share = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 1, pixels.shape), (1.2, 2, 2))
    made = pixels + np.clip(0.5 + 0.6 * share / share.std(), 0, 1) * (blurred(sigma)(pixels) - pixels)
    return np.rint(made).astype(np.float32)


def test_a_place_that_a_clean_up_took_more_from_is_not_called_forged(marked):
    forged = with_values(marked, np.rint(-850 + noise((8, 14, 14), 7)))
    for pixels, sigma, label in ((marked.pixels, 0.5, "authentic"), (forged.pixels, 0.5, "tampered"),
                                 (marked.pixels, 0.8, "inconclusive")):
        assert heard(dataclasses.replace(marked, pixels=unevenly_blurred(pixels, sigma))).label == label, sigma


def test_gas_cut_off_at_the_lowest_value_is_not_painted_over(plain):
    """As bronchi that pass for lung, in a scan whose archive stored nothing below -1000 HU."""
    y, x = np.ogrid[:256, :256]
    pixels = plain.pixels.copy()
    gas = np.hypot(y - 128, x - 70) < 14
    pixels[:, gas] = -1030 + 0.6 * (pixels[:, gas] + 850)
    scan = chest(pixels=np.rint(pixels.clip(-1000)))
    made, _ = perturbed(scan, Perturb("watermark"), KEY)
    assert (made.pixels[:, gas] == -1000).mean() > 0.8
    lungs = lungs_alone(plain)  # the gas is in them
    assert read(made, lungs, KEY).missing.max() < ALARM
    made.pixels[8:16, 110:124, 180:194] = scan.pixels[8:16, 110:124, 180:194]
    assert read(made, lungs, KEY).missing.max() > ALARM  # lung that lacks it


def test_a_scan_cut_off_at_its_lowest_value_stays_so_and_raises_no_alarm_sharpened_or_not(plain):
    """As bronchi with their walls; its file could hold lower values, as signed ones do."""
    y, x = np.ogrid[:256, :256]
    pixels = plain.pixels.copy()
    gas = (np.hypot(y - 128, x - 70) < 14) & (x % 4 != 0)
    pixels[:, gas] = -1030 + 0.6 * (pixels[:, gas] + 850)
    scan = chest(pixels=np.rint(pixels.clip(-1000)))
    made = Watermark(key=KEY).protect(scan)
    assert made.pixels.min() == -1000 and made.pixels.max() <= scan.pixels.max()
    lungs = lungs_alone(plain)
    for strong in (0, 0.25):
        sharp = np.rint(made.pixels + strong * (made.pixels - blurred(1.0)(made.pixels)))
        assert read(dataclasses.replace(made, pixels=sharp), lungs, KEY).missing.max() < ALARM


def test_where_a_scan_was_cut_off_it_stays_so_though_its_padding_lies_lower(plain):
    """What is woven is what is read: there a pattern would be seen by nobody."""
    pixels = plain.pixels.clip(-1000)
    pixels[:, :4] = -1024
    made = Watermark(key=KEY).protect(chest(pixels=pixels))
    assert (made.pixels[pixels <= -1000] == pixels[pixels <= -1000]).all() and heard(made).label == "authentic"


def test_without_a_key_or_lungs_nothing_is_woven(plain):
    with pytest.raises(ArgumentError, match="key"):
        Watermark().protect(plain)
    with pytest.raises(UnsupportedError, match="lung"):
        Watermark(key=KEY).protect(chest(pixels=np.full((6, 64, 64), 20.0)))
    with pytest.raises(ArgumentError, match="epsilon"):
        Watermark(key=KEY, epsilon=0.5)


def test_a_scan_is_not_marked_twice_nor_so_weakly_that_nothing_could_be_told(plain, marked):
    with pytest.raises(UnsupportedError, match="already"):
        Watermark(key=KEY).protect(marked)
    with pytest.raises(UnsupportedError, match="too weak"):
        Watermark(key=KEY, epsilon=1.0).protect(plain)


def test_planes_are_cut_out_of_tiles_and_turn_with_the_level():
    window = (slice(10, 100), slice(60, 130))
    found = plane(KEY, 5, window)
    assert found.shape == (2, 90, 70) and set(np.unique(found)) == {-1.0, 1.0}
    assert np.array_equal(found[:, :TILE - 10, 4:4 + TILE], tile(KEY, 5, 0, 1)[:, 10:])
    assert abs(float((found[0] * found[1]).mean())) < 0.1
    flat = np.zeros((90, 70), np.float32)
    assert np.allclose(turned(found, flat - 600), found[0], atol=1e-5)
    assert np.allclose(turned(found, flat - 450), found[1], atol=1e-5)
    assert np.allclose(turned(found, flat - 300), -found[0], atol=1e-5)
    assert np.allclose(level_of(flat - 700, SPACING), -700)


def test_the_command_line_marks_a_ct_under_a_key_and_seals_the_copy(run, plain, tmp_path):
    path, key, out = tmp_path / "chest.nii.gz", tmp_path / "site.key", tmp_path / "out"
    stored(plain, path)
    scanward.make_key(key)
    code, _, err = run("protect", path, "--method", "watermark", "-o", out)
    assert code == 2 and "--key" in err and not out.exists()
    code, printed, err = run("protect", path, "--method", "watermark", "--epsilon", "12", "--key", key, "-o", out)
    assert (code, err) == (0, "")
    assert "chest-protected.nii.gz.seal" in printed
    facts = json.loads((out / "perturbation.json").read_text())
    assert (facts["method"], facts["epsilon"], facts["largest_change"]) == ("watermark", 12.0, 12.0)
    said = nibabel.load(out / "chest-protected.nii.gz").header["descrip"].item().decode()
    assert said.startswith("Scanward: altered image") and said.endswith("By watermark, 12 HU at most.")
    found = heard(formats.read(out / "chest-protected.nii.gz"), read_key(key))
    assert found is not None and found.label == "authentic"


def test_where_all_are_marked_one_that_shows_no_watermark_is_inconclusive(plain, marked):
    filtered = dataclasses.replace(marked, pixels=median(marked.pixels))
    for image in (plain, filtered):
        assert heard(image) is None
        told = heard(image, marked=True)
        assert told.label == "inconclusive" and "taken out" in told.reason
    assert heard(marked, marked=True).label == "authentic"


def test_a_seal_that_vouches_for_every_voxel_is_heard_in_the_place_of_a_watermark(plain, tmp_path):
    path, key = stored(plain, tmp_path / "chest.nii.gz"), tmp_path / "site.key"
    scanward.make_key(key)
    scanward.seal(path, key=key)
    source, terms = formats.one_source(path), Terms(key=read_key(key), marked=True)
    case = case_of(source, terms)
    assert Watermarked().testify(case) is None
    now = Known(*(getattr(case.checked, one.name) for one in dataclasses.fields(case.checked)), how="now")
    assert Watermarked().testify(dataclasses.replace(case, checked=now)).label == "inconclusive"  # made on arrival
    stored(with_values(plain, -800), path)
    assert Watermarked().testify(case_of(source, terms)).label == "inconclusive"


def test_who_wants_marked_scans_names_a_key(plain, tmp_path, run):
    with pytest.raises(ArgumentError, match="give key=, too"):
        scanward.scan(plain, marked=True)
    for order in (("scan", tmp_path), ("archive", "run", tmp_path, "-o", tmp_path / "out")):
        code, _, err = run(*order, "--marked")
        assert code == 2 and "name --key, too" in err and not (tmp_path / "out").exists()
