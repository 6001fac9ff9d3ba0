"""Real nodules and lungs as training and benches take them, and the judge of attacks on CT."""

import numpy as np
import pytest
import torch

from scanward.anatomy.lung import lungs_of
from scanward.bench.judge import NoduleJudge
from scanward.datasets.chests import SHARP, Nodule, candidates, healthy, nodules, part_of, planted, scan_of
from scanward.image import Image
from scanward.nets.cube import Cuboid, cut
from scanward.training.cubes import Cubes


def ball(diameter=10.0):
    axis = np.arange(32) - 15.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    mask = (radius <= diameter / 2).astype(np.float32)
    return Nodule("ball", "p", np.where(mask, 30, -700).astype(np.float32), mask, diameter, 1.0)


def lung(shape=(40, 60, 60)):
    noise = np.random.default_rng(0).normal(-850, 20, shape)
    return Image(noise.astype(np.float32), "CT", (2.0, 0.8, 0.8))


def test_patients_fall_into_parts_once_and_for_all():
    parts = [part_of(f"LIDC-IDRI-{number:04d}", 3) for number in range(300)]
    assert parts == [part_of(f"LIDC-IDRI-{number:04d}", 3) for number in range(300)]
    assert all(70 < parts.count(part) < 130 for part in range(3))


def test_a_planted_nodule_has_its_own_size_and_density():
    image = lung()
    box, values = planted(image, (20.0, 30.0, 30.0), ball(), seed=0)
    change = values - image.pixels[box]
    assert (change >= 0).all()
    solid = values > -400
    assert solid.sum() * 2.0 * 0.8 * 0.8 == pytest.approx(np.pi / 6 * 10**3, rel=0.2)
    assert values[solid].max() == pytest.approx(30, abs=1)


def test_cubes_pair_a_nodule_with_the_very_lung_it_is_in():
    patches = torch.from_numpy(np.random.default_rng(0).normal(-850, 15, (3, 44, 44, 44)).astype(np.float32))
    batch = Cubes(patches, [ball()]).draw(np.random.default_rng(1), 6, vary=0.0)
    changed = (batch.lesion - batch.healthy) > 100
    assert (batch.lesion >= batch.healthy).all()
    volumes = changed.sum((1, 2, 3, 4)).numpy()
    assert np.all((volumes > 200) & (volumes < 1200))
    middle = changed[..., 12:20, 12:20, 12:20].float().mean((1, 2, 3, 4))
    assert (middle > 0.5).all()
    assert (batch.shape[~changed] < 0.5).float().mean() > 0.98


def test_a_large_lump_is_not_healthy_and_a_vessel_is():
    cube = np.full((32, 32, 32), -850.0)
    assert healthy(cube)
    vessel = cube.copy()
    vessel[:, 15:18, 15:18] = 30
    assert healthy(vessel)
    lump = cube.copy()
    lump[10:22, 10:22, 10:22] = 30
    assert not healthy(lump)


@pytest.mark.data("ct", "lidc-nodules", "mias")
def test_the_judge_knows_real_nodules_of_patients_it_has_not_seen():
    image, judge = scan_of(SHARP), NoduleJudge()
    rng = np.random.default_rng(3)
    centres = [c for c in candidates(image, lungs_of(image), rng, 60)
               if healthy(cut(torch.from_numpy(image.pixels), Cuboid(c, image.spacing))[0, 0].numpy())][:12]
    known = [n for n in nodules("test") if n.diameter * n.voxel > 6][:12]
    plain = judge.at(image, centres)
    found = []
    for number, (centre, nodule) in enumerate(zip(centres, known, strict=True)):
        pixels = image.pixels.copy()
        box, values = planted(image, centre, nodule, number)
        pixels[box] = values
        found.append(float(judge.at(Image(pixels, "CT", image.spacing), [centre])[0]))
    assert np.mean(plain < judge.threshold) > 0.8
    assert np.mean(np.array(found) >= judge.threshold) > 0.7
