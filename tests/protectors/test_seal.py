"""Keyed evidence: what it changes, what it notices, and that it can be taken out again."""

import dataclasses
import io
import json
import re
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from scipy import ndimage

from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.image import Image, Provenance
from scanward.protectors.seal import from_json, make_key, read_key, unweave, verify, weave
from scanward.protectors.seal.keys import macs, words
from scanward.protectors.seal.matched import answers, prepare
from scanward.protectors.seal.pattern import Grid, cells_of, signs

KEY, SALT = bytes(range(32)), b"a salt of 16 byt"
GRID = (1.0, -1024.0, 3071.0)


def volume(seed=0, shape=(30, 192, 192), grain=25.0):
    """Lung between soft tissue, with a scanner's smooth grain, at 1 × 0.7 × 0.7 mm."""
    _, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    tissue = np.where(np.hypot(y - shape[1] / 2, x - shape[2] / 2) < 0.42 * shape[1], -850.0, 40.0)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (0.5, 0.8, 0.8))
    pixels = np.rint(ndimage.gaussian_filter(tissue, 1) + grain * noise / noise.std())
    return Image(pixels.astype(np.float32), "CT", (1.0, 0.7, 0.7), grid=GRID)


@pytest.fixture(scope="module")
def protected():
    return weave(volume(), KEY, SALT)


def other(protected, pixels):
    return dataclasses.replace(protected.image, pixels=np.rint(pixels).astype(np.float32))


def through_jpeg2000(pixels, rate=5):
    made = []
    for plane in pixels:
        file = io.BytesIO()
        Pillow.fromarray((plane + 1024).astype(np.uint16)).save(file, "JPEG2000", quality_mode="rates",
                                                               quality_layers=[rate], irreversible=True)
        made.append(np.asarray(Pillow.open(file)).astype(np.float32) - 1024)
    return np.stack(made)


def lump(shape, centre, hu, sigma_mm):
    axes = [(np.arange(n) - c) * s for n, c, s in zip(shape, centre, (1.0, 0.7, 0.7), strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return hu * np.exp(-(z**2 + y**2 + x**2) / (2 * sigma_mm**2))


def asked(protected, pixels, record=True):
    return verify(other(protected, pixels), KEY, SALT, protected.record if record else None)


def away_mm(found, centre):
    return np.linalg.norm((np.array(found.centre) - centre) * (1.0, 0.7, 0.7))


def test_blocks_are_added_up_also_where_they_are_cut():
    grid = Grid((1, 3, 5), (1, 2, 4))
    assert grid.count == (1, 2, 2)
    values = np.arange(15).reshape(1, 3, 5)
    assert grid.sums(values)[0].tolist() == [[0 + 1 + 2 + 3 + 5 + 6 + 7 + 8, 4 + 9], [10 + 11 + 12 + 13, 14]]
    assert grid.means(values)[0].tolist() == [[4, 6.5], [11.5, 14]]
    assert grid.spread(np.array([[[1, 2], [3, 4]]]))[0].tolist() == [[1, 1, 1, 1, 2], [1, 1, 1, 1, 2], [3, 3, 3, 3, 4]]
    assert grid.any(values == 9)[0].tolist() == [[False, True], [False, False]]


def test_patterns_of_other_cells_keys_and_places_have_nothing_in_common():
    grid = Grid((8, 64, 64), (4, 8, 8))
    cells = np.zeros(grid.count, np.int64)
    one = signs(words(KEY, grid.shape), cells, grid).astype(int)
    assert set(np.unique(one)) == {-1, 1}
    several = [signs(words(KEY, grid.shape), cells + 1, grid), signs(words(KEY, grid.shape), cells + 254, grid),
               signs(words(b"x" * 32, grid.shape), cells, grid), np.roll(one, 1, 0), np.roll(one, 8, 2)]
    for made in several:
        assert abs((one * made).mean()) < 4 / np.sqrt(one.size)
    assert cells_of(np.array([-65.0, -64.0, 0.0, 63.9]), 64.0).tolist() == [-2, -1, 0, 0]


def test_equal_blocks_at_other_places_have_other_hashes():
    rows = np.zeros((3, 8), np.int32)
    made = macs(KEY, rows)
    assert len(made) == 12
    assert len({made[:4], made[4:8], made[8:]}) == 3
    assert macs(b"y" * 32, rows) != made


def test_it_moves_no_voxel_by_more_than_four_hu(protected):
    change = protected.image.pixels - volume().pixels
    assert set(np.unique(change)) <= {-4, 0, 4}
    assert 20 * np.log10(4096 / np.sqrt((change**2).mean())) >= 60
    assert (change != 0).mean() > 0.9


def test_what_lies_at_the_floor_stays():
    image = volume()
    image.pixels[:, :20] = -1024
    change = weave(image, KEY).image.pixels - image.pixels
    assert not change[:, :24].any()
    assert change[:, 24:].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.tuples(st.integers(1, 9), st.integers(33, 70), st.integers(33, 70)),
       st.floats(0, 900), st.sampled_from([GRID, (2.0, -1024.0, 7166.0), (1.0, -32768.0, 32767.0)]))
def test_it_is_undone_to_the_last_bit(seed, shape, spread, grid):
    step = grid[0]
    pixels = np.rint(np.random.default_rng(seed).normal(-300, spread, shape) / step) * step
    image = Image(pixels.clip(grid[1], grid[2]).astype(np.float32), "CT", (2.0, 0.7, 0.7), grid=grid)
    try:
        made = weave(image, KEY)
    except UnsupportedError:
        return  # everything at the floor
    record = from_json(made.record.to_json(KEY), KEY, "it")
    assert np.array_equal(unweave(made.image, KEY, record).pixels, image.pixels)
    assert verify(made.image, KEY, record.salt, record).label == "authentic"
    assert made.image.pixels.min() >= grid[1] and made.image.pixels.max() <= grid[2]


def test_untouched_is_authentic_and_one_changed_voxel_is_found(protected):
    answer = asked(protected, protected.image.pixels)
    assert (answer.label, answer.exact, answer.findings) == ("authentic", True, ())
    pixels = protected.image.pixels.copy()
    pixels[12, 100, 77] += 1
    answer = asked(protected, pixels)
    assert (answer.label, len(answer.findings)) == ("tampered", 1)
    box = answer.findings[0].box.slices
    assert all(s.start <= v < s.stop for s, v in zip(box, (12, 100, 77), strict=True))
    heat = answer.map()
    assert heat.shape == pixels.shape
    assert (heat[box] == 1).all() and heat.sum() == heat[box].sum()


def test_what_was_changed_cannot_be_undone(protected):
    pixels = protected.image.pixels.copy()
    pixels[12, 100, 77] += 1
    with pytest.raises(UnreadableError, match="cannot be undone"):
        unweave(other(protected, pixels), KEY, protected.record)


def test_jpeg_2000_is_no_forgery_and_no_pass(protected):
    answer = asked(protected, through_jpeg2000(protected.image.pixels))
    assert (answer.label, answer.exact, answer.findings) == ("inconclusive", False, ())
    assert 0.5 < answer.kept < 1 and "encoded anew" in answer.sentence


def test_a_forger_without_the_key_gets_no_pass(protected):
    """The block grid is public: a checkerboard of 2 HU puts the exact check out of use and raises the tolerance, and a
    lump that takes its excess back from the blocks it lies in moves none of their means."""
    grid, pixels = protected.record.grid, protected.image.pixels
    board = (np.indices(grid.count).sum(0) % 2 * 4 - 2).astype(np.float32)
    noisy = np.where(pixels <= pixels.min() + 8, pixels, pixels + grid.spread(board))
    added = lump(pixels.shape, (14.5, 95.5, 87.5), 500, 2.0)
    forged = np.rint(noisy + added - grid.spread(grid.means(added).astype(np.float32)))
    assert np.abs(grid.means(forged) - grid.means(noisy)).max() < 1 < np.abs(forged - noisy).max()
    assert asked(protected, noisy).label == "inconclusive"
    assert asked(protected, forged).label != "authentic"


@pytest.mark.parametrize("after", [lambda p: p, through_jpeg2000,
                                   lambda p: np.stack([cv2.GaussianBlur(q, (0, 0), 0.5) for q in p]),
                                   lambda p: np.stack([cv2.GaussianBlur(q, (0, 0), 1.0) for q in p])],
                         ids=["as it is", "jpeg 2000", "blurred", "more blurred"])
@pytest.mark.parametrize("hu", [600, -300], ids=["a smooth lump added", "one taken away"])
def test_smooth_changes_are_found_whatever_was_done_afterwards(protected, after, hu):
    centre = (15, 96, 90) if hu > 0 else (15, 24, 24)
    answer = asked(protected, after(protected.image.pixels + lump(protected.image.shape, centre, hu, 3.0)))
    assert answer.label == "tampered"
    assert away_mm(answer.findings[0], centre) < 3


def test_a_lump_carries_the_pattern_of_another_mean(protected):
    """Without a record, too: the pattern under a large lump is not the one that belongs there."""
    centre = (15, 96, 90)
    answer = asked(protected, protected.image.pixels + lump(protected.image.shape, centre, 700, 9.0), record=False)
    assert answer.label == "tampered"
    assert away_mm(answer.findings[0], centre) < 6


def test_a_copied_region_is_found_through_jpeg_2000(protected):
    pixels = protected.image.pixels.copy()
    pixels[3:27, 60:110, 60:110] = np.roll(pixels, 25, 2)[3:27, 60:110, 60:110]
    answer = asked(protected, through_jpeg2000(pixels))
    assert answer.label == "tampered"
    assert away_mm(answer.findings[0], (15, 85, 85)) < 6


@pytest.mark.parametrize("what", ["the original", "another key", "blurred", "shifted", "another size"])
def test_without_its_evidence_nothing_is_called_authentic(protected, what):
    image = protected.image
    made = {"the original": volume, "another key": lambda: image,
            "blurred": lambda: other(protected, [cv2.GaussianBlur(q, (0, 0), 1.0) for q in image.pixels]),
            "shifted": lambda: other(protected, np.roll(image.pixels, 1, 2)),
            "another size": lambda: dataclasses.replace(image, pixels=image.pixels[:-1])}[what]()
    key = b"z" * 32 if what == "another key" else KEY
    record = None if what == "another key" else protected.record
    answer = verify(made, key, SALT, record)
    assert answer.label == ("tampered" if what == "shifted" else "inconclusive")
    assert verify(made, key, SALT).label == "inconclusive"


def dusted(pixels, seed=1):
    """One step more here and there, so that next to no block is what it was."""
    return pixels + (np.random.default_rng(seed).random(pixels.shape) < 0.02)


def test_dust_all_over_hides_no_flattened_region_not_even_one_with_a_speck_at_the_floor_in_each_block(protected):
    pixels, grid = protected.image.pixels.copy(), protected.record.grid
    region = np.s_[5:25, 56:136, 56:136]
    pixels[region] = np.rint(grid.spread(grid.means(pixels)))[region]
    pixels[5:25:5, 56:136:8, 56:136:8] = pixels.min()
    assert asked(protected, dusted(pixels)).label != "authentic"


@pytest.mark.parametrize("centre", [(15, 96, 96), (14.5, 95.5, 95.5)], ids=["in a block", "on a corner of eight"])
def test_a_small_solid_nodule_is_found_under_dust_and_jpeg_2000(protected, centre):
    z, y, x = np.indices(protected.image.shape)
    ball = np.sqrt((z - centre[0])**2 + (0.7 * (y - centre[1]))**2 + (0.7 * (x - centre[2]))**2) < 2.25
    pixels = np.where(ball, 30, protected.image.pixels)
    for made in (pixels, dusted(pixels), through_jpeg2000(pixels)):
        answer = asked(protected, made)
        assert answer.label == "tampered"
        assert away_mm(answer.findings[0], centre) < 4


@pytest.mark.parametrize(("change", "word"), [
    ({"spacing": (1.0, 2.1, 2.1)}, "2.1"), ({"spacing": None}, "not say the size"), ({"hu": 100}, r"\+100"),
    ({"hu": -5}, "-5")])
def test_other_millimetres_and_other_units_are_no_authentic_image(protected, change, word):
    pixels = protected.image.pixels + change.get("hu", 0)
    made = dataclasses.replace(protected.image, pixels=pixels.astype(np.float32),
                               spacing=change.get("spacing", protected.image.spacing))
    answer = verify(made, KEY, SALT, protected.record)
    assert answer.label == "tampered"
    assert re.search(word, answer.sentence)


def test_a_mirrored_patient_is_no_authentic_image():
    image = volume()
    rows = ((0.7, 0.0, 0.0, -60.0), (0.0, 0.7, 0.0, -60.0), (0.0, 0.0, 1.0, 0.0))
    image = dataclasses.replace(image, provenance=Provenance(to_world=rows))
    made = weave(image, KEY)
    assert verify(made.image, KEY, made.record.salt, made.record).label == "authentic"
    turned = ((-0.7, 0.0, 0.0, 60.0), *rows[1:])
    other_way = dataclasses.replace(made.image, provenance=Provenance(to_world=turned))
    assert verify(other_way, KEY, made.record.salt, made.record).label == "tampered"


@pytest.mark.parametrize("brightest", [4095, 4096, 4097])
def test_a_film_that_ends_at_a_power_of_two_is_undone_too(brightest):
    rng = np.random.default_rng(0)
    plane = np.rint(1800 + 60 * rng.standard_normal((200, 200))).astype(np.float32)
    plane[:4], plane[90:120, 90:120] = 0, brightest
    film = Image(plane[None], "MG", (1.0, 0.1, 0.1), bits=16)
    made = weave(film, KEY)
    assert np.array_equal(unweave(made.image, KEY, made.record).pixels, film.pixels)


def test_without_the_record_even_the_untouched_is_not_vouched_for(protected):
    answer = asked(protected, protected.image.pixels, record=False)
    assert (answer.label, "record" in answer.sentence) == ("inconclusive", True)


def test_where_there_is_no_pattern_the_statistic_is_normal(protected):
    image = volume(seed=3)
    grid = protected.record.grid
    spoken, variance = answers(prepare(image.pixels), signs(words(KEY, grid.shape), np.zeros(grid.count, int), grid),
                               grid)
    t = spoken / np.sqrt(variance)
    assert abs(t.mean()) < 4 / np.sqrt(t.size)
    assert t.std() == pytest.approx(1, abs=0.05)
    assert np.abs(t).max() < 5.5


def test_a_film_too():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :400]
    plane = np.where(np.hypot(y - 256, x) < 300, 1800 + 300 * np.sin(y / 40), 0)
    plane = np.where(plane > 0, plane + ndimage.gaussian_filter(rng.normal(0, 60, plane.shape), 0.7), 0)
    film = Image(np.rint(plane).clip(0, 4095).astype(np.float32)[None], "MG", (1.0, 0.1, 0.1), bits=12)
    made = weave(film, KEY)
    assert np.abs(made.image.pixels - film.pixels).max() == 4
    assert np.array_equal(unweave(made.image, KEY, made.record).pixels, film.pixels)
    pixels = made.image.pixels.copy()
    pixels[0, 200:230, 100:130] = np.roll(pixels, 40, 1)[0, 200:230, 100:130]
    answer = verify(dataclasses.replace(made.image, pixels=pixels), KEY, made.record.salt, made.record)
    assert answer.label == "tampered"
    assert np.hypot(answer.findings[0].centre[1] - 214.5, answer.findings[0].centre[2] - 114.5) < 5


@pytest.mark.parametrize("bits", [12, 16])
def test_a_film_is_judged_by_its_own_range_not_by_its_files(bits):
    rng = np.random.default_rng(2)
    plane = np.rint(1800 + ndimage.gaussian_filter(rng.normal(0, 200, (400, 400)), 0.7))
    plane[:8] = 0
    made = weave(Image(plane[None].astype(np.float32), "MG", (1.0, 0.1, 0.1), bits=bits), KEY)
    y, x = np.mgrid[:400, :400]
    mass = np.rint(600 * np.exp(-((y - 200)**2 + (x - 200)**2) / (2 * 15**2)))
    pixels = dusted(made.image.pixels + mass).astype(np.float32)
    answer = verify(dataclasses.replace(made.image, pixels=pixels), KEY, made.record.salt, made.record)
    assert answer.label == "tampered"
    assert np.hypot(answer.findings[0].centre[1] - 200, answer.findings[0].centre[2] - 200) < 8


def test_a_record_is_read_with_its_own_key_only(protected):
    text = protected.record.to_json(KEY)
    assert from_json(text, KEY, "it").macs == protected.record.macs
    body = json.loads(text)
    for broken in ("", "[]", "{}", text[:-40], json.dumps(body | {"amplitude": 5}), json.dumps(body | {"hmac": 3}),
                   json.dumps(body | {"scanward_evidence": 2})):
        with pytest.raises(UnreadableError, match=r"it .*\."):
            from_json(broken, KEY, "it")
    with pytest.raises(UnreadableError, match="another key"):
        from_json(text, b"z" * 32, "it")


def test_a_key_file_is_new_private_and_whole(tmp_path):
    path = tmp_path / "site.key"
    make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_key(path)) == 32
    with pytest.raises(ArgumentError, match="exists"):
        make_key(path)
    for text in ("", "scanward-key-1 abcd", "0" * 64, "scanward-key-1 " + "g" * 64):
        (tmp_path / "no.key").write_text(text)
        with pytest.raises(UnreadableError, match="no key"):
            read_key(tmp_path / "no.key")
    for path in (tmp_path / "absent.key", tmp_path, Path("/dev/zero")):
        with pytest.raises(UnreadableError, match="no key"):
            read_key(path)
    with pytest.raises(ArgumentError, match="cannot be written"):
        make_key(tmp_path / "nowhere" / "new.key")


@pytest.mark.parametrize("image", [
    Image(np.full((1, 40, 40), -1024, np.float32), "CT", (1, 1, 1), grid=GRID),
    Image(np.zeros((1, 1, 1), np.float32), "MG", (1, 1, 1), bits=8),
    Image(np.full((4, 40, 40), 0.5, np.float32), "CT", (1, 1, 1)),
    Image(np.full((4, 40, 40), 0.0, np.float32), "CT", (1, 1, 1), grid=(1.0, -2.0**31, 2.0**31 - 1)),
    Image(np.full((1, 40, 40), 0.5, np.float32), "MG", integer=False)],
    ids=["padding", "1x1", "broken CT", "32 bits", "broken MG"])
def test_what_cannot_carry_evidence_is_refused_in_a_sentence(image):
    with pytest.raises(UnsupportedError, match=r"\.$"):
        weave(image, KEY)
