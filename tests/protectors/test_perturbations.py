"""Perturbations: how far they may go, where, and the published losses by hand."""

import math

import numpy as np
import pytest
import torch

from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.protectors.mits_gan import Around, MitsGan, MitsGanPublished, MitsGanRepaired
from scanward.protectors.mits_gan.network import Discriminator, Generator, Guard
from scanward.protectors.mits_gan.train import discriminator_loss, generator_loss, repaired_loss
from scanward.protectors.tafim import Tafim
from scanward.protectors.tafim.network import Perturber

SPACING = (2.5, 0.7, 0.8)
WHERE = Around(14.3, 50.6, 49.2, 8.0)


def chest(shape=(30, 110, 100), seed=0, **more):
    noise = np.random.default_rng(seed).normal(0, 30, shape)
    return Image(np.rint(noise - 850).astype(np.float32), "CT", SPACING, grid=(1.0, -1024.0, 3071.0), **more)


def weights_of(net, seed=0):
    """A network's random weights, strong enough to answer at both ends."""
    torch.manual_seed(seed)
    return {name: value.numpy() * (20 if name.startswith("leave") else 1) for name, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def strong():
    return weights_of(Guard())


@pytest.mark.parametrize("epsilon", [4.0, 16.0])
def test_nothing_changes_by_more_than_epsilon_or_further_than_the_cube(strong, epsilon):
    image = chest()
    made = MitsGan(strong, {}, epsilon=epsilon).protect(image, [WHERE])
    change = made.pixels - image.pixels
    assert 0.9 * epsilon <= np.abs(change).max() <= epsilon
    assert np.array_equal(made.pixels, np.rint(made.pixels))
    away = [np.abs((np.arange(n) - c) * s) for n, c, s in
            zip(image.shape, (WHERE.z, WHERE.y, WHERE.x), SPACING, strict=True)]
    inside = (away[0] <= 15.5)[:, None, None] & (away[1] <= 15.5)[:, None] & (away[2] <= 15.5)
    assert not change[~inside].any()
    assert (change[inside] != 0).mean() > 0.5


def test_places_that_overlap_keep_to_the_same_bound(strong):
    image = chest()
    near = [WHERE, Around(WHERE.z, WHERE.y + 4, WHERE.x, 8.0), Around(WHERE.z, WHERE.y + 8, WHERE.x, 8.0)]
    change = MitsGan(strong, {}, epsilon=16.0).protect(image, near).pixels - image.pixels
    assert np.abs(change).max() <= 16.0


def test_values_stay_on_the_grid_of_the_file_and_within_it(strong):
    pixels = np.full((30, 110, 100), -1024.0, np.float32)
    image = Image(pixels, "CT", SPACING, grid=(2.0, -1024.0, 3070.0))
    made = MitsGan(strong, {}, epsilon=16.0).protect(image, [WHERE]).pixels
    assert made.min() >= -1024.0 and not (made % 2).any() and made.max() > -1024.0


def test_what_cannot_be_protected_is_refused_in_a_sentence(strong):
    method = MitsGan(strong, {})
    with pytest.raises(ArgumentError, match="--around"):
        method.protect(chest(), [])
    for place in (Around(30.0, 5, 5, 8.0), Around(5, -1.0, 5, 8.0), Around(5, math.nan, 5, 8.0)):
        with pytest.raises(ArgumentError, match="outside"):
            method.protect(chest(), [place])
    for diameter in (0.0, -3.0, 31.0, math.nan):
        with pytest.raises(ArgumentError, match="diameter"):
            method.protect(chest(), [Around(5, 5, 5, diameter)])
    with pytest.raises(UnsupportedError, match="scanward seal"):
        method.protect(Image(chest().pixels, "CT"), [WHERE])
    for epsilon in (0.5, 65.0, math.nan):
        with pytest.raises(ArgumentError, match="epsilon"):
            MitsGan(strong, {}, epsilon=epsilon)


def test_the_published_generator_answers_with_a_whole_scan_in_its_own_range():
    net = Generator()
    image = chest(shape=(3, 61, 47))
    made = MitsGanPublished({k: v.numpy() for k, v in net.state_dict().items()}, {})
    first, again = made.protect(image).pixels, made.protect(image).pixels
    assert np.array_equal(first, again) and first.shape == image.shape
    assert image.pixels.min() <= first.min() and first.max() <= image.pixels.max()
    assert len(np.unique(first)) > 1


def test_the_published_networks_have_the_published_layers():
    generator, judge = Generator(), Discriminator()
    widths = [tuple(layer.weight.shape) for layer in generator.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [(2, 1, 1, 1), (4, 2, 1, 1), (4, 4, 1, 1), (2, 4, 1, 1), (1, 2, 1, 1), (64, 2, 3, 3),
                      *[(64, 64, 3, 3)] * 6, (1, 64, 1, 1)]
    assert judge(torch.zeros(4, 1, 82, 82)).shape == (4, 2, 2)


def test_a_logit_of_the_discriminator_judges_94_pixels():
    torch.manual_seed(0)
    judge = Discriminator().eval()
    x = torch.zeros(1, 1, 320, 320, requires_grad=True)
    judge(x + torch.rand(x.shape))[0, 8, 8].backward()
    seen = torch.nonzero(x.grad[0, 0])
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [94, 94]


@pytest.mark.parametrize("epsilon", [4.0, 32.0])
def test_the_repaired_generator_changes_a_whole_scan_within_its_bound(epsilon):
    torch.manual_seed(3)
    net, image = Generator(), chest(shape=(3, 61, 47))
    with torch.no_grad():
        net.main[-1].weight.mul_(100)
    method = MitsGanRepaired({k: v.numpy() for k, v in net.state_dict().items()}, {}, epsilon=epsilon)
    change = method.protect(image).pixels - image.pixels
    assert 0.5 * epsilon < np.abs(change).max() <= epsilon
    assert np.array_equal(change, np.rint(change)) and (change != 0).mean() > 0.5
    for wrong in (0.5, 65.0, math.nan):
        with pytest.raises(ArgumentError, match="epsilon"):
            MitsGanRepaired({}, {}, epsilon=wrong)


def test_the_repaired_loss_by_hand():
    judged, change = torch.zeros(4), torch.full((2, 1, 8, 8), 0.5)
    more = torch.tensor([math.e], requires_grad=True)
    value = repaired_loss(judged, change, more)
    assert float(value.detach()) == pytest.approx(math.log(2) - 1 + 0.1 * 0.25)
    value.backward()
    assert float(more.grad) == pytest.approx(-1 / math.e)  # the attacker's answer is part of the graph


def test_published_losses_by_hand():
    zero = torch.zeros(4)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    protected = torch.zeros(4, 1, 8, 8, requires_grad=True)
    tampered = torch.full((4, 1, 8, 8), 0.5, requires_grad=True)
    value = generator_loss(zero, protected, tampered)
    assert float(value.detach()) == pytest.approx(math.log(2) - 0.1 * 0.25)
    value.backward()
    assert tampered.grad is None  # as released: the attacker's answer is no part of the graph
    assert protected.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(64, 64), (61, 47)])
def test_tafim_knows_where_in_the_slice_a_part_lies(size):
    torch.manual_seed(0)
    net = Perturber().eval()
    with torch.no_grad():
        net.everywhere.normal_()
        x = torch.zeros(2, 1, *size)
        first, other = net(x), net(x, (100, 30))
        again = net(x, (512, 512))
    assert first.shape == x.shape and first.abs().max() <= 1
    assert not torch.allclose(first, other)
    assert torch.allclose(first, again)


def test_tafim_changes_a_scan_of_any_size_and_leaves_what_lies_beyond_its_range():
    image = chest(shape=(2, 61, 47))
    image.pixels[0, :5] = -2000.0
    free = Image(image.pixels, "CT", SPACING)
    made = Tafim({k: v.detach().numpy() for k, v in Perturber().state_dict().items()}, {}).protect(free)
    assert np.abs(made.pixels - free.pixels).max() <= 2048 and made.pixels.min() < -1500
