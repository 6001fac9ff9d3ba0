"""What is to be forged, whatever the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scanward.attacks.base import View


@dataclass(frozen=True)
class Order:
    """What to forge, whatever the host."""

    method: str
    """An attack with an `action` in the table of methods; empty where one is still to be chosen."""
    size_mm: tuple[float, float]
    """The smallest and the largest diameter of a lesion; drawn log-uniformly between them."""
    at: tuple[tuple[float, ...], ...] | None = None
    """Places, each (x, y) in pixels of a mammogram or (x, y, z) in voxels of a CT; None where one is to be chosen."""
    seed: int = 0
    strength: float = 1.0
    """In (0, 1]: the share of the change that reaches the host."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the method, as its row in the table lists them."""
    world: bool = False
    """Places are in the patient's millimetres (LPS) instead."""
    view: View | None = None
    """Which view this is of a lesion that is injected into two."""

    def diameters_mm(self, rng: np.random.Generator, count: int) -> list[float]:
        """Of so many lesions; where there is nothing to choose, nothing is drawn."""
        low, high = self.size_mm
        return [float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low for _ in range(count)]
