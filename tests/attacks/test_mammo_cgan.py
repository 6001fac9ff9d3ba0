"""Mammo-CGAN: its arithmetic by hand, its stages with an untrained pair of generators."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scanward.attacks.base import Lesion, Record, forge, replay
from scanward.attacks.mammo_cgan import MammoCgan, MammoCganRemove
from scanward.attacks.mammo_cgan.inject import cut, window
from scanward.attacks.mammo_cgan.merge import (
    Intensities,
    centre_mask,
    chebyshev,
    intensities_of,
    merge,
    resized,
    symmetric,
    weight,
)
from scanward.attacks.mammo_cgan.network import PRESETS, Cascade, centre, fill
from scanward.errors import ArgumentError
from scanward.image import Image

PUBLISHED = Intensities(black=0, white=1100, threshold=400, alpha=20, sigma=10, power=3)


@pytest.fixture(scope="module")
def untrained() -> tuple[dict, dict]:
    torch.manual_seed(3)
    net = Cascade(PRESETS["narrow"])
    return {k: v.numpy().astype(np.float16) for k, v in net.state_dict().items()}, {"preset": "narrow"}


def test_the_published_example_of_d() -> None:
    expected = np.array([[2, 2, 2, 2, 2], [2, 1, 1, 1, 2], [2, 1, 0, 1, 2], [2, 1, 1, 1, 2], [2, 2, 2, 2, 2]]) / 2
    assert np.array_equal(chebyshev(5), expected.astype(np.float32))


def test_d_of_an_even_square_has_no_pixel_at_the_centre() -> None:
    assert chebyshev(4)[0].tolist() == [1, 1, 1, 1]
    assert chebyshev(4)[1].tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1])


def test_w_by_hand() -> None:
    generated = np.full((5, 5), 400, np.float32)
    generated[2, 2], generated[1, 1] = 420, 380
    w = weight(generated, PUBLISHED)
    assert w[2, 2] == pytest.approx(1 / (1 + np.exp(-1)))  # D = 0: the sigmoid of (420 - 400) / 20 alone
    assert w[1, 1] == pytest.approx((1 - 0.5**3) / (1 + np.exp(1)))
    assert w[1, 2] == pytest.approx((1 - 0.5**3) * 0.5)  # at the threshold
    assert np.array_equal(w[0], np.zeros(5))  # D = 1 on the border


def test_w_of_extreme_values_stays_in_range() -> None:
    generated = np.array([[-1e30, 1e30, 0]] * 3, np.float32)
    w = weight(generated, replace(PUBLISHED, alpha=1e-6))
    assert np.isfinite(w).all()
    assert w.min() >= 0
    assert w.max() <= 1


def test_w_of_a_removal_has_no_second_factor() -> None:
    w = weight(np.zeros((5, 5), np.float32), PUBLISHED, everything=True)
    assert w[2, 2] == 1
    assert w[1, 2] == pytest.approx(1 - 0.5**3)


def test_m_by_hand() -> None:
    share = np.array([[0, 0.25], [0.5, 1]], np.float32)
    merged = merge(np.full((2, 2), 500, np.float32), np.full((2, 2), 300, np.float32), share)
    assert merged.tolist() == [[300, 350], [400, 500]]


def test_intensities_follow_the_documented_formulas(host: Image) -> None:
    square = host.plane[80:120, 40:80]
    how = intensities_of(host.plane, square)
    assert how.threshold == pytest.approx(np.percentile(square, 30))
    assert how.alpha == pytest.approx(20 / 1100 * (how.white - how.black))
    assert how.power == 3
    assert how.black == pytest.approx(np.percentile(host.plane, 0.5))
    assert host.plane.max() * 0.7 < how.white <= host.plane.max()


def test_intensities_scale_with_the_host(host: Image) -> None:
    square = host.plane[80:120, 40:80]
    one, four = intensities_of(host.plane, square), intensities_of(4 * host.plane, 4 * square)
    for name in ("black", "white", "threshold", "alpha", "sigma"):
        assert getattr(four, name) == pytest.approx(4 * getattr(one, name), rel=1e-4)


def test_the_zeroed_centre_is_44_of_64() -> None:
    mask = centre_mask()
    assert mask.sum() == 44 * 44
    assert mask[10, 10]
    assert not mask[9, 10]
    assert mask[53, 53]
    assert not mask[54, 53]
    assert np.array_equal(centre(torch.zeros(1, 1, 64, 64))[0, 0].numpy() > 0, mask)


def test_the_eight_symmetries_are_eight_and_can_be_undone() -> None:
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    turned = [symmetric(square, turn) for turn in range(8)]
    assert len({one.tobytes() for one in turned}) == 8
    for turn, one in enumerate(turned):
        assert np.array_equal(symmetric(one, turn, back=True), square)


def test_bilinear_resizing_by_hand() -> None:
    square = np.array([[0, 1], [2, 3]], np.float32)
    assert resized(square, 4, True)[0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert resized(square, 1, True)[0, 0] == pytest.approx(1.5)


def test_the_square_about_a_place() -> None:
    plane = np.arange(100, dtype=np.float32).reshape(10, 10)
    box, inner = window(plane.shape, {"y": 4.5, "x": 0.0, "side": 4})
    assert box == (slice(3, 7), slice(0, 3))
    assert inner == (slice(0, 4), slice(1, 4))
    square = cut(plane, {"y": 4.5, "x": 0.0, "side": 4})
    assert square[0].tolist() == [30, 30, 31, 32]  # mirrored at the border


def test_stages_are_the_published_ones(host: Image, place: Lesion, untrained: tuple) -> None:
    attack = MammoCgan(*untrained, sigma=0.0)
    tamper = forge(attack, host, place, 5)
    s = attack.stages(host, tamper.record.params)
    how = Intensities(**tamper.record.params["intensities"])
    assert s.original.shape == (53, 53)  # 30 of 36 of 64 pixels
    assert np.array_equal(s.original, cut(host.plane, tamper.record.params))
    assert np.allclose(s.small * (how.white - how.black) + how.black, resized(s.original, 64, True), atol=1e-2)
    assert not s.zeroed[centre_mask()].any()
    assert np.array_equal(s.zeroed[~centre_mask()], s.small[~centre_mask()])
    for made in (s.painted, s.completed):
        assert made.shape == (64, 64)
        assert np.allclose(made[~centre_mask()], s.small[~centre_mask()], atol=1e-5)
    assert not np.array_equal(s.painted, s.completed)
    assert np.array_equal(s.noisy, s.large)  # σ = 0
    assert np.allclose(s.weight, weight(s.large, how))
    assert np.allclose(s.merged, s.weight * s.noisy + (1 - s.weight) * s.original, atol=1e-2 * how.white)
    changed = host.plane.copy()
    box, inner = window(host.plane.shape, tamper.record.params)
    changed[box] = s.merged[inner]
    assert np.array_equal(tamper.image.plane, host.with_plane(changed).plane)
    truth = np.zeros(host.plane.shape, bool)
    truth[box] = s.weight[inner] >= min(0.65, 0.9 * s.weight.max())
    assert np.array_equal(tamper.mask[0], truth)


def test_sigma_is_the_deviation_of_the_added_noise(host: Image, untrained: tuple) -> None:
    attack = MammoCgan(*untrained, sigma=7.0)
    tamper = forge(attack, host, Lesion((0, 100, 60), 60), 1)
    s = attack.stages(host, tamper.record.params)
    assert np.std(s.noisy - s.large) == pytest.approx(7.0, rel=0.05)


def test_host_grain_gives_back_what_the_way_through_64_pixels_takes(host: Image, untrained: tuple) -> None:
    attack = MammoCgan(*untrained, grain="host")
    tamper = forge(attack, host, Lesion((0, 100, 60), 60), 1)
    s = attack.stages(host, tamper.record.params)
    lost = s.original - resized(resized(s.original, 64, True), s.original.shape[0], True)
    assert np.allclose(s.noisy - s.large, lost, atol=1e-3 * host.largest)
    assert lost.std() > 0


def test_resynthesised_grain_has_the_hosts_spectrum_and_none_of_its_details(host: Image, untrained: tuple) -> None:
    lost, made = (stages.noisy - stages.large for stages in (
        attack.stages(host, forge(attack, host, Lesion((0, 100, 60), 60), 1).record.params)
        for attack in (MammoCgan(*untrained, grain="host"), MammoCgan(*untrained, grain="resynthesised"))))
    assert abs(np.corrcoef(lost.ravel(), made.ravel())[0, 1]) < 0.1
    assert made.std() == pytest.approx(lost.std(), rel=0.15)
    neighbours = [np.corrcoef(x[:, 1:].ravel(), x[:, :-1].ravel())[0, 1] for x in (lost, made)]
    assert neighbours[1] == pytest.approx(neighbours[0], abs=0.1)


def test_given_constants_go_before_the_hosts(host: Image, place: Lesion, untrained: tuple) -> None:
    attack = MammoCgan(*untrained, sigma=1.5, threshold=20, alpha=2.5, power=12)
    found = forge(attack, host, place, 0).record.params["intensities"]
    assert (found["sigma"], found["threshold"], found["alpha"], found["power"]) == (1.5, 20, 2.5, 12)


@pytest.mark.parametrize("bad", [{"sigma": -1}, {"alpha": 0}, {"power": 0}, {"threshold": float("nan")},
                                 {"grain": "film"}], ids=str)
def test_refuses_constants_that_make_no_sense(host: Image, place: Lesion, untrained: tuple, bad: dict) -> None:
    with pytest.raises(ArgumentError, match="--" + next(iter(bad))):
        forge(MammoCgan(*untrained, **bad), host, place, 0)


def test_a_removal_counts_everywhere_but_at_its_rim(host: Image, place: Lesion, untrained: tuple) -> None:
    tamper = forge(MammoCganRemove(*untrained), host, place, 0)
    inside = 1 - chebyshev(53) ** 3 >= 0.65
    assert tamper.mask.sum() == inside.sum()


def test_other_seeds_give_other_lesions(host: Image, place: Lesion, untrained: tuple) -> None:
    attack = MammoCgan(*untrained, sigma=0.0)
    one, two = (attack.stages(host, forge(attack, host, place, seed).record.params).completed for seed in (0, 1))
    assert np.abs(one - two).max() > 1e-4
    assert len({forge(attack, host, place, seed).record.params["turn"] for seed in range(40)}) == 8


def test_replay_needs_the_same_weights(host: Image, place: Lesion, untrained: tuple) -> None:
    record = forge(MammoCgan(*untrained), host, place, 0).record
    record = Record(**json.loads(json.dumps(record.to_json())))
    with pytest.raises(ValueError, match="weights"):
        replay(MammoCgan(*untrained), replace(record, weights_sha256="0" * 64), host)


def test_fill_continues_what_is_around() -> None:
    x = torch.full((1, 1, 64, 64), 0.4)
    mask = centre(x)
    assert torch.allclose(fill(x * (1 - mask), mask), x, atol=1e-5)
