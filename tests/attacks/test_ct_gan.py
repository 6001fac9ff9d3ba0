"""CT-GAN: the geometry by hand, the whole attack against another implementation, gradients, and refusals."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from forging import chest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scanward.attacks.base import Lesion
from scanward.attacks.ct_diffusion import CtDiffusion, CtDiffusionRemove
from scanward.attacks.ct_diffusion import network as denoiser
from scanward.attacks.ct_gan import CtGan, CtGanB, CtGanBRemove, CtGanPlain, CtGanPlainB, CtGanRemove
from scanward.attacks.ct_gan.attack import check_lesion
from scanward.attacks.ct_gan.cube import REACH, Equaliser, repaired, window
from scanward.attacks.ct_gan.network import PRESETS, Generator, Widths, hole, wanted
from scanward.attacks.ct_gan.shape import shape_of
from scanward.attacks.ct_gan.tamper import Forger, tampered
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.nets.cube import Cuboid, cuboid_of, cut, spread

SPACING = (2.5, 0.7, 0.8)
CURVE = Equaliser(torch.tensor([-1000.0, -800.0, 0.0, 2000.0]), torch.tensor([-0.5, 0.1, 0.4, 0.5]))


def ramp(shape=(30, 70, 60)):
    z, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]].astype(np.float32)
    return 3 * z - 2 * y + 0.5 * x - 700


def lung(shape=(30, 70, 60), seed=0):
    noise = np.random.default_rng(seed).normal(0, 60, shape)
    return np.rint(ndimage.gaussian_filter(noise, 0.7) * 3 - 850).astype(np.float32)


def params(**more):
    return {"centre": [14.3, 33.6, 29.2], "spacing": list(SPACING), "diameter_mm": 10.0, "voxel": 1.0, "density": 0.3,
            "noise": "none", "strength": 1.0, "seed": 5, **more}


def paint(level, asked, noise):
    """A generator whose answer is known: a bright blob where it is asked for, and something of the noise."""
    mask = hole(level)
    return torch.where(mask > 0, (0.7 * asked[:, :1] - 0.4 + 0.01 * noise).clamp(-0.5, 0.5), level)


def test_a_cube_of_a_ramp_is_the_ramp_itself():
    cuboid = Cuboid((14.0, 33.0, 29.0), SPACING, 1.0)
    cube = cut(torch.from_numpy(ramp()), cuboid)[0, 0]
    mm = np.arange(32) - 15.5
    z, y, x = np.meshgrid(14 + mm / 2.5, 33 + mm / 0.7, 29 + mm / 0.8, indexing="ij")
    assert np.allclose(cube.numpy(), 3 * z - 2 * y + 0.5 * x - 700, atol=2e-3)


def test_and_comes_back_as_it_was():
    scan, cuboid = torch.from_numpy(ramp()), Cuboid((14.3, 33.6, 29.2), SPACING, 1.0)
    box = cuboid.box(tuple(scan.shape), REACH)
    assert [(s.start, s.stop) for s in box] == [(10, 20), (17, 51), (15, 45)]
    assert torch.allclose(spread(cut(scan, cuboid), cuboid, box), scan[box], atol=2e-3)


def test_beyond_the_scan_its_border_goes_on():
    cube = cut(torch.from_numpy(ramp()), Cuboid((0.0, 0.0, 0.0), SPACING, 1.0))[0, 0]
    assert torch.all(cube[:15, :15, :15] == -700)


@pytest.mark.parametrize(("diameter", "side"), [(4, 32), (16, 32), (24, 48), (30, 60)])
def test_large_lesions_get_a_large_cuboid(diameter, side):
    assert 32 * cuboid_of((0, 0, 0), (1, 1, 1), diameter).voxel == pytest.approx(side)


@given(st.floats(-1000, 2000))
@settings(max_examples=60, deadline=None)
def test_equalising_has_an_inverse(hu):
    level = CURVE.forward(torch.tensor([hu], dtype=torch.float64).float())
    assert -0.5 <= float(level) <= 0.5
    assert float(CURVE.inverse(level)) == pytest.approx(hu, abs=0.05)


def test_equalising_by_hand():
    assert CURVE.forward(torch.tensor([-2000.0, -900.0, -400.0, 3000.0])).tolist() == pytest.approx(
        [-0.5, -0.2, 0.25, 0.5])


def test_metal_is_repaired_from_its_surroundings_and_nothing_is_darker_than_air():
    cube = torch.full((1, 1, 32, 32, 32), -800.0)
    cube[..., 16, 16, 16], cube[..., 3, 3, 3] = 3000.0, -1400.0
    made = repaired(cube)
    assert float(made[..., 16, 16, 16]) == pytest.approx((124 * -800 + 3000) / 125, abs=1e-3)
    assert float(made[..., 3, 3, 3]) == -1000


def test_the_window_is_whole_on_what_was_painted_and_gone_at_the_border():
    cuboid = Cuboid((30, 30, 30), (1, 1, 1), 1.0)
    weight = window(cuboid, (slice(18, 43),) * 3)
    assert torch.all(weight[3:22, 3:22, 3:22] == 1)
    assert float(weight[0].max()) < 0.001
    assert torch.all(weight >= 0)


def other(scan, drawn, inject):
    """The attack once more, in NumPy and SciPy."""
    centre, voxel = np.array(drawn["centre"]), drawn["voxel"]
    steps = np.array(drawn["spacing"])
    axes = [c + (np.arange(32) - 15.5) * voxel / s for c, s in zip(centre, steps, strict=True)]
    cube = ndimage.map_coordinates(scan, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest").clip(-1000, 2000)
    hu, levels = (t.numpy().astype(float) for t in (CURVE.hu, CURVE.level))
    level = np.interp(cube, hu, levels)
    inside = np.zeros(cube.shape, bool)
    inside[6:26, 6:26, 6:26] = True
    noise = np.random.default_rng(drawn["seed"]).standard_normal((1, 1, 32, 32, 32), np.float32)[0, 0]
    ball = shape_of(drawn["diameter_mm"] / voxel, drawn["seed"]) if inject else 0
    made = np.where(inside, np.clip(0.7 * ball - 0.4 + 0.01 * noise, -0.5, 0.5), level)
    painted = np.interp(made, levels, hu).clip(-1000, 2000)
    if inject:
        dense = np.maximum(ball * (500 * drawn["density"] - 300) + (1 - ball) * cube, cube)
        painted += max(0.0, float(((dense - painted) * ball).sum() / (ball**3).sum())) * ball**2
    beyond = np.linalg.norm(np.mgrid[:32, :32, :32] - 15.5, axis=0) - 0.6 * drawn["diameter_mm"] / voxel - 1
    if inject and "extent" in drawn:
        top = max(60, 500 * drawn["density"] - 300) + 30
        painted = np.where(painted > top, top + 50 * np.tanh((painted - top) / 50), painted)
        assert ndimage.label(ball >= 0.5)[1] == 1
        beyond = ndimage.distance_transform_edt(ball < 0.5) - 0.5
    half = 12 * voxel / steps
    box = tuple(slice(max(0, int(np.ceil(c - h))), min(n, int(np.floor(c + h)) + 1))
                for c, h, n in zip(centre, half, scan.shape, strict=True))
    back = [(np.arange(b.start, b.stop) - c) * s / voxel + 15.5 for b, c, s in zip(box, centre, steps, strict=True)]
    painted = ndimage.map_coordinates(painted, np.meshgrid(*back, indexing="ij"), order=1, mode="nearest")
    away = [np.abs(np.arange(b.start, b.stop) - c) * s for b, c, s in zip(box, centre, steps, strict=True)]
    fall = [0.5 + 0.5 * np.cos(np.pi * np.clip((a - 9.5 * voxel) / (2.5 * voxel), 0, 1)) for a in away]
    weight = fall[0][:, None, None] * fall[1][:, None] * fall[2]
    if "extent" in drawn:
        rim = 0.5 + 0.5 * np.cos(np.pi * np.clip((beyond - 0.5) / 2, 0, 1))
        weight *= ndimage.map_coordinates(rim, np.meshgrid(*back, indexing="ij"), order=1, mode="nearest")
    original = scan[box]
    if not inject:
        return box, weight * painted + (1 - weight) * original
    share = weight / (1 + np.exp(-(painted + 700) / 70))
    made = np.maximum(share * painted + (1 - share) * original, original)
    if "extent" in drawn:
        labels, _ = ndimage.label(made - original >= 40)
        largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
        about = ndimage.binary_dilation(labels == largest, ndimage.generate_binary_structure(3, 2))
        made = np.where(about & np.isin(labels, (0, largest)), made, original)
    return box, made


@pytest.mark.parametrize("inject", [True, False])
@pytest.mark.parametrize("more", [{}, {"centre": [2.0, 5.5, 50.0]}, {"diameter_mm": 24.0, "voxel": 1.5},
                                  {"extent": "lesion"}, {"extent": "lesion", "diameter_mm": 24.0, "voxel": 1.5}])
def test_the_attack_equals_another_implementation_within_one_hu(inject, more):
    scan, drawn = lung(), params(**more)
    box, made = tampered(torch.from_numpy(scan), drawn, Forger(paint, CURVE, inject))
    expected_box, expected = other(scan.astype(float), drawn, inject)
    assert box == expected_box
    assert np.abs(made.numpy() - expected).max() < 1
    assert np.abs(made.numpy() - scan[box]).max() > 100


@pytest.mark.parametrize("inject", [True, False])
def test_at_zero_strength_no_voxel_changes(inject):
    scan = lung()
    box, made = tampered(torch.from_numpy(scan), params(strength=0.0), Forger(paint, CURVE, inject))
    assert np.array_equal(made.numpy(), scan[box])


@pytest.mark.parametrize("asked", [0, 150])
def test_a_nodule_is_as_dense_as_asked_though_the_generator_paints_it_too_faint(asked):
    scan, drawn = np.full((40, 40, 40), -850, np.float32), params(centre=[20.0] * 3, spacing=[1.0] * 3,
                                                                  density=(asked + 300) / 500)
    box, made = tampered(torch.from_numpy(scan), drawn, Forger(lambda level, *_: level, CURVE, True))
    assert made[0].max() < -800
    scan[box] = made.numpy()
    inside = cut(torch.from_numpy(scan), Cuboid((20.0,) * 3, (1.0,) * 3))[0, 0].numpy()
    shape = shape_of(drawn["diameter_mm"], drawn["seed"])
    composed = shape * asked - (1 - shape) * 850
    assert np.average(inside, weights=shape) == pytest.approx(np.average(composed, weights=shape), abs=60)


@pytest.mark.parametrize("inject", [True, False])
@pytest.mark.parametrize("noise", ["none", "copied"])
@pytest.mark.parametrize("more", [{}, {"extent": "lesion"}])
def test_gradients_are_those_of_finite_differences(inject, noise, more):
    torch.manual_seed(0)
    net = Generator(Widths((8, 8, 16, 16))).eval().requires_grad_(False).double()  # gradients know no width

    def complete(level, asked, chance):
        return net(level, asked.double(), chance.double())

    curve = Equaliser(CURVE.hu.double(), CURVE.level.double())
    drawn = params(noise=noise, noise_from=[12.0, 30.0, 25.0], **more)
    scan = torch.from_numpy(lung().astype(float) + 0.37).requires_grad_()
    forger = Forger(complete, curve, inject)
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal(scan.shape))

    def total(of):
        box, made = tampered(of, drawn, forger)
        return (made * weights[box]).sum()

    (gradient,) = torch.autograd.grad(total(scan), scan)
    assert torch.count_nonzero(gradient) > 1000
    rng = np.random.default_rng(2)
    direction = torch.from_numpy(rng.standard_normal(scan.shape))
    with torch.no_grad():
        slope = (total(scan + 1e-4 * direction) - total(scan - 1e-4 * direction)) / 2e-4
    assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=0.02)


def test_only_what_lies_in_the_hole_is_asked_of_the_generator():
    net = Generator(PRESETS["narrow"]).eval()
    cube = torch.rand(1, 1, 32, 32, 32) - 0.5
    known = cube * (1 - hole(cube))
    asked = wanted(torch.zeros(1, 1, 32, 32, 32), torch.zeros(1))
    made = net(known, asked, torch.zeros_like(cube))
    assert torch.equal(made * (1 - hole(cube)), known)
    assert float(made.detach().abs().max()) <= 0.5


@pytest.mark.parametrize("diameter", [5.0, 10.0, 16.0])
def test_shapes_have_the_volume_of_their_ball_and_differ_by_seed(diameter):
    first, again, second = (shape_of(diameter, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert (first >= 0.5).sum() == pytest.approx(np.pi / 6 * diameter**3, rel=0.1)


@pytest.mark.parametrize("kind", [CtGan, CtGanRemove])
def test_the_shipped_attacks_replay_and_touch_nothing_outside_their_cuboid(kind):
    host, attack = chest(), kind()
    drawn = attack.draw(host, Lesion((12, 60, 35), 10.0), np.random.default_rng(0))
    drawn = json.loads(json.dumps(drawn))
    patch = attack.apply(host, drawn)
    box, values, mask = patch.box.slices, patch.values, patch.mask
    again = kind().apply(host, drawn)
    assert np.array_equal(values, again.values)
    assert np.array_equal(values, np.rint(values))
    assert all((s.stop - 1 - s.start) * 2.5 <= 24 for s in box)
    assert mask.any()
    if kind is CtGan:
        assert (values >= host.pixels[box]).all()
        assert values[mask].mean() > host.pixels[box][mask].mean() + 100


def busy():
    """The chest with vessels of 60 HU through the lung, none within 7.5 mm of the place (12, 60, 35)."""
    host = chest()
    for y, x in ((56, 35), (64, 35), (60, 31), (60, 39), (55, 30), (65, 40)):
        host.pixels[:, y, x] = 60
    return host


@pytest.mark.parametrize("kind", [CtGan, CtGanB, CtGanPlain, CtGanPlainB, CtDiffusion])
def test_a_nodule_is_one_piece_that_ends_at_its_rim(kind, monkeypatch):
    monkeypatch.setattr(denoiser, "STEPS", 2)
    host, lesion = busy(), Lesion((12, 60, 35), 6.0)
    for seed in range(3):
        patch = kind().apply(host, kind().draw(host, lesion, np.random.default_rng(seed)))
        change = np.zeros(host.shape, np.float32)
        change[patch.box.slices] = patch.values - host.pixels[patch.box.slices]
        away = 2.5 * np.linalg.norm(np.mgrid[:24, :120, :120] - np.reshape(lesion.centre, (3, 1, 1, 1)), axis=0)
        assert change.max() > 100 and not change[away > 2 * 3.0 + 3].any()
        assert ndimage.label(patch.mask)[1] == 1
        mask = np.zeros(host.shape, bool)
        mask[patch.box.slices] = patch.mask
        assert not (change[~mask] > 40).any()
    cuboid = kind(extent="cuboid")
    patch = cuboid.apply(host, cuboid.draw(host, lesion, np.random.default_rng(0)))
    assert np.count_nonzero(patch.values - host.pixels[patch.box.slices]) > 2 * np.count_nonzero(change)


@pytest.mark.parametrize("kind", [CtGanRemove, CtGanBRemove, CtDiffusionRemove])
def test_a_removal_ends_beyond_the_nodule(kind, monkeypatch):
    monkeypatch.setattr(denoiser, "STEPS", 2)
    host, lesion = busy(), Lesion((12, 60, 35), 6.0)
    patch = kind().apply(host, kind().draw(host, lesion, np.random.default_rng(0)))
    away = np.linalg.norm(np.stack(np.meshgrid(*(
        2.5 * (np.arange(s.start, s.stop) - c) for s, c in zip(patch.box.slices, lesion.centre, strict=True)),
        indexing="ij")), axis=0)
    change = np.abs(patch.values - host.pixels[patch.box.slices])
    assert change[away < 3].max() > 5 and not change[away > 1.2 * 3 + 1 + 2.5 + 1].any()
    assert ndimage.label(patch.mask)[1] == 1 and not patch.mask[away > 9].any()


@pytest.mark.parametrize(("asked", "most"), [(None, 150), (40, 150), (400, 490)])
def test_no_nodule_shows_calcium_that_was_not_asked_for(asked, most):
    host, attack = chest(), CtGan(noise="none", density=asked)
    for seed in range(8):
        drawn = attack.draw(host, Lesion((12, 60, 35), 9.0), np.random.default_rng(seed))
        patch = attack.apply(host, drawn)
        inside = patch.values[patch.mask]
        assert inside.max() <= most
    if asked == 400:
        assert inside.max() > 300


def test_after_an_attack_gradients_still_go_through_it():
    host, attack = chest(), CtGan()
    drawn = attack.draw(host, Lesion((12, 60, 35), 10.0), np.random.default_rng(0))
    attack.apply(host, drawn)
    scan = torch.from_numpy(host.pixels).requires_grad_()
    tampered(scan, drawn, attack.forger)[1].sum().backward()
    assert torch.count_nonzero(scan.grad) > 1000


def test_the_number_of_threads_changes_nothing():
    host = chest()
    drawn = CtGanRemove().draw(host, Lesion((12, 60, 35), 10.0), np.random.default_rng(0))
    before, made = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(CtGanRemove().apply(host, drawn).values)
    torch.set_num_threads(before)
    assert np.array_equal(*made)


def test_values_are_those_that_the_file_can_hold():
    host = dataclasses.replace(chest(), grid=(2.0, -1024.0, 7166.0))
    host = dataclasses.replace(host, pixels=(2 * np.rint(host.pixels / 2)).clip(-1024).astype(np.float32))
    for kind in (CtGan, CtGanRemove):
        attack = kind()
        values = attack.apply(host, attack.draw(host, Lesion((12, 60, 35), 12.0), np.random.default_rng(1))).values
        assert values.min() >= -1024
        assert np.array_equal(values, 2 * np.rint(values / 2))


def test_strength_scales_the_change():
    host = chest()
    attack = CtGan(noise="none", density=50)
    changes = []
    for strength in (1.0, 0.5):
        drawn = attack.draw(host, Lesion((12, 60, 35), 10.0), np.random.default_rng(0), strength=strength)
        patch = attack.apply(host, drawn)
        changes.append(patch.values - host.pixels[patch.box.slices])
    assert np.abs(changes[1] - 0.5 * changes[0]).max() <= 1


@pytest.mark.parametrize(("centre", "diameter", "word"), [
    ((12, 60, 500), 10, "outside"), ((-1, 60, 30), 10, "outside"), ((float("nan"), 60, 30), 10, "outside"),
    ((12, 60, 35), 2, "cannot be made"), ((12, 60, 35), 40, "cannot be made")])
def test_places_that_cannot_be(centre, diameter, word):
    with pytest.raises(ArgumentError, match=word):
        check_lesion(chest(), Lesion(centre, diameter))


def test_what_is_no_volume():
    film = Image(np.zeros((1, 100, 100), np.float32), "MG", (1, 0.1, 0.1))
    with pytest.raises(UnsupportedError, match="no CT volume"):
        check_lesion(film, Lesion((0, 50, 50), 10))
    slab = Image(chest().pixels[:3], "CT", (2.5, 2.5, 2.5))
    with pytest.raises(UnsupportedError, match="whole series"):
        check_lesion(slab, Lesion((1, 50, 50), 20))
    with pytest.raises(ArgumentError, match="--noise"):
        CtGan(noise="pink")
    with pytest.raises(ArgumentError, match="--extent"):
        CtGan(extent="ball")
    with pytest.raises(ArgumentError, match="--density"):
        CtGan(density=5000)
