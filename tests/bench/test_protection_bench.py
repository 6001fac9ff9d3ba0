"""What a protection is measured by: likeness by hand, and clean-ups that do what they say."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward import methods, weights
from scanward.attacks.base import Patch
from scanward.bench import protection, protection_tables
from scanward.bench.likeness import Likeness, harm, likeness
from scanward.bench.perceptual import distance
from scanward.bench.protection import Chest, Site, guarded, near, successes
from scanward.bench.protection_tables import Bench
from scanward.bench.purify import PURIFICATIONS, eight_bits
from scanward.box import Box
from scanward.datasets.chests import Nodule
from scanward.errors import ArgumentError
from scanward.image import Image


def chest(shape=(8, 256, 256), seed=0):
    """Two lungs in a body in air."""
    _, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    body = np.hypot((y - 128) / 110, (x - 128) / 120) < 1
    lungs = (np.hypot((y - 128) / 70, (x - 80) / 36) < 1) | (np.hypot((y - 128) / 70, (x - 176) / 36) < 1)
    pixels = np.where(lungs, -850.0, np.where(body, 30.0, -1000.0))
    pixels += np.random.default_rng(seed).normal(0, 20, shape)
    return Image(np.rint(pixels).astype(np.float32), "CT", (2.5, 1.0, 1.0), grid=(1.0, -1024.0, 3071.0))


def test_a_constant_shift_by_hand():
    before = chest().pixels
    made = likeness(before, before + 16, [3, 5])
    assert made.rmse == pytest.approx(16) and made.largest == 16
    assert made.psnr == pytest.approx(20 * np.log10(4096 / 16))  # 48.16 dB
    same = likeness(before, before, [3])
    assert (same.rmse, same.psnr, same.perceptual, same.ssim) == (0, np.inf, 0, 1)


def test_harm_is_none_where_nothing_changed_and_tells_noise_and_shift_apart():
    image = chest()
    none = harm(image, image)
    assert (none.mean, none.deviation, none.noise, none.fine, none.overlap) == (0, 1, 1, 1, 1)
    pixels = image.pixels + np.random.default_rng(1).normal(0, 20, image.shape).astype(np.float32)
    noisy = harm(image, Image(pixels, "CT", image.spacing))
    assert noisy.noise == pytest.approx(2, rel=0.15) and noisy.fine == pytest.approx(2, rel=0.15)
    shifted = harm(image, Image(image.pixels + 16, "CT", image.spacing))
    assert shifted.mean == pytest.approx(16) and shifted.noise == pytest.approx(1, abs=1e-3)


def test_the_perceptual_distance_grows_with_the_change():
    plane = chest().pixels[0]
    noise = np.random.default_rng(0).standard_normal(plane.shape).astype(np.float32)
    values = [distance(plane, plane + hu * noise) for hu in (0, 5, 50, 500)]
    assert values[0] == 0 and values == sorted(values) and len(set(values)) == 4


@pytest.mark.parametrize("name", PURIFICATIONS)
def test_clean_ups_keep_the_size_and_nearly_the_values(name):
    pixels = chest(shape=(3, 256, 256)).pixels
    made = PURIFICATIONS[name](pixels)
    assert made.shape == pixels.shape and made.dtype == np.float32
    assert np.array_equal(made, np.rint(made))
    assert abs(float(made.mean() - pixels.mean())) < 3
    assert np.array_equal(made, pixels) == (name == "as it is")


@given(st.integers(-2000, 3000))
@settings(max_examples=50, deadline=None)
def test_eight_bits_of_the_lung_window_cost_three_hu_at_most_and_nothing_beyond_it(hu):
    made = float(eight_bits(np.full((1, 4, 4), hu, np.float32))[0, 0, 0])
    assert made == hu if not -1350 <= hu <= 150 else abs(made - hu) <= 3.5


class Lamp:
    """An attack that makes a bright ball where it is aimed, or takes one away."""

    def __init__(self, inject):
        self.inject = inject

    def draw(self, host, lesion, rng):
        return {"centre": [round(v) for v in lesion.centre]}

    def apply(self, host, params):
        z, y, x = params["centre"]
        box = (slice(z - 1, z + 2), slice(y - 4, y + 5), slice(x - 4, x + 5))
        values = np.full([s.stop - s.start for s in box], 50.0 if self.inject else -850.0, np.float32)
        return Patch(Box.of(box), values, np.ones(values.shape, bool))


class Eye:
    """A judge that looks at the brightness in the middle."""

    threshold = 0.5

    def of_cubes(self, hu):
        return np.array([float(cube[0, 14:18, 14:18, 14:18].mean() > -400) for cube in hu])


@pytest.fixture
def bench(monkeypatch):
    real = methods.build
    monkeypatch.setattr(methods, "build", lambda name, kind, **options: Lamp("remove" not in name)
                        if kind == "attack" else real(name, kind, **options))
    monkeypatch.setattr(protection, "NoduleJudge", Eye)
    well = chest(shape=(24, 256, 256))
    pixels = well.pixels.copy()
    mask = np.zeros((32, 32, 32), np.float32)
    sites = tuple(Site(centre, Nodule("n", patient, mask, mask, 8.0, 1.0), number) for number, (centre, patient) in
                  enumerate([((12.0, 120.0, 80.0), "a"), ((12.0, 140.0, 176.0), "b")]))
    for z, y, x in (site.centre for site in sites):
        pixels[int(z) - 2:int(z) + 3, int(y) - 5:int(y) + 6, int(x) - 5:int(x) + 6] = 40.0
    return Chest(well, Image(pixels, "CT", well.spacing, grid=well.grid), sites)


def test_attacks_succeed_on_what_nothing_protects(bench):
    one, = guarded([bench], lambda image, around: image, everywhere=True)
    assert successes(one, "ct-gan-plain") == [True, True]
    assert successes(one, "ct-gan-remove") == [True, True]


def test_and_fail_where_the_judge_still_sees_what_was_there(bench, monkeypatch):
    monkeypatch.setattr(Lamp, "apply", lambda self, host, params: Patch(
        Box(0, 0, 0, 1, 1, 1), host.pixels[:1, :1, :1].copy(), np.ones((1, 1, 1), bool)))
    one, = guarded([bench], lambda image, around: image, everywhere=True)
    assert successes(one, "ct-gan-plain") == [False, False]
    assert successes(one, "ct-gan-remove") == [False, False]


def test_the_attacker_works_on_the_protected_scan_after_its_clean_up(bench, monkeypatch):
    seen = []
    monkeypatch.setattr(Lamp, "draw", lambda self, host, lesion, rng: seen.append(host.pixels.copy()) or
                        {"centre": [round(v) for v in lesion.centre]})
    one, = guarded([bench], lambda image, around: Image(image.pixels + 7, "CT", image.spacing, grid=image.grid),
                   everywhere=True)
    successes(one, "ct-gan-plain", "8-bit window")
    wanted = eight_bits(near(Image(bench.well.pixels + 7, "CT", bench.well.spacing), bench.sites[0])[0].pixels)
    assert np.array_equal(seen[0], wanted)


def test_a_place_is_where_the_cut_part_says_it_is(bench):
    part, (z, y, x) = near(bench.ill, bench.sites[1])
    assert part.pixels[round(z), round(y), round(x)] == 40.0
    assert (np.array(part.shape) * part.spacing >= 58).all()


def test_the_mean_of_likenesses_keeps_the_largest_change():
    made = Likeness.mean([Likeness(1, 60, 0.1, 0.99, 4), Likeness(3, 50, 0.3, 0.97, 16)])
    assert (made.rmse, made.psnr, made.ssim, made.largest) == (2, 55, pytest.approx(0.98), 16)


def test_answers_are_kept_by_what_they_hang_on_and_survive_a_torn_line(tmp_path, monkeypatch):
    bench = Bench(3, None, tmp_path / "protection.jsonl")
    asked = []

    def answer():
        asked.append(1)
        return [True, False]

    key = ("success", "ours, 16 HU", "ct-gan-plain", "as it is")
    assert bench.kept("scan", key, answer) == bench.kept("scan", key, answer) == [True, False] and len(asked) == 1
    with bench.keep.open("a") as file:
        file.write('["torn", [tr')
    bench.kept("scan", ("success", "none", "ct-gan-plain", "as it is"), answer)
    assert len(asked) == 2
    assert bench.kept("scan", ("success", "none", "ct-gan-plain", "as it is"), answer) and len(asked) == 2
    assert len([json.loads(line) for line in bench.keep.read_text().splitlines() if line.endswith("]")]) == 2
    real = weights.entry
    monkeypatch.setattr(protection_tables.weights, "entry", lambda name: real(name) if name != "nodule-judge"
                        else type(real(name))(**{**vars(real(name)), "settings": {"threshold": 0.9}}))
    bench.kept("scan", key, answer)
    assert len(asked) == 3


def test_several_scans_are_counted_together_and_each_is_drawn_once(bench, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(protection_tables, "chests", lambda count, data, part, scan: drawn.append(scan) or [bench])
    monkeypatch.setattr(protection_tables, "protections", lambda: {
        "none": lambda image, around: image,
        "a wall": lambda image, around: Image(np.full_like(image.pixels, 40), "CT", image.spacing, grid=image.grid)})
    monkeypatch.setattr(protection_tables, "INJECTORS", ("ct-gan-plain",))
    monkeypatch.setattr(protection_tables, "REMOVERS", ("ct-gan-remove",))
    monkeypatch.setattr(Lamp, "apply", lambda self, host, params: Patch(
        Box(0, 0, 0, 1, 1, 1), host.pixels[:1, :1, :1].copy(), np.ones((1, 1, 1), bool)))  # an attack that does nothing
    made = Bench(3, None, tmp_path / "protection.jsonl", scans=("first", "second"))
    header, _, none, wall = made.success().splitlines()
    assert drawn == ["first", "second"] and "trained on this scan" not in header
    assert none.count("(0/4; ") == 2 and wall.count("(4/4; ") == 1 and wall.count("(0/4; ") == 1
    assert made.success().splitlines()[3] == wall and drawn == ["first", "second"]


@pytest.mark.parametrize("name", ["ricord-1a", "lung-fused-ct-pathology-1", "lidc-idri-0001"])
def test_a_scan_that_is_none_to_test_on_is_one_sentence(run, tmp_path, name):
    code, printed, err = run("bench", "protection", "harm", "--scan", name, "-o", tmp_path / "out")
    assert (code, printed, err.count("\n")) == (2, "", 1) and name in err and "lidc-idri-1011" in err
    assert not (tmp_path / "out").exists()


def test_an_unknown_table_is_one_sentence(run, tmp_path):
    code, printed, err = run("bench", "protection", "succes", "-o", tmp_path / "out")
    assert (code, printed, err.count("\n")) == (2, "", 1) and "success" in err


@pytest.mark.parametrize("slices", ["40", "69-", "a-b", "-3-5"])
def test_slices_that_are_no_range_are_one_sentence(run, tmp_path, slices):
    code, printed, err = run("bench", "protection", "harm", "--slices", slices, "-o", tmp_path / "out")
    assert (code, printed, err.count("\n")) == (2, "", 1) and slices in err
    assert not (tmp_path / "out").exists()


@pytest.mark.data("ct", "lidc-nodules", "mias")
def test_a_part_of_the_scan_is_one_drawing_within_it():
    (drawn,) = protection.chests(3, None, (40, 69))
    assert drawn.well.shape[0] == 30 and len(drawn.sites) == 3
    assert all(0 <= site.centre[0] < 30 for site in drawn.sites)
    with pytest.raises(ArgumentError, match="slices 0 to"):
        protection.chests(3, None, (40, 6900))
