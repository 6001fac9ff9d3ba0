"""Partial convolutions by hand, and the remover around them with an untrained network."""

import numpy as np
import pytest
import torch
from forging import applied

from scanward.attacks.base import Lesion, forge
from scanward.attacks.partial_conv import PartialConv
from scanward.attacks.partial_conv.network import PartialConv2d, PartialConvNet
from scanward.attacks.partial_conv.remove import resampled
from scanward.errors import ArgumentError
from scanward.image import Image


def ones(kernel: int = 3, stride: int = 1) -> PartialConv2d:
    layer = PartialConv2d((1,), 1, kernel, stride)
    torch.nn.init.ones_(layer.conv.weight)
    return layer


@pytest.fixture(scope="module")
def untrained() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return {k: v.numpy() for k, v in PartialConvNet().state_dict().items() if "num_batches" not in k}


def test_a_constant_stays_itself_over_any_gap() -> None:
    x, mask = torch.full((1, 1, 6, 6), 2.0), torch.ones(1, 1, 6, 6)
    mask[..., 2:4, 1:3] = 0
    made, known = ones()((x, mask))
    assert torch.allclose(made, torch.full_like(made, 18.0))  # nine ones times two, however many are known
    assert known.all()


def test_unknown_pixels_have_no_say() -> None:
    torch.manual_seed(1)
    x, mask = torch.randn(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    mask[..., 3:6, 3:6] = 0
    layer = PartialConv2d((1,), 4, 3)
    first, _ = layer((x, mask))
    second, _ = layer((torch.where(mask > 0, x, torch.full_like(x, 1e4)), mask))
    assert torch.equal(first, second)


def test_where_nothing_is_known_it_says_nothing() -> None:
    x, mask = torch.ones(1, 1, 7, 7), torch.zeros(1, 1, 7, 7)
    mask[..., 0, :] = 1
    made, known = ones()((x, mask))
    assert known[0, 0, :, 3].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert not made[0, 0, 2:].any()


def test_all_known_is_an_ordinary_convolution() -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 1, 9, 9)
    layer = PartialConv2d((1,), 2, 3)
    made, _ = layer((x, torch.ones_like(x)))
    assert torch.allclose(made[..., 1:-1, 1:-1], layer.conv(x)[..., 1:-1, 1:-1], atol=1e-6)


def test_what_is_removed_has_no_trace(host: Image, untrained: dict) -> None:
    place = Lesion((0, 100, 60), 30)
    forged = forge(PartialConv(untrained), host, place, 4)
    inside = forged.mask[0]
    bright = host.with_plane(np.where(inside, host.largest, host.plane))
    again = applied(PartialConv(untrained), bright, {**forged.record.params, "shape": {
        **forged.record.params["shape"], "feather": 0.0}})[0]
    plain = applied(PartialConv(untrained), host, {**forged.record.params, "shape": {
        **forged.record.params["shape"], "feather": 0.0}})[0]
    assert np.allclose(again[inside], plain[inside], atol=1e-3 * host.largest)


def test_a_region_larger_than_the_network_is_painted_whole(make_film, untrained: dict) -> None:
    host = make_film(5, 8, height=500, width=420)
    forged = forge(PartialConv(untrained), host, Lesion((0, 250, 150), 200), 0)
    assert (forged.image.plane != host.plane)[forged.mask[0]].mean() > 0.9


def test_through_resamples_the_whole_film(host: Image, untrained: dict) -> None:
    forged = forge(PartialConv(untrained, through=80), host, Lesion((0, 100, 60), 20), 0)
    far = np.ones(host.plane.shape, bool)
    far[60:140, 20:100] = False
    assert np.array_equal(forged.image.plane[far], host.with_plane(resampled(host.plane, 80)).plane[far])
    assert forged.mask.sum() < 700


def test_refuses_a_film_of_no_size(untrained: dict) -> None:
    with pytest.raises(ArgumentError, match="--through"):
        PartialConv(untrained, through=8)
