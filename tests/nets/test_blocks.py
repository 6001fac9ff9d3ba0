"""The layers that more than one network uses."""

import pytest
import torch

from scanward.nets.blocks import Dropout


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
