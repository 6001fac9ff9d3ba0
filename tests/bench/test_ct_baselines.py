"""Yardsticks of the CT bench: noise of another kind stands out, only what changed is worked out again, and figures that
were worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scanward.anatomy.lung import Lungs
from scanward.bench import ct_baselines, ct_changes
from scanward.bench.ct import Item, Row, overlap
from scanward.bench.ct_baseline_tables import report
from scanward.bench.ct_baselines import Answer, Said, answers_of, kept, level_of, overlaps, places_of, run, within
from scanward.bench.ct_changes import Change, authentic, box_of, changes, lung_window
from scanward.bench.ct_statistics import Covariance, Npr, OneStep, Scale, distances
from scanward.datasets.thorax import Scan, Thorax
from scanward.errors import UnreadableError
from scanward.image import Image

SPACING = (2.5, 1.0, 1.0)
LUNG = np.ones((12, 16, 16), bool)


def noise(seed, shape=(12, 64, 64), width=0.8, size=40.0):
    """Lung with noise as a reconstruction leaves it."""
    drawn = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (0, width, width))
    return (-850 + size * drawn / drawn.std()).astype(np.float32)


def boxes(shape=(12, 64, 64)):
    return st.tuples(*(st.integers(0, side - 3).flatmap(
        lambda low, side=side: st.integers(low + 2, min(side, low + 20)).map(lambda high: slice(low, high)))
        for side in shape))


@pytest.mark.parametrize("make", [Npr, Covariance])
def test_noise_of_another_kind_stands_out(make):
    pixels, box = noise(0), (slice(3, 9), slice(20, 40), slice(24, 44))
    forged = pixels.copy()
    forged[box] = noise(1, (6, 20, 20), width=1.4)
    scale = Scale(make(), pixels, LUNG, SPACING)
    heat = scale.heat_after(forged, box)
    z, y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 3 <= z < 9 and 5 <= y < 10 and 6 <= x < 11
    assert heat.max() > 1.5 * scale.heat().max()


@pytest.mark.parametrize("make", [Npr, Covariance])
@settings(max_examples=8)
@given(boxes())
def test_what_lies_too_far_is_rightly_not_worked_out_again(make, box):
    pixels = noise(0)
    forged = pixels.copy()
    forged[box] = noise(1)[box]
    scale = Scale(make(), pixels, LUNG, SPACING)
    whole = tuple(slice(0, side) for side in pixels.shape)
    # which samples belong to the bulk may change by one, and all heat with it a little
    np.testing.assert_allclose(scale.heat_after(forged, box), scale.heat_after(forged, whole), rtol=0.02, atol=0.05)


def test_a_step_of_diffusion_looks_again_only_where_a_cube_changed():
    pixels = noise(0, (16, 64, 64))
    lung = np.zeros((16, 16, 16), bool)
    lung[:, 2:14, 2:14] = True
    box = slice(5, 9), slice(4, 12), slice(28, 36)
    forged = pixels.copy()
    forged[box] = -850
    step = OneStep()
    plain = step.begin(pixels, lung, SPACING)
    part, where = step.again(forged, box)
    fresh = OneStep().begin(forged, lung, SPACING)
    np.testing.assert_allclose(part, fresh, rtol=1e-4, atol=1e-5)
    assert where[1].start == 0 and where[1].stop <= 10
    middle = slice(5, 9), slice(1, 3), slice(7, 9)
    assert part[0][middle].mean() < 0.5 * plain[0][middle].mean()


def test_a_distance_is_in_deviations_of_the_bulk_beside_like_places():
    rng = np.random.default_rng(0)
    beside = rng.uniform(-1, 1, (20000, 1))
    samples = 5 * beside + rng.standard_normal((20000, 1))
    samples[:3] = 5 * beside[:3] + [[8.0], [-8.0], [0.0]]
    found = distances(samples, beside)
    assert found[0] == pytest.approx(found[1], rel=0.1) and found[2] < 0.2
    assert 8 <= found[0] <= 13  # the bulk's deviation is that of a normal one without its tails: .79


@settings(max_examples=10)
@given(st.floats(0.1, 50), st.floats(-100, 100))
def test_a_distance_has_no_unit(factor, offset):
    rng = np.random.default_rng(1)
    samples, beside = rng.standard_normal((2000, 2)), rng.standard_normal((2000, 2))
    mixed = samples @ np.array([[1.0, 0.5], [0.0, 2.0]]) * factor + offset
    np.testing.assert_allclose(distances(mixed, beside), distances(samples, beside), rtol=0.02, atol=0.02)


def test_slices_are_scaled_and_filled_up():
    from scanward.bench.ct_hexmil import scaled

    made = scaled(np.array([[[-1000.0, 400.0, -300.0, 3000.0]]]))
    assert made.shape == (1, 64, 64)
    np.testing.assert_allclose(made[0, 0, :4], [-0.5, 0.5, 0.0, 0.5], atol=1e-6)
    assert scaled(np.zeros((2, 65, 96))).shape == (2, 96, 96)


def test_a_scan_is_covered_by_runs_of_slices_and_as_loud_as_its_loudest():
    from scanward.bench.ct_hexmil import bags, scan_logit

    assert bags(10) == [slice(0, 10)]
    assert bags(40) == [slice(0, 32), slice(8, 40)]
    assert sorted({z for run in bags(100) for z in range(run.start, run.stop)}) == list(range(100))
    embeddings = np.zeros((70, 256), np.float32)
    embeddings[60] = 1
    assert scan_logit(lambda x: (x.sum((1, 2)), x, x), embeddings) == pytest.approx(256)


def test_attention_is_drawn_where_the_patch_lies():
    from scanward.bench import ct_hexmil

    class One(torch.nn.Module):
        def forward(self, x):
            share = torch.zeros(1, x.shape[2] // 32 - 1, x.shape[3] // 32 - 1)
            share[0, 1, 2] = 1  # pixels 32 to 96 and 64 to 128
            return torch.tensor([2.0]), share, torch.zeros(1, 256)

    logits, _, heat = ct_hexmil.looked_at(One(), np.zeros((1, 160, 191), np.float32))
    assert logits[0] == 2 and heat.shape == (1, 80, 96)
    y, x = np.unravel_index(heat[0].argmax(), heat[0].shape)
    assert abs(y - 32) <= 2 and abs(x - 48) <= 2
    assert heat.max() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.06)


def test_a_network_of_slices_learns_what_is_flat():
    from scanward.bench.ct_hexmil import SliceNet, scaled

    torch.manual_seed(0)
    net, rng = SliceNet(), np.random.default_rng(0)
    logits, share, mean = net(torch.from_numpy(scaled(noise(0, (2, 96, 128))))[:, None])
    assert share.shape == (2, 2, 3) and mean.shape == (2, 256)
    np.testing.assert_allclose(share.detach().sum((1, 2)), 1, rtol=1e-5)
    made = torch.optim.Adam(net.parameters(), 1e-3)
    for step in range(12):
        planes = noise(step, (4, 96, 96))
        for plane in planes[:2]:
            y, x = rng.integers(10, 50, 2)
            plane[y:y + 30, x:x + 30] = -850
        logits, _, _ = net(torch.from_numpy(scaled(planes))[:, None])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 1, 0, 0]))
        made.zero_grad()
        loss.backward()
        made.step()
    assert float(loss.detach()) < 0.4


def test_a_box_is_the_smallest_around_what_is_true():
    where = np.zeros((4, 5, 6), bool)
    where[1, 2, 3] = where[2, 2, 5] = True
    assert box_of(where) == (slice(1, 3), slice(2, 3), slice(3, 6))
    assert box_of(np.zeros((2, 2, 2), bool)) == (slice(0, 0),) * 3


def scan(name="a"):
    mask = np.zeros((12, 16, 16), bool)
    mask[1:11, 3:13, 2:14] = True
    return Scan(name, Image(noise(0), "CT", SPACING), Lungs(mask, (1.0, 4.0, 4.0), (2.5, 4.0, 4.0)))


def test_a_forgery_is_made_once_and_comes_back_voxel_for_voxel(monkeypatch, tmp_path):
    made, one = [], scan()

    def forged(item, scan, data):
        made.append(item)
        pixels, truth = scan.image.pixels.copy(), np.zeros(scan.image.shape, bool)
        pixels[3:7, 20:30, 20:31] += 100
        truth[2:6, 20:30, 20:30] = True
        truth[2, 22:] = False  # a rim that is too thin to count
        return Image(pixels, "CT", SPACING), truth, 8.0

    monkeypatch.setattr(ct_changes, "forged", forged)
    item = Item("a", "ct-gan-b", 1)
    for _ in range(2):
        (change,) = changes([item], one, tmp_path)
        image, truth, _ = forged(item, one, None)
        made.pop()
        np.testing.assert_array_equal(change.applied(one.image).pixels, image.pixels)
        np.testing.assert_array_equal(change.mask(one.image.shape), truth)
        assert change.box == (slice(2, 7), slice(20, 30), slice(20, 31)) and change.diameter == 8
        assert list(change.depths()) == [3, 4, 5]
    assert made == [item]


def test_what_lies_beyond_the_lungs_window_is_left_out():
    one = scan()
    window = lung_window(one)
    assert window == (slice(1, 11), slice(12, 52), slice(8, 56))
    box = slice(0, 3), slice(50, 60), slice(10, 14)
    change = Change(Item("a", "x"), 8.0, box, np.full((3, 10, 4), 7, np.float32), np.ones((3, 10, 4), bool))
    made, box = within(change, one.image.pixels[window], window)
    assert box == (slice(0, 2), slice(38, 40), slice(2, 6))
    assert (made == 7).sum() == 2 * 2 * 4
    none, box = within(authentic(one), one.image.pixels[window], window)
    assert all(part.stop == part.start for part in box)
    np.testing.assert_array_equal(none, one.image.pixels[window])


def test_the_known_place_and_the_level_that_overlaps_best():
    heat, plain, truth = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32), np.zeros((2, 4, 4), bool)
    heat[0, 0, 0], heat[0, 0, 1], plain[0, 0, 0] = 4, 2, 1
    truth[0, 1, :4] = True
    assert places_of(heat, plain, truth) == (3.0, 0.5)
    assert places_of(heat, plain, np.zeros((2, 4, 4), bool)) is None
    answers = [Answer(row("a"), [], None, [], 0, []), Answer(row("a", "x"), [0.1, 0.3, 0.0], (1, 0), [], 0, []),
               Answer(row("a", "y"), [0.2, 0.1, 0.5], (1, 0), [], 0, [])]
    assert level_of(answers, np.array([1.0, 2.0, 3.0])) == 3.0  # .15, .2, .25


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_overlaps_at_many_levels_are_those_at_each(seed):
    rng = np.random.default_rng(seed)
    heat, truth = rng.integers(0, 5, (2, 3, 4)).astype(np.float32), rng.random((2, 6, 8)) < 0.3
    levels = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 9.0])
    large = heat.repeat(2, 1).repeat(2, 2)
    assert overlaps(heat, levels, truth) == pytest.approx([overlap(large, level, truth) for level in levels])


def row(name, attack="", score=0.0, peaks=(), number=0, diameter=0.0, overlap=0.0):
    return Row(Item(name, attack, number), "", score, "", diameter, list(peaks), overlap, 0.0)


def test_answers_are_kept_by_the_weights_that_gave_them(tmp_path):
    assert answers_of("npr", tmp_path) == tmp_path / "npr.jsonl"
    with pytest.raises(UnreadableError, match="train them first"):
        answers_of("hexmil", tmp_path)
    (tmp_path / "hexmil").mkdir()
    found = set()
    for content in (b"1", b"2"):
        (tmp_path / "hexmil" / "slices.safetensors").write_bytes(content)
        (tmp_path / "hexmil" / "scan.safetensors").write_bytes(b"")
        found.add(answers_of("hexmil", tmp_path))
    assert len(found) == 2
    assert answers_of("ct-self-reference", tmp_path) != answers_of("one-step", tmp_path)


class Middle:
    """Calls the middle of a scan forged, more so where something was."""

    levels = np.array([0.5, 1.5])
    begun = 0

    def begin(self, scan, window, lung):
        type(self).begun += 1
        self.lung = lung
        return self.said(1.0)

    def again(self, change):
        return self.said(2.0)

    def said(self, loud):
        heat = np.where(self.lung, np.float32(0.1), 0)
        heat[5, 10, 12] = loud
        return Said(heat, heat.max((1, 2)), loud)


def test_a_yardstick_is_chosen_on_one_split_held_to_the_other_and_goes_on(monkeypatch, tmp_path):
    rows = tuple(Thorax(name, split, "", "") for name, split in (("nsclc-lung1-001", "val"), ("b", "test")))
    monkeypatch.setattr(ct_baselines, "SCANS", rows)
    monkeypatch.setattr(ct_baselines, "read", lambda one, data: iter([scan(one.name)]))
    box = slice(5, 8), slice(30, 36), slice(30, 36)

    def some(items, scan, folder, data):
        return (Change(item, 8.0, box, np.zeros((3, 6, 6), np.float32), np.ones((3, 6, 6), bool)) for item in items)

    count = 1
    monkeypatch.setattr(ct_baselines, "changes", some)
    monkeypatch.setattr(ct_baselines, "wanted", lambda row: ct_changes.wanted(row)[:count])
    monkeypatch.setitem(ct_baselines.YARDSTICKS, "npr", lambda folder: Middle())
    monkeypatch.setattr(Middle, "begun", 0)
    answers = run("npr", None, tmp_path)
    assert [(one.row.item.scan, one.row.item.attack) for one in answers] == [
        ("nsclc-lung1-001", ""), ("nsclc-lung1-001", "ct-gan"), ("b", ""), ("b", "ct-gan-b")]
    forged = answers[3]
    assert forged.row.peaks[0] == (2.0, True) and forged.depths == [5, 6, 7] and forged.first == 1
    assert forged.row.overlap == pytest.approx(4 / 108)  # 2×2 pixels at the level of .5 or 1.5
    assert forged.slices[4] == pytest.approx(0.1) and forged.slices[5] == 2.0
    assert run("npr", None, tmp_path) == answers == list(kept(tmp_path / "npr.jsonl")) and Middle.begun == 2
    count = 2
    more = run("npr", None, tmp_path)
    assert more[:4] == answers and [one.row.item.number for one in more[4:]] == [1, 1]


def test_tables_count_slices_at_the_same_depth_and_at_any():
    calm = Answer(row("a", score=2, peaks=[(2.0, False), (1.0, False)]), [], None, [1.0, 3.0, 5.0], 10, [])
    loud = Answer(row("a", "ct-gan-b", 3, [(4.0, True), (2.0, False)], 1, 8.0, 0.5), [], (3.0, 2.0), [1.0, 4.0, 5.0],
                  10, [11])
    faint = Answer(row("a", "planted", 1, [(2.0, False)], 0, 5.0, 0.0), [], (1.0, 2.0), [2.0, 2.0, 2.0], 10, [11])
    chosen = Answer(row("nsclc-lung1-001", "ct-gan", 9, [(9.0, True)], 0, 5.0, 1.0), [1.0], (9.0, 0.0), [9.0], 0, [0])
    text = report({"npr": [chosen, calm, loud, faint]}, [calm.row, loud.row, row("a", "ct-gan", 9)])
    lines = {line.split(" | ")[0].strip("| "): [cell.strip() for cell in line.strip("|").split("|")]
             for line in text.splitlines()}
    first = next(line for line in text.splitlines() if line.startswith("| NPR"))
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[1] == "2" and cells[2].startswith(".500")  # 3 beats 2, 1 does not
    assert cells[3].startswith(".750")  # leads of 4 and 2 against 2
    assert cells[4].startswith("50.0 % (1/2;") and cells[5].startswith("50.0 % (1/2;") and cells[6].startswith(".250")
    assert cells[7].startswith(".500")  # 3 and 1 against 2 and 2
    assert "as it judges" in text and lines["8 mm"][1].startswith("1.000")  # 4 against 3
    slices = [line for line in text.splitlines() if line.startswith("| NPR")][1]
    cells = [cell.strip() for cell in slices.strip("|").split("|")]
    assert cells[1] == "2" and cells[2].startswith(".500")  # 4 and 2 against 3 and 3
    assert cells[3].startswith(".500")  # 4 beats 1 and 3, 2 beats 1: three of six
