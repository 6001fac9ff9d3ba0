"""`scanward train self-reference`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from scanward import weights
from scanward.bench.films import cbis, mias
from scanward.detectors.self_reference import SelfReference
from scanward.detectors.self_reference.network import SelfReferenceNet
from scanward.detectors.self_reference.train import loss as pixel_loss
from scanward.detectors.self_reference.train import sample
from scanward.training.bank import CROP, Bank, make_bank
from scanward.training.finish import calibrated, preset_of, ship
from scanward.training.loop import Schedule, fit


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    pairs: int
    """Pairs in the bank."""
    schedule: Schedule
    batch: int = 8
    """Pairs a step; each gives an authentic and a forged crop of the same place."""
    crop: int = 192


PRESETS = {
    "quick": Preset(1200, Schedule(400, 2e-3)),
    "ablation": Preset(6000, Schedule(1000, 2e-3)),
    "full": Preset(6000, Schedule(5000, 2e-3)),
}


def fit_network(bank: Bank, preset: Preset, out: Path, *, leave_out: set[str] = frozenset(),  # type: ignore[assignment]
                seed: int = 0, resume: bool = True) -> dict[str, np.ndarray]:
    """Train on the bank without the families of `leave_out`; the arrays are also saved under `out`."""
    chosen = bank.without(leave_out)
    label = "self-reference" + "".join(f"-no-{name}" for name in sorted(leave_out))

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        planes, gains, target = batch(bank, chosen, preset, rng)
        logits = net(planes.to(memory_format=torch.channels_last), gains)[:, 0]
        return pixel_loss(logits.float(), target)

    net = fit(SelfReferenceNet(), draw, preset.schedule, out / f"{label}.ckpt", seed=seed, resume=resume, title=label)
    arrays = {k: v.detach().cpu().numpy() for k, v in net.state_dict().items() if v.dim() or "num_batches" not in k}
    save_file(arrays, out / f"{label}.safetensors")
    return arrays


def batch(bank: Bank, chosen: Any, preset: Preset, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Planes (2n, 1, crop, crop), gains (2n, 15) and targets (2n, crop / 2, crop / 2): authentic, forged, …"""
    rows: list[tuple[np.ndarray, ...]] = []
    for index in rng.choice(chosen, preset.batch, replace=False):
        corner = tuple(int(v) // 2 * 2 for v in rng.integers(0, CROP - preset.crop + 1, 2))
        turn = int(rng.integers(8))
        mask = bank.masks[index] > 0
        for half, reference in enumerate(bank.references(index)):
            truth = mask if half else np.zeros_like(mask)
            rows.append(sample(bank.planes[index, half], truth, reference, corner, preset.crop, turn))  # type: ignore[arg-type]
    planes, gains, targets = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return planes[:, None], gains, targets


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Bank, network, calibration; writes weights and a manifest into `out`, or into the package with `install`."""
    chosen = preset_of(PRESETS, preset)
    bank = make_bank(out / f"bank-{chosen.pairs}", mias("train", data) + cbis("train"), chosen.pairs)
    arrays = fit_network(bank, chosen, out / preset, resume=resume)
    settings = calibrated(SelfReference, arrays, out / preset, name, data)
    folder = weights.FOLDER if install else out / preset
    return ship(name, arrays, settings, f"scanward train {name} --preset {preset}", folder)
