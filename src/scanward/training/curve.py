"""A training's course, as JSON lines beside its checkpoint: losses, and figures on what it is not trained on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from scanward.disk import Journal, whole_file

Figures = Callable[[nn.Module], dict[str, float]]
"""Of a network in evaluation mode, which it may change: it is given a copy."""


class Curve:
    """The lines of one run, over the pixels that its losses have seen.

    A line is written with each checkpoint, so a run that goes on from one goes on from its line.
    """

    def __init__(self, path: Path, *figures: Figures) -> None:
        self.path, self._figures = path, figures
        self.pixels = 0

    def saw(self, pixels: int) -> None:
        """One more batch."""
        self.pixels += pixels

    def begin(self, step: int) -> None:
        """Go on after so many steps: what an interrupted run wrote beyond them goes, of another run all."""
        kept = [one for one in self.lines() if 0 < one["step"] <= step]
        self.pixels = int(kept[-1]["pixels"]) if kept else 0
        with whole_file(self.path) as file:
            file.write("".join(f"{json.dumps(one)}\n" for one in kept).encode())

    def add(self, step: int, net: nn.Module, losses: Mapping[str, float]) -> None:
        """One line."""
        with torch.inference_mode():
            made = [figures(copy.deepcopy(net).eval()) for figures in self._figures]
        numbers = {name: round(float(value), 5) for part in (losses, *made) for name, value in part.items()}
        Journal(self.path).append(json.dumps({"step": step, "pixels": self.pixels, **numbers}).encode())

    def least(self, figure: str) -> dict[str, float]:
        """The line with the least of a figure, of equal ones the first."""
        return min(self.lines(), key=lambda line: line[figure])

    def lines(self) -> list[dict[str, float]]:
        """What is written, the first line first."""
        return list(Journal(self.path).values())
