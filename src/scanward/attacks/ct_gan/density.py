"""A nodule's mean HU in the units of a generator's condition: -1 for -800 HU and 1 for 200."""

from __future__ import annotations

MIDDLE, HALF = -300.0, 500.0


def density_of(hu: float) -> float:
    """HU in those units."""
    return (float(hu) - MIDDLE) / HALF
