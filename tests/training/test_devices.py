"""No training is tied to the CPU: every step computes where its network is, here on torch's device without memory."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import nn

from scanward.attacks.base import Lesion
from scanward.datasets.chests import Nodule
from scanward.image import Image
from scanward.training import (
    adversarial,
    ct_diffusion,
    ct_gan,
    diffusion,
    judge,
    loop,
    mammo_cgan,
    mits_gan,
    mits_gan_repaired,
    partial_conv,
    tafim,
)
from scanward.training.cubes import Cubes
from scanward.training.loop import Schedule

STEPS = {"mammo-cgan": mammo_cgan, "ct-gan": ct_gan, "ct-diffusion": ct_diffusion, "diffusion": diffusion,
         "partial-conv": partial_conv, "nodule-judge": judge, "mits-gan": mits_gan,
         "mits-gan-repaired": mits_gan_repaired, "tafim": tafim}


def chest(*_):
    _, y, x = np.mgrid[:26, :160, :160]
    lungs = (np.hypot((y - 80) / 55, (x - 45) / 30) < 1) | (np.hypot((y - 80) / 55, (x - 115) / 30) < 1)
    pixels = np.where(lungs, -850.0, np.where(np.hypot((y - 80) / 72, (x - 80) / 76) < 1, 30.0, -1000.0))
    return Image(pixels.astype(np.float32), "CT", (2.5, 2.0, 2.0), grid=(1.0, -1024.0, 3071.0))


def nodules(*_):
    inside = (np.linalg.norm(np.mgrid[:32, :32, :32] - 15.5, axis=0) <= 5).astype(np.float32)
    return [Nodule("ball", "p", np.where(inside, 30, -700).astype(np.float32), inside, 10.0, 1.0)]


def lung(*_):
    return torch.from_numpy(np.random.default_rng(0).normal(-850, 15, (3, 44, 44, 44)).astype(np.float32))


def squares(side):
    return lambda *_, **__: np.random.default_rng(0).random((20, side, side), np.float32)


DATA = {"mias": lambda *_: [], "cbis": lambda *_: [], "healthy": squares(64), "squares": squares(128),
        "lesions": lambda *_: [mammo_cgan.Mass(squares(300)()[0], (0.0, 1.0), Lesion((0, 150, 150), 60))],
        "nodules": nodules, "nodules_of": nodules, "scan_of": chest, "patches": lung,
        "cubes_of": lambda *_: Cubes(lung(), nodules()), "settings_of": lambda *_: {},
        "slices": lambda *_: {"a": chest()}, "Followed": lambda *_: dict, "Attacked": lambda *_: dict}


class StartedError(Exception):
    """In place of a training: what it would have begun with."""


@pytest.mark.parametrize("name", STEPS)
def test_a_step_computes_where_its_network_is(name, monkeypatch):
    def fit(*parts, **_):
        raise StartedError(*parts)

    for what, stand_in in {**DATA, "fit": fit}.items():
        monkeypatch.setattr(STEPS[name], what, stand_in, raising=False)
    with pytest.raises(StartedError) as caught:
        STEPS[name].train(name)
    net, *others = caught.value.args
    net.to("meta")
    rng = np.random.default_rng(0)
    adverse = isinstance(others[0], nn.Module)
    loss = others[1](net, others[0].to("meta"), rng)[1]() if adverse else others[0](net, rng)
    assert loss.device.type == "meta"
    loss.backward()
    assert [key for key, value in net.named_parameters() if value.grad is None] == []


def test_a_gpu_is_used_where_there_is_one_unless_told_otherwise(monkeypatch, tmp_path):
    asked = []

    class Told(loop.Fabric):
        def __init__(self, **options):
            asked.append(options)
            super().__init__(accelerator="cpu", devices=1)

    monkeypatch.setattr(loop, "Fabric", Told)

    def alone(net, rng):
        return net(torch.ones(4, 1)).mean()

    def against(net, judges, rng):
        made = net(torch.ones(4, 1))
        return lambda: ((judges(made.detach()) ** 2).mean(), 0.0), lambda: judges(made).mean()

    loop.fit(nn.Linear(1, 1), alone, Schedule(1), tmp_path / "alone.ckpt")
    adversarial.fit(nn.Linear(1, 1), nn.Linear(1, 1), against, Schedule(1), tmp_path / "against.ckpt")
    loop.fabric_of(Schedule(1, accelerator="cpu"))
    assert [options["accelerator"] for options in asked] == ["auto", "auto", "cpu"]


@pytest.mark.parametrize(("gpu", "cpu", "told", "precision"), [
    (None, True, None, "bf16-mixed"), (None, False, None, "32-true"), (True, False, None, "bf16-mixed"),
    (False, True, None, "32-true"), (True, True, "32-true", "32-true")])
def test_bf16_is_used_where_the_device_computes_in_it(gpu, cpu, told, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu)
    monkeypatch.setattr(loop, "native_bf16", lambda: cpu)
    fabric = MagicMock()
    monkeypatch.setattr(loop, "Fabric", fabric)
    loop.fabric_of(Schedule(1, precision=told))
    assert fabric.call_args.kwargs["precision"] == precision
