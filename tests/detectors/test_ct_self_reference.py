"""The CT detector on a chest whose noise is known, and its parts against answers worked out by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from scanward.anatomy.airways import lungs_alone
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import dense_logits, features_of, heat_of, peaks, pooled, unfit
from scanward.detectors.ct_self_reference.network import CtSelfReferenceNet
from scanward.detectors.ct_self_reference.reference import (
    ACROSS,
    CHANNELS,
    MIXTURE,
    SCALES,
    Reference,
    measure,
    residuals,
    stack,
)
from scanward.detectors.ct_self_reference.train import sample
from scanward.detectors.self_reference.reference import CLIP
from scanward.errors import UnjudgedError
from scanward.image import Image
from scanward.judging.scan import scan


def chest(seed=0, noise=25.0, spacing=(2.5, 0.8, 0.8), depth=20, side=256):
    """Lungs with vessels under noise as a reconstruction leaves it."""
    rng = np.random.default_rng(seed)
    _, y, x = np.mgrid[:depth, :side, :side]
    middle = side / 2
    plane = np.where(np.hypot((y - middle) / (0.44 * side), (x - middle) / (0.47 * side)) < 1, 40.0, -1000.0)
    for centre in (0.28 * side, 0.72 * side):
        plane = np.where(np.hypot((y - middle) / (0.3 * side), (x - centre) / (0.15 * side)) < 1, -850.0, plane)
    lung = plane == -850
    texture = ndimage.gaussian_filter(rng.standard_normal(plane.shape), (1, 3, 3))
    plane = plane + lung * np.clip(texture / texture.std() - 1.8, 0, 2) * 300
    grain = ndimage.gaussian_filter(rng.standard_normal(plane.shape), (0, 0.6, 0.6))
    return Image(np.rint(plane + noise * grain / grain.std()).astype(np.float32), "CT", spacing)


def smoothed(image, centre=(10, 128, 72), radius=12):
    """A ball of the lung without its noise."""
    z, y, x = np.mgrid[:image.shape[0], :image.shape[1], :image.shape[2]]
    inside = np.sqrt(((z - centre[0]) * 2.5 / 0.8) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) < radius
    calm = np.rint(ndimage.gaussian_filter(image.pixels, (0, 1.2, 1.2)))
    return dataclasses.replace(image, pixels=np.where(inside, calm, image.pixels).astype(np.float32)), inside


def logits_of(image):
    lungs = lungs_alone(image)
    reference = measure(image.pixels, lungs, image.spacing)
    return dense_logits(image, lungs, reference, CtSelfReference().infer)


def test_the_reference_gives_noise_unit_variance_whatever_the_dose():
    for noise in (10.0, 60.0):
        image = chest(noise=noise)
        lungs = lungs_alone(image)
        reference = measure(image.pixels, lungs, image.spacing)
        planes = reference.stabilise(stack(image.pixels, 10))
        own = residuals(planes)[0][0] * reference.gains[0]
        inside = np.zeros(image.shape[1:], bool)
        inside[100:156, 60:84] = True
        calm = np.abs(own[inside])
        assert 1.4826 * np.median(calm) == pytest.approx(1, abs=0.25)


def test_expected_noise_follows_the_place():
    image = chest()
    y = np.mgrid[:256, :256][0]
    louder = dataclasses.replace(image, pixels=np.rint(
        image.pixels + np.random.default_rng(1).normal(0, 1, image.shape) * 60 * (y / 256)).astype(np.float32))
    lungs = lungs_alone(louder)
    reference = measure(louder.pixels, lungs, louder.spacing)
    gains = reference.gains_at(louder.pixels[10], 10)
    assert gains.shape == (CHANNELS, 32, 32)
    assert (gains > 0).all()


def test_one_convolution_is_all_the_residuals():
    planes = np.random.default_rng(2).standard_normal((3, 32, 48)).astype(np.float32)
    edges = np.pad(planes, [(0, 0), (2, 2), (2, 2)], mode="edge")
    whole = torch.nn.functional.conv2d(torch.from_numpy(edges)[None], torch.from_numpy(MIXTURE))[0].numpy()
    assert np.allclose(residuals(planes)[0], whole, atol=1e-5)


def test_the_graph_is_the_network():
    from scanward.detectors.ct_self_reference.graph import build

    torch.manual_seed(3)
    net = CtSelfReferenceNet().eval()
    rng = np.random.default_rng(3)
    planes = rng.standard_normal((1, 3, 64, 96)).astype(np.float32)
    gains = rng.uniform(0.5, 2, (1, CHANNELS, 8, 12)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(planes), torch.from_numpy(gains)).numpy()
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    assert np.abs(build(arrays)(planes, gains)[0] - expected).max() < 1e-4


def test_what_a_gain_of_nothing_leaves_out_is_not_seen():
    net = CtSelfReferenceNet().eval()
    planes = torch.randn(1, 3, 32, 32)
    gains = torch.ones(1, CHANNELS, 4, 4)
    gains[:, list(ACROSS)] = 0
    other = planes.clone()
    other[:, [0, 2]] = torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        assert torch.equal(net(planes, gains), net(other, gains))
        assert max(float(part.abs().max()) for part in net.residuals(planes, gains)) <= CLIP


@pytest.mark.parametrize("turn", range(16))
def test_a_turned_sample_has_the_turned_scans_residuals(turn):
    rng = np.random.default_rng(turn)
    planes = rng.standard_normal((3, 64, 64)).astype(np.float32)
    gains = rng.uniform(0.5, 2, (CHANNELS, 8, 8)).astype(np.float32)
    gains[:] = gains[:, :1, :1]
    mask = np.zeros((64, 64), bool)
    mask[8:24, 30:40] = True
    straight, own, target = sample(planes, gains, mask, (0, 0), 64, 0, False)
    turned, others, marked = sample(planes, gains, mask, (0, 0), 64, turn, False)

    def energy(part, gain):
        return np.sort([np.square(raw * g[0, 0]).mean() for scale, both in enumerate(residuals(part))
                        for raw, g in zip(both, gain[scale * 8:(scale + 1) * 8], strict=True)])

    assert np.allclose(energy(straight, own), energy(turned, others), rtol=1e-3)
    assert (marked == 1).sum() == (target == 1).sum()


def test_a_ball_without_its_noise_is_the_loudest_place():
    image = chest()
    forged, inside = smoothed(image)
    before, after = logits_of(image), logits_of(forged)
    values, places = peaks(pooled(after, image.spacing, 7.0), image.spacing)
    assert inside[:, ::2, ::2][tuple(places[0])]
    assert values[0] > peaks(pooled(before, image.spacing, 7.0), image.spacing)[0][0] + 2
    evidence = CtSelfReference().detect(forged)
    assert evidence.heat.shape == image.shape and evidence.heat.dtype == np.float32
    assert inside[np.unravel_index(int(evidence.heat.argmax()), image.shape)]


def test_peaks_are_apart_and_loudest_first():
    volume = np.full((20, 60, 60), -6.0, np.float32)
    volume[5, 10, 10], volume[5, 12, 12], volume[15, 50, 50] = 3.0, 2.0, 2.5
    values, places = peaks(volume, (2.0, 1.0, 1.0))
    assert values.tolist() == [3.0, 2.5]
    assert places.tolist() == [[5, 10, 10], [15, 50, 50]]


def test_features_tell_one_loud_place_from_many():
    one = np.full((20, 120, 120), -4.0, np.float32)
    one[5:12, 10:20, 10:20] = 4
    many = one.copy()
    for y in (40, 70, 100):
        for x in (10, 60):
            many[5:12, y:y + 10, x:x + 10] = 4
    alone, among = features_of(one, (2.0, 0.8, 0.8)), features_of(many, (2.0, 0.8, 0.8))
    assert alone[2] == among[2] == pytest.approx(4, abs=1e-3)
    assert alone[3] > among[3] + 5


def test_heat_is_nothing_outside_the_lungs():
    logits = np.full((8, 20, 20), -np.inf, np.float32)
    logits[3, 5:10, 5:10] = 5.0
    image = Image(np.zeros((8, 39, 40), np.float32), "CT", (5.0, 1.0, 1.0))
    heat = heat_of(logits, image, {})
    assert heat.shape == (8, 39, 40)
    assert heat[3, 14, 14] > 0.9 and heat[2].max() == 0 and heat[3, 30:].max() == 0


@pytest.mark.parametrize(("change", "says"), [
    ({"spacing": None}, "how large a voxel is"), ({"depth": 7, "spacing": (4.0, 0.8, 0.8)}, "too little"),
    ({"spacing": (2.5, 5.0, 5.0)}, "correct the header"), ({"spacing": (2.5, 0.8, 1.2)}, "correct the header"),
    ({"spacing": (4.0, 1.9, 1.9), "depth": 48}, "litres"), ({"spacing": (5.0, 0.8, 0.8)}, "5 mm apart"),
    ({"spacing": (0.8, 0.8, 0.8), "depth": 40}, "cubes")])
def test_what_cannot_be_judged_says_why(change, says):
    image = chest(**{name: value for name, value in change.items() if value is not None})
    evidence = CtSelfReference().detect(dataclasses.replace(image, spacing=change["spacing"]))
    assert evidence.label == "inconclusive" and says in evidence.reason and evidence.concerned
    assert not evidence.findings and not evidence.heat.any()


@pytest.mark.parametrize("value", [40.0, -1000.0])
def test_a_ct_without_lungs_does_not_concern_it_and_counts_as_unscanned(value, tmp_path):
    image = Image(np.full((12, 96, 96), value, np.float32), "CT", (2.5, 0.8, 0.8))
    assert not CtSelfReference().detect(image).concerned
    with pytest.raises(UnjudgedError, match="shows no lungs"):
        scan(image)


@pytest.mark.parametrize(("slices", "says"), [(1, "is a single slice of"), (7, "is 7 slices of")])
def test_too_few_slices_are_not_said_to_show_no_lungs(slices, says):
    with pytest.raises(UnjudgedError, match=rf"{says} a CT volume, too few to tell whether they show lungs"):
        scan(Image(np.full((slices, 96, 96), -850, np.float32), "CT", (1.0, 0.8, 0.8)))


def test_a_scan_without_noise_is_no_reference_for_itself():
    image = chest(noise=25.0)
    still = np.where(image.pixels > -500, 40.0, np.where(lungs_like(image), -850.0, -1000.0)).astype(np.float32)
    evidence = CtSelfReference().detect(dataclasses.replace(image, pixels=still))
    assert evidence.label == "inconclusive" and "noise" in evidence.reason


def lungs_like(image):
    lungs = lungs_alone(image)
    return np.stack([np.kron(plane, np.ones((4, 4))) for plane in lungs.mask]).astype(bool)[:, :256, :256] \
        if lungs.mask.shape[1] * 4 >= 256 else np.ones(image.shape, bool)


def test_engines_agree(monkeypatch):
    image, _ = smoothed(chest(seed=4))
    found = []
    for engine in ("openvino", "torch"):
        monkeypatch.setenv("SCANWARD_ENGINE", engine)
        monkeypatch.setenv("SCANWARD_PRECISION", "f32")
        found.append(CtSelfReference().detect(image))
    assert found[0].score == pytest.approx(found[1].score, abs=1e-4)
    assert np.abs(found[0].heat - found[1].heat).max() < 1e-3


def test_unfit_says_nothing_of_an_ordinary_scan():
    assert unfit(chest(), lungs_alone(chest())) == ""
    assert SCALES == (1, 2) and isinstance(measure(chest().pixels, lungs_alone(chest()), (2.5, 0.8, 0.8)), Reference)
