"""What protections are trained on, and through: scenes, clean-ups, attacks and the gradients that come back."""

import numpy as np
import pytest
import torch
from torch import nn

from scanward import methods
from scanward.attacks.ct_gan.tamper import Forger
from scanward.datasets.chests import Nodule
from scanward.datasets.scenes import Scene, Scenes, mirrored
from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.nets.cube import Cuboid
from scanward.protectors.mits_gan.network import Discriminator, Generator, Guard, rimmed
from scanward.protectors.mits_gan.protect import Levels
from scanward.protectors.mits_gan.train import generator_loss
from scanward.protectors.tafim.network import Perturber
from scanward.training import guarded_slices, mits_gan, mits_gan_published, mits_gan_repaired, tafim
from scanward.training.curve import Curve
from scanward.training.guarded_slices import Crops, inner, slices


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
    box = (slice(8, 12), slice(20, 102), slice(30, 112))
    before = image.pixels[box].copy()
    attack = methods.build("ct-gan-plain", "attack", noise="none", extent="cuboid")
    for seed in range(3):
        after = mits_gan_published.attacked(image, before, box, attack, np.random.default_rng(seed))
        assert after.shape == before.shape
        changed = np.argwhere(np.abs(after - before) > 1)
        assert len(changed) and np.ptp(changed[:, 1:], axis=0).max() <= 36  # 24 mm
        first, last = changed[:, 1:].min(0), changed[:, 1:].max(0)
        assert first.min() >= 5 and last.max() <= 76  # its cuboid of 32 mm lies inside, 46 of 82 pixels
    assert np.array_equal(image.pixels[box], before)


def with_range(image):
    pixels = image.pixels.copy()
    pixels[:, :3] = 200.0
    return Image(pixels, "CT", image.spacing, grid=image.grid)


def test_a_published_step_injects_and_removes_and_counts_the_pixels_it_judged(tmp_path):
    attacks = [methods.build(name, "attack", noise="none", extent="cuboid") for name in mits_gan_published.ATTACKERS]
    crops, curve = Crops([with_range(chest())]), Curve(tmp_path / "a.jsonl")
    step = mits_gan_published.step_of(crops, attacks, curve)
    torch.manual_seed(0)
    net, judge = Generator(4), Discriminator()
    of_judge, of_net = step(net, judge, np.random.default_rng(1))
    value, told = of_judge()
    assert float(value.detach()) == pytest.approx(told)
    of_net().backward()
    assert curve.pixels == 8 * 82 * 82
    assert all(one.grad is not None for one in net.parameters())


def test_a_crop_without_its_rim_is_what_the_whole_slice_becomes():
    torch.manual_seed(1)
    net = Generator(8).eval()
    slice_, noise = torch.rand(1, 1, 150, 150) * 2 - 1, torch.rand(1, 1, 150, 150)
    part = (..., slice(20, 20 + 96), slice(30, 30 + 96))
    with torch.no_grad():
        whole, crop = net(slice_, noise), net(slice_[part], noise[part])
    assert torch.allclose(inner(whole[part]), inner(crop), atol=1e-5)
    wider = (..., slice(26, 110), slice(36, 120))  # one pixel more of each side is not the same any more
    assert not torch.allclose(whole[wider], crop[..., 6:-6, 6:-6], atol=1e-5)


def test_whole_slices_are_answered_alike_at_their_edges_and_within():
    torch.manual_seed(1)
    net = Generator(8).eval()
    net.noise = nn.Sequential(nn.Identity())  # the answer to a level is a level, but where zeros are seen beside it
    with torch.no_grad():
        level = torch.full((1, 1, 60, 60), -0.9)
        bare = net(level, torch.zeros_like(level))[0, 0]
        with_rim = rimmed(lambda x, noise: net(x, 0 * noise), level)[0, 0]
    assert with_rim.shape == (60, 60)
    assert torch.allclose(with_rim, bare[30, 30].expand(60, 60), atol=1e-6)
    assert not torch.allclose(bare, with_rim, atol=1e-3)


def test_the_published_manipulation_loss_is_of_whole_slices():
    judged, protected, after = torch.zeros(3, 2), torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 2.0)
    domain = np.log(2)
    assert float(generator_loss(judged, protected, after)) == pytest.approx(domain - 0.1 * 4)
    assert float(generator_loss(judged, protected, after, 0.25)) == pytest.approx(domain - 0.1)


def test_levels_go_there_and_back():
    levels = Levels(-1024.0, 3071.0)
    hu = torch.tensor([-1024.0, 3071.0, 1023.5])
    assert levels.of(hu).tolist() == [-1.0, 1.0, 0.0]
    assert torch.allclose(levels.back(levels.of(hu)), hu)


def test_single_slices_are_repeated_until_an_attack_fits(monkeypatch):
    single, whole = (Image(np.zeros((n, 200, 200), np.float32), "CT", (5.0, 1.0, 1.0)) for n in (1, 4))
    rows = {"lidc-idri-0001": [("s", single)], "4dlung-113": [("w", whole)]}
    monkeypatch.setattr(guarded_slices, "images", lambda row, data: rows.get(row.name, []))
    assert {name: len(image.pixels) for name, image in slices(None).items()} == {"s": 7, "w": 4}  # 35 mm
    assert guarded_slices.told(["4dlung-113", "covid-nysbu/one.dcm", "covid-nysbu/two.dcm", "r01-001"]) == \
        "4dlung-113, covid-nysbu (2 slices), r01-001"
    assert guarded_slices.licence_of(["4dlung-113", "covid-nysbu/one.dcm", "covid-nysbu/two.dcm"]) == \
        "4D-Lung: CC BY 3.0; COVID-19-NY-SBU: CC BY 4.0"
    rows.clear()
    with pytest.raises(UnreadableError, match="--data"):
        slices(None)


class Shifts(nn.Module):
    """Answers each slice with a level of its own."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, noise=None):
        return torch.full_like(x, 1.0) * self.by


def test_what_is_followed_is_measured_in_hu_on_whole_slices(monkeypatch):
    image = Image(np.linspace(-1000, 1000, 3 * 40 * 40, dtype=np.float32).reshape(3, 40, 40), "CT", (1.0, 1.0, 1.0))
    monkeypatch.setattr(guarded_slices, "followed", lambda data: [image])
    with torch.inference_mode():
        figures = guarded_slices.Followed(None, mits_gan_repaired.followed)(Shifts())
    assert figures["rmse"] == pytest.approx(8, abs=1e-3) and figures["shift"] == pytest.approx(8, abs=1e-3)
    assert figures["psnr"] == pytest.approx(20 * np.log10(4096 / 8), abs=1e-3)
    assert set(figures) == {"rmse", "psnr", "ssim", "shift"}  # it has no batch norms


def test_an_attack_on_what_was_not_changed_has_a_potency_of_one(scenes):
    forgers = [methods.build(name, "attack").forger for name in mits_gan_published.ATTACKERS]
    rng = np.random.default_rng(4)
    for scene in scenes.draw(rng, 2):
        forger = next(one for one in forgers if one.inject != scene.ill)
        params = scene.params(rng, 0.0)
        assert float(guarded_slices.potency(scene, scene.voxels, params, forger)) == pytest.approx(1)
        after = scene.voxels.clone().requires_grad_()
        guarded_slices.potency(scene, after, params, forger).sum().backward()
        assert after.grad.abs().sum() > 0


def test_a_repaired_change_keeps_to_its_bound_and_to_the_slices_that_the_attack_reads(scenes):
    scene = scenes.draw(np.random.default_rng(2), 1)[0]
    change, after = mits_gan_repaired.guarded(Shifts(), scene, 20.0)
    part = mits_gan_repaired.slices_of(scene)
    assert (part.stop - part.start) * 2.5 == pytest.approx(32, abs=2.5)
    assert torch.equal(after[part], scene.voxels[part] + 10)
    assert torch.equal(after[:part.start], scene.voxels[:part.start])
    assert change.shape == (part.stop - part.start, 1, *scene.voxels.shape[1:])


def test_a_repaired_step_reaches_the_generator_through_the_attack(tmp_path):
    scenes = Scenes([chest()], [ball()], 6, 0, mits_gan_repaired.LEAST)
    for place in ((10.0, 80.0, 30.0), (10.0, 3.0, 158.0)):
        scenes.places = [(0, place)]
        for scene in scenes.draw(np.random.default_rng(0), 2):
            y, x = scene.corner
            assert (scene.cuboid.centre[1] + y, scene.cuboid.centre[2] + x) == pytest.approx(place[1:])
            assert min(scene.voxels.shape[1:]) >= mits_gan_repaired.LEAST and y >= 0 and x >= 0
    forgers = [methods.build(name, "attack").forger for name in mits_gan_published.ATTACKERS]
    curve = Curve(tmp_path / "a.jsonl")
    step = mits_gan_repaired.step_of(scenes, forgers, curve)
    torch.manual_seed(0)
    net, judge = Generator(4), Discriminator()
    of_judge, of_net = step(net, judge, np.random.default_rng(1))
    assert of_judge()[0].requires_grad and curve.pixels > 64 * 64
    for one in judge.parameters():
        one.data.zero_()  # what is left comes through the attack, and from the change itself
    of_net().backward()
    assert all(one.grad.abs().sum() > 0 for name, one in net.named_parameters() if name.endswith("main.0.weight"))
