"""Networks on the device that was asked for: the same answers, and callers that never see it."""

import numpy as np
import pytest
import torch

from scanward import methods
from scanward.attacks.base import Lesion, forge
from scanward.image import Image
from scanward.judging.scan import scan
from scanward.nets.blocks import placed
from scanward.nets.engine import engine, named
from scanward.protectors.mits_gan import Around

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
"""On the processor what moves values there and back is in place all the same."""


def film():
    y, x = np.mgrid[:400, :300]
    inside = np.hypot((y - 200) / 180, x / 240) < 1
    tissue = 2000 + 200 * np.sin(y / 40) + np.random.default_rng(0).normal(0, 25, (400, 300))
    return Image(np.rint(np.where(inside, tissue, 40)).astype(np.float32)[None], "MG", (1.0, 0.2, 0.2), 12)


def chest():
    noise = np.random.default_rng(1).normal(-820, 20, (48, 96, 96))
    return Image(np.rint(noise).astype(np.float32), "CT", (1.0, 1.0, 1.0), 12, grid=(1.0, -1024.0, 3071.0))


class Pair(torch.nn.Module):
    def forward(self, x, y):
        return x + y, (x - y, "said")


def test_tuples_go_there_and_come_back(monkeypatch):
    monkeypatch.setenv("SCANWARD_DEVICE", "meta")
    net, here = placed(torch.nn.Linear(2, 2)), torch.zeros(1)
    with pytest.raises(NotImplementedError):  # what is given by name goes there, too
        net(input=torch.zeros(1, 2))
    seen = []
    net.register_forward_pre_hook(lambda _, given: seen.extend(one.device.type for one in given))
    with pytest.raises(NotImplementedError):  # nothing can be copied out of the meta device
        net(torch.zeros(1, 2))
    assert seen == ["meta"]
    monkeypatch.setenv("SCANWARD_DEVICE", "cpu")
    total, (less, said) = placed(Pair())(here + 3, here + 1)
    assert (float(total), float(less), said) == (4, 2, "said")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["self-reference", "forensic-transfer"])
def test_detectors_answer_the_same(method, device, monkeypatch):
    from scanward.judging import witnesses

    monkeypatch.setenv("SCANWARD_ENGINE", "torch")
    witnesses.detector.cache_clear()
    wanted = scan(film(), method=method)
    monkeypatch.delenv("SCANWARD_ENGINE")
    monkeypatch.setenv("SCANWARD_DEVICE", device)
    witnesses.detector.cache_clear()
    try:
        found = scan(film(), method=method)
        assert engine() == "torch" and named() == f"torch f32 {device}"
        assert (found.label, len(found.findings)) == (wanted.label, len(wanted.findings))
        assert np.allclose(found.heat, wanted.heat, atol=1e-3) and abs(found.score - wanted.score) < 1e-3
    finally:
        witnesses.detector.cache_clear()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["mammo-cgan", "partial-conv", "diffusion", "ct-gan", "ct-diffusion"])
def test_attacks_make_the_same(method, device, monkeypatch):
    planar = methods.find(method, "attack").modality == "MG"
    host = film() if planar else chest()
    lesion = Lesion((0, 200, 90), 40) if planar else Lesion((24, 48, 48), 10)
    made = []
    for name in ("", device):
        monkeypatch.setenv("SCANWARD_DEVICE", name)
        made.append(forge(methods.build(method, "attack"), host, lesion, 3).image.pixels)
    assert (made[0] != host.pixels).any()
    spread = float(np.ptp(host.pixels))
    assert np.abs(made[0] - made[1]).max() <= (0 if device == "cpu" else 0.01 * spread)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["mits-gan", "mits-gan-published", "tafim"])
def test_perturbations_are_the_same(method, device, monkeypatch):
    made = []
    for name in ("", device):
        monkeypatch.setenv("SCANWARD_DEVICE", name)
        built = methods.build(method, "protector")
        made.append(built.protect(chest(), [Around(24.0, 48.0, 48.0, 9.0)]).pixels)
    assert (made[0] != chest().pixels).any()
    assert np.abs(made[0] - made[1]).max() <= (0 if device == "cpu" else 2)
