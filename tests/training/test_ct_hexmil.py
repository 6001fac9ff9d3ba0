"""HexMIL's training here: on CT-GAN's forgeries of train scans, slices first, then runs of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from scanward.anatomy.lung import Lungs
from scanward.datasets.thorax import Scan, Thorax
from scanward.image import Image
from scanward.training import ct_hexmil
from scanward.training.ct_hexmil import chest, chests_of, run_loss, slice_loss, trained


@pytest.fixture(scope="module")
def phantom():
    """A lung of noise in a body, 100 mm high."""
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 32, 32), bool)
    mask[:, 4:28, 6:26] = True
    pixels = np.where(mask.repeat(4, 1).repeat(4, 2), -850, 40) + 30 * ndimage.gaussian_filter(
        rng.standard_normal((40, 128, 128)), (0, 0.8, 0.8))
    image = Image(np.rint(pixels).astype(np.float32), "CT", (2.5, 1.0, 1.0))
    return Scan("one", image, Lungs(mask, (1.0, 4.0, 4.0), (2.5, 4.0, 4.0)))


@pytest.fixture(scope="module")
def one(phantom):
    return chest(phantom, 4, 0)


def test_a_chest_is_its_lungs_and_what_is_forged_there(phantom, one):
    assert one.pixels.shape == (40, 96, 80)
    np.testing.assert_array_equal(one.pixels, phantom.image.pixels[:, 16:112, 24:104])
    assert len(one.forgeries) == 4
    for box, values, depths in one.forgeries:
        changed = np.abs(values - one.pixels[box]).max((1, 2))
        assert values.shape == one.pixels[box].shape and depths.size
        assert (changed[depths - box[0].start] > 20).all()


def test_losses_are_those_of_as_many_forged_as_authentic(one):
    class Says(ct_hexmil.nn.Module):
        def forward(self, x):
            self.seen = x
            return ct_hexmil.torch.zeros(len(x)), None, None

    net = Says()
    assert float(slice_loss(net, one, np.random.default_rng(0))) == pytest.approx(np.log(2))
    assert net.seen.shape == (4, 1, 96, 96)
    plain, inside = np.zeros((40, 256), np.float32), np.ones((3, 256), np.float32)
    loss = run_loss(net, (plain, [(slice(20, 23), inside)]), np.random.default_rng(0))
    assert float(loss) == pytest.approx(np.log(2))
    assert net.seen.shape == (8, 32, 256)
    assert net.seen[::2].sum((1, 2)).tolist() == [768.0] * 4 and not net.seen[1::2].any()


def test_scans_that_ct_gan_learned_and_low_ones_are_left_out(monkeypatch, phantom):
    rows = [Thorax("one", "train", "", ""), Thorax("low", "train", "", ""), Thorax("known", "train", "", "",
            known_to=("ct-gan",)), Thorax("test", "test", "", ""), Thorax("single", "train", "", "", True)]
    low = replace(phantom, image=replace(phantom.image, spacing=(1.0, 1.0, 1.0)))
    taken = []
    monkeypatch.setattr(ct_hexmil, "SCANS", rows)
    monkeypatch.setattr(ct_hexmil, "read", lambda row, data: iter([low if row.name == "low" else phantom]))
    monkeypatch.setattr(ct_hexmil, "chest", lambda scan, count, seed: taken.append((scan, count)))
    list(chests_of(None, 7))
    assert taken == [(phantom, 7)]


def test_a_training_ends_with_two_networks_and_is_not_done_twice(monkeypatch, one, tmp_path):
    monkeypatch.setattr(ct_hexmil, "chests_of", lambda data, forgeries: iter([one]))
    short = replace(ct_hexmil.STEPS, steps=2)
    monkeypatch.setattr(ct_hexmil, "STEPS", short)
    monkeypatch.setattr(ct_hexmil, "RUNS", short)
    first = trained(tmp_path, None, 4)
    assert {path.name for path in tmp_path.iterdir()} >= {"slices.safetensors", "scan.safetensors"}
    monkeypatch.setattr(ct_hexmil, "fit", None)
    for net, again in zip(first, trained(tmp_path, None, 4), strict=True):
        for ours, theirs in zip(net.parameters(), again.parameters(), strict=True):
            assert bool((ours == theirs).all())
