"""What protections are trained on, and through: scenes, clean-ups, attacks and the gradients that come back."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward import methods
from scanward.attacks.ct_gan.tamper import Forger
from scanward.datasets.chests import Nodule
from scanward.datasets.scenes import Scene, Scenes, mirrored
from scanward.image import Image
from scanward.nets.cube import Cuboid
from scanward.protectors.mits_gan.network import Discriminator, Generator, Guard
from scanward.protectors.tafim.network import Perturber
from scanward.training import mits_gan, mits_gan_published, tafim


def chest(seed=0):
    """Two large lungs in a body in air, at 2.5 × 2 × 2 mm."""
    _, y, x = np.mgrid[:26, :160, :160]
    lungs = (np.hypot((y - 80) / 55, (x - 45) / 30) < 1) | (np.hypot((y - 80) / 55, (x - 115) / 30) < 1)
    pixels = np.where(lungs, -850.0, np.where(np.hypot((y - 80) / 72, (x - 80) / 76) < 1, 30.0, -1000.0))
    pixels += np.random.default_rng(seed).normal(0, 20, pixels.shape)
    return Image(np.rint(pixels).astype(np.float32), "CT", (2.5, 2.0, 2.0), grid=(1.0, -1024.0, 3071.0))


def ball(diameter=10.0):
    axis = np.arange(32) - 15.5
    inside = (np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) <= diameter / 2).astype(np.float32)
    return Nodule("ball", "p", np.where(inside, 30, -700).astype(np.float32), inside, diameter, 1.0)


@pytest.fixture(scope="module")
def scenes():
    return Scenes([chest()], [ball()], 12, 0)


def middle(scene):
    return scene.voxels[tuple(round(c) for c in scene.cuboid.centre)]


def test_every_second_scene_has_a_nodule_in_its_middle_also_mirrored(scenes):
    rng = np.random.default_rng(0)
    drawn = scenes.draw(rng, 6)
    assert [scene.ill for scene in drawn] == [False, True] * 3
    for scene in (*drawn, *(mirrored(scene, rng) for scene in drawn)):
        assert (middle(scene) > -300) == scene.ill
        z, y, x = scene.cuboid.centre
        assert all(0 <= c < n for c, n in zip((z, y, x), scene.voxels.shape, strict=True))


def test_a_scene_knows_where_in_its_slices_it_lies(scenes):
    scene = scenes.draw(np.random.default_rng(1), 1)[0]
    y, x = scene.corner
    part = scenes.images[0].pixels[:, y:y + scene.voxels.shape[1], x:x + scene.voxels.shape[2]]
    assert any(np.array_equal(part[z:z + len(scene.voxels)], scene.voxels.numpy()) for z in range(26))


def test_attacks_miss_by_no_more_than_they_are_told(scenes):
    scene, rng = scenes.draw(np.random.default_rng(2), 1)[0], np.random.default_rng(3)
    off = [(np.array(scene.params(rng, 2.0)["centre"]) - scene.cuboid.centre) * scene.cuboid.spacing
           for _ in range(200)]
    assert 1.8 < np.abs(off).max() <= 2.0


def test_what_an_attack_did_by_hand():
    box = (slice(0, 21), slice(0, 21), slice(0, 21))
    params = {"centre": [10.0, 10.0, 10.0], "spacing": [1.0, 1.0, 1.0], "voxel": 1.0}
    inject, remove = (Forger(lambda *_: None, None, inject) for inject in (True, False))
    change = torch.zeros(21, 21, 21)
    assert float(mits_gan.effect(change + 30, params, box, inject)) == pytest.approx(1e-3)
    assert float(mits_gan.effect(change + 30 + np.e - 1, params, box, inject)) == pytest.approx(1 + 1e-3, abs=1e-4)
    assert float(mits_gan.effect(change - 400, params, box, remove)) == pytest.approx(450)
    assert float(mits_gan.effect(change + 400, params, box, remove)) == 0  # it took nothing, and added is no less


def test_clean_ups_keep_a_constant_and_blurs_keep_the_mean():
    flat = torch.full((3, 20, 20), -800.0)
    assert torch.allclose(mits_gan.blurred(flat, 1.0), flat, atol=1e-3)
    point = torch.zeros(1, 21, 21)
    point[0, 10, 10] = 100.0
    soft = mits_gan.blurred(point, 1.0)
    assert float(soft.sum()) == pytest.approx(100, rel=1e-4)
    assert float(soft[0, 10, 10]) == pytest.approx(100 / (2 * np.pi), rel=0.02)
    seen = {mits_gan.cleaned(flat, np.random.default_rng(seed)).std().item() > 0.1 for seed in range(9)}
    assert seen == {True, False}


def test_a_change_reaches_the_scan_rounded_and_its_gradient_comes_back():
    scene = Scene(torch.full((30, 40, 40), -800.0), Cuboid((15.0, 20.0, 20.0), (2.0, 1.0, 1.0)), 8.0, False, (0, 0))
    change = torch.full((1, 1, 32, 32, 32), 3.4, requires_grad=True)
    after = mits_gan.guarded(scene, change)
    values, counts = torch.unique(after.detach(), return_counts=True)
    assert values.tolist() == [-800.0, -797.0]
    assert counts[1] == 15 * 31 * 31  # within 15.5 mm of the place
    after.sum().backward()
    assert torch.count_nonzero(change.grad) > 1000


class Nothing(nn.Module):
    def forward(self, hu):
        return torch.zeros_like(hu)


def test_without_a_change_all_of_an_attack_is_left(scenes, monkeypatch):
    monkeypatch.setattr(mits_gan, "cleaned", lambda scan, rng: scan)
    forgers = [methods.build(name, "attack").forger for name in mits_gan.ATTACKERS]
    drawn = scenes.draw(np.random.default_rng(4), 4)
    left = mits_gan.loss(Nothing(), drawn, forgers, np.random.default_rng(5))
    assert float(left) == pytest.approx(1, abs=1e-4)


def test_gradients_go_through_the_attacks_to_every_layer(scenes):
    forgers = [methods.build(name, "attack").forger for name in mits_gan.ATTACKERS]
    torch.manual_seed(0)
    ours, theirs = Guard(), Perturber()
    drawn = scenes.draw(np.random.default_rng(6), 2)
    mits_gan.loss(ours, drawn, forgers, np.random.default_rng(7)).backward()
    tafim.loss(theirs, drawn, forgers[0], np.random.default_rng(7)).backward()
    for net in (ours, theirs):
        silent = [name for name, value in net.named_parameters()
                  if not name.startswith("embed") and (value.grad is None or not value.grad.abs().sum() > 0)]
        assert silent == []


def test_the_published_attack_changes_the_four_slices_only_where_it_is_aimed():
    image = Image(np.full((20, 300, 300), -850.0, np.float32), "CT", (2.5, 0.7, 0.7), grid=(1.0, -1024.0, 3071.0))
    box = (slice(8, 12), slice(20, 276), slice(30, 286))
    before = image.pixels[box].copy()
    attack = methods.build("ct-gan-plain", "attack", noise="none")
    after = mits_gan_published.attacked(image, before, box, attack, np.random.default_rng(0))
    assert after.shape == before.shape
    changed = np.argwhere(np.abs(after - before) > 1)
    assert len(changed) and np.ptp(changed[:, 1:], axis=0).max() <= 36  # 24 mm
    step = mits_gan_published.step_of([image_with_range(image)], [attack])
    torch.manual_seed(0)
    of_judge, of_net = step(Generator(4), Discriminator(), np.random.default_rng(1))
    value, told = of_judge()
    assert float(value.detach()) == pytest.approx(told) and of_net().requires_grad


def image_with_range(image):
    pixels = image.pixels.copy()
    pixels[:, :3] = 200.0
    return Image(pixels, "CT", image.spacing, grid=image.grid)
