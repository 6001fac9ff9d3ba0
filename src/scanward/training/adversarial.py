"""The loop for a generator against its judges: two optimisers, an averaged generator, checkpoints, resume."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from scanward.disk import whole_file
from scanward.training.curve import Curve
from scanward.training.loop import COLUMNS, Schedule, begin, descend, fabric_of, layout_of, rate_at, save, steadier

Step = Callable[[nn.Module, nn.Module, np.random.Generator], tuple[Callable[[], tuple[Tensor, float]],
                                                                   Callable[[], Tensor]]]
"""Draws a batch, lets the generator work on it, and returns the judges' loss and the generator's loss, each to be
called in this order; the judges' loss is zero where they rest."""


@dataclass(frozen=True)
class Descent:
    """How both sides go down their gradients, by Adam."""

    betas: tuple[float, float] = (0.5, 0.99)
    most: float = 10.0
    """Largest norm of the gradients."""


BEST = ".best"
"""What the file of the generator that `least` chooses ends in."""
PLAIN = Descent((0.5, 0.999), math.inf)
"""As DCGAN and what follows it are trained (Radford et al. 2016)."""


def fit(net: nn.Module, judges: nn.Module, step: Step, schedule: Schedule, checkpoint: Path, *, seed: int = 0,
        resume: bool = True, title: str = "training", average: float = 0.995, descent: Descent = Descent(),
        curve: Curve | None = None, least: str | None = None) -> nn.Module:
    """Train both in place and return the generator's running average (`average` a step), in evaluation mode.

    An interrupted run goes on from `checkpoint`; each step draws from (seed, number of the step). `curve` gets a line
    with each checkpoint; where `least` names one of its figures, the average is that of the line with the least of it,
    which is kept beside the checkpoint. Afterwards all are on the CPU, wherever they were trained. Raises
    `DivergedError` where gradients are not finite in f32 either.
    """
    torch.manual_seed(seed)
    both = [(module.to(memory_format=layout_of(module)),  # type: ignore[call-overload]
             torch.optim.Adam(module.parameters(), schedule.rate, betas=descent.betas)) for module in (net, judges)]
    fabric = fabric_of(schedule)
    mean = copy.deepcopy(net).to(fabric.device)
    state: dict[str, Any] = {"mean": mean, "step": 0, **_set_up(fabric, both)}
    begin(fabric, checkpoint, state, resume, curve)
    with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=schedule.steps, completed=int(state["step"]))
        said = np.zeros(2)
        while (number := int(state["step"])) < schedule.steps:
            _set_rate(state, rate_at(number, schedule))
            torch.manual_seed(seed * 1_000_003 + number)
            losses = _taken(fabric, state, step, np.random.default_rng((seed, number)), descent.most)
            if losses is None:
                schedule = steadier(schedule, title, number, progress.console)
                fabric = fabric_of(schedule)
                state |= _set_up(fabric, both)
                begin(fabric, checkpoint, state, True, curve)
                continue
            _averaged(mean, net, min(average, number / (number + 10)))
            said += (0.02 if said.any() else 1) * (np.array(losses) - said)
            state["step"] = number + 1
            now = f"{title} judges {said[0]:.3f} generator {said[1]:.3f}"
            progress.update(task, completed=number + 1, description=now)
            if (number + 1) % schedule.every == 0 or number + 1 == schedule.steps:
                if curve is not None:
                    curve.add(number + 1, mean, {"judges": said[0], "generator": said[1]})
                if curve is not None and least is not None and curve.least(least)["step"] == number + 1:
                    _keep(mean, checkpoint.with_suffix(BEST))
                save(fabric, checkpoint, state)
                progress.console.print(now.replace(title, f"{title} step {number + 1}", 1), highlight=False)
    for module in (net, judges, mean):
        module.cpu()
    if least is not None:
        mean.load_state_dict(torch.load(checkpoint.with_suffix(BEST), weights_only=True, map_location="cpu"))
    return mean.eval()


def _keep(net: nn.Module, path: Path) -> None:
    with whole_file(path) as file:
        torch.save(net.state_dict(), file)


def _set_rate(state: dict[str, Any], rate: float) -> None:
    for optimizer in (state["optimizer"], state["optimizer_judges"]):
        for group in optimizer.param_groups:
            group["lr"] = rate


def _averaged(mean: nn.Module, net: nn.Module, share: float) -> None:
    with torch.no_grad():
        for kept, now in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            kept.copy_(share * kept + (1 - share) * now if kept.is_floating_point() else now)


def _set_up(fabric: Fabric, both: Sequence[tuple[nn.Module, torch.optim.Optimizer]]) -> dict[str, Any]:
    (net, optimizer), (judges, optimizer_judges) = (fabric.setup(*one) for one in both)
    return {"net": net, "judges": judges, "optimizer": optimizer, "optimizer_judges": optimizer_judges}


def _taken(fabric: Fabric, state: dict[str, Any], step: Step, rng: np.random.Generator,
           most: float) -> tuple[float, float] | None:
    """Both losses of one step; None where gradients are not finite, and something of the step may be done."""
    of_judges, of_net = step(state["net"], state["judges"], rng)
    value, told = of_judges()
    if value.requires_grad and not descend(fabric, state["judges"], state["optimizer_judges"], value, most):
        return None
    loss = of_net()
    return (told, float(loss.detach())) if descend(fabric, state["net"], state["optimizer"], loss, most) else None
