"""The default detector: what its reference measures, and that every engine and every band gives the same answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward import weights
from scanward.detectors.self_reference import OfFilm, SelfReference
from scanward.detectors.self_reference import detect as module
from scanward.detectors.self_reference.film import EVEN, flat_ground, like_film
from scanward.detectors.self_reference.local import measure as local_measure
from scanward.detectors.self_reference.local import unevenness
from scanward.detectors.self_reference.reference import KERNELS, measure, pool
from scanward.detectors.self_reference.support import without_like
from scanward.errors import WeightsError
from scanward.image import Image

EVERYWHERE = np.ones((512, 512), bool)


def grainy(sigma_of, seed=0, size=512, low=40.0, high=4000.0):
    """A ramp with Gaussian grain whose σ depends on the level."""
    ramp = np.tile(np.linspace(low, high, size, dtype=np.float32), (size, 1))
    return (ramp + sigma_of(ramp) * np.random.default_rng(seed).standard_normal((size, size))).astype(np.float32)


@pytest.mark.parametrize("sigma_of", [lambda i: 0 * i + 7, lambda i: 0.6 * np.sqrt(i), lambda i: 2 + i / 200])
def test_grain_of_any_law_is_unit_grain_once_stabilised(sigma_of):
    plane = grainy(sigma_of)
    stabilised = measure(plane, EVERYWHERE).stabilise(plane)
    for columns in np.array_split(np.arange(16, 496), 6):
        residual = np.diff(stabilised[:, columns], axis=0) / np.sqrt(2)
        assert residual.std() == pytest.approx(1, abs=0.12)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(scale=st.floats(0.01, 20), shift=st.floats(-50, 5000))
def test_a_linear_change_of_the_scanners_scale_changes_nothing(scale, shift):
    plane = grainy(lambda i: 0.6 * np.sqrt(i))
    before = measure(plane, EVERYWHERE)
    moved = plane * np.float32(scale) + np.float32(shift)
    after = measure(moved, EVERYWHERE)
    assert np.allclose(after.gains, before.gains, rtol=0.02)
    assert np.abs(after.stabilise(moved) - before.stabilise(plane)).max() < 0.5


def test_a_forged_minority_hardly_moves_the_reference():
    plane = grainy(lambda i: 0 * i + 10)
    forged = plane.copy()
    forged[100:300, 100:300] = plane[100:300, 100:300].mean()
    ours, theirs = measure(plane, EVERYWHERE), measure(forged, EVERYWHERE)
    assert np.allclose(ours.gains, theirs.gains, rtol=0.2)


def test_a_flat_patch_does_not_pass_for_the_grain_of_its_level():
    plane = tissue(3)
    before = measure(plane, EVERYWHERE)
    plane[180:300, 220:340] = 2000
    after = measure(plane, EVERYWHERE)
    assert np.allclose(after.gains, before.gains, rtol=0.1)
    assert np.abs(after.stabilise(plane) - before.stabilise(plane)).max() < 2


def test_an_image_without_grain_has_no_reference():
    assert measure(np.full((512, 512), 9, np.float32), EVERYWHERE) is None
    assert measure(np.zeros((512, 512), np.float32), np.zeros((512, 512), bool)) is None


def test_residual_filters_see_neither_level_nor_slope():
    y, x = np.mgrid[:5, :5]
    for kernel in KERNELS:
        assert abs((kernel * (3 + 2 * x - 7 * y)).sum()) < 1e-5
        assert (kernel**2).sum() == pytest.approx(1)


def test_pool_by_hand():
    assert pool(np.array([[1, 3], [5, 7]], np.float32), 2).tolist() == [[4]]


def random_arrays(seed=0):
    import torch

    from scanward.detectors.self_reference.network import SelfReferenceNet

    torch.manual_seed(seed)
    net = SelfReferenceNet()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    return {k: v.numpy() for k, v in net.state_dict().items() if "num_batches" not in k}


def test_openvino_and_torch_give_the_same_logits(monkeypatch):
    arrays, rng = random_arrays(), np.random.default_rng(0)
    plane = rng.normal(0, 5, (208, 272)).astype(np.float32)
    gains = rng.uniform(0.5, 1.5, (15, 13, 17)).astype(np.float32)
    monkeypatch.setenv("SCANWARD_PRECISION", "f32")
    fast, plain = module._openvino(arrays)(plane, gains), module._torch(arrays)(plane, gains)
    assert fast.shape == (104, 136)
    assert np.abs(fast - plain).max() < 1e-4


def test_bands_equal_one_pass(monkeypatch):
    rng = np.random.default_rng(1)
    plane = grainy(lambda i: 0 * i + 10, size=512) + rng.normal(0, 1, (512, 512)).astype(np.float32)
    monkeypatch.setenv("SCANWARD_PRECISION", "f32")
    infer = module._openvino(random_arrays())
    reference = measure(plane, EVERYWHERE)
    monkeypatch.setattr(module, "ROWS", 512)
    whole = module.dense_logits(plane, EVERYWHERE, reference, infer)
    monkeypatch.setattr(module, "ROWS", 128)
    banded = module.dense_logits(plane, EVERYWHERE, reference, infer)
    inside = np.isfinite(whole)
    assert (inside == np.isfinite(banded)).all()
    assert np.abs(whole[inside] - banded[inside]).max() < 1e-2


def shipped():
    try:
        weights.entry("self-reference")
    except WeightsError:
        pytest.skip("self-reference does not ship")
    return SelfReference()


def tissue(seed, size=512, grain=25):
    """A smooth breast-like plane with film grain, 12 bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    smooth = 2000 + 600 * np.sin(y / 61 + seed) * np.cos(x / 47)
    return np.clip(np.rint(smooth + rng.normal(0, grain, (size, size))), 0, 4095).astype(np.float32)


def image_of(plane, bits=12):
    return Image(plane[None], "MG", spacing=(1.0, 0.1, 0.1), bits=bits)


def test_a_region_without_the_images_grain_is_found_where_it_is():
    plane = tissue(3)
    plane[200:280, 240:320] = tissue(3, grain=0)[200:280, 240:320]
    evidence = shipped().detect(image_of(plane))
    assert evidence.label == "tampered"
    _, y0, x0, _, y1, x1 = evidence.findings[0].box
    both = max(0, min(x1, 320) - max(x0, 240)) * max(0, min(y1, 280) - max(y0, 200))
    assert both / ((x1 - x0) * (y1 - y0) + 80 * 80 - both) > 0.5
    assert evidence.findings[0].box_mm == pytest.approx([0, y0 * 0.1, x0 * 0.1, 1, y1 * 0.1, x1 * 0.1])


def test_the_images_own_border_says_nothing():
    """Residual filters read padding there; a digitiser's last columns are no forgery."""
    plane = np.random.default_rng(0).normal(100, 5, (200, 312)).astype(np.float32)
    plane[:, -3:] = 180
    logits = SelfReference(random_arrays(), {}).look(plane).logits
    assert np.isneginf(logits[:, -module.RIM:]).all() and np.isneginf(logits[:, :module.RIM]).all()
    assert np.isneginf(logits[:module.RIM]).all() and np.isneginf(logits[-module.RIM:]).all()
    assert np.isfinite(logits[20:-20, 20:-20]).all()


def test_a_patch_painted_in_one_grey_is_found():
    plane = tissue(3)
    plane[200:280, 240:320] = 2000
    evidence = shipped().detect(image_of(plane))
    assert evidence.label == "tampered"
    assert evidence.heat[0, 240, 280] > 0.9


def test_grain_that_varies_over_the_breast_is_no_alarm_but_a_reason():
    """As a maker's processing makes it vary: in every other streak across the breast there is half of the grain."""
    y, x = np.mgrid[:512, :512]
    plane = np.where((x + y) // 64 % 2 == 0, tissue(3), tissue(3, grain=10))
    evidence = shipped().detect(image_of(plane))
    assert (evidence.label, evidence.score, evidence.findings) == ("inconclusive", 0, ())
    assert "5 % of the breast" in evidence.reason and not evidence.heat.any()


def test_a_place_brighter_than_all_else_is_no_alarm_but_a_reason():
    """The same smooth patch, once as bright as much else, once as bright as nothing else."""
    plane = tissue(3)
    plane[200:280, 240:320] = tissue(3, grain=0)[200:280, 240:320]
    assert shipped().detect(image_of(plane)).label == "tampered"
    plane[200:280, 240:320] += 1200
    evidence = shipped().detect(image_of(plane))
    assert (evidence.label, evidence.findings) == ("inconclusive", ())
    assert "hardly anything else in the breast is as bright" in evidence.reason
    plane[350:420, 100:170] = tissue(3, grain=0)[350:420, 100:170]
    evidence = shipped().detect(image_of(plane))
    assert evidence.label == "tampered", "another place has enough like it"
    assert all(finding.box[1] >= 340 for finding in evidence.findings)
    plane[200:280, 240:320], plane[10, 10] = 3400, 3600
    evidence = shipped().detect(image_of(plane))
    assert any(finding.box[1] < 300 for finding in evidence.findings), "one grey where grain would forbid it"


def test_without_like_by_hand():
    """A breast of 100 × 100 logits in two brightnesses, half and half, and a square of 20 × 20 in a third, loud in its
    middle."""
    plane = np.full((200, 200), 100.0, np.float32)
    plane[:, 100:] = 200
    logits = np.full((100, 100), -1.0, np.float32)
    logits[14:26, 14:26] = logits[60:80, 60:80] = 1
    plane[20:60, 20:60] = 300
    alone = without_like(plane, logits)
    assert alone[14:26, 14:26].all() and alone.sum() == 12**2
    plane[100:130, 20:70] = 300  # 15 × 25 logits, 3.75 % of the breast
    assert not without_like(plane, logits).any()
    assert not without_like(plane, np.full((100, 100), -1.0, np.float32)).any()


def logits_with(*regions):
    """A breast of 100 × 100 logits that are loud in the given (rows, columns)."""
    logits = np.full((120, 100), -np.inf, np.float32)
    logits[:100] = -1.0
    for region in regions:
        logits[region] = 0.1
    return logits


def test_grain_that_is_even_goes_to_the_network_of_film_and_other_grain_to_the_other():
    x = np.arange(512)
    even, processed = tissue(3), np.where(x < 256, tissue(3), tissue(3, grain=20))
    both, film, other = SelfReference(), OfFilm(), SelfReference(*weights.load("self-reference")[:1])
    assert np.array_equal(both.look(even).logits, film.look(even).logits)
    assert not np.array_equal(both.look(even).logits, other.look(even).logits)
    assert np.array_equal(both.look(processed).logits, other.look(processed).logits)
    said = both.detect(image_of(even)), both.detect(image_of(processed))
    assert said[0].threshold == said[1].threshold == weights.entry("self-reference").settings["threshold"]
    assert said[0].weights_sha256 == " ".join(weights.entry(name).sha256 for name
                                              in ("self-reference", "self-reference-film"))


def test_what_seems_strange_all_over_the_breast_is_shown_to_the_other_network(monkeypatch):
    plane, both = tissue(3), SelfReference()
    film, other = OfFilm().look(plane).logits, SelfReference(*weights.load("self-reference")[:1]).look(plane).logits
    asked = []

    def strange(logits):
        asked.append(logits)
        return len(asked) == 1

    monkeypatch.setattr(module, "widespread", strange)
    assert np.array_equal(both.look(plane).logits, other)
    assert np.array_equal(asked[0], film) and np.array_equal(asked[1], other)
    monkeypatch.setattr(module, "widespread", lambda logits: True)
    assert np.array_equal(both.look(plane).logits, film), "strange to both: the first one's word"


def scanned(seed, ground):
    """A breast of even grain, the left half of (512, 512), on a ground with noise of so many steps."""
    rng = np.random.default_rng(seed)
    plane = np.rint(rng.normal(100, ground, (512, 512)).clip(0)).astype(np.float32)
    plane[:, :256] = tissue(seed)[:, :256]
    return plane, np.arange(512)[None] < np.full((512, 1), 256)


@pytest.mark.parametrize(("ground", "film"), [(2.0, True), (0.5, True), (0.0, False)])
def test_even_grain_on_a_ground_without_noise_is_no_film(ground, film):
    plane, breast = scanned(4, ground)
    reference = local_measure(plane, breast)
    assert unevenness(reference, breast) < EVEN and like_film(plane, breast, reference) is film
    both, one = SelfReference(), OfFilm() if film else SelfReference(*weights.load("self-reference")[:1])
    assert np.array_equal(both.look_at(plane, breast, reference).logits, one.look_at(plane, breast, reference).logits)


def test_the_ground_by_hand():
    plane, breast = np.zeros((100, 100), np.float32), np.zeros((100, 100), bool)
    breast[:, :50] = True  # √5000 · .03: the ground begins 4 pixels beyond
    assert flat_ground(plane, breast) == 1
    plane[10, 80] = 1  # unlike those to the right and below, which it is the neighbour of for two others
    assert flat_ground(plane, breast) == pytest.approx(1 - 3 / (99 * 45))
    plane[:, :54] = np.arange(54)
    assert flat_ground(plane, breast) == pytest.approx(1 - 3 / (99 * 45))
    assert flat_ground(plane, ~np.zeros((100, 100), bool)) == 0, "no ground tells nothing"


def test_unevenness_by_hand():
    """Grain of 25 on one half and of 10 on the other, at one brightness: logarithms half of log 2.5 off their mean."""
    plane = 2000 + np.random.default_rng(2).normal(0, 1, (512, 512)).astype(np.float32) * 25
    assert unevenness(local_measure(plane, EVERYWHERE), EVERYWHERE) < 0.04
    plane[:, 256:] = 2000 + (plane[:, 256:] - 2000) * 0.4
    assert unevenness(local_measure(plane, EVERYWHERE), EVERYWHERE) == pytest.approx(np.log(2.5) / 2, rel=0.25)
    assert unevenness(measure(plane, EVERYWHERE), EVERYWHERE) == 0, "one curve is even"


def test_a_score_on_another_threshold_by_hand():
    settings = {"slopes": [0, 1, 0, 0], "offset": 0.0, "threshold": 0.5, "heat_offset": 2.0}
    moved = module.with_threshold(settings, 0.8)
    assert moved["threshold"] == 0.8 and moved["heat_offset"] == 2.0
    assert module.image_score((9, 0, 9, 9), moved) == pytest.approx(0.8)
    assert module.image_score((0, np.log(3), 0, 0), moved) == pytest.approx(12 / 13), "odds of 3 times 4"


@pytest.mark.parametrize(("regions", "verdict"), [
    ([np.s_[0:60, 0:100]], False), ([np.s_[0:61, 0:100]], True), ([np.s_[0:20, 0:100], np.s_[30:50, 0:100]], False),
    ([np.s_[0:5, 0:60], np.s_[5:60, 0:5]], True), ([np.s_[0:5, 0:50], np.s_[5:50, 0:5]], False),
    ([np.s_[0:5, 0:50], np.s_[5:50, 0:5], np.s_[60:90, 0:90]], False), ([], False)],
    ids=["three fifths in one", "more than that", "two compact ones", "an L of more than a twentieth",
         "an L of less", "and a compact one beside it", "nothing"])
def test_more_than_a_twentieth_outside_compact_regions_is_too_much(regions, verdict):
    assert module.widespread(logits_with(*regions)) is verdict


@pytest.mark.parametrize("shape", [(64, 64), (65, 101), (300, 64), (511, 513)])
def test_odd_shapes_give_heat_of_their_own_shape(shape):
    plane = tissue(5, 520)[:shape[0], :shape[1]]
    assert shipped().detect(image_of(plane)).heat.shape == (1, *shape)


def test_too_small_is_inconclusive_and_says_why():
    evidence = shipped().detect(image_of(tissue(6)[:40, :40]))
    assert evidence.label == "inconclusive"
    assert "smaller" in evidence.reason


def test_windows_grow_with_the_breast_as_pixels_get_finer():
    def loudest(side):
        logits = np.full((1300, 1300), -np.inf, np.float32)
        logits[:side, :side] = -6.0
        logits[90:105, 90:105] = 4.0  # 30 pixels: 6 mm of a breast of 300 logits a side, 1.5 mm of one of 1,200
        return module.peaks(logits)

    coarse, fine = loudest(300), loudest(1200)
    assert coarse == loudest(200), "a part of a film is none of coarser pixels"
    assert coarse[:2] == pytest.approx((4.0, 4.0))
    assert fine[0] == pytest.approx(-6 + 10 * 15**2 / 21**2, abs=1e-4)
    assert fine[1] == pytest.approx(-6 + 10 * 15**2 / 37**2, abs=1e-4)


def test_the_header_has_no_say():
    plane = tissue(3)
    plane[200:280, 240:320] = tissue(3, grain=0)[200:280, 240:320]
    said = [shipped().detect(Image(plane[None], "MG", spacing=spacing, bits=12)).score
            for spacing in (None, (1.0, 0.05, 0.05), (1.0, 0.2, 0.2))]
    assert said[0] == said[1] == said[2]
