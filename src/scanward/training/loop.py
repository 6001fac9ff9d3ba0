"""One training loop for every method, on Lightning Fabric: bf16, cosine schedule, checkpoints, progress, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from scanward.nets.engine import native_bf16

Loss = Callable[[nn.Module, np.random.Generator], Tensor]
"""Draws one batch with the generator and gives the loss of the network on it."""
Check = Callable[[nn.Module], float]
"""The loss of the network, in evaluation mode, on what it is not trained on."""

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
           TimeRemainingColumn())
"""Of every training's progress bar."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    rate: float = 1e-3
    """Largest learning rate; warms up over `warmup` steps, then falls along a cosine to a hundredth."""
    warmup: int = 100
    decay: float = 1e-4
    """AdamW's weight decay."""
    every: int = 200
    """Steps between checkpoints."""
    precision: str | None = None
    """As Fabric names it; None: bf16 where the device computes in it, f32 elsewhere."""
    accelerator: str = "auto"
    """As Fabric names it; a GPU where there is one."""


def fit(net: nn.Module, loss: Loss, schedule: Schedule, checkpoint: Path, *, seed: int = 0, resume: bool = True,
        title: str = "training", check: Check | None = None) -> nn.Module:
    """Train `net` in place and return it; an interrupted run goes on from `checkpoint` when called again.

    Each step draws from a generator seeded by (seed, step), so a resumed run sees the batches it would have seen.
    With `check`, the validation loss stands beside the training loss at every checkpoint. Afterwards `net` is on the
    CPU, wherever it was trained.
    """
    torch.manual_seed(seed)
    fabric = fabric_of(schedule)
    optimizer = torch.optim.AdamW(net.parameters(), schedule.rate, weight_decay=schedule.decay)
    model, optimizer = fabric.setup(net.to(memory_format=layout_of(net)), optimizer)  # type: ignore[call-overload]
    state = {"net": model, "optimizer": optimizer, "step": 0}
    if resume and checkpoint.is_file():
        fabric.load(checkpoint, state)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    model.train()
    with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=schedule.steps, completed=int(state["step"]))
        mean = 0.0
        for step in range(int(state["step"]), schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, schedule)
            value = loss(model, np.random.default_rng((seed, step)))
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(value)
            fabric.clip_gradients(model, optimizer, max_norm=5.0)
            optimizer.step()
            now = float(value.detach())
            mean = 0.98 * mean + 0.02 * now if mean else now
            progress.update(task, advance=1, description=f"{title} loss {mean:.3f}")
            state["step"] = step + 1
            if (step + 1) % schedule.every == 0 or step + 1 == schedule.steps:
                save(fabric, checkpoint, state)
                said = f"{title} step {step + 1} loss {mean:.4f}"
                if check is not None:
                    model.eval()
                    with torch.inference_mode():
                        said += f" validation {check(model):.4f}"
                    model.train()
                progress.console.print(said, highlight=False)
    return net.eval().cpu()


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
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def save(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint, whole or not at all."""
    part = checkpoint.with_suffix(".part")
    fabric.save(part, state)
    part.replace(checkpoint)
