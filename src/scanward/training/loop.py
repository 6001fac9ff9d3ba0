"""One training loop for every method, on Lightning Fabric: bf16, cosine schedule, checkpoints, progress, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from scanward.errors import ScanwardError
from scanward.nets.engine import native_bf16
from scanward.training.curve import Curve

Loss = Callable[[nn.Module, np.random.Generator], Tensor]
"""Draws one batch with the generator and gives the loss of the network on it."""
Check = Callable[[nn.Module], float]
"""The loss of the network, in evaluation mode, on what it is not trained on."""

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
           TimeRemainingColumn())
"""Of every training's progress bar."""


class DivergedError(ScanwardError):
    """A training whose gradients are not finite."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    rate: float = 1e-3
    """Largest learning rate; warms up over `warmup` steps, then falls along a cosine to a hundredth."""
    falls: bool = True
    """Otherwise the rate is the same throughout."""
    warmup: int = 100
    decay: float = 1e-4
    """AdamW's weight decay."""
    every: int = 200
    """Steps between checkpoints."""
    precision: str | None = None
    """As Fabric names it; None: bf16 where the device computes in it, f32 elsewhere. Where gradients are not finite in
    bf16, a training goes on in f32, whatever stands here."""
    accelerator: str = "auto"
    """As Fabric names it; a GPU where there is one."""


def fit(net: nn.Module, loss: Loss, schedule: Schedule, checkpoint: Path, *, seed: int = 0, resume: bool = True,
        title: str = "training", check: Check | None = None, frozen_norms: bool = False,
        curve: Curve | None = None) -> nn.Module:
    """Train `net` in place and return it; an interrupted run goes on from `checkpoint` when called again.

    Each step draws from a generator seeded by (seed, step), so a resumed run sees the batches it would have seen.
    With `frozen_norms` batch norms keep the means and variances that they have. With `check`, the validation
    loss stands beside the training loss at every checkpoint; `curve` gets a line there. Afterwards `net` is on the CPU,
    wherever it was trained. Raises `DivergedError` where gradients are not finite in f32 either.
    """
    torch.manual_seed(seed)
    made = torch.optim.AdamW(net.parameters(), schedule.rate, weight_decay=schedule.decay)
    fabric = fabric_of(schedule)
    model, optimizer = fabric.setup(net.to(memory_format=layout_of(net)), made)  # type: ignore[call-overload]
    state = {"net": model, "optimizer": optimizer, "step": 0}
    begin(fabric, checkpoint, state, resume, curve)
    learning(model, frozen_norms)
    with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=schedule.steps, completed=int(state["step"]))
        mean = 0.0
        while (step := int(state["step"])) < schedule.steps:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, schedule)
            value = loss(model, np.random.default_rng((seed, step)))
            if not descend(fabric, model, optimizer, value, 5.0):
                schedule = steadier(schedule, title, step, progress.console)
                fabric = fabric_of(schedule)
                state["net"], state["optimizer"] = model, optimizer = fabric.setup(net, made)
                begin(fabric, checkpoint, state, True, curve)
                continue
            now = float(value.detach())
            mean = 0.98 * mean + 0.02 * now if mean else now
            state["step"] = step + 1
            progress.update(task, completed=step + 1, description=f"{title} loss {mean:.3f}")
            if (step + 1) % schedule.every == 0 or step + 1 == schedule.steps:
                if curve is not None:
                    curve.add(step + 1, net, {"loss": mean})
                save(fabric, checkpoint, state)
                said = f"{title} step {step + 1} loss {mean:.4f}"
                if check is not None:
                    model.eval()
                    with torch.inference_mode():
                        said += f" validation {check(model):.4f}"
                    learning(model, frozen_norms)
                progress.console.print(said, highlight=False)
    return net.eval().cpu()


def learning(model: nn.Module, frozen_norms: bool) -> None:
    """Training mode, but for batch norms that are to stay as they are."""
    model.train()
    for part in model.modules():
        if frozen_norms and isinstance(part, nn.BatchNorm2d):
            part.eval()


def begin(fabric: Fabric, checkpoint: Path, state: dict[str, Any], resume: bool, curve: Curve | None = None) -> None:
    """Load an earlier run's checkpoint, or make the first one of a new run, which leaves none of an earlier one; its
    curve likewise."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if resume and checkpoint.is_file():
        fabric.load(checkpoint, state)
    else:
        save(fabric, checkpoint, state)
    if curve is not None:
        curve.begin(int(state["step"]))


def descend(fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, most: float) -> bool:
    """One step down gradients clipped to the norm `most`; False, and no step, where they are not finite."""
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    norm = fabric.clip_gradients(module, optimizer, max_norm=most, error_if_nonfinite=False)  # type: ignore[arg-type]
    finite = norm is None or bool(torch.isfinite(norm))
    if finite:
        optimizer.step()
    return finite


def steadier(schedule: Schedule, title: str, step: int, console: Console) -> Schedule:
    """The same in f32, where it is not yet: bf16 rounds so coarsely that a training may leave what can be told.
    `DivergedError` where it is."""
    if schedule.precision == "32-true":
        raise DivergedError(f"{title} diverged at step {step + 1}: its gradients are not finite; start anew with "
                            "--no-resume.")
    console.print(f"{title} step {step + 1} has gradients that are not finite in bf16; on from the last checkpoint in "
                  "f32", highlight=False)
    return replace(schedule, precision="32-true")


def fabric_of(schedule: Schedule) -> Fabric:
    """Fabric on one device, launched."""
    gpu = schedule.accelerator != "cpu" and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else native_bf16()
    precision = schedule.precision or ("bf16-mixed" if native else "32-true")
    fabric = Fabric(accelerator=schedule.accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def device_of(net: nn.Module) -> torch.device:
    """Where a network computes, and so where a step has to bring what it draws."""
    return next((parameter.device for parameter in net.parameters()), torch.device("cpu"))


def layout_of(net: nn.Module) -> torch.memory_format:
    """Channels last, in two dimensions or in three: the fastest on CPUs."""
    flat = all(parameter.ndim < 5 for parameter in net.parameters())
    return torch.channels_last if flat else torch.channels_last_3d


def rate_at(step: int, schedule: Schedule) -> float:
    """The learning rate of a step."""
    if not schedule.falls:
        return schedule.rate
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def save(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint, whole or not at all."""
    part = checkpoint.with_suffix(".part")
    fabric.save(part, state)
    part.replace(checkpoint)
