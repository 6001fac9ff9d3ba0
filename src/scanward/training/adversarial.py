"""The loop for a generator against its judges: two optimisers, an averaged generator, checkpoints, resume."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from scanward.training.loop import COLUMNS, Schedule, fabric_of, layout_of, rate_at, save

Step = Callable[[nn.Module, nn.Module, np.random.Generator], tuple[Callable[[], tuple[Tensor, float]],
                                                                   Callable[[], Tensor]]]
"""Draws a batch, lets the generator work on it, and returns the judges' loss and the generator's loss, each to be
called in this order; the judges' loss is zero where they rest."""


def fit(net: nn.Module, judges: nn.Module, step: Step, schedule: Schedule, checkpoint: Path, *, seed: int = 0,
        resume: bool = True, title: str = "training", average: float = 0.995) -> nn.Module:
    """Train both in place and return the generator's running average (`average` a step), in evaluation mode.

    An interrupted run goes on from `checkpoint`; each step draws from (seed, number of the step). Afterwards all are on
    the CPU, wherever they were trained.
    """
    torch.manual_seed(seed)
    fabric = fabric_of(schedule)
    for module in (net, judges):
        module.to(memory_format=layout_of(module))  # type: ignore[call-overload]
    mean = copy.deepcopy(net).to(fabric.device)
    made = [fabric.setup(module, torch.optim.Adam(module.parameters(), schedule.rate, betas=(0.5, 0.99)))
            for module in (net, judges)]
    (model, optimizer), (against, optimizer_against) = made
    state = {"net": model, "judges": against, "mean": mean, "optimizer": optimizer,
             "optimizer_judges": optimizer_against, "step": 0}
    if resume and checkpoint.is_file():
        fabric.load(checkpoint, state)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=schedule.steps, completed=int(state["step"]))
        said = np.zeros(2)
        for number in range(int(state["step"]), schedule.steps):
            for group in (*optimizer.param_groups, *optimizer_against.param_groups):
                group["lr"] = rate_at(number, schedule)
            torch.manual_seed(seed * 1_000_003 + number)
            of_judges, of_net = step(model, against, np.random.default_rng((seed, number)))
            value, told = of_judges()
            if value.requires_grad:
                _descend(fabric, against, optimizer_against, value)
            loss = of_net()
            _descend(fabric, model, optimizer, loss)
            with torch.no_grad():
                share = min(average, number / (number + 10))
                for kept, now in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
                    kept.copy_(share * kept + (1 - share) * now if kept.is_floating_point() else now)
            said += (0.02 if number else 1) * (np.array([told, float(loss.detach())]) - said)
            progress.update(task, advance=1, description=f"{title} judges {said[0]:.3f} generator {said[1]:.3f}")
            state["step"] = number + 1
            if (number + 1) % schedule.every == 0 or number + 1 == schedule.steps:
                save(fabric, checkpoint, state)
                progress.console.print(f"{title} step {number + 1} judges {said[0]:.3f} generator {said[1]:.3f}",
                                       highlight=False)
    for module in (net, judges, mean):
        module.cpu()
    return mean.eval()


def _descend(fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    fabric.clip_gradients(module, optimizer, max_norm=10.0)  # type: ignore[arg-type]
    optimizer.step()
