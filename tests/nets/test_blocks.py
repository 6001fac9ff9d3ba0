"""The layers that more than one network uses."""

import pytest
import torch

from scanward.nets.blocks import Conv3d, Dropout, folded, unfolded


def test_dropout_keeps_its_share_and_the_mean():
    torch.manual_seed(0)
    x = torch.ones(64, 16, 9, 7).to(memory_format=torch.channels_last)
    y = Dropout(0.25).train()(x)
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.01
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert y.stride() == x.stride()


def test_dropout_forgets_other_values_each_time():
    x = torch.ones(1, 1, 64, 64)
    layer = Dropout(0.5).train()
    assert not torch.equal(layer(x), layer(x))


def test_dropout_is_nothing_in_evaluation():
    x = torch.randn(2, 3, 5, 5)
    assert Dropout(0.5).eval()(x) is x


def test_folding_keeps_neighbours_together_and_has_an_inverse():
    x = torch.arange(2 * 4**3, dtype=torch.float32).reshape(1, 2, 4, 4, 4)
    made = folded(x)
    assert made.shape == (1, 16, 2, 2, 2)
    # the first channel's first corner: (z, y, x) of 0 and 1 each
    assert made[0, :8, 0, 0, 0].tolist() == [0, 1, 4, 5, 16, 17, 20, 21]
    assert torch.equal(unfolded(made), x)


@pytest.mark.parametrize("channels", [(96, 1), (96, 96)])
def test_gradients_on_small_maps_owe_nothing_to_what_memory_holds(channels):
    torch.manual_seed(0)
    layer, x = Conv3d(*channels, 3, 1, 1), torch.randn(2, channels[0], 2, 2, 2)
    layer(x).square().sum().backward()
    exact = layer.weight.grad
    for left_over in (float("nan"), 1000.0):
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(x).square().sum()
        _ = [torch.full((n,), left_over) for n in range(16, 300_000, 2003)]
        del _
        loss.backward()
        assert torch.linalg.norm(layer.weight.grad - exact) < 0.02 * torch.linalg.norm(exact)
